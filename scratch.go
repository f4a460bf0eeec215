package sojourn

import (
	"context"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// scratch is the memory in which a request reads and changes its session. It is lent until the request is over, and given back under the session's
// mutex; from then on the session has no values any more. So no goroutine that outlives its request sees another's.
type scratch struct {
	rec, work store.Record
	spare     store.Values
	ops       [4]op
}

const keepValues = 16 << 10 // larger buffers are left to the collector

// memory returns the request's scratch. Session.mu is held.
func (s *Session) memory() *scratch {
	if s.scratch == nil {
		if s.scratch, _ = s.e.scratches.Get().(*scratch); s.scratch == nil {
			s.scratch = new(scratch)
		}
		s.ops = s.scratch.ops[:0]
	}
	return s.scratch
}

// forget gives the memory back. The session's ID and subject stay.
func (s *Session) forget() {
	m := s.scratch
	if m == nil {
		return
	}
	s.was.ID, s.was.Subject = s.now().ID, s.now().Subject
	*m = scratch{
		rec:   store.Record{Good: m.rec.Good[:0], Spent: m.rec.Spent[:0], Epochs: m.rec.Epochs[:0], Values: keep(m.rec.Values)},
		work:  store.Record{Good: m.work.Good[:0], Spent: m.work.Spent[:0], Epochs: m.work.Epochs[:0], Values: keep(m.work.Values)},
		spare: keep(m.spare),
	}
	s.scratch, s.rec, s.changes = nil, nil, changes{}
	s.e.scratches.Put(m)
}

func keep(v store.Values) store.Values {
	if cap(v) > keepValues {
		return nil
	}
	return v[:0]
}

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
