package sojourn

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sojourn-go/sojourn/store"
)

// What requests do with bound sessions: BoundHandler registers keys and renews
// proofs by register and refresh, and all others present proofs.

var (
	// errChallenge: the challenge is used up, too old, or of another session. The
	// answer carries a fresh one.
	errChallenge = errors.New("sojourn: the browser signed no good challenge")

	errSignature = fmt.Errorf("%w: the session's key has not signed the challenge", ErrUnproven)
	errRebound   = fmt.Errorf("%w: it is bound to another key already", ErrUnproven)
)

// register binds the request's session to a key, which has signed the challenge.
// Until the key's first refresh, the session is good without a proof, and may be
// registered again: nobody knows whether the answer arrives. So the answer carries
// no proof. A browser keeps the cookies of an answer that is cut off, and not the
// key. Without a key, register only asks for a challenge.
//
// ErrAnonymous: there is no login in a cookie. ErrEnded, ErrSuperseded: as for a
// change. errChallenge. errRebound: the key has refreshed already; with a key that
// is an event, because it may be a thief who registers.
func (s *Session) register(ctx context.Context, challenge string, key []byte) error {
	s.Passive()
	s.KeepSecret()
	s.Strict()
	s.committing.Lock()
	defer s.committing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renews = true
	if err := s.mayChange(); err != nil {
		return err
	}
	if s.found.undecided {
		if err := s.decide(ctx, &s.e.bad.ends); err != nil {
			return err
		}
	}
	own, err := s.found.bindable()
	if err != nil {
		return err
	}
	epoch := own.Epoch
	return s.rebind(ctx, own.ID, func(r *store.Record) error {
		e, now := s.e, s.e.now()
		was, ok := readBinding(r.Binding)
		switch {
		case r.Epoch != epoch: // a login or elevation came first (I13)
			return ErrSuperseded
		case len(r.Binding) > 0 && (!ok || was.confirmedAt != 0):
			if key != nil {
				e.refuseBound(s.request.Client, r, RefusedBound)
			}
			return errRebound
		case key == nil || !e.opt.Bound.answers(r, challenge, now):
			return errChallenge
		}
		b := binding{registeredAt: now, generation: was.generation, key: key}
		if err := readRandom(e.rand, b.secret[:]); err != nil {
			return err
		}
		b.generation++
		r.Binding = b.bytes()
		return nil
	})
}

// refresh gives the session with an ID a new proof. signed reports whether a key
// has signed the challenge. The first refresh confirms the binding. The request
// needn't present the session's token, because the holder of the session's key is
// the session's browser: Chromium sends no SameSite cookie with a refresh before a
// page that another site links to. The proof is worth nothing without the token.
//
// ErrEnded: no live session has the ID. ErrUnbound: the session has no key.
// errChallenge. errSignature.
func (s *Session) refresh(ctx context.Context, id ID, challenge string, signed func(key []byte) bool) error {
	s.committing.Lock()
	defer s.committing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passive, s.keepSecret = true, true
	return s.rebind(ctx, id, func(r *store.Record) error {
		e, now := s.e, s.e.now()
		b, ok := readBinding(r.Binding)
		switch {
		case len(r.Binding) == 0:
			return ErrUnbound
		case !ok || !e.opt.Bound.answers(r, challenge, now):
			return errChallenge
		case !signed(b.key):
			e.refuseBound(s.request.Client, r, RefusedUnproven)
			return errSignature
		}
		if b.confirmedAt == 0 {
			b.confirmedAt = now
		}
		var err error
		if s.proof, err = b.prove(e.rand, now, e.opt.Bound); err == nil {
			r.Binding = b.bytes()
		}
		return err
	})
}

// rebind writes the live session with an ID as change leaves it. It tries again
// while others come first. The answer carries the next challenge. It is no activity.
// mu is held.
func (s *Session) rebind(ctx context.Context, id ID, change func(*store.Record) error) error {
	detached := newDetached(ctx)
	defer detached.release()
	e := s.e
	turn := e.queue.enter(id)
	defer e.queue.leave(id, turn)
	for range maxConflicts {
		r, err := e.live(detached, id)
		if err != nil {
			return wrap("read a session", err)
		}
		s.challenged = r
		if err := change(r); err != nil {
			return err
		}
		ended, err := e.store.Update(detached, e.opt.App, r, store.UpdateOptions{Arrived: s.arrived, Now: e.now()})
		e.reportEnded(s.request.Client, ended)
		if err == nil {
			s.outcome.cookies.setProof = s.proof != ""
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return wrap("bind a session", err)
		}
	}
	return fmt.Errorf("%w: %d other commits came first", ErrConflict, maxConflicts)
}

// bindable returns the session that a registration or a refresh is about, or why
// there is none.
func (f *found) bindable() (*store.Record, error) {
	switch r := f.rec; {
	case f.unproven != nil:
		return f.unproven, nil
	case r != nil && r.Subject != "" && !r.Bearer && !f.sealed && f.secret != (secret{}):
		return r, nil
	case f.refusal == RefusedFormer:
		return nil, ErrSuperseded
	case f.endedBy != "":
		return nil, ErrEnded
	}
	return nil, ErrAnonymous
}

// asks reports whether the answer asks the browser to sign a challenge, or to
// register where that is demanded.
func (s *Session) asks() bool {
	return s.challenged != nil || s.demanded || s.found.unproven != nil && !s.keepSecret
}

// asked returns the session whose challenge the answer carries; nil: none.
func (s *Session) asked() *store.Record {
	if s.challenged == nil && s.asks() && s.outcome.issued == "" && !s.draft.logout {
		return s.found.unproven
	}
	return s.challenged
}

// heldDead reports whether the browser holds a proof of an unproven session all the
// same: the store has lost it, or clocks differ. As long as it has the cookie, it
// renews nothing.
func (s *Session) heldDead() bool {
	return s.found.unproven != nil && s.asked() == s.found.unproven && len(s.request.Proofs) > 0
}

// offered stands for a session's offers in throttle.toldBound.
const offered Refusal = "offered"

// offers reports whether the answer asks the browser to register a key, beside a
// new cookie, or once a minute where a requirement demands it: the session has none,
// or nobody knows whether the browser has it. A browser signs once for each offer,
// and only a few times in ten minutes.
func (s *Session) offers() bool {
	if s.e.opt.Bound == nil || !s.outcome.cookies.setSession && (!s.demanded || s.draft.logout) {
		return false
	}
	raw := s.current().Binding
	b, ok := readBinding(raw)
	return len(raw) == 0 || ok && b.confirmedAt == 0 && s.e.now() > b.registeredAt.Add(offerAgain)
}

// proofsSent returns the sessions whose proofs the browser may have sent.
func (s *Session) proofsSent() []ID {
	if s.e.opt.Bound == nil || len(s.request.Proofs) == 0 {
		return nil
	}
	list := slices.Clone(s.found.lives[sessionCookie])
	if r := s.found.rec; r != nil && r.Subject != "" {
		list = appendNew(list, r.ID)
	}
	return list
}

// demands reports whether a requirement demands a bound session.
func (b *Binding) demands(q Requirement) bool {
	return q.Bound || b != nil && b.RequireLevel > 0 && q.Level >= b.RequireLevel
}

// proves returns nil if the session is bound and the request has proved it:
// otherwise ErrUnbound or ErrUnproven. A request that is good without a proof, for
// whatever reason, has not.
func (s *Session) proves() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.finished:
		return ErrFinished
	case len(s.current().Binding) > 0 && s.found.standing == proven:
		return nil
	}
	if r, err := s.found.bindable(); err == nil && s.e.opt.Bound != nil && !s.demanded {
		s.demanded = !s.e.bad.toldBound(r.ID, offered, s.e.now())
	}
	if len(s.current().Binding) == 0 {
		return ErrUnbound
	}
	return ErrUnproven
}

// refuseBound reports that a request to a bound session was refused.
func (e *Engine) refuseBound(by Client, r *store.Record, why Refusal) {
	if !e.bad.toldBound(r.ID, why, e.now()) {
		e.emit(Event{Kind: EventRefused, Session: r.ID, Subject: r.Subject, Client: by, Refusal: why})
	}
}
