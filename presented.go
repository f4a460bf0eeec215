package sojourn

import (
	"cmp"
	"context"
	"errors"

	"github.com/sojourn-go/sojourn/store"
)

// A transport is where a token was found. A token is good in one only.
type transport uint8

const (
	sessionCookie transport = iota
	visitorCookie
	oldCookie // of another library: see Adoption
	bearerHeader
	anyTransport // Request.Token: its caller knows where it came from
)

// fits reports whether the session r is presented by this transport.
func (t transport) fits(r *store.Record) bool {
	switch t {
	case bearerHeader:
		return r.Bearer
	case anyTransport:
		return true
	case oldCookie:
		return !r.Bearer
	case sessionCookie:
		return !r.Bearer && r.Subject != ""
	default:
		return !r.Bearer && r.Subject == ""
	}
}

// A presented is what is known of one token that a request presents.
type presented struct {
	text   string
	by     transport
	sum    uint64 // the throttle's hash of text
	id     ID
	secret secret
	rec    *store.Record // what the store has under id

	verdict   verdict
	standing  standing
	refusal   Refusal // empty: the token names the live session rec
	known     bool    // the throttle remembered that it is dead
	undecided bool    // the throttle forbids to look it up
	sealed    bool    // rec is what the token itself says
	moved     bool    // a sealed login that has become a stored session
	final     bool    // a strict read showed that it is dead for good
	expired   bool    // a deadline has passed, and nobody has ended the session
	reentry   bool    // a login may enter the session again
	quiet     bool    // its refusal is not worth an event
	empty     bool    // an old cookie of a session that holds nothing: it was no guess

	reason  Reason // of RefusedEnded
	endedAt store.Time
	subject string
}

// over notes that the token's session is over.
func (p *presented) over(reason Reason, at store.Time) {
	p.refusal, p.reason, p.endedAt, p.verdict = RefusedEnded, reason, at, former
}

// newer reports whether p is the newer of two good tokens of one session.
func (p *presented) newer(than *presented) bool {
	if p.sealed && than.sealed {
		return cmp.Or(cmp.Compare(p.rec.AuthenticatedAt, than.rec.AuthenticatedAt), cmp.Compare(p.rec.Revision, than.rec.Revision)) > 0
	}
	return p.verdict > than.verdict
}

// remember takes over what the throttle knows of a dead token.
func (p *presented) remember(d *deadToken) {
	p.known = true
	if p.refusal = d.refusal; d.refusal == RefusedEnded {
		p.over(d.reason, d.endedAt)
	}
}

// examine finds out about a token. It writes nothing to the store.
func (e *Engine) examine(ctx context.Context, q *query, p *presented) error {
	if e.seal != nil && p.by != oldCookie && isSealed(p.text) {
		if err := e.openSealed(ctx, q, p); err != nil || !p.moved {
			return err
		}
	}
	p.sum = e.bad.sum(p.text)
	memory := e.bad.find(p.text, p.sum)
	if memory.fresh(q.now) {
		p.remember(memory)
		return nil
	}
	if p.by != oldCookie && !p.moved {
		var ok bool
		if p.id, p.secret, ok = parseToken(p.text); !ok {
			p.refusal, p.final = RefusedMalformed, true
			return nil
		}
	}
	if e.store == nil {
		p.refusal, p.final = RefusedUnknown, true
		return nil
	}
	if q.budget != nil && !e.bad.mayRead(p.sum, q.Client.IP, q.now, e.opt.MaxBadTokens, q.budget) {
		if memory != nil && memory.at != 0 {
			p.remember(memory)
		} else {
			p.refusal, p.undecided = RefusedThrottled, true
		}
		return nil
	}

	if p.by == oldCookie {
		if none, err := e.adopt(ctx, q, p); none || err != nil {
			p.refusal, p.final = RefusedUnknown, true
			return err
		}
	}
	rec := p.rec
	rec.Cached = false
	strict := q.strict || p.by == oldCookie || p.moved // another node may have created it just now
	err := e.store.Get(ctx, e.opt.App, p.id, strict, rec)
	v, st := judge(rec, &p.secret, q.arrived), e.opt.Bound.standingOf(rec, q.Proofs, q.arrived)
	if err == nil && rec.Cached && !e.mayDecide(q, rec, v, st) {
		rec.Cached = false
		err = e.store.Get(ctx, e.opt.App, p.id, true, rec)
		v, st = judge(rec, &p.secret, q.arrived), e.opt.Bound.standingOf(rec, q.Proofs, q.arrived)
	}
	switch {
	case err == nil:
	case errors.Is(err, store.ErrNotFound):
		p.refusal, p.final = RefusedUnknown, !rec.Cached
		return nil
	case errors.Is(err, store.ErrEnded):
		p.final = !rec.Cached
		if p.refusal = RefusedUnknown; knewEnd(rec, &p.secret) {
			p.over(rec.End, rec.EndAt)
		}
		return nil
	default:
		return wrap("read a session", err)
	}

	if (p.by == oldCookie || p.moved) && v == stolen {
		v = former // a browser may bring an old cookie at any time: that is no theft
	}
	if v == stolen && st == unproven {
		v = former // a thief who can do nothing mustn't sign the user out either
	}
	p.verdict = v
	switch {
	case v == garbage:
		p.refusal, p.final = RefusedUnknown, true
		return nil
	case v >= good && !p.by.fits(rec): // the session lives, and is presented elsewhere
		p.refusal, p.verdict = RefusedUnknown, garbage
		return nil
	}
	p.subject = rec.Subject
	if reason, at := rec.ExpiredAt(q.now); reason != "" {
		p.over(reason, at)
		p.expired = true
		return nil
	}
	if v < good {
		p.refusal = RefusedFormer
		p.reentry = v == former && (rec.Bearer == (p.by == bearerHeader) || p.by == anyTransport)
		return nil
	}
	if e.opt.Sealed.everyone() {
		if reason, at, err := e.watermark(ctx, rec); err != nil || reason != "" {
			p.over(reason, at)
			return err
		}
	}
	e.bad.live(p.sum)
	if p.standing = st; st == unproven {
		p.refusal = RefusedUnproven
	}
	return nil
}

// mayDecide reports whether a record from a cache suffices: the secret is the
// current one, no deadline has passed, and nothing is due. Another node may have
// issued a proof that the cache hasn't got yet.
func (e *Engine) mayDecide(q *query, rec *store.Record, v verdict, st standing) bool {
	if v != current || rec.Secret.ConfirmedAt == 0 || st == unproven {
		return false
	}
	expired, _ := rec.ExpiredAt(q.now)
	return expired == "" && (q.passive || !touchDue(rec, &q.Client, q.arrived)) && !rotationDue(rec, v, q.arrived, &e.opt.Policy)
}
