package sojourn

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// A hijacked keeps the watch on a session for a connection that its handler has
// taken over. The watch ends when the connection is closed and the request is
// over, whichever comes last: net/http ends the request's context when the
// handler returns, while a WebSocket goes on. It keeps no reference to the
// request.
type hijacked struct {
	watcher *watcher

	mu         sync.Mutex
	watch      *watched // nil: none, or left
	closed     bool     // the connection
	over       bool     // the request
	touchEvery time.Duration
}

// hijack notes that the handler has taken the connection, and returns it as the
// handler gets it.
func (s *Session) hijack(conn net.Conn) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &hijacked{watcher: &s.e.watch}
	s.watching.conn = h
	if s.watching.watch != nil {
		h.add(s.watching.watch)
	}
	return h.wrap(conn)
}

// add gives it the session that Done waits for.
func (h *hijacked) add(w *watched) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watch = w
	h.settle()
}

// setTouchInterval keeps what Active needs when the request is over.
func (h *hijacked) setTouchInterval(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.touchEvery = d
}

// touchInterval returns how often activity on the connection is written. 0 means
// never, because the connection is closed or there was no session.
func (h *hijacked) touchInterval() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0
	}
	return h.touchEvery
}

func (h *hijacked) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.settle()
}

func (h *hijacked) finish() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	h.settle()
}

// settle ends the watch if nothing needs it any more. h.mu is held.
func (h *hijacked) settle() {
	if h.closed && h.over && h.watch != nil {
		h.watcher.leave(h.watch)
		h.watch = nil
	}
}

// wrap returns conn in a wrapper that tells h of its Close. The wrapper has all
// methods of net/http's connections.
func (h *hijacked) wrap(conn net.Conn) net.Conn {
	switch c := conn.(type) {
	case *net.TCPConn:
		return &tcpConn{c, h}
	case *net.UnixConn:
		return &unixConn{c, h}
	case *tls.Conn:
		return &tlsConn{c, h}
	}
	return &otherConn{conn, h}
}

type tcpConn struct {
	*net.TCPConn
	h *hijacked
}

func (c *tcpConn) Close() error {
	defer c.h.close()
	return c.TCPConn.Close()
}

type unixConn struct {
	*net.UnixConn
	h *hijacked
}

func (c *unixConn) Close() error {
	defer c.h.close()
	return c.UnixConn.Close()
}

type tlsConn struct {
	*tls.Conn
	h *hijacked
}

func (c *tlsConn) Close() error {
	defer c.h.close()
	return c.Conn.Close()
}

type otherConn struct {
	net.Conn
	h *hijacked
}

func (c *otherConn) Close() error {
	defer c.h.close()
	return c.Conn.Close()
}

// NetConn returns the connection beneath, as that of tls.Conn does.
func (c *otherConn) NetConn() net.Conn { return c.Conn }
