package sojourn

import (
	"bytes"
	"context"
	"fmt"

	"github.com/sojourn-go/sojourn/store"
)

// changes are what a request wants done. They are applied at once to a copy of the session, so that the request sees them and
// learns of mistakes, and again to the newest record if the commit meets a conflict.
type changes struct {
	ops  []op
	work *store.Record // the session with the changes; nil: none yet

	create   bool // work is a new session
	logout   bool
	replaced ID // ends when work is created: it was another subject's

	next  secret // the secret of work, if fresh
	fresh bool
}

type opKind uint8

const (
	opSet   opKind = iota
	opStart        // there is to be a session, whatever is in it
	opDelete
	opUpdate
	opLogin
	opElevate
	opRotate
)

type op struct {
	kind  opKind
	key   string
	json  []byte
	fn    func([]byte) ([]byte, error)
	login *login
	level int
	amr   string

	// Of opRotate.
	periodic bool // not asked for by the application
	done     bool // there was something to do
}

type login struct {
	subject  string
	methods  []string
	amr      string // methods, joined
	level    int
	remember bool
	bearer   bool
}

// value returns the JSON under a key. It shares memory with the session. Session.mu is held.
func (s *Session) value(key string) ([]byte, bool, error) {
	if err := s.load(s.ctx); err != nil {
		return nil, false, err
	}
	raw, ok := s.now().Values.Get(key)
	return raw, ok, nil
}

func (s *Session) set(key string, raw []byte) error {
	return s.lockedChange(op{kind: opSet, key: key, json: raw})
}

func (s *Session) delete(key string) error {
	return s.lockedChange(op{kind: opDelete, key: key})
}

func (s *Session) update(key string, fn func([]byte) ([]byte, error)) error {
	return s.lockedChange(op{kind: opUpdate, key: key, fn: fn})
}

func (s *Session) login(l login) error {
	if err := checkSubject(l.subject); err != nil {
		return err
	}
	if l.bearer && !s.e.opt.Bearer {
		return ErrBearer
	}
	if err := checkLevel(l.level); err != nil {
		return err
	}
	var err error
	if l.amr, err = joinWords(l.methods); err != nil {
		return err
	}
	return s.lockedChange(op{kind: opLogin, login: &l})
}

func (s *Session) elevate(level int, methods []string) error {
	if err := checkLevel(level); err != nil {
		return err
	}
	amr, err := joinWords(methods)
	if err != nil {
		return err
	}
	return s.lockedChange(op{kind: opElevate, level: level, amr: amr})
}

func checkLevel(level int) error {
	if level < 0 || level > 3 {
		return fmt.Errorf("%w: level %d: use 0 to 3", ErrValue, level)
	}
	return nil
}

func (s *Session) rotateNow() error { return s.lockedChange(op{kind: opRotate}) }

func (s *Session) logoutNow() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayChange(); err != nil {
		if !s.finished && !s.committed && s.logout {
			return nil
		}
		return err
	}
	if s.undecided { // a sign-out must not leave a live session behind
		if err := s.decide(s.ctx, &s.e.bad.ends); err != nil {
			return err
		}
	}
	s.changes = changes{logout: true, work: &store.Record{}}
	return nil
}

func (s *Session) lockedChange(o op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayChange(); err != nil {
		return err
	}
	return s.change(o)
}

func (s *Session) mayChange() error {
	if err := s.load(s.ctx); err != nil {
		return err
	}
	switch {
	case s.committed:
		return ErrCommitted
	case s.logout:
		return ErrEnded
	}
	return nil
}

// change applies one operation and keeps it for the commit. Session.mu is held.
func (s *Session) change(o op) error {
	if s.undecided {
		if err := s.decide(s.ctx, s.budgetOf(o.kind)); err != nil {
			return err
		}
	}
	if o.kind == opLogin && s.rec == nil && !s.reentry.IsZero() {
		if err := s.reenter(s.ctx, o.login.subject); err != nil {
			return err
		}
	}
	if s.work == nil {
		if s.rec == nil && o.kind == opDelete {
			return nil // nothing to delete, and no reason to start a session
		}
		if err := s.startWork(s.rec); err != nil {
			return err
		}
	}
	if err := s.apply(&o); err != nil {
		if !s.finished && !s.logout && len(s.ops) == 0 {
			s.changes = changes{}
		}
		return err
	}
	s.ops = append(s.ops, o)
	return nil
}

// budgetOf returns the budget for looking up undecided tokens before a change.
func (s *Session) budgetOf(k opKind) *budget {
	switch k {
	case opSet, opUpdate, opStart, opLogin: // it is written, whatever the tokens are
		return nil
	}
	return &s.e.bad.ends
}

// reenter makes the live session of which an earlier epoch's secret was presented the request's, if a login of the same subject asks for it: the
// answer to the first login was lost or is under way, and must orphan nothing.
func (s *Session) reenter(ctx context.Context, subject string) error {
	id := s.reentry
	s.reentry = ID{}
	rec, err := s.e.live(ctx, id)
	if gone(err) || err == nil && rec.Subject != subject {
		return nil
	}
	if err != nil {
		return wrap("read a session", err)
	}
	s.rec, s.verdict = rec, former
	return s.rebase(rec)
}

// rebase applies the request's operations again, to rec, or to a new session if rec is nil.
func (s *Session) rebase(rec *store.Record) error {
	s.replaced, s.fresh = ID{}, false
	if err := s.startWork(rec); err != nil {
		return err
	}
	for i := range s.ops {
		if err := s.apply(&s.ops[i]); err != nil {
			return err
		}
	}
	return nil
}

// startWork begins the changed session: a copy of rec, or a new anonymous session if rec is nil.
func (s *Session) startWork(rec *store.Record) error {
	w := &s.workMemory
	if rec != nil {
		w.CopyFrom(rec)
		s.work, s.create = w, false
		return nil
	}
	e, now := s.e, s.e.now()
	id, next, err := e.newSecret(now)
	if err != nil {
		return err
	}
	*w = store.Record{ID: id, Good: w.Good[:0], Spent: w.Spent[:0], Epochs: w.Epochs[:0], Halves: w.Halves[:0], Values: w.Values[:0]}
	s.work, s.create, s.next, s.fresh = w, true, next, true
	life := e.policy.Anonymous
	w.Secret = store.Secret{Hash: s.next.hash(), IssuedAt: now, FirstSeenAt: now, ConfirmedAt: now}
	w.EpochHash = s.next.halfHash()
	w.CreatedAt, w.LastSeenAt = now, now
	w.Idle, w.ExpiresAt = life.Idle, now.Add(life.Absolute)
	w.Client, w.LastClient = s.request.Client, s.request.Client
	return nil
}

// apply applies one operation to work.
func (s *Session) apply(o *op) error {
	w := s.work
	switch o.kind {
	case opSet:
		return s.putValue(o.key, o.json)
	case opDelete:
		s.putValues(w.Values.AppendDelete(s.spare[:0], o.key))
	case opUpdate:
		return s.applyUpdate(o)
	case opLogin:
		return s.applyLogin(o.login)
	case opElevate:
		if w.Subject == "" {
			return ErrAnonymous
		}
		if !s.create { // else logged in by this very request: its secret is new
			if err := s.renew(false); err != nil {
				return err
			}
			newEpoch(w, &s.next, s.e.now(), false, false, s.e.policy.Grace)
		}
		w.Level, w.AMR = uint8(o.level), mergeAMR(w.AMR, o.amr)
	case opRotate:
		if w.Subject == "" {
			return ErrAnonymous
		}
		if o.done = !s.fresh && s.mayRotate(o.periodic); !o.done {
			return nil
		}
		if err := s.renew(true); err != nil {
			return err
		}
		rotate(w, &s.next, s.presented.hash(), s.e.now(), s.e.policy.Grace)
	case opStart:
	}
	return nil
}

// applyUpdate calls the application's function with the session unlocked, since it may well ask the session something.
func (s *Session) applyUpdate(o *op) error {
	unlocked := func(raw []byte) ([]byte, error) {
		s.mu.Unlock()
		defer s.mu.Lock()
		return o.fn(raw)
	}
	committed := s.committed // true: this is the commit
	for range maxConflicts {
		raw, had := s.work.Values.Get(o.key)
		raw = bytes.Clone(raw) // others may change the session meanwhile
		next, err := unlocked(raw)
		if err != nil {
			return err
		}
		switch { // what another goroutine did meanwhile
		case s.finished:
			return ErrFinished
		case s.logout:
			return ErrEnded
		case s.committed && !committed:
			return ErrCommitted
		case s.work == nil: // its first change failed
			if err := s.startWork(s.rec); err != nil {
				return err
			}
		}
		if now, has := s.work.Values.Get(o.key); has == had && bytes.Equal(now, raw) {
			return s.putValue(o.key, next)
		}
	}
	return fmt.Errorf("%w: other goroutines, or the function itself, keep changing key %q", ErrConflict, o.key)
}

// mayRotate reports whether a rotation is due, or, if the application asks for one, possible: while one is under way a further one would only
// push out a secret that a browser may hold.
func (s *Session) mayRotate(periodic bool) bool {
	switch {
	case periodic:
		return rotationDue(s.work, s.verdict, s.arrived, &s.e.policy)
	case s.verdict == current && s.work.Secret.ConfirmedAt != 0:
		return true
	}
	return s.verdict >= held && s.arrived >= s.work.Secret.IssuedAt.Add(repeatAfter)
}

func (s *Session) applyLogin(l *login) error {
	if l.bearer && !s.work.Bearer && s.rec != nil { // beside the browser's session, not in its place
		if len(s.ops) > 0 {
			return fmt.Errorf("%w: and comes before other changes, which are of the session of the cookie", ErrBearer)
		}
		if err := s.startWork(nil); err != nil {
			return err
		}
	}
	if s.work.Subject != "" && s.work.Subject != l.subject {
		mine := s.rec != nil && s.rec.Epoch == s.epoch && s.verdict >= good
		if err := s.startWork(nil); err != nil {
			return err
		}
		if mine {
			s.replaced = s.rec.ID
		}
	}
	w, now := s.work, s.e.now()
	life := s.e.policy.Login
	if l.remember {
		life = s.e.policy.Remembered
	}
	repeated := w.Subject != "" && s.verdict != current
	if !s.create {
		if err := s.renew(false); err != nil {
			return err
		}
	}
	w.Subject, w.AMR, w.Level, w.Remembered = l.subject, l.amr, uint8(l.level), l.remember
	w.Bearer = l.bearer || w.Bearer || s.rec != nil && s.rec.Bearer
	w.LastSeenAt, w.Idle, w.ExpiresAt = now, life.Idle, now.Add(life.Absolute)
	w.Stale = false
	if s.request.Client.IP.IsValid() {
		w.LastClient = s.request.Client // older than now by what the password's check took
	}
	if s.create {
		w.Epoch, w.AuthenticatedAt, w.Secret.Login = 1, now, true
		return nil
	}
	newEpoch(w, &s.next, now, true, repeated, s.e.policy.Grace)
	return nil
}

// renew draws a secret for work: of the same epoch, or of a new one.
func (s *Session) renew(sameEpoch bool) error {
	var next secret
	if err := s.e.random(next[:]); err != nil {
		return err
	}
	if half := s.presented.halfHash(); sameEpoch && ourHalf(s.work, &half) {
		copy(next[:halfSize], s.presented[:halfSize])
	}
	s.next, s.fresh = next, true
	return nil
}

func (s *Session) putValue(key string, json []byte) error {
	if len(json) > s.e.opt.MaxValue {
		return fmt.Errorf("%w: the value of key %q has %d bytes, the limit is %d", ErrTooLarge, key, len(json), s.e.opt.MaxValue)
	}
	depth, nul := inspect(json)
	if depth > s.e.opt.MaxDepth {
		return fmt.Errorf("%w: the value of key %q is nested %d deep, the limit is %d", ErrValue, key, depth, s.e.opt.MaxDepth)
	}
	if nul {
		return fmt.Errorf("%w: key %q: the character U+0000 can't be stored", ErrValue, key)
	}
	w := s.work
	values := w.Values.AppendSet(s.spare[:0], key, json)
	s.spare = values // it may have grown
	if len(values) > s.e.opt.MaxSession {
		return fmt.Errorf("%w: with key %q the session has %d bytes, the limit is %d", ErrTooLarge, key, len(values), s.e.opt.MaxSession)
	}
	s.putValues(values)
	return nil
}

// putValues gives work its values, which were built in the spare buffer, and takes the old ones as the next spare.
func (s *Session) putValues(values store.Values) {
	s.work.Values, s.spare = values, s.work.Values
}

// inspect returns how deep the arrays and objects of a valid JSON text are
// nested, and whether it has the escape of U+0000.
func inspect(json []byte) (depth int, nul bool) {
	open, quoted := 0, false
	for i := 0; i < len(json); i++ {
		switch json[i] {
		case '"':
			quoted = !quoted
		case '\\':
			nul = nul || i+5 < len(json) && string(json[i+1:i+6]) == "u0000"
			i++ // the escaped character, which may be a backslash or a quote
		case '[', '{':
			if !quoted {
				open++
				depth = max(depth, open)
			}
		case ']', '}':
			if !quoted {
				open--
			}
		}
	}
	return depth, nul
}
