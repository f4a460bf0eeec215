package app

import (
	"maps"
	"net"
	"net/http"
	"slices"
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

// wait waits until there are no such connections. Call it when the server accepts
// no more. After patience it closes those that are left: browsers open connections
// for requests that may never come, and http.Server.Shutdown would wait for them
// for more than five seconds.
func (f *freshConns) wait(patience time.Duration) {
	for end := time.Now().Add(patience); f.count.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	f.mu.Lock()
	left := slices.Collect(maps.Keys(f.conns))
	f.mu.Unlock()
	for _, conn := range left {
		_ = conn.Close()
	}
}
