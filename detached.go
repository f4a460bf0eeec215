package sojourn

import (
	"context"
	"sync"
	"time"
)

// detached is a context for a commit: it has the values of the request's, not its end, and a deadline of its own. Its timer is
// made when somebody waits for it, which a store in memory doesn't.
type detached struct {
	context.Context // the request's
	deadline        time.Time
	once            sync.Once
	timed           context.Context
	cancel          context.CancelFunc
}

func newDetached(ctx context.Context) *detached {
	return &detached{Context: ctx, deadline: time.Now().Add(storeTimeout)}
}

func (d *detached) Deadline() (time.Time, bool) { return d.deadline, true }

func (d *detached) Done() <-chan struct{} {
	d.once.Do(func() { d.timed, d.cancel = context.WithDeadline(context.WithoutCancel(d.Context), d.deadline) })
	return d.timed.Done()
}

func (d *detached) Err() error {
	if time.Until(d.deadline) <= 0 {
		return context.DeadlineExceeded
	}
	return nil
}

func (d *detached) release() {
	d.once.Do(func() { d.timed, d.cancel = context.Background(), func() {} }) // nobody waits any more
	d.cancel()
}
