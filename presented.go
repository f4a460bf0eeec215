package sojourn

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A transport is where a token was found. A token is good in one only.
type transport uint8

const (
	sessionCookie transport = iota
	visitorCookie
	bearerHeader
	anyTransport // Request.Token: its caller knows
)

func (t transport) fits(r *store.Record) bool {
	switch t {
	case bearerHeader:
		return r.Bearer
	case anyTransport:
		return true
	case sessionCookie:
		return !r.Bearer && r.Subject != ""
	default:
		return !r.Bearer && r.Subject == ""
	}
}

// maxSameName is the number of different cookies of one name that are looked at.
const maxSameName = 8

// presentAll takes the tokens of one cookie name. A browser sends one. Several
// come from other paths and domains, planted or left over from another shape of
// the cookie, and count only if exactly one session that they name lives.
func (s *Session) presentAll(ctx context.Context, tokens []string, by transport) error {
	if len(tokens) == 0 {
		return nil
	}
	if !slices.ContainsFunc(tokens, func(t string) bool { return t != tokens[0] }) {
		return s.present(ctx, tokens[0], by)
	}
	quiet := s.e.bad.guessing(s.request.Client.IP, s.e.now(), s.e.opt.MaxBadTokens)
	var best, telling *presented
	var refused []*presented
	tooMany, undecided := false, false
	seen := make([]string, 0, maxSameName)
	for _, t := range tokens {
		if slices.Contains(seen, t) {
			continue
		}
		if tooMany = len(seen) == maxSameName; tooMany {
			break
		}
		seen = append(seen, t)
		p := &presented{text: t, by: by, rec: new(store.Record)}
		if err := s.examine(ctx, p); err != nil {
			return err
		}
		switch {
		case p.undecided:
			undecided, s.undecided = true, true
		case p.refusal == "":
			s.lives[by] = appendNew(s.lives[by], p.id)
			if best == nil || best.id == p.id && p.verdict > best.verdict { // of two secrets of one session the newer
				best = p
			}
		default:
			refused = append(refused, p)
			if p.verdict > garbage && (telling == nil || p.verdict > telling.verdict) {
				telling = p
			}
		}
	}
	if best == nil && telling != nil && !tooMany { // a former secret stays one, whatever comes with it
		best = telling
	}
	for _, p := range refused {
		if p != best {
			s.note(p, true)
		}
	}
	switch {
	case best != nil && !tooMany && len(s.lives[by]) < 2 && (!undecided || best == telling):
		return s.take(ctx, best)
	case undecided: // it may live as well
		s.refusal = RefusedThrottled
		return nil
	}
	s.refusal = RefusedAmbiguous
	all := strings.Join(seen, " ")
	if !quiet && s.e.bad.remember(all, s.e.bad.sum(all), &deadToken{refusal: RefusedAmbiguous}) {
		s.e.emit(Event{Kind: EventRefused, Client: s.request.Client, Refusal: RefusedAmbiguous})
	}
	return nil
}

func appendNew(list []ID, id ID) []ID {
	if slices.Contains(list, id) {
		return list
	}
	return append(list, id)
}

// present takes one token: the session becomes the request's, or the token is refused.
func (s *Session) present(ctx context.Context, text string, by transport) error {
	p := presented{text: text, by: by, rec: &s.recMemory}
	if err := s.examine(ctx, &p); err != nil {
		return err
	}
	return s.take(ctx, &p)
}

// presented is what is found out about a token.
type presented struct {
	text string
	by   transport
	sum  uint64
	id   ID
	sec  secret
	rec  *store.Record

	verdict   verdict
	refusal   Refusal // empty: it names the live session rec
	known     bool    // it was remembered as dead
	undecided bool    // it may not be looked up
	final     bool    // it is dead for good, by a strict read
	reentry   bool    // a login may enter the session again

	reason  Reason // of RefusedEnded
	endedAt store.Time
	subject string
}

// examine finds out about a token. It changes nothing, except that an expired
// session ends.
func (s *Session) examine(ctx context.Context, p *presented) error {
	e, now := s.e, s.e.now()
	p.sum = e.bad.sum(p.text)
	memory := e.bad.find(p.text, p.sum)
	if memory.fresh(now) {
		p.remembered(memory)
		return nil
	}
	var ok bool
	if p.id, p.sec, ok = parseToken(p.text); !ok {
		p.refusal, p.final = RefusedMalformed, true
		return nil
	}
	if !s.mayRead(p, now) {
		if memory != nil && memory.at != 0 {
			p.remembered(memory)
		} else {
			p.refusal, p.undecided = RefusedThrottled, true
		}
		return nil
	}

	rec := p.rec
	rec.Cached = false
	err := e.store.Get(ctx, e.opt.App, p.id, s.strict, rec)
	v := judge(rec, &p.sec, s.arrived)
	if err == nil && rec.Cached && !s.mayDecide(rec, v, now) {
		rec.Cached = false
		err = e.store.Get(ctx, e.opt.App, p.id, true, rec)
		v = judge(rec, &p.sec, s.arrived)
	}
	switch {
	case err == nil:
	case errors.Is(err, store.ErrNotFound):
		p.refusal, p.final = RefusedUnknown, !rec.Cached
		return nil
	case errors.Is(err, store.ErrEnded):
		p.final = !rec.Cached
		if p.refusal = RefusedUnknown; knewEnd(rec, &p.sec) {
			p.over(rec.End, rec.EndAt)
		}
		return nil
	default:
		return wrap("read a session", err)
	}

	p.verdict = v
	switch {
	case v == garbage:
		p.refusal, p.final = RefusedUnknown, true
		return nil
	case v >= good && !p.by.fits(rec): // it lives, elsewhere
		p.refusal, p.verdict = RefusedUnknown, garbage
		return nil
	}
	p.subject = rec.Subject
	if reason, at := rec.ExpiredAt(now); reason != "" {
		ended, err := e.store.End(ctx, e.opt.App, p.id, reason, at) // if not now, then by the sweep
		e.ended(s.request.Client, ended)
		p.over(reason, at)
		p.final = err == nil
		return nil
	}
	if v < good {
		p.refusal = RefusedFormer
		p.reentry = v == former && (rec.Bearer == (p.by == bearerHeader) || p.by == anyTransport)
		return nil
	}
	e.bad.live(p.sum)
	return nil
}

// mayRead reports whether a token may be looked up.
func (s *Session) mayRead(p *presented, now store.Time) bool {
	e := s.e
	budget := &e.bad.reads
	if s.decides {
		if budget = s.budget; budget == nil {
			return true
		}
	}
	return e.bad.mayRead(p.sum, s.request.Client.IP, now, e.opt.MaxBadTokens, budget)
}

// over notes that the session of a token is over.
func (p *presented) over(reason Reason, at store.Time) {
	p.refusal, p.reason, p.endedAt, p.verdict = RefusedEnded, reason, at, former
}

// remembered takes the answer from memory.
func (p *presented) remembered(d *deadToken) {
	p.known = true
	if p.refusal = d.refusal; d.refusal == RefusedEnded {
		p.over(d.reason, d.endedAt)
	}
}

// take makes the session of a token the request's, or refuses the token.
func (s *Session) take(ctx context.Context, p *presented) error {
	e := s.e
	if p.refusal == "" {
		s.rec, s.epoch, s.presented, s.verdict = p.rec, p.rec.Epoch, p.sec, p.verdict
		s.endedBy, s.refused = "", nil // of a session cookie, where the visitor's lives
		return s.meetClient(ctx, p.text, p.by)
	}
	s.refusal = p.refusal
	switch {
	case p.undecided:
		s.undecided = true
		return nil
	case p.refusal == RefusedEnded:
		s.over(p.reason, p.endedAt)
	case p.verdict == stolen:
		now := e.now()
		ended, err := e.store.End(ctx, e.opt.App, p.id, ReasonTheft, now)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return wrap("end a stolen session", err)
		}
		e.ended(s.request.Client, ended)
		s.over(ReasonTheft, now)
	case p.refusal == RefusedFormer:
		if p.verdict == stale || s.late(max(p.rec.CreatedAt, p.rec.AuthenticatedAt)) {
			s.refused = ErrSuperseded
		}
		if p.reentry {
			s.reentry = p.id
		}
	}
	s.note(p, false)
	return nil
}

// note remembers and counts a refused token, and reports it once. It reports
// nothing for a token that is one of several, or whose address is guessing,
// because such events would tell nothing new.
func (s *Session) note(p *presented, quiet bool) {
	e, now := s.e, s.e.now()
	if p.known || p.undecided {
		return
	}
	if p.refusal == RefusedMalformed && e.bad.told(s.request.Client.IP, now, e.opt.MaxBadTokens) {
		return // it costs no read, and must not displace what does
	}
	d := &deadToken{refusal: p.refusal, reason: p.reason, endedAt: p.endedAt}
	if p.final {
		d.at = now
	}
	if news := e.bad.remember(p.text, p.sum, d); !news && p.verdict != stolen {
		return
	}
	if p.refusal == RefusedMalformed || p.refusal == RefusedUnknown {
		guessing, first := e.bad.count(s.request.Client.IP, now, e.opt.MaxBadTokens)
		if first {
			e.emit(Event{Kind: EventThrottled, Client: s.request.Client, Detail: "too many bad tokens: further ones of this minute are refused without an event, and few of them are looked up"})
		}
		quiet = quiet || guessing
	}
	if quiet {
		return
	}
	e.emit(Event{Kind: EventRefused, Session: p.id, Subject: p.subject, Client: s.request.Client, Refusal: p.refusal})
}

// over notes that the presented session is over.
func (s *Session) over(reason Reason, at store.Time) {
	s.endedBy, s.endedAt = reason, at
	if s.late(at) {
		s.refused = ErrEnded
	}
}

// lateUnsafe is how long a page whose session was ended elsewhere may go on
// sending unsafe requests that are meant for that session.
const lateUnsafe = 30 * time.Second

// late reports whether the request was made for a session that ended, or a
// secret that was replaced, at the given time. What such a request writes must
// not land in a new session. A safe request that arrived later begins one at
// once, so that a sign-in page can store what it needs.
func (s *Session) late(at store.Time) bool {
	if !s.request.Safe {
		at = at.Add(lateUnsafe)
	}
	return s.arrived <= at
}

// mayDecide reports whether a record from memory suffices: the current secret, no deadline near, and nothing due.
func (s *Session) mayDecide(rec *store.Record, v verdict, now store.Time) bool {
	if v != current || rec.Secret.ConfirmedAt == 0 {
		return false
	}
	expired, _ := rec.ExpiredAt(now)
	return expired == "" && !s.touchDue(rec) && !rotationDue(rec, v, s.arrived, &s.e.policy)
}
