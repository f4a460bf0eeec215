package sojourn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

const (
	// storeTimeout bounds a commit, which goes on when the client goes away.
	storeTimeout = 10 * time.Second

	// maxConflicts is the number of times that a commit is tried again. In one process commits of a session take turns, so
	// it takes as many nodes to lose that often.
	maxConflicts = 50
)

// commit writes the changes, once.
func (s *Session) commit(ctx context.Context) error {
	s.committing.Lock()
	defer s.committing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.committed {
		if s.finished { // the handler panicked: nothing of it may land
			return ErrFinished
		}
		s.committed, s.commitErr = true, ErrUncertain // until write returns: it may panic, in the function of an Update
		s.commitErr = s.write(ctx)
	}
	return s.commitErr
}

func (s *Session) write(ctx context.Context) error {
	if !s.loaded || s.loadErr != nil {
		return s.loadErr
	}
	if s.logout {
		return s.writeLogout(ctx)
	}
	if s.refused != nil && len(s.ops) > 0 && s.loginSubject() == "" {
		return s.refused
	}
	if s.request.IfRevision != 0 && len(s.ops) > 0 && (s.rec == nil || s.rec.Revision != s.request.IfRevision) {
		return ErrRevision
	}
	if s.loginSubject() != "" && s.e.now().Sub(s.arrived) > store.BarrierLife {
		return fmt.Errorf("%w: the login took longer than %v, so nobody can say whether the user's sessions were ended meanwhile", ErrEnded, store.BarrierLife)
	}
	asked := len(s.ops) > 0
	if s.rotates() {
		if err := s.change(op{kind: opRotate, periodic: true}); err != nil && asked {
			return err
		}
	}
	if len(s.ops) == 0 {
		s.noteLater()
		return nil
	}
	detached := newDetached(ctx)
	defer detached.release()
	err := s.store(detached)
	if err == nil {
		return s.stored(detached)
	}
	s.fresh = false
	if asked {
		return err
	}
	// Only a rotation was due. Whether it was written or not, the browser's secret stays good.
	if !errors.Is(err, ErrSuperseded) && !errors.Is(err, ErrEnded) {
		s.e.emit(Event{Kind: EventWriteFailed, Session: s.rec.ID, Detail: "rotation: " + err.Error()})
	}
	return nil
}

// rotates reports whether the response is to carry a new secret, though nobody asked for it.
func (s *Session) rotates() bool {
	return s.rec != nil && !s.noRotate && !s.fresh && rotationDue(s.rec, s.verdict, s.arrived, &s.e.policy)
}

// store writes work, with the operations applied to the newest record for as long as others get in between.
func (s *Session) store(ctx context.Context) error {
	if !s.create {
		turn := s.e.queue.enter(s.rec.ID)
		defer s.e.queue.leave(s.rec.ID, turn)
	}
	for range maxConflicts {
		var err error
		if s.unchanged() {
			err = s.look(ctx)
		} else {
			err = s.try(ctx)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, store.ErrConflict) && s.rec != nil:
			err = s.reread(ctx)
		case errors.Is(err, store.ErrLimit) && s.makeRoom(ctx):
			err = nil
		case s.overtaken(err):
			err = s.rebase(nil)
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

// unchanged reports whether the operations have no effect: they set values that
// are there already, delete absent ones, or rotate a secret too early.
func (s *Session) unchanged() bool {
	return !s.create && !s.fresh && s.work.Values.Equal(s.rec.Values)
}

// look takes the place of the write of an unchanged session. It makes sure that
// the session is unchanged in the store too. A copy in memory may be older than
// a write that another request was already told of; then this write must follow
// that one.
func (s *Session) look(ctx context.Context) error {
	rec, err := s.e.live(ctx, s.rec.ID)
	if err != nil {
		return err
	}
	if rec.Revision != s.rec.Revision {
		return store.ErrConflict
	}
	s.noteLater()
	return nil
}

// try writes work once.
func (s *Session) try(ctx context.Context) error {
	e, w, now := s.e, s.work, s.e.now()
	limit := store.Limit{Max: max(e.opt.MaxSessions, 0), Refuse: e.opt.RefuseOverLimit}
	var ended []store.Ended
	var err error
	if s.create {
		opt := store.CreateOptions{Limit: limit, Arrived: s.arrived, Now: now}
		if s.rec == nil {
			opt.Key, opt.KeyBody = s.request.IdempotencyKey, s.request.IdempotencyBody
		}
		ended, err = e.store.Create(ctx, e.opt.App, w, opt)
	} else {
		s.noteNow(w)
		ended, err = e.store.Update(ctx, e.opt.App, w, store.UpdateOptions{
			Login: s.loginSubject() != "", Limit: limit, Arrived: s.arrived, Now: now,
		})
	}
	e.ended(s.request.Client, ended)
	if errors.Is(err, store.ErrRepeated) {
		return s.repeat(ctx, w.ID)
	}
	return err
}

// repeat gives the session that an earlier request of the same idempotency key has created a fresh secret. The answer to that request may have
// arrived all the same, so its secret stays good until the fresh one is confirmed.
func (s *Session) repeat(ctx context.Context, id ID) error {
	turn := s.e.queue.enter(id)
	defer s.e.queue.leave(id, turn)
	for range maxConflicts {
		rec, err := s.e.live(ctx, id)
		if err != nil {
			return err
		}
		w, now := s.work, s.e.now()
		if rec.Epoch != w.Epoch {
			// The session has more authority than the request had that created it, and whoever repeats that may not be who logged in (I13).
			return ErrSuperseded
		}
		if len(rec.Halves) >= maxRepeats {
			return ErrRepeats
		}
		w.CopyFrom(rec)
		if err := s.renew(false); err != nil {
			return err
		}
		repeatHalf(w, &s.next)
		rotate(w, &s.next, store.Hash{}, now, s.e.policy.Grace)
		_, err = s.e.store.Update(ctx, s.e.opt.App, w, store.UpdateOptions{Arrived: s.arrived, Now: now})
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		s.create = false
		s.ops = append(s.ops[:0], op{kind: opRotate, done: true})
		return err
	}
	return store.ErrConflict
}

// reread takes the newest record after a conflict, if the request may still write into it, and applies the operations to it.
func (s *Session) reread(ctx context.Context) error {
	rec, err := s.e.live(ctx, s.rec.ID)
	if s.overtaken(err) {
		return s.rebase(nil)
	}
	if err != nil {
		return wrap("commit", err)
	}
	if s.request.IfRevision != 0 {
		return ErrRevision
	}
	if rec.Epoch != s.epoch {
		// The request was authorised before a login or elevation (I13), and goes on only if it is itself a login.
		switch s.loginSubject() {
		case "":
			return ErrSuperseded
		case rec.Subject:
			s.verdict = former
		default:
			return s.rebase(nil)
		}
	} else if s.verdict >= good {
		s.verdict = judge(rec, &s.presented, s.arrived)
	}
	s.rec = rec
	if err := s.rebase(rec); err != nil {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return nil
}

// overtaken reports whether err tells that the session ended under a login, which then starts a new one.
func (s *Session) overtaken(err error) bool {
	return !s.create && s.loginSubject() != "" && gone(err)
}

// loginSubject returns whom the request logs in; empty if nobody.
func (s *Session) loginSubject() string {
	for i := len(s.ops) - 1; i >= 0; i-- {
		if s.ops[i].kind == opLogin {
			return s.ops[i].login.subject
		}
	}
	return ""
}

// stored does what follows a successful write.
func (s *Session) stored(ctx context.Context) error {
	e, w := s.e, s.work
	if s.fresh {
		s.issued = token(w.ID, &s.next)
		s.cookies.set(w, s.visitorSent)
		e.bad.live(e.bad.sum(s.issued))
	}
	if e.opt.OnEvent != nil {
		s.report()
	}
	for _, id := range s.displaced() {
		ended, err := e.store.End(ctx, e.opt.App, id, ReasonLogout, e.now())
		e.ended(s.request.Client, ended)
		if err == nil || gone(err) {
			continue
		}
		// After a login that failed, nobody may be logged in as the other user,
		// and nothing of the login may remain.
		s.fresh, s.issued, s.cookies = false, "", cookieChange{}
		undone, undo := e.store.End(ctx, e.opt.App, w.ID, ReasonLogout, e.now())
		e.ended(s.request.Client, undone)
		if undo != nil {
			return fmt.Errorf("%w: end a session that another took the place of: %w", ErrUncertain, err)
		}
		return wrap("end a session that another took the place of", err)
	}
	return nil
}

// displaced returns the sessions that the new one replaces: another user's, and
// live ones of other cookies with the same name, which would make the next
// request ambiguous.
func (s *Session) displaced() (list []ID) {
	if !s.replaced.IsZero() {
		list = append(list, s.replaced)
	}
	if !s.cookies.setSession && !s.cookies.setVisitor {
		return list
	}
	name := sessionCookie
	if s.cookies.setVisitor {
		name = visitorCookie
	}
	for _, id := range s.lives[name] {
		if id != s.work.ID && id != s.replaced {
			list = append(list, id)
		}
	}
	return list
}

// makeRoom ends the sessions that a login is to displace, after the limit of the
// subject's sessions has refused it, and reports whether it may be tried again.
func (s *Session) makeRoom(ctx context.Context) (ended bool) {
	if s.work.Bearer { // it has no cookie, and displaces nothing
		return false
	}
	for _, id := range s.lives[sessionCookie] {
		if id == s.replaced || id == s.work.ID {
			continue
		}
		list, err := s.e.store.End(ctx, s.e.opt.App, id, ReasonLogout, s.e.now())
		s.e.ended(s.request.Client, list)
		ended = ended || len(list) > 0
		if err != nil && !gone(err) {
			return false
		}
	}
	return ended
}

// report emits what the commit did.
func (s *Session) report() {
	e, w := s.e, s.work
	event := Event{Session: w.ID, Subject: w.Subject, Client: s.request.Client, Level: int(w.Level), AMR: splitWords(w.AMR)}
	if s.create {
		e.emit(event.of(EventCreated))
	}
	for i := range s.ops {
		switch s.ops[i].kind {
		case opLogin:
			e.emit(event.of(EventAuthenticated))
		case opElevate:
			e.emit(event.of(EventElevated))
		case opRotate:
			if s.ops[i].done {
				e.emit(event.of(EventRotated))
			}
		}
	}
}

func (s *Session) writeLogout(ctx context.Context) error {
	// A request that was sent before the session ended, or before it was renewed, may be answered after a later login, whose cookie must
	// stay. One that was sent to a dead session is the visitor's way out of it.
	if s.refused == nil || s.endedBy != "" && s.arrived > s.endedAt {
		s.cookies.clear(s.sessionSent, s.visitorSent)
	}
	list := append(s.lives[sessionCookie], s.lives[visitorCookie]...)
	if s.rec != nil {
		list = appendNew(list, s.rec.ID)
	}
	if len(list) == 0 {
		return nil
	}
	detached := newDetached(ctx)
	defer detached.release()
	for _, id := range list {
		ended, err := s.e.store.End(detached, s.e.opt.App, id, ReasonLogout, s.e.now())
		s.e.ended(s.request.Client, ended)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return wrap("log out", err)
		}
	}
	return nil
}

// noteNow adds to a record that is written anyway what the request tells of its use.
func (s *Session) noteNow(w *store.Record) {
	if !s.passive && s.arrived > w.LastSeenAt {
		w.LastSeenAt = s.arrived
	}
	if !s.passive && s.clientChanged(w) && s.arrived >= w.LastSeenAt {
		w.LastClient = s.request.Client
	}
	if s.verdict != current || s.fresh {
		return
	}
	if c, due := sight(w, s.arrived, s.e.policy.Grace); due {
		w.Confirm(c)
	}
}

// noteLater has that written behind.
func (s *Session) noteLater() {
	if s.rec == nil {
		return
	}
	if s.touchDue(s.rec) {
		client := s.request.Client
		if client == (Client{}) { // of a caller who doesn't say
			client = s.rec.LastClient
		}
		s.e.behind.add(&note{id: s.rec.ID, touch: s.arrived, client: client})
	}
	if s.verdict != current {
		return
	}
	if c, due := sight(s.rec, s.arrived, s.e.policy.Grace); due {
		s.e.behind.add(&note{id: s.rec.ID, secret: s.rec.Secret.Hash, confirm: c})
	}
}

// A commitQueue lets the commits of one session take turns, so that in one process none has to be tried twice for long.
type commitQueue struct {
	shards [64]struct {
		mu    sync.Mutex
		turns map[ID]*turn
		spare *turn
	}
}

type turn struct {
	mu    sync.Mutex
	users int // who hold it or wait for it; the shard's mutex guards it
}

func (q *commitQueue) enter(id ID) *turn {
	shard := &q.shards[id[15]%64]
	shard.mu.Lock()
	if shard.turns == nil {
		shard.turns = make(map[ID]*turn)
	}
	t := shard.turns[id]
	if t == nil {
		if t, shard.spare = shard.spare, nil; t == nil {
			t = new(turn)
		}
		shard.turns[id] = t
	}
	t.users++
	shard.mu.Unlock()
	t.mu.Lock()
	return t
}

func (q *commitQueue) leave(id ID, t *turn) {
	t.mu.Unlock()
	shard := &q.shards[id[15]%64]
	shard.mu.Lock()
	if t.users--; t.users == 0 {
		delete(shard.turns, id)
		shard.spare = t
	}
	shard.mu.Unlock()
}
