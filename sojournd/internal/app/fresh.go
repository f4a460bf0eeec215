package app

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// freshConns are the connections of a server on which no request was answered
// yet. http.Server.Shutdown closes a connection whose request it has not read,
// even if the request has arrived.
type freshConns struct {
	count atomic.Int64

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
}

// note is an http.Server.ConnState.
func (f *freshConns) note(conn net.Conn, state http.ConnState) {
	switch {
	case state == http.StateNew:
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.conns == nil {
			f.conns = map[net.Conn]bool{}
		}
		f.conns[conn] = true
	case state == http.StateActive, f.count.Load() == 0: // the usual cases take no lock
		return
	default:
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.conns, conn)
	}
	f.count.Store(int64(len(f.conns)))
}

// freshPatience is how long a connection without any request may delay the end
// of the server. http.Server.Shutdown waits as long.
const freshPatience = 5 * time.Second

// wait waits until there are no such connections. Call it when the server accepts
// no more. It gives up after freshPatience.
func (f *freshConns) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, freshPatience)
	defer cancel()
	for f.count.Load() > 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
}
