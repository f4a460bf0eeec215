package sojourn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

const (
	// storeTimeout bounds a commit, which goes on when the client goes away.
	storeTimeout = 10 * time.Second

	// maxConflicts is how often a commit is tried again. Commits of one session
	// take turns in a process, so it takes as many nodes to lose that often.
	maxConflicts = 50
)

// An outcome is what the commit of a request did.
type outcome struct {
	err     error
	issued  string // a token; empty: none
	cookies cookieChange
	done    bool // it was tried
}

// Commit writes the request's changes. Handler does it with the first byte of
// the response. Call it earlier to see the error before a side effect that
// can't be undone. Afterwards the session can't be changed in this request
// (ErrCommitted). A second Commit returns what the first returned.
//
// If it fails, reads go on showing the request's changes. ErrUncertain means
// that nobody knows whether the changes were written. Every other error means
// that nothing was written: ErrEnded, ErrSuperseded, ErrConflict, ErrLimit,
// ErrFull, ErrTooLarge, ErrRevision, ErrUnavailable.
func (s *Session) Commit(ctx context.Context) error {
	s.committing.Lock()
	defer s.committing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.outcome.done {
		if s.finished { // the handler panicked, and none of its changes may land
			return ErrFinished
		}
		s.outcome.done, s.outcome.err = true, ErrUncertain // the function of an Update may panic in write
		if s.outcome.err = s.write(ctx); s.outcome.err != nil {
			s.outcome.cookies = cookieChange{} // what the client has stays
		}
		if s.forget && s.outcome.err == nil && s.state != nil {
			s.outcome.cookies = cookieChange{clearSession: s.found.sessionSent, clearVisitor: s.found.visitorSent}
		}
		if c := &s.outcome.cookies; s.outcome.err == nil && s.state != nil && s.found.clears {
			c.clearSession = s.found.sessionSent && !c.setSession
			c.clearVisitor = s.found.visitorSent && !c.setVisitor
		}
		s.outcome.cookies.clearProof = s.outcome.err == nil && s.state != nil && s.heldDead()
	}
	return s.outcome.err
}

// write commits. mu is held.
func (s *Session) write(ctx context.Context) error {
	if !s.loaded || s.loadErr != nil {
		return s.loadErr
	}
	d, f := &s.draft, &s.found
	if d.logout {
		return s.writeLogout(ctx)
	}
	asked, login := len(d.ops) > 0, d.loginSubject() != ""
	switch {
	case f.tooLate != nil && asked && (!login || s.request.Key != ""):
		return f.tooLate
	case s.request.IfRevision != 0 && asked && (f.rec == nil || f.rec.Revision != s.request.IfRevision):
		return ErrRevision
	case login && s.e.now().Sub(s.arrived) > store.BarrierLife:
		return fmt.Errorf("%w: the login took longer than %v, so nobody can say whether the user's sessions were ended meanwhile", ErrEnded, store.BarrierLife)
	}
	if s.rotates() {
		if err := s.change(op{kind: opRotate, periodic: true}); err != nil && asked {
			return err
		}
	}
	due := s.moves()
	touch := due && len(d.ops) == 0
	if touch {
		if err := s.change(op{kind: opStart}); err != nil {
			return err
		}
	}
	if f.adopted && f.verdict == current && !s.keepSecret {
		s.issue(token(f.rec.ID, &f.secret), f.rec)
	}
	if len(d.ops) == 0 {
		s.noteLater()
		return nil
	}
	detached := newDetached(ctx)
	defer detached.release()
	err := s.store(detached, due)
	if err == nil {
		return s.stored(detached)
	}
	d.fresh = false
	if asked {
		return err
	}
	// Only a rotation or a touch was due. Whether it was written or not, what the
	// browser has stays good.
	if !errors.Is(err, ErrSuperseded) && !errors.Is(err, ErrEnded) {
		what := "rotation: "
		if touch {
			what = "activity: "
		}
		s.e.emit(Event{Kind: EventWriteFailed, Session: f.rec.ID, Detail: what + err.Error()})
	}
	return nil
}

// rotates reports whether the commit gives the session a new secret that nobody
// asked for.
func (s *Session) rotates() bool {
	return s.found.rec != nil && !s.keepSecret && !s.draft.fresh && rotationDue(s.found.rec, s.found.verdict, s.arrived, &s.e.opt.Policy)
}

// store writes the draft. While other commits come first, it applies the
// operations to the newest record and tries again. due: there is something to
// write even if they change nothing.
func (s *Session) store(ctx context.Context, due bool) error {
	if (!s.draft.create || s.draft.leaves) && !s.found.sealed {
		turn := s.e.queue.enter(s.found.rec.ID)
		defer s.e.queue.leave(s.found.rec.ID, turn)
	}
	for range maxConflicts {
		var err error
		if !s.draft.create && !due && s.draft.unchanged(s.found.rec) {
			err = s.look(ctx)
		} else {
			err = s.try(ctx)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, store.ErrConflict) && s.found.rec != nil:
			err = s.reread(ctx)
		case errors.Is(err, store.ErrExists) && s.request.Key != "":
			err = s.join(ctx)
		case errors.Is(err, store.ErrLimit) && s.makeRoom(ctx):
			err = nil
		case s.overtaken(err):
			err = s.reapply(nil)
		case errors.Is(err, ErrSuperseded), errors.Is(err, ErrRepeats):
			return err
		default:
			return wrap("commit", err)
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %d other commits came first", ErrConflict, maxConflicts)
}

// look takes the place of the write of an unchanged session. It makes sure that
// the session is unchanged in the store too. A copy in memory may be older than
// a write that another request was already told of; then this write must follow
// that one.
func (s *Session) look(ctx context.Context) error {
	if s.found.sealed {
		return nil
	}
	rec, err := s.e.live(ctx, s.found.rec.ID)
	if err != nil {
		return err
	}
	if rec.Revision != s.found.rec.Revision {
		return store.ErrConflict
	}
	s.noteLater()
	return nil
}

// try writes the draft once.
func (s *Session) try(ctx context.Context) error {
	e, d, now := s.e, &s.draft, s.e.now()
	limit := e.limit()
	if d.leaves {
		if err := s.leave(ctx, true); err != nil {
			return err
		}
		d.leaves, d.left = false, true
	}
	if t := s.terms(); t.seals(d.rec) {
		return s.sealDraft(ctx)
	}
	var ended []store.Ended
	var err error
	if d.create {
		opt := store.CreateOptions{Limit: limit, Arrived: s.arrived, Now: now}
		if s.found.rec == nil {
			opt.Key, opt.KeyBody = s.request.IdempotencyKey, s.request.IdempotencyBody
		}
		ended, err = e.store.Create(ctx, e.opt.App, d.rec, opt)
	} else {
		s.noteWith(d.rec)
		ended, err = e.store.Update(ctx, e.opt.App, d.rec, store.UpdateOptions{
			Login: d.loginSubject() != "", Limit: limit, Arrived: s.arrived, Now: now,
		})
	}
	e.reportEnded(s.request.Client, ended)
	if errors.Is(err, store.ErrRepeated) {
		return s.repeat(ctx, d.rec.ID)
	}
	return err
}

// limit returns how many sessions a subject may have.
func (e *Engine) limit() store.Limit {
	return store.Limit{Max: max(e.opt.MaxSessions, 0), Refuse: e.opt.RefuseOverLimit}
}

// leave ends the session that Regenerate leaves. Before that it replaces its
// secret by one that nobody gets. From then on no parallel request writes a value
// that the new session would miss, and a failure leaves nobody logged in. It ends
// a stored session that goes on sealed, too; that is no event.
func (s *Session) leave(ctx context.Context, event bool) error {
	if s.found.sealed {
		return s.endFound(ctx, s.found.rec.ID, ReasonLogout)
	}
	e, w, now := s.e, new(store.Record), s.e.now()
	var unknown secret
	if err := readRandom(e.rand, unknown[:]); err != nil {
		return err
	}
	w.CopyFrom(s.found.rec)
	newEpoch(w, &unknown, now, false, false, e.opt.Policy.Grace)
	ended, err := e.store.Update(ctx, e.opt.App, w, store.UpdateOptions{Arrived: s.arrived, Now: now})
	e.reportEnded(s.request.Client, ended)
	if err != nil {
		return err
	}
	ended, err = e.store.End(ctx, e.opt.App, w.ID, ReasonLogout, now)
	if event {
		e.reportEnded(s.request.Client, ended)
	}
	if err == nil && len(ended) == 0 {
		return store.ErrEnded // somebody else has ended it, so its values must not live on (I4)
	}
	return err
}

// repeat gives the session that an earlier request under the same idempotency
// key has created a fresh secret. The answer to that request may have arrived
// all the same, so its secret stays good until the fresh one is confirmed.
func (s *Session) repeat(ctx context.Context, id ID) error {
	turn := s.e.queue.enter(id)
	defer s.e.queue.leave(id, turn)
	for range maxConflicts {
		created, err := s.e.live(ctx, id)
		if err != nil {
			return err
		}
		t := s.terms()
		if err := s.draft.repeat(created, &t); err != nil {
			return err
		}
		_, err = s.e.store.Update(ctx, s.e.opt.App, s.draft.rec, store.UpdateOptions{Arrived: s.arrived, Now: t.now()})
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		s.draft.create = false
		s.draft.ops = append(s.draft.ops[:0], op{kind: opRotate, done: true})
		return err
	}
	return store.ErrConflict
}

// reread takes the newest record after a conflict, if the request may still
// write into it, and applies the operations to it.
func (s *Session) reread(ctx context.Context) error {
	f := &s.found
	rec, err := s.e.live(ctx, f.rec.ID)
	if s.overtaken(err) {
		return s.reapply(nil)
	}
	if err != nil {
		return wrap("commit", err)
	}
	if s.request.IfRevision != 0 {
		return ErrRevision
	}
	if rec.Epoch != f.epoch {
		// The request was authorised before a login or elevation (I13), and goes on
		// only if it is itself a login.
		switch s.draft.loginSubject() {
		case "":
			return ErrSuperseded
		case rec.Subject:
			f.verdict = former
		default:
			return s.reapply(nil)
		}
	} else if f.verdict >= good {
		f.verdict = judge(rec, &f.secret, s.arrived)
	}
	f.rec = rec
	return s.reapply(rec)
}

// reapply is rebase at the commit, where the function of an Update may fail on
// another value than the one that the handler saw.
func (s *Session) reapply(rec *store.Record) error {
	if err := s.rebase(rec); err != nil {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return nil
}

// overtaken reports whether err tells that the session ended under a login,
// which then starts a new one.
func (s *Session) overtaken(err error) bool {
	return (!s.draft.create || s.draft.leaves) && s.draft.loginSubject() != "" && s.request.Key == "" && gone(err)
}

// stored does what follows a successful write.
func (s *Session) stored(ctx context.Context) error {
	e, d := s.e, &s.draft
	switch {
	case d.sealed != "":
		s.issue(d.sealed, d.rec)
	case d.fresh && s.request.Key == "":
		s.issue(token(d.rec.ID, &d.next), d.rec)
		e.bad.live(e.bad.sum(s.outcome.issued))
	}
	e.reportDraft(s.request.Client, d)
	err := s.replaceOthers(ctx)
	if err == nil {
		return nil
	}
	// Undo the new session: those that it would replace live on.
	sealed := d.sealed != ""
	d.fresh, d.sealed, s.outcome.issued, s.outcome.cookies = false, "", "", cookieChange{}
	if sealed {
		return err
	}
	detached := newDetached(ctx)
	defer detached.release()
	undone, undo := e.store.End(detached, e.opt.App, d.rec.ID, ReasonLogout, e.now())
	e.reportEnded(s.request.Client, undone)
	if undo != nil {
		return fmt.Errorf("%w: end the session before a login: %w", ErrUncertain, err)
	}
	return err
}

// replaceOthers ends the sessions that the new one replaces.
func (s *Session) replaceOthers(ctx context.Context) error {
	if len(s.request.Old) > 0 && (!s.draft.replaced.IsZero() || s.draft.left) {
		if err := s.dropOld(ctx); err != nil {
			return err
		}
		detached := newDetached(ctx) // dropOld may have taken all the time of ctx
		defer detached.release()
		ctx = detached
	}
	for _, id := range s.displaced() {
		if err := s.endFound(ctx, id, ReasonLogout); err != nil && !gone(err) {
			return wrap("end the session before a login", err)
		}
	}
	return nil
}

// issue gives the client the token of r, in place of any issued before.
func (s *Session) issue(token string, r *store.Record) {
	s.outcome.issued, s.outcome.cookies = token, cookieChange{}
	if r.Bearer { // what its cookies name stays as it is
		return
	}
	s.outcome.cookies.set(r, s.found.visitorSent)
	s.outcome.cookies.clearSession = s.draft.left && r.Subject == "" && s.found.sessionSent
	s.outcome.cookies.clearOld = s.found.adopted && s.e.opt.Adopt != nil && !s.e.opt.Adopt.KeepCookie
}

// displaced returns the sessions that the new one replaces: another user's, and
// live ones of other cookies with the same name, which would make the next
// request ambiguous. Regenerate leaves none of either name.
func (s *Session) displaced() (list []ID) {
	replaced, cookies := s.draft.replaced, &s.outcome.cookies
	if !replaced.IsZero() {
		list = append(list, replaced)
	}
	if !cookies.setSession && !cookies.setVisitor {
		return list
	}
	name := sessionCookie
	if cookies.setVisitor {
		name = visitorCookie
	}
	for by, ids := range s.found.lives {
		for _, id := range ids {
			if (transport(by) == name || s.draft.left) && id != s.draft.rec.ID && id != replaced {
				list = append(list, id)
			}
		}
	}
	return list
}

// makeRoom ends the sessions that a login is to displace, after the limit of the
// subject's sessions has refused it. It reports whether that made room.
func (s *Session) makeRoom(ctx context.Context) (ended bool) {
	d := &s.draft
	if d.rec.Bearer { // it has no cookie, and displaces nothing
		return false
	}
	for _, id := range s.found.lives[sessionCookie] {
		if id == d.replaced || id == d.rec.ID {
			continue
		}
		list, err := s.e.store.End(ctx, s.e.opt.App, id, ReasonLogout, s.e.now())
		s.e.reportEnded(s.request.Client, list)
		ended = ended || len(list) > 0
		if err != nil && !gone(err) {
			return false
		}
	}
	return ended
}

func (s *Session) writeLogout(ctx context.Context) error {
	f := &s.found
	// The answer to a request that was sent before the session ended, or before
	// its secret was replaced, may arrive after a later login. The cookie of that
	// login must stay. A request that was sent to a dead session is the visitor's
	// way out of it, and clears the cookie.
	if f.tooLate == nil || f.unproven != nil || f.endedBy != "" && s.arrived > f.endedAt {
		s.outcome.cookies.clear(f.sessionSent, f.visitorSent)
	}
	list := append(f.lives[sessionCookie], f.lives[visitorCookie]...)
	if f.rec != nil {
		list = appendNew(list, f.rec.ID)
	}
	if len(list) == 0 && len(s.request.Old) == 0 {
		return nil
	}
	if err := s.dropOld(ctx); err != nil {
		return err
	}
	detached := newDetached(ctx)
	defer detached.release()
	for _, id := range list {
		if err := s.endFound(detached, id, ReasonLogout); err != nil && !errors.Is(err, store.ErrNotFound) {
			return wrap("log out", err)
		}
	}
	return nil
}
