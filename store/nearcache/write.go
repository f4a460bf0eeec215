package nearcache

import (
	"context"
	"errors"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// If the store panics, a write ends with errPanic, which means that its outcome
// is unknown. Touch needs no such end: it leaves nothing wrong in memory.

// Create implements store.Store.
func (c *Cache) Create(ctx context.Context, app string, rec *store.Record, opt store.CreateOptions) (ended []store.Ended, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := c.place(app, rec.ID)
	w := c.beginWrite(&p, rec.Subject == "")
	err = errPanic
	defer func() {
		c.endWrite(&p, w, ended, err, func() {
			c.changed(&p, 1)
			next := *rec
			next.Revision, next.End, next.EndAt = 1, "", 0
			c.put(&p, w, &next)
		})
	}()
	return c.store.Create(ctx, app, rec, opt)
}

// Update implements store.Store.
func (c *Cache) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) (ended []store.Ended, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := c.place(app, rec.ID)
	w := c.beginWrite(&p, rec.Subject == "")
	c.recall(&p, w, rec, opt.Login)
	err = errPanic
	defer func() {
		c.endWrite(&p, w, ended, err, func() {
			c.changed(&p, rec.Revision)
			if w.known {
				next := *rec
				next.CreatedAt, next.End, next.EndAt = w.created, "", 0
				c.put(&p, w, &next)
			}
		})
	}()
	return c.store.Update(ctx, app, rec, opt)
}

// recall notes what an update doesn't change in the record that it replaces.
func (c *Cache) recall(p *place, w *flight, rec *store.Record, login bool) {
	p.sh.mu.Lock()
	defer p.sh.mu.Unlock()
	h, b := c.find(p)
	if h == 0 || !w.live {
		return
	}
	var old arena.Head
	if arena.Peek(b, &old); old.Revision != rec.Revision {
		return
	}
	w.known, w.created = true, old.CreatedAt
	if old.LastSeenAt > w.seen {
		w.seen, w.client = old.LastSeenAt, old.LastClient(&c.strings)
	}
	w.alone = w.alone || !login && string(old.Subject) == rec.Subject
}

// Touch implements store.Store.
func (c *Cache) Touch(ctx context.Context, app string, id store.ID, at, now store.Time, client store.Client) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p := c.place(app, id)
	doubt := c.doubt.Load()
	err := c.store.Touch(ctx, app, id, at, now, client)
	switch outcomeOf(err) {
	case done:
		c.touched(&p, at, client)
		c.settle(doubt)
	case closed:
		c.shut()
	case refused:
	default: // in every case the time in memory is not later than the store's
		c.invalidate(&p)
	}
	return err
}

// Confirm implements store.Store.
func (c *Cache) Confirm(ctx context.Context, app string, id store.ID, secret store.Hash, n store.Confirmation) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	p := c.place(app, id)
	w := c.beginWrite(&p, true)
	err = errPanic
	defer func() {
		c.endWrite(&p, w, nil, err, func() { c.changed(&p, overtaken) }) // the new revision isn't known
	}()
	return c.store.Confirm(ctx, app, id, secret, n)
}

// End implements store.Store.
func (c *Cache) End(ctx context.Context, app string, id store.ID, reason store.Reason, at store.Time) (ended []store.Ended, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := c.place(app, id)
	w := c.beginWrite(&p, true)
	err = errPanic
	defer func() {
		c.endWrite(&p, w, ended, err, func() { c.changed(&p, overtaken) })
	}()
	return c.store.End(ctx, app, id, reason, at)
}

// EndSubject implements store.Store.
func (c *Cache) EndSubject(ctx context.Context, app, subject string, except store.ID, reason store.Reason, at store.Time) (ended []store.Ended, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	doubt := c.doubt.Load()
	err = errPanic
	defer func() {
		// The list lacks sessions ended by another node, or by a call that has
		// not returned yet.
		c.dropSubject(c.apps.Need(app, newApp).num, subject)
		c.drop(ended)
		c.conclude(err, doubt)
	}()
	return c.store.EndSubject(ctx, app, subject, except, reason, at)
}

// EndAll implements store.Store.
func (c *Cache) EndAll(ctx context.Context, app string, at store.Time) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	doubt := c.doubt.Load()
	err = errPanic
	defer func() {
		c.apps.Need(app, newApp).generation.Add(1)
		c.conclude(err, doubt)
	}()
	return c.store.EndAll(ctx, app, at)
}

// Sweep implements store.Store.
func (c *Cache) Sweep(ctx context.Context, app string, now store.Time, max int) (ended []store.Ended, over bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	doubt := c.doubt.Load()
	err = errPanic
	defer func() {
		c.drop(ended)
		c.conclude(err, doubt)
	}()
	return c.store.Sweep(ctx, app, now, max)
}

// An outcome is what the error of a write means.
type outcome uint8

const (
	done     outcome = iota
	refused          // nothing has changed
	outdated         // nothing has changed, and the session in memory may be outdated
	closed
	unclear
)

func outcomeOf(err error) outcome {
	is := func(list ...error) bool {
		for _, e := range list {
			if errors.Is(err, e) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return done
	case is(store.ErrUncertain):
		return unclear
	case is(store.ErrClosed):
		return closed
	case is(store.ErrNotFound, store.ErrEnded, store.ErrExists, store.ErrConflict),
		is(context.Canceled, context.DeadlineExceeded): // not unclear: otherwise clients that go away would empty the memory
		return outdated
	case is(store.ErrBarrier, store.ErrLimit, store.ErrFull, store.ErrRepeated, store.ErrKeyReused):
		return refused
	}
	return unclear
}

// beginWrite begins a write to one session. alone means that the write changes no
// other session.
func (c *Cache) beginWrite(p *place, alone bool) *flight {
	doubt, live := c.doubt.Load(), c.live()
	p.sh.mu.Lock()
	defer p.sh.mu.Unlock()
	w := c.begin(p, live)
	w.doubt, w.alone = doubt, alone
	return w
}

// endWrite brings memory up to date with a write, before its caller learns the
// result. If the write was done, endWrite calls then with the shard locked.
func (c *Cache) endWrite(p *place, w *flight, ended []store.Ended, err error, then func()) {
	c.drop(ended)
	o := outcomeOf(err)
	p.sh.mu.Lock()
	switch o {
	case done:
		then()
	case outdated, unclear:
		c.changed(p, overtaken)
	}
	p.sh.end(p.key, w)
	p.sh.mu.Unlock()
	if o == unclear && w.alone && c.feed != nil {
		return // if it happens later, the feed reports it
	}
	if o != refused && o != outdated {
		c.conclude(err, w.doubt)
	}
}

// conclude does what follows from a write for all sessions. A write with an
// unclear outcome may have changed any session, or may happen later. Without a
// feed nothing reports that. Then the memory isn't used until another write that
// began later is acknowledged.
func (c *Cache) conclude(err error, doubt uint64) {
	switch outcomeOf(err) {
	case done:
		c.settle(doubt)
	case closed:
		c.shut()
	default:
		if c.feed == nil {
			c.doubt.Store(c.doubts.Add(1))
		}
		c.dropAll()
	}
}

// settle ends the doubt that existed when an acknowledged write began.
func (c *Cache) settle(doubt uint64) {
	if doubt != 0 {
		c.dropAll()
		c.doubt.CompareAndSwap(doubt, 0) // unless there is a later one
	}
}

// drop forgets sessions that have ended.
func (c *Cache) drop(ended []store.Ended) {
	for i := range ended {
		p := c.place(ended[i].App, ended[i].ID)
		c.invalidate(&p)
	}
}
