package sojourn

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// view is what a Session knows of the stored session, and what the request wants to change. Session.mu guards it.
//
// Views are lent: they are given back when the request is over (of Begin: if Finish says so), under the mutex, and from then on the session has no values any more. So
// no goroutine that outlives its request sees another's.
type view struct {
	request Request
	found
	changes
	outcome
	scratch
}

// found is what load found.
type found struct {
	rec         *store.Record // the live session, as last read; nil: none
	epoch       uint32        // of rec when it was first read: the request's authority
	presented   secret        // its secret, as the client sent it
	verdict     verdict       // of presented
	endedBy     Reason        // why the presented session is over
	endedAt     store.Time    // and since when
	refusal     Refusal       // of the presented token
	refused     error         // ErrEnded or ErrSuperseded: a late request, which must not write (I14)
	reentry     ID            // a live session of which an earlier epoch's secret was presented
	met         int           // how often the changed client was met: more than once only after conflicts
	lives       [2][]ID       // live sessions whose tokens came in several cookies of one name, by transport
	undecided   bool          // a token was not looked up, since its address is guessing
	sessionSent bool          // a session cookie was presented
	visitorSent bool          // a visitor cookie was presented
}

// outcome is what the commit did.
type outcome struct {
	cookies cookieChange
	issued  string // a token
}

// scratch is memory for the usual request.
type scratch struct {
	tokens     [2]string
	recMemory  store.Record
	workMemory store.Record
	spare      store.Values // the next values of work are built here
	opsMemory  [2]op
}

func (e *Engine) lendView() *view {
	if v, _ := e.views.Get().(*view); v != nil {
		return v
	}
	return new(view)
}

const keepValues = 16 << 10 // larger buffers are left to the collector

// reset empties v but for memory that the next request can use. The records are written over by the next reader.
func (v *view) reset() {
	v.request.Session, v.request.Visitor, v.request.Bearer, v.request.Token = nil, nil, "", ""
	v.request.Idempotency = Idempotency{}
	v.found = found{}
	if v.work != nil {
		v.changes, v.outcome = changes{}, outcome{}
		clear(v.opsMemory[:])
		v.workMemory.Values = smallValues(v.workMemory.Values)
		v.spare = smallValues(v.spare)
	}
	v.recMemory.Values = smallValues(v.recMemory.Values)
}

func smallValues(v store.Values) store.Values {
	if cap(v) > keepValues {
		return nil
	}
	return v[:0]
}

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

// noSession stands for the session of a visitor who has none.
var noSession store.Record

// now returns the session with the request's changes. Session.mu is held.
func (v *view) now() *store.Record {
	switch {
	case v.work != nil:
		return v.work
	case v.rec != nil:
		return v.rec
	}
	return &noSession
}

// A loadFailure is the panic of the accessors that return no error, where no
// Handler answers for it.
type loadFailure struct{ err error }

func (f loadFailure) Error() string { return f.err.Error() }
func (f loadFailure) Unwrap() error { return f.err }

// ask returns what f says of the session.
func ask[T any](s *Session, f func(*store.Record) T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished && s.loaded && s.loadErr == nil {
		return f(&store.Record{ID: s.was.ID, Subject: s.was.Subject})
	}
	s.mustLoad()
	return f(s.now())
}

// load finds the live session of the request's tokens, once. Session.mu is held.
func (s *Session) load(ctx context.Context) error {
	if s.finished {
		return ErrFinished
	}
	if s.loaded {
		return s.loadErr
	}
	s.loaded = true
	if s.view == nil {
		s.view = s.e.lendView()
	}
	s.changes.ops = s.opsMemory[:0]
	s.loadErr = s.find(ctx)
	if s.committed { // the response has begun, and wasn't the session's
		s.noteLater()
	}
	return s.loadErr
}

func (s *Session) find(ctx context.Context) error {
	if s.source != nil {
		s.source.read(&s.request)
	}
	if s.request.Token != "" {
		err := s.present(ctx, s.request.Token, anyTransport)
		s.sessionSent = s.rec == nil || s.rec.Subject != ""
		s.visitorSent = s.rec == nil || s.rec.Subject == ""
		return err
	}
	if s.request.Bearer != "" && s.e.opt.Bearer {
		return s.present(ctx, s.request.Bearer, bearerHeader)
	}
	s.sessionSent = len(s.request.Session) > 0
	s.visitorSent = len(s.request.Visitor) > 0
	if err := s.presentAll(ctx, s.request.Session, sessionCookie); s.rec != nil || err != nil {
		return err
	}
	return s.presentAll(ctx, s.request.Visitor, visitorCookie)
}

// decide looks up the tokens that were left undecided, and applies the
// request's changes so far to the session that it finds. If nothing is going to
// be written, budget limits the look-ups; nil means no limit, because the write
// that follows costs more than the read.
func (s *Session) decide(ctx context.Context, budget *budget) error {
	s.found, s.budget, s.decides = found{}, budget, true
	if err := s.find(ctx); err != nil {
		s.loadErr = err
		return err
	}
	if s.undecided {
		return ErrThrottled
	}
	if len(s.ops) > 0 {
		return s.rebase(s.rec)
	}
	return nil
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

// touchDue reports whether the activity of this request is worth noting: at most once in a twentieth of the idle limit, or a minute.
func (s *Session) touchDue(rec *store.Record) bool {
	if s.passive {
		return false
	}
	every := min(rec.Idle/20, touchEvery)
	return s.arrived.Sub(rec.LastSeenAt) >= every || s.arrived >= rec.LastSeenAt && s.clientChanged(rec)
}

func (s *Session) clientChanged(rec *store.Record) bool {
	is, was := &s.request.Client, &rec.LastClient
	return is.IP.IsValid() && *is != *was
}

// meetClient compares who presents the session with who did last time.
func (s *Session) meetClient(ctx context.Context, text string, by transport) error {
	if s.passive || !s.clientChanged(s.rec) {
		return nil
	}
	e, is, was := s.e, s.request.Client, s.rec.LastClient
	reaction := Allow
	if e.opt.ClientChanged != nil {
		reaction = e.opt.ClientChanged(was, is)
	}
	// Of a slow request, since whose arrival another client was seen, no change is
	// noted. But it is reacted to: a thief can be as slow as he likes.
	slow := s.arrived < s.rec.LastSeenAt
	if s.met == 0 && (!slow || reaction != Allow) {
		e.emit(Event{Kind: EventClientChanged, Session: s.rec.ID, Subject: s.rec.Subject, Client: is, Was: was})
	}
	switch reaction {
	case StepUp:
		if slow && s.rec.Stale {
			return nil
		}
		err := s.stepUp(ctx)
		if !errors.Is(err, store.ErrConflict) && !gone(err) || s.met == maxConflicts {
			return wrap("step up a session whose client changed", err)
		}
		s.met++
		s.rec = nil
		strict := s.strict
		s.strict = true // look at the session as it is now
		err = s.present(ctx, text, by)
		s.strict = strict
		return err
	case End:
		now, id := e.now(), s.rec.ID
		ended, err := e.store.End(ctx, e.opt.App, id, ReasonRevoked, now)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return wrap("end a session whose client changed", err)
		}
		e.ended(is, ended)
		s.rec = nil
		s.over(ReasonRevoked, now)
	}
	return nil
}

// stepUp stores that the last authentication is no longer fresh, together with
// the new client, with which the next request is compared. It is the engine's
// decision and not the handler's, so it doesn't wait for the commit: an answer
// that drops the handler's changes, or began before the session was read, would
// drop it too.
func (s *Session) stepUp(ctx context.Context) error {
	detached := newDetached(ctx)
	defer detached.release()
	e, w := s.e, new(store.Record)
	w.CopyFrom(s.rec)
	w.Stale = true
	if s.arrived >= w.LastSeenAt {
		w.LastSeenAt, w.LastClient = s.arrived, s.request.Client
	}
	ended, err := e.store.Update(detached, e.opt.App, w, store.UpdateOptions{Arrived: s.arrived, Now: e.now()})
	e.ended(s.request.Client, ended)
	switch {
	case err == nil:
		if s.ifRevision == s.rec.Revision {
			s.ifRevision = w.Revision // nobody else has changed anything
		}
		s.rec = w
	case errors.Is(err, store.ErrFull): // the step-up holds for this request; the client stays unknown, so that the next one meets it too
		s.rec.Stale, s.passive = true, true
		err = nil
	}
	return err
}

// live reads a session from the store itself; ErrNotFound or ErrEnded if it isn't live.
func (e *Engine) live(ctx context.Context, id ID) (*store.Record, error) {
	rec := new(store.Record)
	if err := e.store.Get(ctx, e.opt.App, id, true, rec); err != nil {
		return nil, err
	}
	if expired, _ := rec.ExpiredAt(e.now()); expired != "" {
		return nil, store.ErrEnded
	}
	return rec, nil
}

func info(r *store.Record) Info {
	idle := r.LastSeenAt.Add(r.Idle)
	if r.ID.IsZero() {
		idle = 0
	}
	return Info{
		ID: r.ID, Subject: r.Subject,
		CreatedAt: r.CreatedAt.Time(), AuthenticatedAt: r.AuthenticatedAt.Time(), LastSeenAt: r.LastSeenAt.Time(),
		IdleExpiresAt: min(idle, r.ExpiresAt).Time(), ExpiresAt: r.ExpiresAt.Time(),
		AMR: splitWords(r.AMR), Level: int(r.Level), Remembered: r.Remembered,
		Created: r.Client, LastSeen: r.LastClient, Revision: r.Revision,
	}
}
