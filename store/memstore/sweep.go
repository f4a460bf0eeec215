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

// A sweepCursor is where the next Sweep goes on. The stages are the shards of records, of
// subjects and of keys.
type sweepCursor struct {
	stage int
	pos   uint32
}

const (
	firstSubjects = shardCount
	firstKeys     = 2 * shardCount
	stages        = 2*shardCount + keyShards
)

func (c *core) sweep(ctx context.Context, now store.Time, max int) (list []store.Ended, done bool, err error) {
	c.sweepMu.Lock()
	defer c.sweepMu.Unlock()
	for n := max; n > 0; {
		if ctx.Err() != nil {
			return list, false, nil // what has ended must be told
		}
		begun := time.Now()
		examined, over, err := c.sweepStep(&list, now, min(n, maxHold))
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
		c.cursor = sweepCursor{stage: (c.cursor.stage + 1) % stages}
		if c.cursor.stage == 0 {
			return list, true, nil
		}
	}
	return list, false, nil
}

// sweepStep examines up to n entries at the cursor, and reports whether the stage is over.
func (c *core) sweepStep(list *[]store.Ended, now store.Time, n int) (examined int, over bool, err error) {
	switch stage := c.cursor.stage; {
	case stage < firstSubjects:
		return c.sweepRecords(list, uint8(stage), now, n)
	case stage < firstKeys:
		return c.sweepBarriers(&c.subjects[stage-firstSubjects], now, n)
	default:
		return c.sweepKeys(&c.keys[stage-firstKeys], now, n)
	}
}

// A found is a session to end for which the subject's lock is needed first.
type found struct {
	app *app
	id  store.ID
}

func (c *core) sweepRecords(list *[]store.Ended, shard uint8, now store.Time, n int) (examined int, over bool, err error) {
	var owned []found
	sh := &c.records[shard]
	sh.mu.Lock()
	if sh.closed {
		sh.mu.Unlock()
		return 0, false, store.ErrClosed
	}
	end := sh.End()
	for ; c.cursor.pos < end && examined < n; c.cursor.pos++ {
		examined++
		handle := c.cursor.pos
		b := sh.At(handle)
		if b == nil {
			continue
		}
		var h arena.Head
		arena.Peek(b, &h)
		a, id := c.apps.At(h.App), *arena.IDOf(b)
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
			owned = append(owned, found{a, id})
		default:
			*list = append(*list, c.buryLoud(sh, a, handle, &h, reason, at)...)
			if past(at, store.TombstoneLife, now) {
				c.remove(sh, tagOf(c.hashID(a, &id)), handle)
			}
		}
	}
	over = c.cursor.pos >= end
	sh.mu.Unlock()

	for _, f := range owned {
		ended, err := c.endIf(f.app, f.id, func(h *arena.Head) (store.Reason, store.Time) {
			if h.Ended() {
				return "", 0
			}
			return ending(f.app, h, now)
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

func (c *core) sweepBarriers(ss *subjectShard, now store.Time, n int) (examined int, over bool, err error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return 0, false, store.ErrClosed
	}
	for app, at := range ss.barriers.floors {
		if past(at, store.BarrierLife, now) {
			delete(ss.barriers.floors, app)
		}
	}
	examined = min(n, ss.barriers.len()-min(int(c.cursor.pos), ss.barriers.len()))
	next, over := ss.barriers.removeIf(int(c.cursor.pos), n, func(b *barrier) bool {
		return past(b.at, store.BarrierLife, now)
	})
	c.cursor.pos = uint32(next)
	c.settleSubjects(ss)
	return examined, over, nil
}

func (c *core) sweepKeys(ks *keyShard, now store.Time, n int) (examined int, over bool, err error) {
	ks.mu.Lock()
	defer ks.mu.Unlock()
	before, left := ks.keys.bytes(), ks.keys.len()
	examined = min(n, left-min(int(c.cursor.pos), left))
	next, over := ks.keys.removeIf(int(c.cursor.pos), n, func(m *made) bool {
		return past(m.at, store.IdempotencyLife, now)
	})
	c.cursor.pos = uint32(next)
	c.used.Add(ks.keys.bytes() - before)
	return examined, over, nil
}
