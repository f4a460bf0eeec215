package sojourn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/sojourn-go/sojourn/store"
)

// Sessions that live sealed in their cookies: how a request finds one, and what
// its commit does in place of a write.

// openSealed opens a sealed session and decides whether it counts. It stores a
// login that belongs in the store: then p is moved, and examined like a token of
// the store.
func (e *Engine) openSealed(ctx context.Context, q *query, p *presented) error {
	p.sealed = true
	key, refusal := e.seal.open(p.text, p.rec, q.sealRoom)
	if refusal == "" && !p.by.fits(p.rec) {
		refusal = RefusedUnknown
	}
	if refusal != "" {
		p.refuse(e, refusal)
		return nil
	}
	rec := p.rec
	p.id, p.subject, p.verdict = rec.ID, rec.Subject, current
	reason, at := rec.ExpiredAt(q.now)
	if reason == "" {
		var err error
		if reason, at, err = e.watermark(ctx, rec); err != nil {
			return err
		}
	}
	if reason != "" {
		p.refuse(e, RefusedEnded)
		p.over(reason, at)
		return nil
	}
	if !e.seal.keepClient || rec.LastClient == (Client{}) { // no earlier client to compare with
		rec.LastClient = q.Client
	}
	if observe := e.seal.opt.Observe; observe != nil {
		observe("", key != &e.seal.keys[0])
	}
	if sealKindOf(rec) != sealedVisitor && !e.seal.covers(true) {
		return e.storeSealed(ctx, q, p, key)
	}
	return nil
}

// refuse notes why a sealed session doesn't count. The throttle remembers it, so
// that it is reported once, but it is opened each time: that costs no read.
func (p *presented) refuse(e *Engine, refusal Refusal) {
	p.refusal, p.sum = refusal, e.bad.sum(p.text)
	if observe := e.seal.opt.Observe; observe != nil {
		observe(refusal, false)
	}
}

// watermark reports whether Sealing.AllNotBefore or NotBefore has ended a session,
// and when.
func (e *Engine) watermark(ctx context.Context, r *store.Record) (Reason, store.Time, error) {
	s := &e.seal.opt
	if all := store.TimeOf(s.AllNotBefore); max(r.CreatedAt, r.AuthenticatedAt) < all {
		return ReasonRevoked, all, nil
	}
	if r.Subject == "" || s.NotBefore == nil {
		return "", 0, nil
	}
	t, err := s.NotBefore(ctx, r.Subject)
	if err != nil {
		return "", 0, fmt.Errorf("%w: ask Sealing.NotBefore: %w", ErrUnavailable, err)
	}
	if at := store.TimeOf(t); r.AuthenticatedAt < at {
		return ReasonRevoked, at, nil
	}
	return "", 0, nil
}

// seals reports whether the session r lives sealed in its cookie. A stored session
// that is too large for a cookie stays in the store.
func (t *terms) seals(r *store.Record) bool {
	if !t.id.IsZero() || !t.seal.covers(sealKindOf(r) != sealedVisitor) {
		return false
	}
	found := t.found.rec
	return found == nil || t.found.sealed || found.ID != r.ID || t.seal.fits(found, found.Values) == nil
}

// fits returns ErrTooLarge if r lives sealed, and would not fit into a cookie with
// the given values.
func (t *terms) fits(r *store.Record, values store.Values) error {
	if t.seal == nil || !t.seals(r) {
		return nil
	}
	return t.seal.fits(r, values)
}

// unseal makes d.rec a new session for the store, with the values and limits of
// base, which is sealed. It has an ID of its own, because copies of the sealed one
// may come again.
func (d *draft) unseal(base *store.Record, t *terms) error {
	was, values := *base, append(store.Values(nil), base.Values...)
	if err := d.start(nil, t); err != nil {
		return err
	}
	r := d.rec
	r.Values = append(r.Values, values...)
	r.Idle, r.ExpiresAt, r.UntilBrowserCloses = min(r.Idle, was.Idle), min(r.ExpiresAt, was.ExpiresAt), was.UntilBrowserCloses
	return nil
}

// moves reports whether the commit sets the cookie again although the request
// changes nothing. A sealed session may have to note its activity, or the session
// must move between store and cookie. mu is held.
func (s *Session) moves() bool {
	e, f := s.e, &s.found
	if e.seal == nil || f.rec == nil || s.keepSecret {
		return false
	}
	if f.sealed && f.reseal {
		return true
	}
	switch t := s.terms(); {
	case s.passive:
		return false
	case f.sealed:
		return resealDue(f.rec, &s.request.Client, s.arrived)
	default:
		return touchDue(f.rec, &s.request.Client, s.arrived) && t.seals(f.rec)
	}
}

// resealDue reports whether activity is worth a new cookie: at most once in a
// twentieth of the idle limit.
func resealDue(r *store.Record, client *Client, arrived store.Time) bool {
	return arrived.Sub(r.LastSeenAt) >= r.Idle/20 || arrived >= r.LastSeenAt && clientChanged(r, client)
}

// sealDraft takes the place of a write for a session that lives in its cookie. A
// stored one ends. mu is held.
func (s *Session) sealDraft(ctx context.Context) error {
	e, d, f := s.e, &s.draft, &s.found
	if !d.create {
		s.noteWith(d.rec)
	}
	d.rec.Secret.IssuedAt = e.now() // the cookie's age counts from here
	d.rec.Revision++
	text, err := e.seal.seal(d.rec, e.rand, &s.sealRoom)
	if err != nil {
		return err
	}
	if !d.create && !f.sealed {
		if err := s.leave(ctx, false); err != nil {
			d.rec.Revision--
			return err
		}
	}
	d.sealed = text
	e.watch.sealedAgain(d.rec)
	return nil
}

// endFound ends a session that the request has presented. A sealed one has no row
// in the store, so only its end is reported.
func (s *Session) endFound(ctx context.Context, id ID, reason Reason) error {
	e, f := s.e, &s.found
	var ended []store.Ended
	var err error
	switch {
	case f.sealed && f.rec != nil && f.rec.ID == id:
		ended = []store.Ended{{ID: id, Subject: f.rec.Subject, Reason: reason, At: e.now()}}
	case slices.Contains(f.sealedIDs, id):
		ended = []store.Ended{{ID: id, Reason: reason, At: e.now()}}
	default:
		ended, err = e.store.End(ctx, e.opt.App, id, reason, e.now())
	}
	e.reportEnded(s.request.Client, ended)
	if w := e.watch.get(id); w != nil && err == nil {
		e.watch.finish(w)
	}
	return err
}

// storeSealed makes a sealed login a stored session with the same ID. It does so
// once: a record notes it until every copy of the cookie has expired, also copies
// that are newer than this one. So no copy brings the session back after its end.
// Parallel requests get the same session and secret.
func (e *Engine) storeSealed(ctx context.Context, q *query, p *presented, key *sealKey) error {
	was := *p.rec
	mark := oldToken{marker: hashedID(sha256.Sum256(append([]byte("sojourn sealed\x00"), was.ID[:]...)))}
	mark.secret = key.firstSecret(&was)
	p.moved, p.sealed, p.secret = true, false, mark.secret
	if _, none, err := e.adoptedAs(ctx, &mark); err != nil || !none {
		return err
	}
	detached := newDetached(ctx)
	defer detached.release()
	w := new(store.Record)
	w.CopyFrom(&was)
	now := e.now()
	w.Secret = store.Secret{Hash: mark.secret.hash(), IssuedAt: now, FirstSeenAt: now, ConfirmedAt: now, Login: true}
	w.EpochHash = mark.secret.halfHash()
	w.Client, w.LastClient, w.Revision = q.Client, q.Client, 0
	ended, err := e.store.Create(detached, e.opt.App, w, store.CreateOptions{Limit: e.limit(), Arrived: q.arrived, Now: now})
	e.reportEnded(q.Client, ended)
	switch {
	case errors.Is(err, store.ErrBarrier), errors.Is(err, store.ErrLimit):
		p.moved, p.sealed = false, true
		p.refuse(e, RefusedEnded)
		p.over(ReasonRevoked, now)
		return nil
	case err != nil && !errors.Is(err, store.ErrExists): // ErrExists: a parallel request has stored it
		return wrap("store a sealed session", err)
	}
	policy := &e.opt.Policy
	life := max(was.ExpiresAt.Sub(now), policy.Login.Absolute, policy.Remembered.Absolute)
	_, err = e.markAdopted(detached, &mark, was.ID, q.arrived, life)
	return err
}

// needsStore returns ErrUnsupported if logins are sealed, because the call would
// miss them.
func (e *Engine) needsStore(call string) error {
	if e.opt.Sealed.everyone() {
		return fmt.Errorf("%w: %s needs a store that holds every session", ErrUnsupported, call)
	}
	return nil
}
