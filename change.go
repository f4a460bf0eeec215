package sojourn

import (
	"bytes"
	"cmp"
	"context"
	"fmt"

	"github.com/sojourn-go/sojourn/store"
)

// do adds an operation to what the request wants.
func (s *Session) do(o op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayChange(); err != nil {
		return err
	}
	return s.change(o)
}

// mayChange reads the session, and returns an error if it is too late to change
// it. mu is held.
func (s *Session) mayChange() error {
	if err := s.load(s.ctx); err != nil {
		return err
	}
	switch {
	case s.outcome.done:
		return ErrCommitted
	case s.draft.logout:
		return ErrEnded
	}
	return nil
}

// change applies one operation, and keeps it for the commit. mu is held.
func (s *Session) change(o op) error {
	if s.found.undecided {
		if err := s.decide(s.ctx, s.budgetOf(&o)); err != nil {
			return err
		}
	}
	if o.kind == opLogin && s.found.rec == nil && !s.found.reentry.IsZero() {
		if err := s.reenter(s.ctx, o.login.subject); err != nil {
			return err
		}
	}
	if s.draft.rec == nil {
		if s.found.rec == nil && o.idle() && !(o.kind == opRegenerate && s.found.anyLives()) {
			return nil // and no reason to start a session
		}
		t := s.terms()
		if err := s.draft.start(s.found.rec, &t); err != nil {
			return err
		}
	}
	defer s.dropEmpty() // also if the function of an Update panics
	if err := s.apply(&o); err != nil {
		return err
	}
	if o.kind >= opLogin {
		t := s.terms()
		if err := t.fits(s.draft.rec, s.draft.rec.Values); err != nil {
			return cmp.Or(s.rebase(s.found.rec), err)
		}
	}
	if d := &s.draft; d.create && len(d.ops) == 0 && o.kind == opUpdate && len(d.rec.Values) == 0 {
		return nil // it removed what wasn't there
	}
	s.draft.ops = append(s.draft.ops, o)
	return nil
}

// dropEmpty resets a draft whose first operation failed. mu is held.
func (s *Session) dropEmpty() {
	if !s.finished && !s.draft.logout && len(s.draft.ops) == 0 {
		s.draft.reset()
	}
}

// budgetOf returns the budget for looking up undecided tokens before an
// operation; nil for one that writes in any case.
func (s *Session) budgetOf(o *op) *budget {
	if o.idle() || o.kind == opElevate {
		return &s.e.bad.ends
	}
	return nil
}

// terms returns what operations depend on. mu is held.
func (s *Session) terms() terms {
	t := terms{opt: &s.e.opt, seal: s.e.seal, random: s.e.rand, found: &s.found, client: s.request.Client, arrived: s.arrived}
	if s.request.Key != "" {
		t.id, t.idle = s.e.keyedID(s.request.Key), s.request.Idle
	}
	return t
}

// apply applies one operation to the draft. mu is held.
func (s *Session) apply(o *op) error {
	if o.kind == opUpdate {
		return s.applyUpdate(o)
	}
	t := s.terms()
	return s.draft.apply(o, &t)
}

// applyUpdate calls the application's function without mu, because the function
// may ask the session something. mu is held when it is called.
func (s *Session) applyUpdate(o *op) error {
	unlocked := func(raw []byte) ([]byte, error) {
		s.mu.Unlock()
		defer s.mu.Lock()
		return o.fn(raw)
	}
	t, atCommit := s.terms(), s.outcome.done
	for range maxConflicts {
		raw, had := s.draft.rec.Values.Get(o.key)
		raw = bytes.Clone(raw) // others may change the session meanwhile
		next, err := unlocked(raw)
		if err != nil {
			return err
		}
		switch { // what another goroutine did meanwhile
		case s.finished:
			return ErrFinished
		case s.draft.logout:
			return ErrEnded
		case s.outcome.done && !atCommit:
			return ErrCommitted
		case s.draft.rec == nil: // its first change failed
			if err := s.draft.start(s.found.rec, &t); err != nil {
				return err
			}
		}
		if now, has := s.draft.rec.Values.Get(o.key); has == had && bytes.Equal(now, raw) {
			if next == nil {
				s.draft.remove(o.key)
				return nil
			}
			return s.draft.put(o.key, next, &t)
		}
	}
	return fmt.Errorf("%w: other goroutines, or the function itself, keep changing key %q", ErrConflict, o.key)
}

// reenter adopts a live session whose pre-login secret was presented, if the
// same user logs in again: the answer to the first login was lost or is under
// way, and its session must not be orphaned. mu is held.
func (s *Session) reenter(ctx context.Context, subject string) error {
	id := s.found.reentry
	s.found.reentry = ID{}
	rec, err := s.e.live(ctx, id)
	if gone(err) || err == nil && rec.Subject != subject {
		return nil
	}
	if err != nil {
		return wrap("read a session", err)
	}
	st := s.e.opt.Bound.standingOf(rec, s.request.Proofs, s.arrived)
	if st == unproven {
		return nil
	}
	s.found.rec, s.found.verdict, s.found.standing = rec, former, st
	return s.rebase(rec)
}

// rebase applies the request's operations again, to rec, or to a new session if
// rec is nil. mu is held.
func (s *Session) rebase(rec *store.Record) error {
	d, t := &s.draft, s.terms()
	d.replaced, d.leaves, d.fresh = ID{}, false, false
	if err := d.start(rec, &t); err != nil {
		return err
	}
	for i := range d.ops {
		if err := s.apply(&d.ops[i]); err != nil {
			return err
		}
	}
	return nil
}
