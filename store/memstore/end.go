package memstore

import (
	"context"
	"errors"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

var (
	errNoReason  = errors.New("memstore: a session ends for a reason")
	errNoSubject = errors.New("memstore: EndSubject needs a subject")
)

// End implements store.Store.
func (s *Store) End(ctx context.Context, app string, id store.ID, reason store.Reason, at store.Time) (list []store.Ended, err error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if reason == "" {
		return nil, errNoReason
	}
	a := s.apps.Find(app)
	if a == nil {
		return nil, store.ErrNotFound
	}
	sh, tag, err := s.lockRecord(a, &id)
	if err != nil {
		return nil, err
	}
	handle, b := sh.table.Find(a.num, &id, tag)
	var subject string
	var h arena.Head
	switch {
	case handle == 0:
		err = store.ErrNotFound
	case arena.Peek(b, &h) && present(a, &h):
		subject = s.bury(sh, a, handle, reason, at, &list)
	}
	if subject == "" {
		sh.mu.Unlock()
		return list, err
	}
	hash := s.hashSubject(a.num, subject)
	s.willLeave(hash)
	sh.mu.Unlock()
	s.leave(hash, linkOf(shardOf(s.hashID(a, &id)), handle))
	return list, err
}

// EndSubject implements store.Store.
func (s *Store) EndSubject(ctx context.Context, app, subject string, except store.ID, reason store.Reason, at store.Time) (list []store.Ended, err error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	switch {
	case subject == "":
		return nil, errNoSubject
	case reason == "":
		return nil, errNoReason
	}
	a := s.apps.Need(app, newApp)
	sub := s.subject(a, subject)
	if err := s.lock(&sub.ss.mu); err != nil {
		return nil, err
	}
	defer sub.ss.mu.Unlock()
	sub.ss.barriers.raise(a, subject, at)
	var gone []link
	s.each(&sub, func(l link, id store.ID, h *arena.Head) {
		if id != except && present(a, h) {
			s.bury(&s.records[l.shard()], a, l.handle(), reason, at, &list)
			gone = append(gone, l)
		}
	})
	s.unlist(sub.ss, sub.hash, gone...) // counts the barrier too
	return list, nil
}

// EndAll implements store.Store.
func (s *Store) EndAll(ctx context.Context, app string, at store.Time) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	s.apps.Need(app, newApp).raise(at)
	s.feed.Publish(store.Change{Kind: store.GoneAll, App: app})
	return nil
}

// Barrier implements store.Store.
func (s *Store) Barrier(ctx context.Context, app, subject string) (store.Time, error) {
	if err := s.check(ctx); err != nil {
		return 0, err
	}
	a := s.apps.Find(app)
	if a == nil {
		return 0, nil
	}
	sub := s.subject(a, subject)
	if err := s.lock(&sub.ss.mu); err != nil {
		return 0, err
	}
	defer sub.ss.mu.Unlock()
	return max(0, a.mark(), sub.ss.barriers.of(a, subject)), nil
}
