package redisstore

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// A subject's index lies in a slot of its own, apart from its sessions, so no script sees both. What always holds is that
// every live session of a subject is in its index, with the ticket that the session bears: into the index first, then the
// record; the record's end first, then out of the index. A crash between leaves an entry too many, never one too few.
//
// An entry without its session is a reservation: its ticket says since when, on Redis' clock. Whoever needs its place when it is older
// than the fence bars its write in the session's bucket, then removes it.
//
// The limit: join admits a session if the others that are not leaving are fewer than the limit, or makes some of them
// leaving, in the same step. Who was admitted ends all that were leaving at that time, before its own session is written.
// So among the live sessions the one admitted last has seen all the others, none of them leaving, and they are no more than the limit.

// A joining gets a session a place among those of a subject.
type joining struct {
	s       *Store
	app     string
	subject string
	id      store.ID
	nonce   string
	kept    string // the ticket that the session has already
	limit   store.Limit
	arrived store.Time
	now     store.Time
	expires store.Time

	ticket string
	issued string        // when, on the clock of Redis; empty with a kept ticket
	ended  []store.Ended // what it has ended on its way
}

// join returns when the session has its place, and all that must make room for it have ended. precheck, which may be nil, decides
// by what is at the session's place.
func (j *joining) join(ctx context.Context, precheck func(look answer) error) error {
	if err := j.s.step("join"); err != nil {
		return err
	}
	calls := []call{j.call("look", nil)}
	if j.limit.Max < 0 {
		j.limit.Max = 0
	}
	if precheck != nil {
		p := j.s.placeOf(j.app, j.id)
		calls = append(calls, call{lookScript, []string{p.session(j.id), p.seen(j.id), p.mark()}, []string{itoa(j.now)}})
	}
	outcomes := j.s.runAll(ctx, calls)
	joined := outcomes[0]
	if precheck != nil {
		err := outcomes[1].err
		if err != nil {
			err = j.s.before(ctx, err)
		} else {
			err = precheck(outcomes[1].answer)
		}
		if err != nil {
			if joined.err == nil && j.accept(joined.answer) {
				j.conclude(ctx, err)
			}
			return err
		}
	}
	if joined.err == nil && joined.answer.text(0) == "full" {
		if err := j.s.step("examine"); err != nil {
			return err
		}
		gone, err := j.examine(ctx, joined.answer)
		if err != nil {
			return err
		}
		how := "evict"
		if j.limit.Refuse {
			how = "refuse"
		}
		if err := j.s.step("join at the limit"); err != nil {
			return err
		}
		joined.answer, joined.err = j.s.run(ctx, j.call(how, gone))
	}
	if joined.err != nil {
		return j.s.before(ctx, joined.err)
	}
	switch joined.answer.text(0) {
	case "barrier":
		return store.ErrBarrier
	case "limit":
		return store.ErrLimit
	}
	if !j.accept(joined.answer) {
		return errAnswer
	}
	return j.makeRoom(ctx, joined.answer.texts(3))
}

func (j *joining) call(how string, gone []string) call {
	p := j.s.subjectPlace(j.app, j.subject)
	args := []string{j.id.String(), j.nonce, j.kept, itoa(j.arrived), strconv.Itoa(max(j.limit.Max, 0)), how, life(j.expires, j.now)}
	return call{joinScript, []string{p.members(), p.barrier()}, append(args, gone...)}
}

func (j *joining) accept(a answer) bool {
	if a.text(0) != "ok" {
		return false
	}
	if j.ticket = a.text(1); j.kept == "" {
		j.issued = a.text(2)
	}
	return true
}

// makeRoom ends those that are leaving.
func (j *joining) makeRoom(ctx context.Context, leaving []string) error {
	if len(leaving) == 0 {
		return nil
	}
	err := j.s.step("make room")
	if err == nil {
		var out []string
		out, err = j.settle(ctx, leaving, func(string) string { return "evict" })
		if err == nil {
			j.s.leave(ctx, j.app, j.subject, out...)
			return nil
		}
	}
	j.giveBack(ctx, err) // nothing was written under it, even if it isn't known whether others have ended
	return err
}

// examine looks at all members of a subject at its limit, ends those that are expired, and returns those that need no place
// any more.
func (j *joining) examine(ctx context.Context, full answer) (gone []string, err error) {
	now := full.number(1)
	return j.settle(ctx, full.texts(2), func(ticket string) string {
		if j.s.lapsed(ticket, now) {
			return "lapse"
		}
		return "expire"
	})
}

// lapsed reports whether a ticket's reservation, if it is one, may be taken back.
func (s *Store) lapsed(ticket string, now int64) bool {
	issued, _, _ := strings.Cut(ticket, "-")
	at, err := strconv.ParseInt(issued, 10, 64)
	return err != nil || at+s.lapse.Milliseconds() < now
}

// settle does with each member what how says for its ticket, and returns those that the index needs no more.
func (j *joining) settle(ctx context.Context, members []string, how func(ticket string) string) (gone []string, err error) {
	list, outcomes := j.s.settle(ctx, j.app, members, how, j.now, store.ReasonEvicted, j.s.runAll)
	for i, o := range outcomes {
		if unreadable(o.err) && how(list[i].ticket) != "evict" {
			continue // it keeps its place
		}
		if o.err != nil {
			err = worse(err, j.s.write(o.err)) // what is left over will be settled by the next one
			continue
		}
		switch o.answer.text(0) {
		case "buried":
			j.ended = append(j.ended, store.Ended{App: j.app, ID: list[i].id, Subject: j.subject,
				Reason: unquoteReason(o.answer.text(1)), At: store.Time(o.answer.number(2))})
			gone = append(gone, list[i].member)
		case "over", "blocked":
			gone = append(gone, list[i].member)
		}
	}
	return gone, err
}

// A member is an entry of a subject's index.
type member struct {
	member string
	id     store.ID
	ticket string
}

// settle runs the script of this name for members of an index. Those that can't be read are left out.
func (s *Store) settle(ctx context.Context, app string, members []string, how func(ticket string) string, at store.Time, reason store.Reason,
	run func(context.Context, []call) []outcome) (list []member, outcomes []outcome) {
	var calls []call
	for _, text := range members {
		m, ok := parseMember(text)
		if !ok {
			continue
		}
		p := s.placeOf(app, m.id)
		list = append(list, m)
		calls = append(calls, call{settleScript,
			[]string{p.session(m.id), p.seen(m.id), p.mark(), p.in(), p.anon(), p.due(), p.gone(m.id), p.block(m.id, nonceOf(m.ticket))},
			[]string{m.id.String(), m.ticket, how(m.ticket), itoa(at), quoteReason(reason)}})
	}
	for len(calls) > 0 {
		n := min(len(calls), chunk)
		outcomes = append(outcomes, run(ctx, calls[:n])...)
		calls = calls[n:]
	}
	return list, outcomes
}

// chunk is how many scripts are sent at once: other calls come between.
const chunk = 256

func parseMember(text string) (member, bool) {
	id, ticket, ok := strings.Cut(text, " ")
	parsed, err := store.ParseID(id)
	return member{text, parsed, ticket}, ok && err == nil
}

func memberOf(id store.ID, ticket string) string { return id.String() + " " + ticket }

func nonceOf(ticket string) string {
	_, nonce, _ := strings.Cut(ticket, "-")
	return nonce
}

// conclude gives the place back if it is certain that nothing was written under it.
func (j *joining) conclude(ctx context.Context, err error) {
	if err != nil && !errors.Is(err, store.ErrUncertain) {
		j.giveBack(ctx, err)
	}
}

func (j *joining) giveBack(ctx context.Context, err error) {
	if j.kept == "" && !errors.Is(err, errCrash) {
		j.s.leave(ctx, j.app, j.subject, memberOf(j.id, j.ticket))
	}
}

// leave takes members out of a subject's index, whose sessions have ended, or are another's. What fails here leaves entries that
// the next one at the limit removes, and that go with the index.
func (s *Store) leave(ctx context.Context, app, subject string, members ...string) {
	if len(members) == 0 || subject == "" || s.step("leave") != nil {
		return
	}
	ctx, cancel := s.after(ctx)
	defer cancel()
	for len(members) > 0 {
		n := min(len(members), 1000)
		_, _ = s.run(ctx, call{leaveScript, []string{s.subjectPlace(app, subject).members()}, members[:n]})
		members = members[n:]
	}
}

func quoteReason(r store.Reason) string {
	return string(driver.AppendString(nil, strings.ToValidUTF8(string(r), "?")))
}

func unquoteReason(text string) store.Reason {
	d := decoder{text: strings.TrimPrefix(text, `"`)}
	return store.Reason(d.rest())
}

// errCrash is what a test's hook returns to end a call as a crash would: nothing is put right.
var errCrash = errors.New("redisstore: crashed")
