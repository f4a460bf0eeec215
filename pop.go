package sojourn

import (
	"context"
	"errors"
	"fmt"

	"github.com/sojourn-go/sojourn/store"
)

// pop hands the value of a key to decode, and removes it from the store at the
// same revision. It reports whether there was a value. The request's changes
// wait for the commit. If a parallel request has elevated or ended the session,
// pop fails as a commit does.
func (s *Session) pop(key string, decode func([]byte) error) (bool, error) {
	s.mu.Lock()
	err := s.mayChange() // before it waits for a commit or a pop: that may be running the caller, in an Update
	if err == nil && s.rereading {
		err = fmt.Errorf("%w: Pop while the changes are applied again", ErrConflict)
	}
	s.mu.Unlock()
	if err != nil {
		return false, err
	}
	s.committing.Lock() // so that no commit takes a draft that reread has half applied
	defer s.committing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.rereading = false }()
	if err := s.mayChange(); err != nil {
		return false, err
	}
	if s.found.undecided {
		if err := s.decide(s.ctx, &s.e.bad.ends); err != nil {
			return false, err
		}
	}
	ctx := newDetached(s.ctx)
	defer ctx.release()
	if rec := s.found.rec; rec != nil {
		turn := s.e.queue.enter(rec.ID)
		defer s.e.queue.leave(rec.ID, turn)
	}
	for range maxConflicts {
		raw, ok := s.current().Values.Get(key)
		if !ok {
			return false, nil
		}
		if err := decode(raw); err != nil {
			return false, err
		}
		if s.draft.create && !s.draft.leaves || s.draft.touches(key) || s.found.sealed { // it is this request's own
			return true, s.change(op{kind: opDelete, key: key})
		}
		if s.found.tooLate != nil { // it is the visitor's, beside an unproven session
			return false, s.found.tooLate
		}
		if s.request.IfRevision != 0 && s.request.IfRevision != s.found.rec.Revision {
			return false, ErrRevision
		}
		err := s.removeNow(ctx, key)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return false, wrap("take a value", err)
		}
		s.rereading = true
		err = s.reread(ctx)
		s.dropEmpty()
		if err != nil {
			return false, err
		}
	}
	return false, fmt.Errorf("%w: %d other commits came first", ErrConflict, maxConflicts)
}

// removeNow writes the session as it was read, without a key, and removes the
// key from the draft. mu is held.
func (s *Session) removeNow(ctx context.Context, key string) error {
	f, d := &s.found, &s.draft
	w := new(store.Record)
	w.CopyFrom(f.rec)
	w.Cached = false
	w.Values = f.rec.Values.AppendDelete(w.Values[:0], key)
	ended, err := s.e.store.Update(ctx, s.e.opt.App, w, store.UpdateOptions{Arrived: s.arrived, Now: s.e.now()})
	s.e.reportEnded(s.request.Client, ended)
	if err != nil {
		return err
	}
	f.rec = w
	if s.request.IfRevision != 0 {
		s.request.IfRevision = w.Revision // nobody else has changed anything
	}
	if d.rec != nil {
		d.remove(key)
	}
	if d.rec != nil && !d.create {
		d.rec.Revision = w.Revision
	}
	return nil
}
