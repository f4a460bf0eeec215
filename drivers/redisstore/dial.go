package redisstore

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sojourn-go/sojourn/store/overload"
)

const (
	mostDialing = 2 // connections that are made to a server at once; one while they fail

	firstRetry = 50 * time.Millisecond // before the next connection is made after one failed
	lastRetry  = time.Second
)

// A dialer makes connections: a few at a time to each server, with pauses while
// they fail. If the call that needs a connection gives up, the dialer continues,
// because the next call will need it too.
type dialer struct {
	opt     *Options
	network string // tcp or unix

	mu      sync.Mutex // guards servers
	servers map[string]*server
}

// A server is an address that connections are made to.
type server struct {
	mu       sync.Mutex // guards all fields
	turn     sync.Cond
	dialing  int
	failures int // in a row: connections that were not made, or served nothing
	retryAt  time.Time
}

func newDialer(opt *Options, unix bool) *dialer {
	network := "tcp"
	if unix {
		network = "unix"
	}
	return &dialer{opt: opt, network: network, servers: map[string]*server{}}
}

func (d *dialer) server(addr string) *server {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.servers[addr]
	if s == nil {
		s = new(server)
		s.turn.L = &s.mu
		d.servers[addr] = s
	}
	return s
}

// dial is a rueidis.ClientOption.DialCtxFn.
func (d *dialer) dial(ctx context.Context, addr string, nd *net.Dialer, config *tls.Config) (net.Conn, error) {
	s := d.server(addr)
	s.begin()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nd.Timeout)
	defer cancel()
	conn, err := d.opt.dial(ctx, d.network, addr, nd, config)
	s.end(err == nil)
	if err != nil {
		return nil, err
	}
	return &watchedConn{Conn: conn, server: s, toSentinel: nd.ControlContext != nil}, nil
}

// ofSentinel marks the dialer of connections to sentinels: rueidis calls dial
// for both.
func ofSentinel(context.Context, string, string, syscall.RawConn) error { return nil }

// A sentinelAddr is the address of a sentinel, which has a password of its own.
type sentinelAddr struct{ net.Addr }

// begin waits until another connection may be made.
func (s *server) begin() {
	s.mu.Lock()
	for s.dialing >= mostDialing || s.dialing > 0 && s.failures > 0 {
		s.turn.Wait()
	}
	s.dialing++
	pause := time.Until(s.retryAt)
	s.mu.Unlock()
	time.Sleep(pause)
}

func (s *server) end(made bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialing--
	if !made {
		s.fail()
	}
	s.turn.Broadcast()
}

func (s *server) fail() {
	s.failures++
	s.retryAt = time.Now().Add(overload.Backoff(s.failures, firstRetry, lastRetry))
}

// A watchedConn tells its server whether it was of use. The first data that it
// reads answer the greeting; later data answer commands.
type watchedConn struct {
	net.Conn
	server     *server
	toSentinel bool
	came       atomic.Int32
	closed     atomic.Bool
}

func (c *watchedConn) RemoteAddr() net.Addr {
	if c.toSentinel {
		return sentinelAddr{c.Conn.RemoteAddr()}
	}
	return c.Conn.RemoteAddr()
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.came.Load() < 2 && c.came.Add(1) == 2 {
		c.server.mu.Lock()
		c.server.failures = 0
		c.server.mu.Unlock()
	}
	return n, err
}

func (c *watchedConn) Close() error {
	if !c.closed.Swap(true) && c.came.Load() < 2 {
		c.server.mu.Lock()
		c.server.fail()
		c.server.mu.Unlock()
	}
	return c.Conn.Close()
}

func (opt *Options) dial(ctx context.Context, network, addr string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	dial := opt.Dial
	if dial == nil {
		dial = d.DialContext
	}
	conn, err := dial(ctx, network, addr)
	if err == nil && config != nil {
		conn, err = withTLS(ctx, conn, addr, config)
	}
	if err != nil {
		return nil, &dialError{err}
	}
	return conn, nil
}

// withTLS does what tls.Dialer does, on an existing connection.
func withTLS(ctx context.Context, conn net.Conn, addr string, config *tls.Config) (net.Conn, error) {
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			conn.Close()
			return nil, err
		}
		config = config.Clone()
		config.ServerName = host
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}
