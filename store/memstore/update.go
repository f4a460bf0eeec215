package memstore

import (
	"context"
	"errors"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) ([]store.Ended, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	a := s.apps.Find(app)
	if a == nil {
		return nil, store.ErrNotFound
	}
	for {
		self, owner, err := s.updateValues(a, rec, &opt)
		if err != nil || self == 0 {
			return nil, err
		}
		ended, err := s.updateOwner(a, rec, &opt, self, owner)
		if !errors.Is(err, errAgain) {
			return ended, err
		}
	}
}

// updateValues updates a session that stays its subject's. For a login, or if
// the subject changes, it only checks, and returns the session's link and its
// present subject.
func (s *Store) updateValues(a *app, rec *store.Record, opt *store.UpdateOptions) (self link, owner string, err error) {
	sh, tag, err := s.lockRecord(a, &rec.ID)
	if err != nil {
		return 0, "", err
	}
	defer sh.mu.Unlock()
	var h arena.Head
	handle, _, err := sh.findLive(a, &rec.ID, tag, opt.Now, &h)
	switch {
	case err != nil:
		return 0, "", err
	case h.Revision != rec.Revision:
		return 0, "", store.ErrConflict
	case opt.Login && rec.Subject != "", string(h.Subject) != rec.Subject:
		return linkOf(shardOf(s.hashID(a, &rec.ID)), handle), string(h.Subject), nil
	}
	return 0, "", s.rewrite(sh, a, handle, &h, rec)
}

// findLive finds a session that is live at now.
func (sh *shard) findLive(a *app, id *store.ID, tag uint32, now store.Time, h *arena.Head) (uint32, []byte, error) {
	handle, b := sh.table.Find(a.num, id, tag)
	if handle == 0 {
		return 0, nil, store.ErrNotFound
	}
	arena.Peek(b, h)
	if stateOf(a, h, now) != live {
		return 0, nil, store.ErrEnded
	}
	return handle, b, nil
}

// rewrite replaces a session by rec, and sets rec's revision.
func (s *Store) rewrite(sh *shard, a *app, handle uint32, h *arena.Head, rec *store.Record) error {
	next := *rec
	next.Revision, next.CreatedAt, next.End, next.EndAt = h.Revision+1, h.CreatedAt, "", 0
	if h.LastSeenAt > next.LastSeenAt {
		next.LastSeenAt, next.LastClient = h.LastSeenAt, h.LastClient(&s.strings)
	}
	if err := s.write(sh, a, handle, &next, false); err != nil {
		return err
	}
	rec.Revision = next.Revision
	s.feed.Publish(store.Change{Kind: store.Changed, App: a.name, ID: next.ID, Revision: next.Revision})
	return nil
}

// updateOwner updates a session of owner, in one step with what the limit of
// the new subject demands. It returns errAgain if the session has another
// subject by now.
func (s *Store) updateOwner(a *app, rec *store.Record, opt *store.UpdateOptions, self link, owner string) ([]store.Ended, error) {
	from, to := s.subject(a, owner), s.subject(a, rec.Subject)
	var subjects shardSet
	if owner != "" {
		subjects.add(shardOf(from.hash))
	}
	if rec.Subject != "" {
		subjects.add(shardOf(to.hash))
	}
	for i := range subjects.all {
		if err := s.lock(&s.subjects[i].mu); err != nil {
			return nil, err
		}
		defer s.subjects[i].mu.Unlock()
	}

	sh := &s.records[self.shard()]
	write := func() (link, error) {
		var h arena.Head
		handle, _, err := sh.findLive(a, &rec.ID, tagOf(s.hashID(a, &rec.ID)), opt.Now, &h)
		switch {
		case err != nil:
			return 0, err
		case h.Revision != rec.Revision:
			return 0, store.ErrConflict
		case handle != self.handle() || string(h.Subject) != owner:
			return 0, errAgain
		}
		t, created := sh.tally(a), h.CreatedAt
		if err := s.rewrite(sh, a, handle, &h, rec); err != nil {
			return 0, err
		}
		t.adjust(created, 0, loggedIn(rec.Subject != "", 1)-loggedIn(owner != "", 1))
		return self, nil
	}
	var ended []store.Ended
	var err error
	switch {
	case rec.Subject == "":
		sh.mu.Lock()
		_, err = write()
		sh.mu.Unlock()
	case a.mark() >= opt.Arrived || to.ss.barriers.hold(a, rec.Subject, opt.Arrived):
		err = store.ErrBarrier
	default:
		listed := self
		if owner == "" || !sameList(from.hash, to.hash) {
			listed = 0
		}
		ended, err = s.join(&to, listed, self.shard(), opt.Limit, opt.Now, write)
	}
	if err == nil && owner != "" && (rec.Subject == "" || !sameList(from.hash, to.hash)) {
		s.unlist(from.ss, from.hash, self)
	}
	return ended, err
}

// Touch implements store.Store.
func (s *Store) Touch(ctx context.Context, app string, id store.ID, at, now store.Time, client store.Client) error {
	a, sh, tag, err := s.open(ctx, app, &id)
	if err != nil {
		return err
	}
	defer sh.mu.Unlock()
	var h arena.Head
	handle, b, err := sh.findLive(a, &id, tag, now, &h)
	if err != nil || at <= h.LastSeenAt {
		return err
	}
	if h.LastClient(&s.strings) == client {
		arena.SetLastSeen(b, at)
		return nil
	}
	err = s.edit(sh, a, handle, false, func(rec *store.Record) bool {
		rec.LastSeenAt, rec.LastClient = at, client
		return true
	})
	if errors.Is(err, store.ErrFull) {
		// The time takes no room. Without it the session would expire while it
		// is in use. The client stays the former one.
		arena.SetLastSeen(b, at)
		err = nil
	}
	return err
}

// Confirm implements store.Store.
func (s *Store) Confirm(ctx context.Context, app string, id store.ID, secret store.Hash, c store.Confirmation) error {
	a, sh, tag, err := s.open(ctx, app, &id)
	if err != nil {
		return err
	}
	defer sh.mu.Unlock()
	handle, b := sh.table.Find(a.num, &id, tag)
	if handle == 0 {
		return store.ErrNotFound
	}
	var h arena.Head
	if arena.Peek(b, &h); !present(a, &h) {
		return store.ErrEnded
	}
	var confirmed uint64
	// A few bytes for each rotation, which had room, may exceed the limit.
	// Without them former secrets would stay good.
	err = s.edit(sh, a, handle, true, func(rec *store.Record) bool {
		if rec.Secret.Hash != secret || !rec.Confirm(c) {
			return false
		}
		rec.Revision++
		confirmed = rec.Revision
		return true
	})
	if err == nil && confirmed != 0 {
		s.feed.Publish(store.Change{Kind: store.Changed, App: a.name, ID: id, Revision: confirmed})
	}
	return err
}

// edit changes a session in its shard, unless change returns false. With beyond
// it may exceed the limit.
func (s *Store) edit(sh *shard, a *app, handle uint32, beyond bool, change func(*store.Record) bool) error {
	rec := scratch.Get().(*store.Record)
	defer scratch.Put(rec)
	s.decode(sh.table.At(handle), rec)
	if !change(rec) {
		return nil
	}
	return s.write(sh, a, handle, rec, beyond)
}
