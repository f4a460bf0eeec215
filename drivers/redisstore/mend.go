package redisstore

import (
	"context"
	"errors"

	"github.com/sojourn-go/sojourn/store"
)

// When a shard of a Redis Cluster loses data, in a failover or a restart, it may
// lose members of subjects' indexes whose sessions are on other shards. So the
// sweep compares: in each turn it meets every logged in session once, and puts a
// missing member back in its place. The buckets' turns begin one after another.
//
// After a restart or a failover all turns begin again at once. Redis names a
// master's data by a history, and each restart or failover begins another. The
// key compared holds the histories that were known when the turn began. A node
// that knows of another history begins the turn again and adds the history. So
// the nodes together do that once for each history, even if some learn of a
// failover before others.
//
// A session that ends, or gets another ticket, between the two steps has left
// the index, and its member would come back. So mend looks at the session again
// and removes the member if that happened. Whatever happens later finds the
// member and removes it. A crash before this look leaves a member without a
// session, as other crashes do.
//
// EndSubject misses a session that has lost its member. The barrier says when
// that was, on the clock that issues the subject's tickets: a session that
// joined before, and was not spared, ends. The clock of a new master may be
// behind, so "before" has a tolerance of some seconds (mend.lua).

// mendEvery is how long a turn lasts. It is shorter than the life of a barrier.
const mendEvery = store.Time(store.BarrierLife / 1e6)

// turn names a bucket's present turn. Every other name begins a turn, so a clock
// that was wrong once does no harm.
func turn(bucket int, now store.Time) string {
	return itoa((now + mendEvery/buckets*store.Time(bucket)) / mendEvery)
}

// A present is a live session that the sweep has met.
type present struct {
	member
	subject string
	expires store.Time
}

// mend compares sessions of an application with their subjects' indexes. It
// returns those that EndSubject should have ended.
func (s *Store) mend(ctx context.Context, app string, list []present, now store.Time) ([]store.Ended, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if err := s.step("mend"); err != nil {
		return nil, err
	}
	bySubject := map[string][]present{}
	for _, p := range list {
		bySubject[p.subject] = append(bySubject[p.subject], p)
	}
	var calls []call
	var subjects []string // of the calls
	for subject, its := range bySubject {
		var latest store.Time
		var members []string
		for _, p := range its {
			latest = max(latest, p.expires)
			members = append(members, p.member.member)
		}
		p := s.subjectPlace(app, subject)
		calls = append(calls, mendScript.call([]string{p.members(), p.barrier()},
			"latest", itoa(latest), "now", itoa(now)).and(members))
		subjects = append(subjects, subject)
	}
	back, barred := map[string][]string{}, map[string][]string{} // members, by subject
	var err error
	for i, o := range s.runAll(ctx, calls) {
		if o.err != nil {
			err = worse(err, o.err)
			continue
		}
		for j := 1; j+1 < len(o.answer); j += 2 {
			to := back
			if o.answer.text(j) == "barred" {
				to = barred
			}
			to[subjects[i]] = append(to[subjects[i]], o.answer.text(j+1))
		}
	}
	err = worse(err, s.lookAgain(ctx, app, back, now))
	var ended []store.Ended
	for subject, members := range barred {
		list, outcomes := s.settle(ctx, app, members, func(string) string { return "end" }, now, store.ReasonRevoked, s.runLasting)
		for i, o := range outcomes {
			switch {
			case o.err != nil:
				err = worse(err, o.err)
			case o.answer.text(0) == "buried":
				ended = append(ended, store.Ended{App: app, ID: list[i].id, Subject: subject, Reason: store.ReasonRevoked, At: now})
			}
		}
	}
	return ended, err
}

// isPassing reports whether a comparison that failed may succeed a moment later.
func isPassing(err error) bool {
	return !errors.Is(err, ErrForeign) && !isUnreadable(err)
}

// lookAgain removes members that came back although their sessions have ended or
// have other tickets by now.
func (s *Store) lookAgain(ctx context.Context, app string, back map[string][]string, now store.Time) error {
	if len(back) == 0 {
		return nil
	}
	if err := s.step("look again"); err != nil {
		return err
	}
	var calls []call
	var list []present
	for subject, members := range back {
		for _, text := range members {
			if m, ok := parseMember(text); ok {
				calls = append(calls, s.placeOf(app, m.id).look(m.id, now))
				list = append(list, present{m, subject, 0})
			}
		}
	}
	leaving := map[string][]string{}
	var err error
	for i, o := range s.runAll(ctx, calls) {
		switch state := o.answer.text(0); {
		case o.err != nil:
			err = worse(err, o.err)
		case (state == "live" || state == "expired") && o.answer.text(3) == list[i].ticket:
			s.rounds[app].mended++
		default:
			leaving[list[i].subject] = append(leaving[list[i].subject], list[i].member.member)
		}
	}
	s.leaveAll(ctx, app, leaving)
	return err
}
