package app

import (
	"context"
	"errors"
	"fmt"
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

	mu    sync.Mutex        // guards conns
	conns map[net.Conn]bool // whether a request was read
}

// note is an http.Server.ConnState.
func (f *freshConns) note(conn net.Conn, state http.ConnState) {
	if state != http.StateNew && f.count.Load() == 0 { // the usual case takes no lock
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, fresh := f.conns[conn]
	switch {
	case state == http.StateNew:
		if f.conns == nil {
			f.conns = map[net.Conn]bool{}
		}
		f.conns[conn] = false
	case state == http.StateActive && fresh:
		f.conns[conn] = true
	case state != http.StateActive:
		delete(f.conns, conn)
	}
	f.count.Store(int64(len(f.conns)))
}

// shutdown waits until a server that accepts no more has answered its requests.
// Connections without a request are closed after the time for unused ones. ctx ends
// after patience: then the other requests are aborted, and it returns an error.
func (f *freshConns) shutdown(ctx context.Context, server *http.Server, unused, patience time.Duration) error {
	server.SetKeepAlivesEnabled(false)
	f.wait(unused)
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests were aborted after %v: %w", patience, err), server.Close())
	}
	return nil
}

// wait waits until there are no such connections. Call it when the server accepts
// no more. After patience it closes those without a request: browsers open
// connections for requests that may never come, and http.Server.Shutdown would
// wait for them for more than five seconds. It waits for the requests that were
// read.
func (f *freshConns) wait(patience time.Duration) {
	for end := time.Now().Add(patience); f.count.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	f.mu.Lock()
	var unused []net.Conn
	for conn, requested := range f.conns {
		if !requested {
			unused = append(unused, conn)
		}
	}
	f.mu.Unlock()
	for _, conn := range unused {
		_ = conn.Close()
	}
}
