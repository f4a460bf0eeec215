package redisstore

import (
	"context"
	"errors"
	"strconv"

	"github.com/sojourn-go/sojourn/store"
)

// Update implements store.Store: one round trip for the usual one, three for a login. One that gives up the subject, or moves a
// deadline in an unusual way, takes one more than the usual.
func (s *Store) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) ([]store.Ended, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	u := update{s: s, app: app, rec: rec, opt: &opt, e: encode(rec)}
	var ended []store.Ended
	for range attempts {
		err := u.attempt(ctx)
		ended = append(ended, u.ended...)
		if errors.Is(err, errAgain) {
			continue
		}
		if err == nil {
			rec.Revision++
		}
		return ended, err
	}
	return ended, errTooLate
}

// An update is one attempt after the other at an Update.
type update struct {
	s     *Store
	app   string
	rec   *store.Record
	opt   *store.UpdateOptions // nil: deadlines don't matter
	e     encoding
	ended []store.Ended
}

func (u *update) attempt(ctx context.Context) error {
	u.ended = nil
	if !u.opt.Login || u.rec.Subject == "" {
		if done, err := u.usual(ctx); done || err != nil {
			return err
		}
		a, err := u.write(ctx, ticket{})
		switch {
		case err != nil:
			return err
		case a.text(0) == "extends":
			return u.extend(ctx)
		case a.text(0) != "moves":
			return u.leaveFormer(ctx, a, "")
		}
		return u.join(ctx, a.text(1), a.text(2))
	}
	p := u.s.placeOf(u.app, u.rec.ID)
	a, err := u.s.run(ctx, call{lookScript, []string{p.session(u.rec.ID), p.seen(u.rec.ID), p.mark()}, []string{itoa(u.opt.Now)}})
	if err != nil {
		return u.s.before(ctx, err)
	}
	switch a.text(0) {
	case "live":
	case "absent":
		return store.ErrNotFound
	default:
		return store.ErrEnded
	}
	if a.text(2) != strconv.FormatUint(u.rec.Revision, 10) {
		return store.ErrConflict
	}
	if a.text(1) != "" && store.Time(a.number(1)) >= u.opt.Arrived {
		return store.ErrBarrier
	}
	return u.join(ctx, a.text(4), a.text(3))
}

// usual writes the record if nothing is unusual about it, see usual.lua, and reports whether it did.
func (u *update) usual(ctx context.Context) (bool, error) {
	rec, p := u.rec, u.s.placeOf(u.app, u.rec.ID)
	if u.opt.Now >= rec.ExpiresAt {
		return false, nil
	}
	expected, next := u.e.heads(rec)
	a, err := u.s.run(ctx, call{usualScript,
		[]string{p.session(rec.ID), p.seen(rec.ID), p.mark(), p.changed(rec.ID, rec.Revision+1)},
		[]string{expected, next, itoa(rec.LastSeenAt), itoa(u.opt.Now.Add(-rec.Idle)), itoa(rec.CreatedAt),
			u.e.subject + `,"authenticated_at":`, u.e.rest, life(deadline(rec), u.opt.Now)}})
	if isFull(err) {
		return false, nil // the other script knows what may be written all the same
	}
	return err == nil && a.text(0) == "ok", u.s.write(err)
}

// join has the session join its new subject, or its present one once more, and then writes it. former is the field of the
// subject that the session has.
func (u *update) join(ctx context.Context, former, formerTicket string) (err error) {
	j := joining{s: u.s, app: u.app, subject: u.rec.Subject, id: u.rec.ID, nonce: newNonce(),
		limit: u.opt.Limit, arrived: u.opt.Arrived, now: u.opt.Now, expires: u.rec.ExpiresAt}
	if former == u.e.subject {
		j.kept = formerTicket
	}
	err = j.join(ctx, nil)
	u.ended = append(u.ended, j.ended...)
	if err != nil {
		return err
	}
	defer func() { j.conclude(ctx, err) }()
	if err := u.s.step("update"); err != nil {
		return err
	}
	a, err := u.write(ctx, ticket{ticket: j.ticket, issued: j.issued, nonce: j.nonce})
	if err != nil {
		return err
	}
	if a.text(0) == "evicted" {
		u.ended = append(u.ended, store.Ended{App: u.app, ID: u.rec.ID, Subject: u.rec.Subject, Reason: store.ReasonEvicted, At: store.Time(a.number(1))})
		a = a[1:]
	}
	return u.leaveFormer(ctx, a, j.ticket)
}

// leaveFormer takes the session out of the index of the subject that it had, after the write.
func (u *update) leaveFormer(ctx context.Context, a answer, ticket string) error {
	if a.text(1) == u.e.subject || a.text(2) == "" || a.text(2) == ticket {
		return nil
	}
	if subject, err := decodeSubject(a.text(1)); err == nil {
		u.s.leave(ctx, u.app, subject, memberOf(u.rec.ID, a.text(2)))
	}
	return nil
}

// extend has the subject's index last as long as the session now may, and then writes it.
func (u *update) extend(ctx context.Context) error {
	key := u.s.subjectPlace(u.app, u.rec.Subject).members()
	if _, err := u.s.run(ctx, call{extendScript, []string{key}, []string{life(u.rec.ExpiresAt, u.opt.Now)}}); err != nil {
		return u.s.before(ctx, err)
	}
	_, err := u.write(ctx, ticket{extended: true})
	return err
}

// A ticket is under what a session joins a subject. The empty ticket leaves the session's as it is.
type ticket struct {
	ticket, issued, nonce string
	extended              bool
}

// write replaces the record. Its error is what Update returns, or errAgain.
func (u *update) write(ctx context.Context, t ticket) (answer, error) {
	id, p := u.rec.ID, u.s.placeOf(u.app, u.rec.ID)
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
	c := call{updateScript,
		[]string{p.session(id), p.seen(id), p.mark(), p.in(), p.anon(), p.due(), p.block(id, t.nonce), p.changed(id, u.rec.Revision+1), p.gone(id)},
		[]string{id.String(), strconv.FormatUint(u.rec.Revision, 10), strconv.FormatUint(u.rec.Revision+1, 10), now, arrived,
			u.e.times, itoa(u.rec.ExpiresAt), strconv.FormatInt(u.rec.Idle.Milliseconds(), 10), itoa(u.rec.LastSeenAt), u.e.subject, u.e.rest,
			t.ticket, t.issued, u.s.fenceMillis(), "", extended}}
	if u.opt == nil {
		c.script = updateAtLimit // a confirmation takes a few bytes
	}
	a, err := u.s.run(ctx, c)
	if isFull(err) {
		c.script, c.args[14] = updateAtLimit, "less"
		a, err = u.s.run(ctx, c)
	}
	if err != nil {
		return nil, u.s.write(err)
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

// Touch implements store.Store, in one round trip.
func (s *Store) Touch(ctx context.Context, app string, id store.ID, at, now store.Time, client store.Client) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	p := s.placeOf(app, id)
	a, err := s.run(ctx, call{touchScript, []string{p.session(id), p.seen(id), p.mark()}, []string{itoa(at), itoa(now), encodeSeen(at, client)}})
	if err != nil {
		return s.write(err)
	}
	switch a.text(0) {
	case "ok":
		return nil
	case "absent":
		return store.ErrNotFound
	}
	return store.ErrEnded
}

// Confirm implements store.Store: a read, and a conditional write until nobody comes between.
func (s *Store) Confirm(ctx context.Context, app string, id store.ID, secret store.Hash, c store.Confirmation) error {
	var rec store.Record
	for {
		if err := s.Get(ctx, app, id, true, &rec); err != nil {
			return err
		}
		if rec.Secret.Hash != secret || !rec.Confirm(c) {
			return nil
		}
		u := update{s: s, app: app, rec: &rec, e: encode(&rec)}
		a, err := u.write(ctx, ticket{})
		if err == nil && a.text(0) != "ok" {
			return errAnswer
		}
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}
