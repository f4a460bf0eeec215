package sojourn

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/sojourn-go/sojourn/store"
)

// keyedID returns the ID of the session under a key of the caller's own
// (Request.Key), made from a hash. So a store needs no index of keys, and remembers
// that a key's session has ended. The hash doesn't reveal a key that is hard to
// guess.
func (e *Engine) keyedID(key string) ID {
	return hashedID(sha256.Sum256([]byte("sojourn key\x00" + e.opt.App + "\x00" + key)))
}

// findKeyed finds the session of Request.Key. The caller has authenticated the
// browser, so there is no secret to judge. found is empty, and mu is held.
func (s *Session) findKeyed(ctx context.Context) error {
	if err := checkLifetime(Lifetime{Idle: s.request.Idle}); err != nil {
		return err
	}
	if err := s.e.needsStore("Request.Key"); err != nil {
		return err
	}
	e, f, rec, now := s.e, &s.found, &s.record, s.e.now()
	id := e.keyedID(s.request.Key)
	s.keepSecret = true
	rec.Cached = false
	err := e.store.Get(ctx, e.opt.App, id, s.strict, rec)
	reason, at := rec.ExpiredAt(now)
	due := !s.passive && touchDue(rec, &s.request.Client, s.arrived)
	if rec.Cached && (err != nil || reason != "" || due) {
		rec.Cached = false
		err = e.store.Get(ctx, e.opt.App, id, true, rec)
		reason, at = rec.ExpiredAt(now)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case errors.Is(err, store.ErrEnded):
		f.endedBy, f.endedAt, f.tooLate = rec.End, rec.EndAt, ErrEnded
		return nil
	case err != nil:
		return wrap("read a session", err)
	case reason != "":
		ended, err := e.store.End(ctx, e.opt.App, id, reason, at)
		if err != nil && !gone(err) {
			return wrap("end an expired session", err)
		}
		e.reportEnded(s.request.Client, ended)
		f.endedBy, f.endedAt, f.tooLate = reason, at, ErrEnded
		return nil
	}
	f.vouch(rec)
	return nil
}

// vouch makes rec the request's session without a secret: the caller knows that
// the request may use it.
func (f *found) vouch(rec *store.Record) { f.rec, f.epoch, f.verdict = rec, rec.Epoch, current }

// join goes on with the session that another request has created under the key.
// mu is held.
func (s *Session) join(ctx context.Context) error {
	rec, err := s.e.live(ctx, s.e.keyedID(s.request.Key))
	if err != nil {
		return wrap("commit", err)
	}
	s.found.vouch(rec)
	return s.reapply(rec)
}
