package sojourn

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// detached is the context of a commit. It has the values of the request's
// context, but isn't cancelled with it, and has a deadline of its own. The timer
// starts when somebody first asks for it; a store in memory never does.
type detached struct {
	context.Context // the request's, for its values
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
	return &detached{Context: ctx}
}

func (d *detached) start() context.Context {
	d.once.Do(func() {
		d.timed, d.cancel = context.WithTimeout(context.WithoutCancel(d.Context), storeTimeout)
		d.state.Store(detachedTimed)
	})
	return d.timed
}

func (d *detached) Deadline() (time.Time, bool) { return d.start().Deadline() }
func (d *detached) Done() <-chan struct{}       { return d.start().Done() }

// Err returns an error as soon as Done is closed. Without one, package context
// panics in a child context that a store has left behind.
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
