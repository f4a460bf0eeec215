package api

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A patience is a request's context that ends storeTimeout after somebody first
// waits for it. Most requests are answered from memory, and nobody ever does. So
// they need no timer.
type patience struct {
	context.Context // the request's
	once            sync.Once
	timed           atomic.Pointer[timedContext]
}

type timedContext struct {
	context.Context
	cancel context.CancelFunc
}

func (p *patience) start() context.Context {
	p.once.Do(func() {
		timed := new(timedContext)
		timed.Context, timed.cancel = context.WithTimeout(p.Context, storeTimeout)
		p.timed.Store(timed)
	})
	return p.current()
}

func (p *patience) current() context.Context {
	if timed := p.timed.Load(); timed != nil {
		return timed.Context
	}
	return p.Context
}

func (p *patience) Deadline() (time.Time, bool) { return p.start().Deadline() }
func (p *patience) Done() <-chan struct{}       { return p.start().Done() }
func (p *patience) Err() error                  { return p.current().Err() }
func (p *patience) Value(key any) any           { return p.current().Value(key) }

// release stops the timer. The server ends the request's context itself.
func (p *patience) release() {
	p.once.Do(func() {}) // it starts no more
	if timed := p.timed.Load(); timed != nil {
		timed.cancel()
	}
}
