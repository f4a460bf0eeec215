package redisstore

import (
	"context"
	"errors"

	"github.com/sojourn-go/sojourn/store"
)

// A Cluster's shard that loses data, at a failover or a restart, may lose members of subjects' indexes whose sessions other shards have. So
// the sweep compares: in each turn it meets every logged in session once, and a member that is missing comes back, to its place. The
// buckets' turns begin one after the other.
//
// After a restart or a failover they begin anew, all at once. Redis names a master's data by a history, and each restart or failover begins
// another. The key compared notes the histories that were known when the turn began: whoever knows of one more begins anew, and notes it. So the nodes
// do that once, all together, and no more often than there are histories, even where some know of a failover before the others.
//
// A session that ends between, or takes another ticket, has left the index, and would come back to it: so it is looked at once more,
// and leaves if that happened. What happens later finds the member and takes it out. A crash before that look leaves a
// member without a session, as other crashes do.
//
// EndSubject has missed a session whose member was lost. The barrier says when that was, on the clock by which the subject's tickets
// are issued: who joined before and wasn't spared ends, and doesn't come back. A new master's clock may be behind, so "before" has some
// seconds of tolerance, see mend.lua.

// mendEvery is how long a turn lasts: less than a barrier is kept.
const mendEvery = store.Time(store.BarrierLife / 1e6)

// turn names a bucket's present turn. Any other name than the last begins one, so that a clock which was wrong once does no harm.
func turn(bucket int, now store.Time) string {
	return itoa((now + mendEvery/buckets*store.Time(bucket)) / mendEvery)
}

func (p place) compared() string { return p.key(":compared") } // how far the bucket's turn has come

// A present is a live session that the sweep has met.
type present struct {
	member
	subject string
	expires store.Time
}

// mend compares sessions of an application with their subjects' indexes. It returns those that EndSubject should have ended.
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
		latest := its[0].expires
		args := []string{"", itoa(now)}
		for _, p := range its {
			latest = max(latest, p.expires)
			args = append(args, p.member.member)
		}
		args[0] = itoa(latest)
		p := s.subjectPlace(app, subject)
		calls = append(calls, call{mendScript, []string{p.members(), p.barrier()}, args})
		subjects = append(subjects, subject)
	}
	back, barred := map[string][]string{}, map[string][]string{} // by subject
	var err error
	for i, o := range s.runAll(ctx, calls) {
		if o.err != nil {
			err = worse(err, o.err)
			continue
		}
		for j := 1; j+1 < o.answer.len(); j += 2 {
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

// passing reports whether a comparison that failed may succeed a moment later.
func passing(err error) bool {
	return !errors.Is(err, ErrForeign) && !unreadable(err)
}

// lookAgain takes out of the indexes what came back though its session has ended, or has another ticket by now.
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
			m, ok := parseMember(text)
			if !ok {
				continue
			}
			p := s.placeOf(app, m.id)
			calls = append(calls, call{lookScript, []string{p.session(m.id), p.seen(m.id), p.mark()}, []string{itoa(now)}})
			list = append(list, present{m, subject, 0})
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
