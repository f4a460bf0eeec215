package redisstore

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
)

// Update implements store.Store. A usual update takes one round trip, a login
// three. An update that takes the subject away, or moves a deadline in an
// unusual way, takes two.
func (s *Store) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) ([]store.Ended, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	u := update{s: s, app: app, rec: rec, opt: &opt, e: encode(rec)}
	ended, err := again(func() ([]store.Ended, error) { return u.attempt(ctx) })
	if err == nil {
		rec.Revision++
	}
	return ended, err
}

// An update is a call of Update or Confirm.
type update struct {
	s   *Store
	app string
	rec *store.Record
	opt *store.UpdateOptions // nil: a confirmation, which ignores deadlines
	e   encoding
}

func (u *update) attempt(ctx context.Context) ([]store.Ended, error) {
	p := u.s.placeOf(u.app, u.rec.ID)
	if !u.opt.Login || u.rec.Subject == "" {
		if done, err := u.usual(ctx); done || err != nil {
			return nil, err
		}
		a, err := u.write(ctx, ticket{})
		if err != nil {
			return nil, err
		}
		switch a.text(0) {
		case "extends":
			return nil, u.extend(ctx)
		case "moves":
			return u.join(ctx, a.text(1), a.text(2))
		}
		u.leaveFormer(ctx, a.text(1), a.text(2), "")
		return nil, nil
	}
	a, err := u.s.run(ctx, p.look(u.rec.ID, u.opt.Now))
	if err != nil {
		return nil, u.s.stepError(ctx, err)
	}
	state, mark, revision, formerTicket, former := a.text(0), a.text(1), a.text(2), a.text(3), a.text(4)
	switch {
	case state == "absent":
		return nil, store.ErrNotFound
	case state != "live":
		return nil, store.ErrEnded
	case revision != strconv.FormatUint(u.rec.Revision, 10):
		return nil, store.ErrConflict
	case mark != "" && store.Time(a.number(1)) >= u.opt.Arrived:
		return nil, store.ErrBarrier
	}
	return u.join(ctx, former, formerTicket)
}

// usual writes the record if nothing is unusual about the update (usual.lua),
// and reports whether it did.
func (u *update) usual(ctx context.Context) (bool, error) {
	rec, p := u.rec, u.s.placeOf(u.app, u.rec.ID)
	if u.opt.Now >= rec.ExpiresAt {
		return false, nil
	}
	expected, next := u.e.heads(rec)
	a, err := u.s.runUsual(ctx, usualScript.call(append(p.readKeys(rec.ID), p.changed(rec.ID, rec.Revision+1)),
		"expected", expected, "next_head", next, "last_seen", itoa(rec.LastSeenAt),
		"idle_since", itoa(u.opt.Now.Add(-rec.Idle)), "created", itoa(rec.CreatedAt),
		"subject", u.e.subject+`,"authenticated_at":`, "rest", u.e.rest, "life_ms", life(deadline(rec), u.opt.Now)))
	if isFull(err) {
		return false, nil // the other script knows what may be written all the same
	}
	return err == nil && a.text(0) == "ok", u.s.writeError(err)
}

// runUsual runs the script of usual updates for one of them, with others if they
// come at the same moment.
func (s *Store) runUsual(ctx context.Context, c call) (answer, error) {
	if s.updates != nil {
		if a, alone, err := s.updates.do(ctx, c.keys, c.args); !alone {
			return a, err
		}
	}
	return s.run(ctx, c)
}

// updateTogether returns the command for several usual updates.
func (s *Store) updateTogether(calls []*batched, whole bool) rueidis.Completed {
	c := call{script: usualScript, keys: make([]string, 0, 4*len(calls)), args: make([]string, 0, 8*len(calls))}
	for _, u := range calls {
		c.keys = append(c.keys, u.keys[:3]...)
		c.args = append(c.args, u.args...)
	}
	for _, u := range calls {
		c.keys = append(c.keys, u.keys[3])
	}
	return s.command(&c, whole)
}

// join lets the session join its new subject, or its present subject again, and
// writes it. former is the field of the stored session's subject.
func (u *update) join(ctx context.Context, former, formerTicket string) (ended []store.Ended, err error) {
	j := joining{s: u.s, app: u.app, subject: u.rec.Subject, id: u.rec.ID, nonce: newNonce(),
		limit: u.opt.Limit, arrived: u.opt.Arrived, now: u.opt.Now, expires: u.rec.ExpiresAt}
	if former == u.e.subject {
		j.kept = formerTicket
	}
	ended, err = j.join(ctx, nil)
	if err != nil {
		return ended, err
	}
	defer func() { j.conclude(ctx, err) }()
	if err := u.s.step("update"); err != nil {
		return ended, err
	}
	a, err := u.write(ctx, ticket{ticket: j.ticket, issued: j.issued, nonce: j.nonce})
	if err != nil {
		return ended, err
	}
	if a.text(0) == "evicted" {
		ended = append(ended, store.Ended{App: u.app, ID: u.rec.ID, Subject: u.rec.Subject, Reason: store.ReasonEvicted, At: store.Time(a.number(1))})
		a = a[1:]
	}
	u.leaveFormer(ctx, a.text(1), a.text(2), j.ticket)
	return ended, nil
}

// leaveFormer removes the session from the index of its former subject, after
// the write.
func (u *update) leaveFormer(ctx context.Context, former, formerTicket, ticket string) {
	if former == u.e.subject || formerTicket == "" || formerTicket == ticket {
		return
	}
	if subject, err := decodeSubject(former); err == nil {
		u.s.leave(ctx, u.app, subject, memberOf(u.rec.ID, formerTicket))
	}
}

// extend extends the life of the subject's index and then writes the session.
func (u *update) extend(ctx context.Context) error {
	members := u.s.subjectPlace(u.app, u.rec.Subject).members()
	if _, err := u.s.run(ctx, extendScript.call([]string{members}, "life_ms", life(u.rec.ExpiresAt, u.opt.Now))); err != nil {
		return u.s.stepError(ctx, err)
	}
	_, err := u.write(ctx, ticket{extended: true})
	return err
}

// A ticket is what a session joins a subject with. The empty ticket leaves the
// session's own unchanged.
type ticket struct {
	ticket, issued, nonce string
	extended              bool
}

// write replaces the record. The error is what Update returns, or errAgain.
func (u *update) write(ctx context.Context, t ticket) (answer, error) {
	now, arrived, extended := "", "", ""
	if u.opt != nil {
		now = itoa(u.opt.Now)
		if t.ticket != "" {
			arrived = itoa(u.opt.Arrived)
		}
	}
	if t.extended {
		extended = "extended"
	}
	id, next := u.rec.ID, u.rec.Revision+1
	run := func(script *script, room string) (answer, error) {
		return u.s.run(ctx, script.call(u.s.placeOf(u.app, id).writeKeys(id, t.nonce, next),
			"id", id.String(), "revision", strconv.FormatUint(u.rec.Revision, 10),
			"next_revision", strconv.FormatUint(next, 10), "now", now, "arrived", arrived, "times", u.e.times,
			"expires", itoa(u.rec.ExpiresAt), "idle", millis(u.rec.Idle), "last", itoa(u.rec.LastSeenAt),
			"subject", u.e.subject, "rest", u.e.rest, "ticket", t.ticket, "issued", t.issued, "fence", u.s.fenceMillis(),
			"room", room, "extended", extended))
	}
	script := updateScript
	if u.opt == nil {
		script = updateAtLimit // a confirmation takes a few bytes
	}
	a, err := run(script, "")
	if isFull(err) {
		a, err = run(updateAtLimit, "less")
	}
	if err != nil {
		return nil, u.s.writeError(err)
	}
	switch a.text(0) {
	case "ok", "moves", "extends", "evicted":
		return a, nil
	case "absent":
		return nil, store.ErrNotFound
	case "ended", "revoked":
		return nil, store.ErrEnded
	case "conflict":
		return nil, store.ErrConflict
	case "barrier":
		return nil, store.ErrBarrier
	case "full":
		return nil, store.ErrFull
	case "again":
		return nil, errAgain
	}
	return nil, errAnswer
}
