package memstore

import (
	"context"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// maxHold is how many records a walk examines before it unlocks the shard.
const maxHold = 256

// A sweepCursor is where the next Sweep of an application continues. The stages
// are the shards of records, of subjects, of keys and of histories.
type sweepCursor struct {
	stage int
	pos   int
}

const (
	firstSubjects  = shardCount
	firstKeys      = 2 * shardCount
	firstHistories = 2*shardCount + keyShards
	stages         = firstHistories + historyShards
)

// Sweep implements store.Store. Parallel calls take turns. Each round walks
// over the records of all applications.
func (s *Store) Sweep(ctx context.Context, app string, now store.Time, max int) (list []store.Ended, done bool, err error) {
	if err := s.check(ctx); err != nil {
		return nil, false, err
	}
	a := s.apps.Find(app)
	if a == nil {
		return nil, true, nil
	}
	s.sweepMu.Lock()
	defer s.sweepMu.Unlock()
	for n := max; n > 0; {
		if ctx.Err() != nil {
			return list, false, nil // without the error, so that the ends are reported
		}
		begun := time.Now()
		examined, over, err := s.sweepStep(&list, a, now, min(n, maxHold))
		if held := int64(time.Since(begun)); held > s.longestStep.Load() {
			s.longestStep.Store(held) // only Sweep stores it, and holds sweepMu
		}
		if err != nil {
			return list, false, err
		}
		if s.examined != nil {
			s.examined(examined)
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
func (s *Store) sweepStep(list *[]store.Ended, a *app, now store.Time, n int) (examined int, over bool, err error) {
	c := &a.cursor
	switch {
	case c.stage < firstSubjects:
		return s.sweepRecords(list, a, uint8(c.stage), now, n)
	case c.stage < firstKeys:
		ss := &s.subjects[c.stage-firstSubjects]
		if err := s.lock(&ss.mu); err != nil {
			return 0, false, err
		}
		defer ss.mu.Unlock()
		if at, ok := ss.barriers.floors[a.num]; ok && past(at, store.BarrierLife, now) {
			delete(ss.barriers.floors, a.num)
		}
		examined, c.pos, over = ss.barriers.removeIf(c.pos, n, func(b *barrier) bool {
			return b.app == a.num && past(b.at, store.BarrierLife, now)
		})
		s.settle(&ss.counted, ss.bytes())
		return examined, over, nil
	case c.stage >= firstHistories:
		return s.sweepHistory(&s.histories[c.stage-firstHistories], a, &c.pos, now, n)
	}
	ks := &s.keys[c.stage-firstKeys]
	if err := s.lock(&ks.mu); err != nil {
		return 0, false, err
	}
	defer ks.mu.Unlock()
	before := ks.keys.bytes()
	examined, c.pos, over = ks.keys.removeIf(c.pos, n, func(m *made) bool {
		return m.app == a.num && past(m.at, store.IdempotencyLife, now)
	})
	s.used.Add(ks.keys.bytes() - before)
	return examined, over, nil
}

func (s *Store) sweepRecords(list *[]store.Ended, a *app, shard uint8, now store.Time, n int) (examined int, over bool, err error) {
	sh := &s.records[shard]
	if err := s.lock(&sh.mu); err != nil {
		return 0, false, err
	}
	gone := map[uint64][]link{} // by the hash of the subject
	end := int(sh.table.End())
	for ; a.cursor.pos < end && examined < n; a.cursor.pos++ {
		examined++
		handle := uint32(a.cursor.pos)
		b := sh.table.At(handle)
		var h arena.Head
		if b == nil || !arena.Peek(b, &h) || h.App != a.num {
			continue
		}
		id := *arena.IDOf(b)
		at := h.EndAt
		if !h.Ended() {
			var reason store.Reason
			if reason, at = ending(a, &h, now); reason == "" {
				continue
			}
			if subject := s.bury(sh, a, handle, reason, at, list); subject != "" {
				hash := s.hashSubject(a.num, subject)
				s.willLeave(hash)
				gone[hash] = append(gone[hash], linkOf(shard, handle))
				continue // a later round removes the tombstone, so that its user can be told
			}
		}
		if past(at, store.TombstoneLife, now) {
			s.remove(sh, tagOf(s.hashID(a, &id)), handle)
		}
	}
	over = a.cursor.pos >= end
	sh.mu.Unlock()
	for hash, links := range gone {
		s.leave(hash, links...)
	}
	return examined, over, nil
}

// ending returns why and when a session ended that no call has ended yet. The
// reason is empty if it is live.
func ending(a *app, h *arena.Head, now store.Time) (store.Reason, store.Time) {
	if mark := a.mark(); h.CreatedAt <= mark {
		return store.ReasonRevoked, mark
	}
	return h.ExpiredAt(now)
}

// past reports whether something from the time at is older than life.
func past(at store.Time, life time.Duration, now store.Time) bool {
	return now > at && now-at > store.Time(life/time.Millisecond)
}
