package sojourn

import (
	"context"

	"github.com/sojourn-go/sojourn/store"
)

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
