package sojourn

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// detached is a context for a commit: it has the values of the request's, not its end, and a deadline of its own. Its timer is
// made when somebody waits for it, which a store in memory doesn't.
type detached struct {
	context.Context // the request's, without its cancellation
	deadline        time.Time
	once            sync.Once
	timed           context.Context
	cancel          context.CancelFunc
	released        atomic.Bool
}

func newDetached(ctx context.Context) *detached {
	return &detached{Context: context.WithoutCancel(ctx), deadline: time.Now().Add(storeTimeout)}
}

func (d *detached) Deadline() (time.Time, bool) { return d.deadline, true }

func (d *detached) Done() <-chan struct{} {
	d.once.Do(func() { d.timed, d.cancel = context.WithDeadline(d.Context, d.deadline) })
	return d.timed.Done()
}

// Err is not nil once Done is closed: package context panics in a child that a store has left behind otherwise.
func (d *detached) Err() error {
	if d.released.Load() {
		return context.Canceled
	}
	if time.Until(d.deadline) <= 0 {
		return context.DeadlineExceeded
	}
	return nil
}

func (d *detached) release() {
	d.released.Store(true)
	d.once.Do(func() { d.timed, d.cancel = context.Background(), func() {} }) // nobody waits any more
	d.cancel()
}
