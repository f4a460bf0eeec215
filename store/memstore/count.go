package memstore

import (
	"math"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// A tally counts an application's sessions of one shard that are not ended. EndAll doesn't visit shards: a
// tally learns of a new watermark when it is next used. If the watermark leaves no session over, it starts
// from zero; else it starts again below, counting a few handles at a time.
type tally struct {
	sessions, loggedIn int64
	newest             store.Time // the largest CreatedAt ever counted
	mark               store.Time // the watermark that it knows
	counted            uint32     // handles below it are in the tally
}

const allCounted = math.MaxUint32

func (sh *shard) tally(a *app) *tally {
	for len(sh.counts) <= int(a.num) {
		sh.counts = append(sh.counts, tally{newest: never, mark: never, counted: allCounted})
	}
	t := &sh.counts[a.num]
	if mark := a.mark(); mark != t.mark {
		t.mark, t.sessions, t.loggedIn, t.counted = mark, 0, 0, allCounted
		if t.newest > mark {
			t.counted = 0
		}
	}
	return t
}

// adjust notes that a session came or went, or changed its subject.
func (sh *shard) adjust(a *app, handle uint32, created store.Time, sessions, loggedIn int64) {
	t := sh.tally(a)
	t.newest = max(t.newest, created)
	if created > t.mark && handle < t.counted {
		t.sessions += sessions
		t.loggedIn += loggedIn
	}
}

// recount counts up to n handles more, and reports whether the tally is complete.
func (sh *shard) recount(a *app, n uint32) bool {
	t := sh.tally(a)
	end := sh.End()
	for ; t.counted < end && n > 0; t.counted, n = t.counted+1, n-1 {
		b := sh.At(t.counted)
		if b == nil {
			continue
		}
		var h arena.Head
		arena.Peek(b, &h)
		if h.App == a.num && !h.Ended() && h.CreatedAt > t.mark {
			t.sessions++
			t.loggedIn += loggedIn(len(h.Subject) > 0, 1)
		}
	}
	if t.counted >= end {
		t.counted = allCounted
	}
	return t.counted == allCounted
}

func (c *core) count(name string) (store.Count, error) {
	var n store.Count
	a := c.apps.Find(name)
	if a == nil {
		return n, nil
	}
	for i := range c.records {
		sh := &c.records[i]
		for done := false; !done; {
			sh.mu.Lock()
			if sh.closed {
				sh.mu.Unlock()
				return store.Count{}, store.ErrClosed
			}
			if done = sh.recount(a, maxHold); done {
				t := sh.tally(a)
				n.Sessions += t.sessions
				n.LoggedIn += t.loggedIn
			}
			sh.mu.Unlock()
		}
	}
	return n, nil
}
