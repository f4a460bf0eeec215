package sojourn

import (
	"context"
	"errors"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// touchEvery is how often activity is noted, where the idle limit is long.
const touchEvery = time.Minute

// touchDue reports whether the activity of this request is worth noting: at most
// once in a twentieth of the idle limit, or in touchEvery.
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
	reaction := ReactionAllow
	if e.opt.ClientChanged != nil {
		reaction = e.opt.ClientChanged(was, is)
	}
	// Of a slow request, since whose arrival another client was seen, no change is
	// noted. But it is reacted to: a thief can be as slow as he likes.
	slow := s.arrived < s.rec.LastSeenAt
	if s.met == 0 && (!slow || reaction != ReactionAllow) {
		e.emit(Event{Kind: EventClientChanged, Session: s.rec.ID, Subject: s.rec.Subject, Client: is, Was: was})
	}
	switch reaction {
	case ReactionStepUp:
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
	case ReactionEnd:
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
		if s.request.IfRevision == s.rec.Revision {
			s.request.IfRevision = w.Revision // nobody else has changed anything
		}
		s.rec = w
	case errors.Is(err, store.ErrFull): // the step-up holds for this request; the client stays unknown, so that the next one meets it too
		s.rec.Stale, s.passive = true, true
		err = nil
	}
	return err
}
