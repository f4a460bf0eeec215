package redisstore

import (
	"context"
	"math/rand/v2"
	"strconv"

	"github.com/sojourn-go/sojourn/store"
)

// Redis does nothing else while it runs scripts that come together. For eight
// times sixteen sessions they take some 5 ms.
const (
	sweepWidth = 8  // buckets at a time
	sweepStep  = 16 // sessions of a bucket in one script
)

// A round is the progress of a sweep through an application's buckets.
type round struct {
	from   int // the first bucket: another on each node, so that they don't all ask the same master
	bucket int // counted from that one
	mended uint64
}

// Sweep implements store.Store. Each script examines up to 16 sessions of a
// bucket that are due, as many that EndAll has ended, and as many to compare
// with their subjects' indexes (mend.go). Several nodes may sweep at a time:
// each session is ended by one of them. Barriers and idempotency keys have a
// time to live and need no sweep.
func (s *Store) Sweep(ctx context.Context, app string, now store.Time, max int) (ended []store.Ended, done bool, err error) {
	if err := s.check(ctx); err != nil {
		return nil, false, err
	}
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	r := s.rounds[app]
	if r == nil {
		r = &round{from: rand.IntN(buckets/sweepWidth) * sweepWidth}
		s.rounds[app] = r
	}
	var refused error // by some buckets, which must not keep the sweep from the others
	for max > 0 && r.bucket < buckets {
		number := min(1+(max-1)/sweepWidth, sweepStep)
		list, examined, more, err := s.sweepBuckets(ctx, app, (r.from+r.bucket)%buckets, now, number)
		ended = append(ended, list...)
		if err != nil {
			if refused = s.writeError(err); !isRefusal(err) {
				return ended, false, refused
			}
		}
		max -= examined + 1
		if more {
			continue
		}
		r.bucket += sweepWidth
		if ctx.Err() != nil {
			return ended, false, refused // the caller must learn what has ended
		}
	}
	if r.bucket < buckets {
		return ended, false, refused
	}
	if r.mended > 0 {
		s.log.Warn("redisstore: sessions were missing from their subjects' indexes, as after Redis has lost data, and are back", "sessions", r.mended)
	}
	s.watch.mended.Add(r.mended)
	delete(s.rounds, app)
	return ended, refused == nil, refused
}

// sweepBuckets examines some sessions of each of sweepWidth buckets. more tells
// whether a bucket may have more.
func (s *Store) sweepBuckets(ctx context.Context, app string, from int, now store.Time, number int) (ended []store.Ended, examined int, more bool, err error) {
	calls := make([]call, sweepWidth)
	compared := make([]string, sweepWidth)
	histories := s.watch.known()
	for i := range calls {
		p := s.place(app, from+i)
		compared[i] = p.compared()
		again := ""
		if s.owed[compared[i]] {
			again = "again"
		}
		calls[i] = sweepScript.call([]string{p.mark(), p.in(), p.anon(), p.due(), compared[i]},
			"now_text", itoa(now), "number", strconv.Itoa(number), "session_prefix", p.key(":s")+":",
			"seen_prefix", p.key(":seen")+":", "feed_prefix", p.key(":feed")+":", "turn", turn(from+i, now),
			"masters", histories, "again", again)
	}
	leaving := map[string][]string{} // members, by subject
	var met []present
	for i, o := range s.runAll(ctx, calls) {
		if o.err != nil {
			err = o.err
			if !isRefusal(err) {
				s.owed[compared[i]] = true // it may have run, and what it met is lost
			}
			continue
		}
		delete(s.owed, compared[i])
		examined += int(o.answer.number(0))
		more = more || o.answer.number(2) == 1
		if n := o.answer.number(1); n > 0 {
			s.log.Warn("redisstore: a sweep met sessions that it can't read: they are damaged or of a newer version, or foreign keys are in their place", "app", app, "sessions", n)
		}
		for list := o.answer[min(3, len(o.answer)):]; len(list) >= 5; list = list[5:] {
			id, err1 := store.ParseID(list.text(0))
			subject, err2 := decodeSubject(list.text(1))
			if err1 != nil || err2 != nil {
				continue
			}
			ticket, reason, at := list.text(2), list.text(3), store.Time(list.number(4))
			if reason == "live" {
				met = append(met, present{member{memberOf(id, ticket), id, ticket}, subject, at})
				continue
			}
			if ticket != "" {
				leaving[subject] = append(leaving[subject], memberOf(id, ticket))
			}
			if reason != "" {
				ended = append(ended, store.Ended{App: app, ID: id, Subject: subject, Reason: unquoteReason(reason), At: at})
			}
		}
	}
	s.leaveAll(ctx, app, leaving)
	barred, failure := s.mend(ctx, app, met, now)
	if failure != nil {
		err = failure
		if isPassing(failure) {
			for _, p := range met { // their buckets' turns have gone on
				s.owed[s.placeOf(app, p.id).compared()] = true
			}
		}
	}
	return append(ended, barred...), examined, more, err
}
