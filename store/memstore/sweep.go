package memstore

import (
	"context"
	"errors"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// maxHold is the number of records that a walk examines before it lets go of the lock.
const maxHold = 256

// A sweepCursor is where the next Sweep of an application goes on. The stages
// are the shards of records, of subjects and of keys.
type sweepCursor struct {
	stage int
	pos   uint32
}

const (
	firstSubjects = shardCount
	firstKeys     = 2 * shardCount
	stages        = 2*shardCount + keyShards
)

func (c *core) sweep(ctx context.Context, name string, now store.Time, max int) (list []store.Ended, done bool, err error) {
	a := c.apps.Find(name)
	if a == nil {
		return nil, true, nil
	}
	c.sweepMu.Lock()
	defer c.sweepMu.Unlock()
	for n := max; n > 0; {
		if ctx.Err() != nil {
			return list, false, nil // what has ended must be told
		}
		begun := time.Now()
		examined, over, err := c.sweepStep(&list, a, now, min(n, maxHold))
		if held := int64(time.Since(begun)); held > c.longestStep.Load() {
			c.longestStep.Store(held) // sweepMu is held: nobody else stores
		}
		if err != nil {
			return list, false, err
		}
		if c.examined != nil {
			c.examined(examined)
		}
		n -= examined
		if !over {
			continue
		}
		a.cursor = sweepCursor{stage: (a.cursor.stage + 1) % stages}
		if a.cursor.stage == 0 {
			return list, true, nil
		}
	}
	return list, false, nil
}

// sweepStep examines up to n entries at the application's cursor, and reports
// whether the stage is over.
func (c *core) sweepStep(list *[]store.Ended, a *app, now store.Time, n int) (examined int, over bool, err error) {
	switch stage := a.cursor.stage; {
	case stage < firstSubjects:
		return c.sweepRecords(list, a, uint8(stage), now, n)
	case stage < firstKeys:
		return c.sweepBarriers(a, &c.subjects[stage-firstSubjects], now, n)
	default:
		return c.sweepKeys(a, &c.keys[stage-firstKeys], now, n)
	}
}

func (c *core) sweepRecords(list *[]store.Ended, a *app, shard uint8, now store.Time, n int) (examined int, over bool, err error) {
	var owned []store.ID // to end, once the subject's lock is held
	sh := &c.records[shard]
	sh.mu.Lock()
	if sh.closed {
		sh.mu.Unlock()
		return 0, false, store.ErrClosed
	}
	end := sh.End()
	for ; a.cursor.pos < end && examined < n; a.cursor.pos++ {
		examined++
		handle := a.cursor.pos
		b := sh.At(handle)
		if b == nil {
			continue
		}
		var h arena.Head
		arena.Peek(b, &h)
		if h.App != a.num {
			continue
		}
		id := *arena.IDOf(b)
		if h.Ended() {
			if past(h.EndAt, store.TombstoneLife, now) {
				c.remove(sh, tagOf(c.hashID(a, &id)), handle)
			}
			continue
		}
		reason, at := ending(a, &h, now)
		switch {
		case reason == "":
		case len(h.Subject) > 0:
			owned = append(owned, id)
		default:
			*list = append(*list, c.buryLoud(sh, a, handle, &h, reason, at)...)
			if past(at, store.TombstoneLife, now) {
				c.remove(sh, tagOf(c.hashID(a, &id)), handle)
			}
		}
	}
	over = a.cursor.pos >= end
	sh.mu.Unlock()

	for _, id := range owned {
		ended, err := c.endIf(a, id, func(h *arena.Head) (store.Reason, store.Time) {
			if h.Ended() {
				return "", 0
			}
			return ending(a, h, now)
		})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return examined, over, err
		}
		*list = append(*list, ended...)
	}
	return examined, over, nil
}

// ending returns why and when a session ended that no call has ended yet, or "".
func ending(a *app, h *arena.Head, now store.Time) (store.Reason, store.Time) {
	if mark := a.mark(); h.CreatedAt <= mark {
		return store.ReasonRevoked, mark
	}
	return h.ExpiredAt(now)
}

// past reports whether something of time at has outlived life.
func past(at store.Time, life time.Duration, now store.Time) bool {
	return now > at && now-at > store.Time(life/time.Millisecond)
}

func (c *core) sweepBarriers(a *app, ss *subjectShard, now store.Time, n int) (examined int, over bool, err error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return 0, false, store.ErrClosed
	}
	if at, ok := ss.barriers.floors[a.num]; ok && past(at, store.BarrierLife, now) {
		delete(ss.barriers.floors, a.num)
	}
	examined = min(n, ss.barriers.len()-min(int(a.cursor.pos), ss.barriers.len()))
	next, over := ss.barriers.removeIf(int(a.cursor.pos), n, func(b *barrier) bool {
		return b.app == a.num && past(b.at, store.BarrierLife, now)
	})
	a.cursor.pos = uint32(next)
	c.settleSubjects(ss)
	return examined, over, nil
}

func (c *core) sweepKeys(a *app, ks *keyShard, now store.Time, n int) (examined int, over bool, err error) {
	ks.mu.Lock()
	defer ks.mu.Unlock()
	before, left := ks.keys.bytes(), ks.keys.len()
	examined = min(n, left-min(int(a.cursor.pos), left))
	next, over := ks.keys.removeIf(int(a.cursor.pos), n, func(m *made) bool {
		return m.app == a.num && past(m.at, store.IdempotencyLife, now)
	})
	a.cursor.pos = uint32(next)
	c.used.Add(ks.keys.bytes() - before)
	return examined, over, nil
}
