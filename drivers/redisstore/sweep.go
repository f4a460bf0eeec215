package redisstore

import (
	"context"
	"math/rand/v2"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
)

const (
	// Redis does nothing else while it runs the scripts that come together: eight times sixteen sessions take it some 5 ms.
	sweepWidth = 8  // buckets at once
	sweepStep  = 16 // sessions of a bucket in one script
)

// A round is where a sweep of an application's buckets stands.
type round struct {
	from   int // the bucket that comes first: another on each node, so that they don't all ask the same master
	bucket int // counted from that one
	mended uint64
}

// Sweep implements store.Store. Each script looks at up to 16 sessions of a bucket whose time has come, at as many that EndAll has ended, and at as many whose turn it is to be compared with
// their subject's index, see mend.go. Several nodes may sweep at a time: each session is
// ended by one of them. What has a time to live of its own, barriers and idempotency keys, goes by itself.
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
		list, examined, full, err := s.sweepBuckets(ctx, app, (r.from+r.bucket)%buckets, now, number)
		ended = append(ended, list...)
		if err != nil {
			if refused = s.write(err); !isRefusal(err) {
				return ended, false, refused
			}
		}
		max -= examined + 1
		if full {
			continue
		}
		r.bucket += sweepWidth
		if ctx.Err() != nil {
			return ended, false, refused // what has ended must be told
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

// sweepBuckets looks at some sessions of each of some buckets, and tells whether one of these may have more.
func (s *Store) sweepBuckets(ctx context.Context, app string, from int, now store.Time, number int) (ended []store.Ended, examined int, full bool, err error) {
	calls := make([]call, sweepWidth)
	histories := s.watch.known()
	for i := range calls {
		p := s.place(app, from+i)
		again := ""
		if s.owed[p.compared()] {
			again = "again"
		}
		calls[i] = call{sweepScript, []string{p.mark(), p.in(), p.anon(), p.due(), p.compared()},
			[]string{itoa(now), strconv.Itoa(number), p.key(":s") + ":", p.key(":seen") + ":", p.key(":feed") + ":", turn(from+i, now), histories, again}}
	}
	leaving := map[string][]string{} // members, by subject
	var met []present
	for i, o := range s.runAll(ctx, calls) {
		if o.err != nil {
			err = o.err
			if !isRefusal(err) {
				s.owed[calls[i].keys[4]] = true // it may have run, and what it met is lost
			}
			continue
		}
		delete(s.owed, calls[i].keys[4])
		examined += int(o.answer.number(0))
		full = full || o.answer.number(2) == 1
		if n := o.answer.number(1); n > 0 {
			s.log.Warn("redisstore: a sweep met sessions that it can't read: they were written by a newer version, are damaged, or foreign keys are in their place", "app", app, "sessions", n)
		}
		for i := 3; i+4 < o.answer.len(); i += 5 {
			id, wrong := store.ParseID(o.answer.text(i))
			subject, wrong2 := decodeSubject(o.answer.text(i + 1))
			if wrong != nil || wrong2 != nil {
				continue
			}
			ticket, reason := o.answer.text(i+2), o.answer.text(i+3)
			if reason == "live" {
				met = append(met, present{member{memberOf(id, ticket), id, ticket}, subject, store.Time(o.answer.number(i + 4))})
				continue
			}
			if ticket != "" {
				leaving[subject] = append(leaving[subject], memberOf(id, ticket))
			}
			if reason != "" {
				ended = append(ended, store.Ended{App: app, ID: id, Subject: subject, Reason: unquoteReason(reason), At: store.Time(o.answer.number(i + 4))})
			}
		}
	}
	s.leaveAll(ctx, app, leaving)
	barred, failed := s.mend(ctx, app, met, now)
	if failed != nil {
		if passing(failed) {
			for _, p := range met { // their buckets' turns have gone on
				s.owed[s.placeOf(app, p.id).compared()] = true
			}
		}
		err = failed
	}
	return append(ended, barred...), examined, full, err
}

// leaveAll takes members out of the indexes of many subjects in one round trip.
func (s *Store) leaveAll(ctx context.Context, app string, leaving map[string][]string) {
	if len(leaving) == 0 || s.step("leave") != nil {
		return
	}
	ctx, cancel := s.after(ctx)
	defer cancel()
	commands := make(rueidis.Commands, 0, len(leaving))
	for subject, members := range leaving {
		commands = append(commands, s.client.B().Zrem().Key(s.subjectPlace(app, subject).members()).Member(members...).Build())
	}
	s.doMulti(ctx, commands...)
}
