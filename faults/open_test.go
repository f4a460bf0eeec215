package faults

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/drivers/pgstore"
	"github.com/sojourn-go/sojourn/drivers/redisstore"
	"github.com/sojourn-go/sojourn/store"
)

// openStore opens the store of a node.
func openStore(ctx context.Context, config nodeConfig, log *slog.Logger) (interface {
	store.Store
	store.Feeder
}, error) {
	switch config.Store {
	case "redis", "cluster":
		return redisstore.Open(ctx, config.URL, redisstore.Options{
			Timeout: nodeTimeout, WaitReplicas: config.Waits, WaitTimeout: nodeTimeout,
			Dial: config.dial, Logger: log,
		})
	case "postgres":
		return pgstore.Open(ctx, config.URL, pgstore.Options{FeedURL: config.FeedURL, Timeout: config.timeout(), Logger: log})
	}
	return nil, fmt.Errorf("there is no store %q", config.Store)
}

// dial connects through a proxy. A connection that turns out to be the feed's
// moves to another proxy.
func (c nodeConfig) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	via := c.Route[addr]
	if via == "" {
		return nil, fmt.Errorf("no proxy leads to %s", addr)
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, via)
	if err != nil {
		return nil, err
	}
	return &sortedConn{Conn: conn, feed: c.FeedTo[addr], sorted: make(chan struct{})}, nil
}

// A sortedConn is a connection to Redis. Its first command shows whether it is
// a feed's. Then it moves to the feed's proxy, before Redis has received
// anything.
type sortedConn struct {
	feed   string
	once   sync.Once
	sorted chan struct{}

	mu       sync.Mutex
	deadline time.Time
	net.Conn // final when sorted is closed
}

func (c *sortedConn) Write(b []byte) (int, error) {
	c.once.Do(func() {
		defer close(c.sorted)
		if !bytes.Contains(b, []byte("TRACKING")) {
			return
		}
		conn, err := net.DialTimeout("tcp", c.feed, nodeTimeout)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.Conn.Close()
		if err == nil { // otherwise the closed connection fails
			c.Conn = conn
			_ = conn.SetDeadline(c.deadline)
		}
	})
	return c.settled().Write(b)
}

func (c *sortedConn) Read(b []byte) (int, error) {
	<-c.sorted
	return c.settled().Read(b)
}

func (c *sortedConn) settled() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Conn
}

func (c *sortedConn) Close() error {
	c.once.Do(func() { close(c.sorted) })
	return c.settled().Close()
}

func (c *sortedConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return c.Conn.SetDeadline(t)
}

func (c *sortedConn) SetReadDeadline(t time.Time) error  { return c.settled().SetReadDeadline(t) }
func (c *sortedConn) SetWriteDeadline(t time.Time) error { return c.settled().SetWriteDeadline(t) }
