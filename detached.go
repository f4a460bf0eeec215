package sojourn

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// detached is a context for a commit: it has the values of the request's, not its end, and a deadline of its own. Its clock starts
// when somebody first asks for it, which a store in memory never does.
type detached struct {
	context.Context // the request's, without its cancellation
	once            sync.Once
	timed           context.Context
	cancel          context.CancelFunc
	state           atomic.Int32
}

const (
	detachedTimed    = 1
	detachedReleased = 2
)

func newDetached(ctx context.Context) *detached {
	return &detached{Context: context.WithoutCancel(ctx)}
}

func (d *detached) start() context.Context {
	d.once.Do(func() {
		d.timed, d.cancel = context.WithTimeout(d.Context, storeTimeout)
		d.state.Store(detachedTimed)
	})
	return d.timed
}

func (d *detached) Deadline() (time.Time, bool) { return d.start().Deadline() }
func (d *detached) Done() <-chan struct{}       { return d.start().Done() }

// Err is not nil once Done is closed: package context panics in a child that a store has left behind otherwise.
func (d *detached) Err() error {
	switch d.state.Load() {
	case detachedTimed:
		return d.timed.Err()
	case detachedReleased:
		return context.Canceled
	}
	return nil
}

// release ends the context.
func (d *detached) release() {
	d.once.Do(func() { d.timed, d.cancel = context.Background(), func() {} }) // nobody waits any more
	d.state.Store(detachedReleased)
	d.cancel()
}
