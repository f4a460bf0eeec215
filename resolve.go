package sojourn

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// found is what the tokens of a request led to.
type found struct {
	rec     *store.Record // the live session, as last read; nil: none
	epoch   uint32        // of rec when it was first read: the request's authority
	secret  secret        // the one that was presented
	verdict verdict       // of secret

	standing standing      // of the request to the binding of rec
	unproven *store.Record // a live session whose good token came without a proof; nil: none

	refusal   Refusal // of the presented token
	endedBy   Reason  // why the presented session is over
	endedAt   store.Time
	tooLate   error   // ErrEnded, ErrSuperseded or ErrUnproven: the request must not write (I14)
	reentry   ID      // a live session of which an earlier epoch's secret was presented
	lives     [2][]ID // live sessions of several cookies of one name, by transport; also unproven ones
	adopted   bool    // rec is a stored session, found by a cookie of another kind
	sealed    bool    // rec is what the token itself says
	reseal    bool    // rec was changed, and must be sealed again
	clears    bool    // the session ended, so the answer clears its cookie
	sealedIDs []ID    // sealed sessions among lives
	undecided bool    // a token was not looked up, because its address is guessing

	sessionSent bool // the client has a session cookie, which a logout clears
	visitorSent bool // the client has a visitor cookie

	dead      []presented // refused tokens that settle deals with
	ambiguous string      // tokens of one name, of which not exactly one lives; for settle
}

// anyLives reports whether any of several cookies of one name named a live
// session, or one an unproven session. If they were ambiguous, rec is nil, but a
// logout and Regenerate end them all.
func (f *found) anyLives() bool { return len(f.lives[sessionCookie])+len(f.lives[visitorCookie]) > 0 }

// A query is what the answer of resolve depends on, besides the store.
type query struct {
	*Request
	arrived   store.Time
	now       store.Time
	strict    bool          // read the store, not a cache
	passive   bool          // the request is no activity
	renews    bool          // it registers a key, which reports by itself what it refuses
	budget    *budget       // limits what a guessing address may look up; nil: no limit
	room      *store.Record // for the session that is found
	*sealRoom               // for opening sealed sessions
}

// late reports whether the request was made for a session that ended, or for a
// secret that was replaced, at the given time. What such a request writes must
// not land in a new session. A safe request that arrived later may begin one at
// once, so that a sign-in page can store what it needs.
func (q *query) late(at store.Time) bool {
	if !q.Safe {
		at = at.Add(lateUnsafe)
	}
	return q.arrived <= at
}

// lateUnsafe is how long a page whose session was ended elsewhere may go on
// sending unsafe requests that are meant for that session.
const lateUnsafe = 30 * time.Second

// find resolves what the request presents: its session cookies; if none of them
// is good, its visitor cookies, and then those of another library; or the one
// token of another transport. Each is settled before the next is looked at, so
// many tokens in one request count like many requests. found is empty, and mu is
// held.
func (s *Session) find(ctx context.Context, b *budget) error {
	if s.request.Key != "" {
		return s.findKeyed(ctx)
	}
	q := query{Request: &s.request, arrived: s.arrived, now: s.e.now(), strict: s.strict, passive: s.passive, renews: s.renews, budget: b, room: &s.record, sealRoom: &s.sealRoom}
	f, transports := &s.found, q.transports(&s.e.opt)
	if transports[0] != sessionCookie {
		s.request.Old = nil // cookies don't count
	}
	for try := 0; ; try++ {
		changed := false
		for _, by := range transports {
			err := s.e.resolve(ctx, &q, f, by)
			if err == nil {
				err = s.e.settle(ctx, &q, f)
			}
			if err == nil {
				changed, err = s.meetClient(ctx, &q, try)
			}
			if err != nil {
				return err
			}
			if f.rec != nil {
				break
			}
		}
		if !changed {
			break
		}
		*f = found{}
		q.strict, q.now = true, s.e.now()
	}
	switch transports[0] {
	case sessionCookie:
		f.sessionSent, f.visitorSent = len(q.Session) > 0, len(q.Visitor) > 0
	case anyTransport:
		f.sessionSent = f.rec == nil || f.rec.Subject != ""
		f.visitorSent = f.rec == nil || f.rec.Subject == ""
	}
	return nil
}

// transports returns where the request's token may be, in the order of looking.
func (q *query) transports(opt *Options) []transport {
	switch {
	case q.Token != "":
		return allTransports[anyTransport:]
	case q.Bearer != "" && opt.Bearer:
		return allTransports[bearerHeader:anyTransport]
	}
	return allTransports[sessionCookie:bearerHeader]
}

var allTransports = [...]transport{sessionCookie, visitorCookie, oldCookie, bearerHeader, anyTransport}

// decide looks up the tokens that were left undecided, and applies the request's
// changes so far to the session that it finds. A budget limits the look-ups of a
// request that writes nothing otherwise. It is nil for one that does, since a
// write costs more than the read. mu is held.
func (s *Session) decide(ctx context.Context, b *budget) error {
	s.found = found{}
	if err := s.find(ctx, b); err != nil {
		s.loadErr = err
		return err
	}
	if s.found.undecided {
		return ErrThrottled
	}
	if len(s.draft.ops) > 0 {
		return s.rebase(s.found.rec)
	}
	return nil
}

// resolve finds the session that a request presents by one transport. It reads
// the store and writes nothing, unless it adopts a session: settle does what
// follows.
func (e *Engine) resolve(ctx context.Context, q *query, f *found, by transport) error {
	switch by {
	case anyTransport:
		return e.resolveOne(ctx, q, f, q.Token, by)
	case bearerHeader:
		return e.resolveOne(ctx, q, f, q.Bearer, by)
	case sessionCookie:
		return e.resolveCookies(ctx, q, f, q.Session, by)
	case oldCookie:
		if len(q.Old) == 0 || e.opt.Adopt == nil || len(q.Session) > 0 || f.undecided {
			return nil
		}
		old := e.opt.Adopt.oldTokenOf(q.Old)
		return e.resolveOne(ctx, q, f, string(old.secret[:]), by)
	default:
		return e.resolveCookies(ctx, q, f, q.Visitor, by)
	}
}

func (e *Engine) resolveOne(ctx context.Context, q *query, f *found, text string, by transport) error {
	p := presented{text: text, by: by, rec: q.room}
	err := e.examine(ctx, q, &p)
	if err == nil {
		f.take(q, &p)
	}
	return err
}

// maxSameName is the number of different cookies of one name that are looked at.
const maxSameName = 8

// resolveCookies takes the tokens of one cookie name. A browser sends one.
// Several come from other paths and domains, planted or left over from another
// shape of the cookie. They count only if exactly one session that they name
// lives.
func (e *Engine) resolveCookies(ctx context.Context, q *query, f *found, tokens []string, by transport) error {
	if len(tokens) == 0 {
		return nil
	}
	if !slices.ContainsFunc(tokens, func(t string) bool { return t != tokens[0] }) {
		return e.resolveOne(ctx, q, f, tokens[0], by)
	}
	guessing := e.bad.guessing(q.Client.IP, q.now, e.opt.MaxBadTokens)
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
		if err := e.examine(ctx, q, p); err != nil {
			return err
		}
		switch {
		case p.undecided:
			undecided, f.undecided = true, true
		case p.refusal == "":
			f.lives[by] = appendNew(f.lives[by], p.id)
			if p.sealed {
				f.sealedIDs = append(f.sealedIDs, p.id)
			}
			if best == nil || best.id == p.id && p.newer(best) {
				best = p
			}
		default:
			refused = append(refused, p)
			if p.verdict > garbage && (telling == nil || p.verdict > telling.verdict) {
				telling = p
			}
		}
	}
	single := len(f.lives[by]) < 2
	if best == nil && telling != nil && !tooMany { // a former secret is judged, whatever comes with it
		best = telling
	}
	for _, p := range refused {
		if p != best {
			p.quiet = true
			f.addDead(p)
		}
	}
	switch {
	case best != nil && !tooMany && single && (!undecided || best == telling):
		f.take(q, best)
	case undecided: // it may live as well
		f.refusal = RefusedThrottled
	default:
		f.refusal = RefusedAmbiguous
		if !guessing {
			f.ambiguous = strings.Join(seen, " ")
		}
	}
	return nil
}

func appendNew(list []ID, id ID) []ID {
	if slices.Contains(list, id) {
		return list
	}
	return append(list, id)
}

// take makes the session of a token the request's, or refuses the token.
func (f *found) take(q *query, p *presented) {
	if p.refusal == "" {
		f.rec, f.epoch, f.secret, f.verdict = p.rec, p.rec.Epoch, p.secret, p.verdict
		f.standing = p.standing
		f.adopted, f.sealed = p.by == oldCookie || p.moved, p.sealed
		if f.endedBy != "" || f.tooLate != nil { // of a session cookie, where the visitor's lives
			f.endedBy = ""
			if f.unproven == nil {
				f.tooLate = nil
			}
		}
		return
	}
	f.refusal = p.refusal
	switch {
	case p.undecided:
		f.undecided = true
	case p.refusal == RefusedUnproven:
		f.unproven = new(store.Record)
		f.unproven.CopyFrom(p.rec)
		if !q.Safe {
			f.tooLate = ErrUnproven
		}
	case p.refusal == RefusedEnded:
		f.over(q, p.reason, p.endedAt)
	case p.verdict == stolen:
		f.over(q, ReasonTheft, q.now)
	case p.refusal == RefusedFormer:
		if p.verdict == stale || q.late(max(p.rec.CreatedAt, p.rec.AuthenticatedAt)) {
			f.tooLate = ErrSuperseded
		}
		if p.reentry {
			f.reentry = p.id
		}
	}
	f.addDead(p)
}

// over notes that the presented session is over.
func (f *found) over(q *query, reason Reason, at store.Time) {
	f.endedBy, f.endedAt = reason, at
	if q.late(at) {
		f.tooLate = ErrEnded
	}
}

// addDead leaves a refused token to settle, unless nothing is new about it.
func (f *found) addDead(p *presented) {
	if p.refusal == RefusedUnproven { // it isn't dead
		f.lives[sessionCookie] = appendNew(f.lives[sessionCookie], p.id)
	}
	if !p.known && !p.undecided {
		f.dead = append(f.dead, *p)
	}
}

// settle does what follows from a resolution: it ends sessions that are expired
// or stolen, remembers and counts dead tokens, and reports them.
func (e *Engine) settle(ctx context.Context, q *query, f *found) error {
	for i := range f.dead {
		p := &f.dead[i]
		switch {
		case p.refusal == RefusedUnproven:
			if !p.quiet && !q.renews {
				e.refuseBound(q.Client, p.rec, RefusedUnproven)
			}
			continue
		case p.expired:
			ended, err := e.store.End(ctx, e.opt.App, p.id, p.reason, p.endedAt)
			e.reportEnded(q.Client, ended)
			p.final = err == nil // else the sweep ends it
		case p.verdict == stolen && !p.quiet:
			ended, err := e.store.End(ctx, e.opt.App, p.id, ReasonTheft, q.now)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return wrap("end a stolen session", err)
			}
			e.reportEnded(q.Client, ended)
		}
		e.refused(q, p)
	}
	if all := f.ambiguous; all != "" && e.bad.remember(all, e.bad.sum(all), &deadToken{refusal: RefusedAmbiguous}) {
		e.emit(Event{Kind: EventRefused, Client: q.Client, Refusal: RefusedAmbiguous})
	}
	if len(f.dead) > 0 || f.ambiguous != "" {
		f.dead, f.ambiguous = nil, ""
	}
	return nil
}

// refused remembers and counts a dead token, and reports it once. It reports
// nothing for a token that is one of several, or whose address is guessing,
// because such events would tell nothing new.
func (e *Engine) refused(q *query, p *presented) {
	if p.refusal == RefusedMalformed && e.bad.told(q.Client.IP, q.now, e.opt.MaxBadTokens) {
		return // it costs no read, and must not displace what does
	}
	d := &deadToken{refusal: p.refusal, reason: p.reason, endedAt: p.endedAt}
	if p.final {
		d.at = q.now
	}
	if news := e.bad.remember(p.text, p.sum, d); p.empty || !news && p.verdict != stolen {
		return
	}
	quiet := p.quiet
	if p.refusal == RefusedMalformed || p.refusal == RefusedUnknown {
		guessing, first := e.bad.count(q.Client.IP, q.now, e.opt.MaxBadTokens)
		if first {
			e.emit(Event{Kind: EventThrottled, Client: q.Client, Detail: "too many bad tokens: further ones of this minute are refused without an event, and few of them are looked up"})
		}
		quiet = quiet || guessing
	}
	if p.refusal == RefusedNoKey && e.opt.MaxBadTokens >= 0 { // anybody can name keys that aren't there
		quiet = quiet || addToWindow(&e.bad.noKey, minuteOf(q.now)) > uint32(e.opt.MaxBadTokens)
	}
	if !quiet {
		e.emit(Event{Kind: EventRefused, Session: p.id, Subject: p.subject, Client: q.Client, Refusal: p.refusal})
	}
}

// meetClient compares who presents the session with who did last time, and does
// what Options.ClientChanged says. changed: the session was changed meanwhile,
// and must be resolved again. mu is held.
func (s *Session) meetClient(ctx context.Context, q *query, try int) (changed bool, err error) {
	e, f := s.e, &s.found
	if f.rec == nil || q.passive || !clientChanged(f.rec, &q.Client) {
		return false, nil
	}
	is, was := q.Client, f.rec.LastClient
	reaction := ReactionAllow
	if e.opt.ClientChanged != nil {
		reaction = e.opt.ClientChanged(was, is)
	}
	// A slow request may arrive before another client was seen. Its change is not
	// noted. But it gets the reaction, because a thief can be as slow as he likes.
	slow := q.arrived < f.rec.LastSeenAt
	if try == 0 && (!slow || reaction != ReactionAllow) {
		e.emit(Event{Kind: EventClientChanged, Session: f.rec.ID, Subject: f.rec.Subject, Client: is, Was: was})
	}
	switch reaction {
	case ReactionStepUp:
		if f.sealed {
			f.rec.Stale, f.reseal = true, true
			return false, nil
		}
		if slow && f.rec.Stale {
			return false, nil
		}
		err := s.stepUp(ctx)
		if (errors.Is(err, store.ErrConflict) || gone(err)) && try < maxConflicts {
			return true, nil
		}
		return false, wrap("step up a session whose client changed", err)
	case ReactionEnd:
		if err := s.endFound(ctx, f.rec.ID, ReasonRevoked); err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, wrap("end a session whose client changed", err)
		}
		if f.clears = f.sealed; f.sealed { // a logout must not end it again
			for by := range f.lives {
				f.lives[by] = slices.DeleteFunc(f.lives[by], func(id ID) bool { return id == f.rec.ID })
			}
		}
		f.rec, f.sealed = nil, false
		f.over(q, ReasonRevoked, q.now)
	}
	return false, nil
}

// stepUp stores that the last authentication is no longer fresh, together with
// the new client, with which the next request is compared. It doesn't wait for
// the commit, because the engine decides it and not the handler: an answer that
// drops the handler's changes, or that began before the session was read, would
// drop it too. mu is held.
func (s *Session) stepUp(ctx context.Context) error {
	detached := newDetached(ctx)
	defer detached.release()
	e, w := s.e, new(store.Record)
	w.CopyFrom(s.found.rec)
	w.Stale = true
	if s.arrived >= w.LastSeenAt {
		w.LastSeenAt, w.LastClient = s.arrived, s.request.Client
	}
	ended, err := e.store.Update(detached, e.opt.App, w, store.UpdateOptions{Arrived: s.arrived, Now: e.now()})
	e.reportEnded(s.request.Client, ended)
	switch {
	case err == nil:
		if s.request.IfRevision == s.found.rec.Revision {
			s.request.IfRevision = w.Revision // nobody else has changed anything
		}
		s.found.rec = w
	case errors.Is(err, store.ErrFull):
		// The step-up holds for this request. The client stays unknown, so that
		// the next request meets it too.
		s.found.rec.Stale, s.passive = true, true
		err = nil
	}
	return err
}
