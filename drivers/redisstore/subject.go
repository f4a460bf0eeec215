package redisstore

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// A subject's index has a slot of its own, so no script sees it together with
// the sessions. What always holds: the index has every live session of the
// subject, with the ticket in the session's record. A session joins the index
// before its record is written, and leaves it after the record has ended. So a
// crash leaves a member too many, never one too few.
//
// A member without a session is a reservation. Its ticket says when it was made,
// on Redis' clock. When it is older than the fence, a call that needs its place
// bars its write, in the session's bucket, and then removes it.
//
// The limit: join admits a session if the other members, without those that are
// leaving, are fewer than the limit. Otherwise it marks some members as leaving,
// in the same step. The admitted call ends all that were leaving before it writes
// its own session. So the live session that was admitted last has seen all
// others, none of which was leaving: they are no more than the limit.

// A joining is a session that joins a subject.
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

	// The results of join.
	ticket string
	issued string // when, on Redis' clock; empty with a kept ticket
	ended  []store.Ended
}

// join returns when the session has its place and all that must make room for it
// have ended. It returns what it has ended. precheck, if not nil, may refuse the
// session by the answer of look.lua.
func (j *joining) join(ctx context.Context, precheck func(look answer) error) ([]store.Ended, error) {
	if err := j.s.step("join"); err != nil {
		return nil, err
	}
	calls := []call{j.call("look", nil)}
	if precheck != nil {
		calls = append(calls, j.s.placeOf(j.app, j.id).look(j.id, j.now))
	}
	outcomes := j.s.runAll(ctx, calls)
	joined := outcomes[0]
	if precheck != nil {
		err := j.s.stepError(ctx, outcomes[1].err)
		if err == nil {
			err = precheck(outcomes[1].answer)
		}
		if err != nil {
			if joined.err == nil && j.accept(joined.answer) {
				j.conclude(ctx, err)
			}
			return nil, err
		}
	}
	if joined.err == nil && joined.answer.text(0) == "full" {
		var err error
		if joined, err = j.joinAtLimit(ctx, joined.answer); err != nil {
			return j.ended, err
		}
	}
	if joined.err != nil {
		return j.ended, j.s.stepError(ctx, joined.err)
	}
	switch joined.answer.text(0) {
	case "barrier":
		return j.ended, store.ErrBarrier
	case "limit":
		return j.ended, store.ErrLimit
	}
	if !j.accept(joined.answer) {
		return j.ended, errAnswer
	}
	err := j.makeRoom(ctx, joined.answer.texts(3))
	return j.ended, err
}

// joinAtLimit examines the members of a subject that has reached its limit, and
// joins without those that need no place any more.
func (j *joining) joinAtLimit(ctx context.Context, full answer) (o outcome, err error) {
	if err := j.s.step("examine"); err != nil {
		return o, err
	}
	now := full.number(1)
	gone, err := j.settle(ctx, full.texts(2), func(ticket string) string {
		if j.s.lapsed(ticket, now) {
			return "lapse"
		}
		return "expire"
	})
	if err != nil {
		return o, err
	}
	if err := j.s.step("join at the limit"); err != nil {
		return o, err
	}
	how := "evict"
	if j.limit.Refuse {
		how = "refuse"
	}
	o.answer, o.err = j.s.run(ctx, j.call(how, gone))
	return o, nil
}

func (j *joining) call(atLimit string, gone []string) call {
	p := j.s.subjectPlace(j.app, j.subject)
	return joinScript.call([]string{p.members(), p.barrier()},
		"id", j.id.String(), "nonce", j.nonce, "kept", j.kept, "arrived", itoa(j.arrived),
		"max", strconv.Itoa(max(j.limit.Max, 0)), "at_limit", atLimit, "life_ms", life(j.expires, j.now)).and(gone)
}

// accept notes the ticket of a session that was admitted.
func (j *joining) accept(a answer) bool {
	if a.text(0) != "ok" {
		return false
	}
	if j.ticket = a.text(1); j.kept == "" {
		j.issued = a.text(2)
	}
	return true
}

// makeRoom ends the sessions that are leaving.
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
	j.giveBack(ctx, err) // the session was not written, even if it is unknown whether others have ended
	return err
}

// lapsed reports whether a ticket's reservation, if it is one, may be taken
// back.
func (s *Store) lapsed(ticket string, now int64) bool {
	issued, _, _ := strings.Cut(ticket, "-")
	at, err := strconv.ParseInt(issued, 10, 64)
	return err != nil || at+s.lapse.Milliseconds() < now
}

// settle does with each member what how says for its ticket (settle.lua). It
// returns the members that the index needs no more.
func (j *joining) settle(ctx context.Context, members []string, how func(ticket string) string) (gone []string, err error) {
	list, outcomes := j.s.settle(ctx, j.app, members, how, j.now, store.ReasonEvicted, j.s.runAll)
	for i, o := range outcomes {
		if isUnreadable(o.err) && how(list[i].ticket) != "evict" {
			continue // it keeps its place
		}
		if o.err != nil {
			err = worse(err, j.s.writeError(o.err)) // the next call at the limit settles the rest
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

// conclude gives the place back if the session was certainly not written.
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

// A member is an entry of a subject's index.
type member struct {
	member string
	id     store.ID
	ticket string
}

func memberOf(id store.ID, ticket string) string { return id.String() + " " + ticket }

func parseMember(text string) (member, bool) {
	id, ticket, ok := strings.Cut(text, " ")
	parsed, err := store.ParseID(id)
	return member{text, parsed, ticket}, ok && err == nil
}

// chunk is how many scripts are sent at a time. Other calls come between.
const chunk = 256

// settle runs settle.lua for members of an index. It leaves out those that it
// can't parse.
func (s *Store) settle(ctx context.Context, app string, members []string, how func(ticket string) string, at store.Time, reason store.Reason,
	run func(context.Context, []call) []outcome) (list []member, outcomes []outcome) {
	var calls []call
	for _, text := range members {
		m, ok := parseMember(text)
		if !ok {
			continue
		}
		_, nonce, _ := strings.Cut(m.ticket, "-")
		list = append(list, m)
		calls = append(calls, settleScript.call(s.placeOf(app, m.id).endKeys(m.id, nonce),
			"id", m.id.String(), "ticket", m.ticket, "how", how(m.ticket), "at", itoa(at),
			"reason", quoteReason(reason)))
	}
	for part := range slices.Chunk(calls, chunk) {
		outcomes = append(outcomes, run(ctx, part)...)
	}
	return list, outcomes
}

// leave removes members from a subject's index whose sessions have ended or have
// another subject. If that fails, the next call at the limit removes them.
func (s *Store) leave(ctx context.Context, app, subject string, members ...string) {
	if subject != "" {
		s.leaveAll(ctx, app, map[string][]string{subject: members})
	}
}

// leaveAll is leave for several subjects, in one round trip.
func (s *Store) leaveAll(ctx context.Context, app string, leaving map[string][]string) {
	var calls []call
	for subject, members := range leaving {
		for part := range slices.Chunk(members, 1000) {
			calls = append(calls, leaveScript.call([]string{s.subjectPlace(app, subject).members()}).and(part))
		}
	}
	if len(calls) == 0 || s.step("leave") != nil {
		return
	}
	ctx, cancel := cleanup(ctx)
	defer cancel()
	s.runAll(ctx, calls)
}

func quoteReason(r store.Reason) string {
	return string(driver.AppendString(nil, strings.ToValidUTF8(string(r), "?")))
}

func unquoteReason(text string) store.Reason {
	c := codec{reads: true, in: strings.TrimPrefix(text, `"`)}
	return store.Reason(c.rest())
}
