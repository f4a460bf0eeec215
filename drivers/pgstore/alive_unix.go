//go:build unix

package pgstore

import (
	"net"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// mustTry reports whether a connection must be tried before use, because the
// server has sent something unasked, such as the end of the connection. A write
// on a closed connection would be uncertain.
func mustTry(c *pgx.Conn, _ time.Duration) bool {
	conn := c.PgConn().Conn()
	if inner, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = inner.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	quiet := false
	err = raw.Control(func(fd uintptr) { // Read would wait for a read of pgx that may be under way
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		quiet = n == 0 && err == nil
	})
	return err != nil || !quiet
}
