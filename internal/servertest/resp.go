package servertest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// A respConn is a simple connection to Redis: RESP2, one command after the
// other.
type respConn struct {
	net.Conn
	r *bufio.Reader
}

// A RedisError is an error that Redis answers, such as "OOM command not allowed
// ...".
type RedisError string

func (e RedisError) Error() string { return "redis: " + string(e) }

func dialRedis(addr string, config *tls.Config, limit time.Duration) (*respConn, error) {
	conn, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return nil, err
	}
	if config != nil {
		conn = tls.Client(conn, config)
	}
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		conn.Close()
		return nil, err
	}
	return &respConn{conn, bufio.NewReader(conn)}, nil
}

func (c *respConn) do(args ...string) (any, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return nil, err
	}
	return c.reply()
}

// reply returns a string, an int64, a []any of these, or nil.
func (c *respConn) reply() (any, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return nil, errors.New("redis: an empty reply")
	}
	kind, line := line[0], line[1:]
	switch kind {
	case '+':
		return line, nil
	case '-':
		return nil, RedisError(line)
	}
	n, err := strconv.ParseInt(line, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("redis: bad reply: %w", err)
	}
	switch {
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$':
		b := make([]byte, n+2)
		_, err := io.ReadFull(c.r, b)
		return string(b[:n]), err
	case kind == '*':
		list := make([]any, n)
		for i := range list {
			var failed RedisError
			if list[i], err = c.reply(); errors.As(err, &failed) {
				list[i] = failed
			} else if err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("redis: a reply of the kind %q", kind)
}
