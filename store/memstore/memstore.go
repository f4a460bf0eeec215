// Package memstore keeps sessions in the memory of one process: for tests, for
// development, and for sites that run as one process and may lose their
// sessions with it. Nothing survives a restart.
//
//	sessions, err := sojourn.New(memstore.New(), sojourn.Options{})
//
// # Memory
//
// Records live in compact form outside the Go heap, so neither the work
// nor the heap goal of the garbage collector grows with their number. A session of a user ID and
// 100 bytes of values takes about 300 bytes in all.
//
// A store has a limit. What counts is the memory of records with their
// allocation overhead, of tombstones, of the tables that find them, of barriers and of idempotency
// keys. Memory that freed records left between others doesn't count, for any later record of
// the same shard may use it, whatever its size; after a change of load the process may hold some of it
// for a while. Empty slabs of 1 MiB go back to the system. Writes in flight may
// exceed the limit by their own size, and the strings that sessions share (user agents) come on top, with at most
// a few megabytes.
//
// At 90 % of the limit anonymous sessions are refused with store.ErrFull, so
// that a flood of visitors leaves room for logins; at 100 %, all. Ending a session
// always works.
//
// On systems without mmap in package syscall the records are in the Go heap, without
// pointers.
package memstore

import (
	"context"
	"runtime"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// DefaultLimit is the memory limit of New, in bytes.
const DefaultLimit = 1 << 30

// A Store is a store.Store and a store.Watcher in memory. All methods may be
// called concurrently.
type Store struct {
	// Everything is behind a second pointer, so that a Store that was dropped without
	// Close can give its memory back: nothing in a core refers to its Store.
	core *core
}

var (
	_ store.Store   = (*Store)(nil)
	_ store.Watcher = (*Store)(nil)
)

// New returns an empty store with a limit of DefaultLimit.
func New() *Store { return NewLimited(DefaultLimit) }

// NewLimited returns an empty store that keeps at most about so many bytes.
func NewLimited(maxBytes int64) *Store {
	s := &Store{newCore(maxBytes)}
	runtime.AddCleanup(s, (*core).close, s.core)
	return s
}

// Close implements store.Store. It gives all memory back and closes the channels of Watch.
func (s *Store) Close() error {
	s.core.close()
	runtime.KeepAlive(s)
	return nil
}

// Bytes returns the memory in use, as counted against the limit.
func (s *Store) Bytes() int64 {
	n := s.core.used.Load()
	runtime.KeepAlive(s)
	return n
}

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, app string, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	if err := s.core.check(ctx); err != nil {
		return nil, err
	}
	ended, err := s.core.create(app, rec, opt)
	runtime.KeepAlive(s)
	return ended, err
}

// Get implements store.Store. Every Get is strict.
func (s *Store) Get(ctx context.Context, app string, id store.ID, strict bool, rec *store.Record) error {
	if err := s.core.check(ctx); err != nil {
		return err
	}
	err := s.core.get(app, id, rec)
	runtime.KeepAlive(s)
	return err
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) ([]store.Ended, error) {
	if err := s.core.check(ctx); err != nil {
		return nil, err
	}
	ended, err := s.core.update(app, rec, opt)
	runtime.KeepAlive(s)
	return ended, err
}

// Touch implements store.Store.
func (s *Store) Touch(ctx context.Context, app string, id store.ID, at, now store.Time, client store.Client) error {
	if err := s.core.check(ctx); err != nil {
		return err
	}
	err := s.core.touch(app, id, at, now, client)
	runtime.KeepAlive(s)
	return err
}

// Confirm implements store.Store.
func (s *Store) Confirm(ctx context.Context, app string, id store.ID, secret store.Hash, c store.Confirmation) error {
	if err := s.core.check(ctx); err != nil {
		return err
	}
	err := s.core.confirm(app, id, secret, c)
	runtime.KeepAlive(s)
	return err
}

// End implements store.Store.
func (s *Store) End(ctx context.Context, app string, id store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	if err := s.core.check(ctx); err != nil {
		return nil, err
	}
	ended, err := s.core.end(app, id, reason, at)
	runtime.KeepAlive(s)
	return ended, err
}

// EndSubject implements store.Store.
func (s *Store) EndSubject(ctx context.Context, app, subject string, except store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	if err := s.core.check(ctx); err != nil {
		return nil, err
	}
	ended, err := s.core.endSubject(app, subject, except, reason, at)
	runtime.KeepAlive(s)
	return ended, err
}

// EndAll implements store.Store.
func (s *Store) EndAll(ctx context.Context, app string, at store.Time) error {
	if err := s.core.check(ctx); err != nil {
		return err
	}
	s.core.endAll(app, at)
	runtime.KeepAlive(s)
	return nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, app string, opt store.ListOptions) ([]store.Record, string, error) {
	if err := s.core.check(ctx); err != nil {
		return nil, "", err
	}
	list, cursor, err := s.core.list(ctx, app, opt)
	runtime.KeepAlive(s)
	return list, cursor, err
}

// Count implements store.Store.
func (s *Store) Count(ctx context.Context, app string) (store.Count, error) {
	if err := s.core.check(ctx); err != nil {
		return store.Count{}, err
	}
	n, err := s.core.count(app)
	runtime.KeepAlive(s)
	return n, err
}

// Sweep implements store.Store. Parallel calls take turns. Each round walks
// over the records of all applications.
func (s *Store) Sweep(ctx context.Context, app string, now store.Time, max int) ([]store.Ended, bool, error) {
	if err := s.core.check(ctx); err != nil {
		return nil, false, err
	}
	ended, done, err := s.core.sweep(ctx, app, now, max)
	runtime.KeepAlive(s)
	return ended, done, err
}

// Watch implements store.Watcher.
func (s *Store) Watch(ctx context.Context) (<-chan store.Change, error) {
	if err := s.core.check(ctx); err != nil {
		return nil, err
	}
	ch, err := s.core.feed.Watch(ctx)
	runtime.KeepAlive(s)
	return ch, err
}

// LongestHold returns the longest time that a step of Sweep has taken so far, and so more than it has held any lock for.
func (s *Store) LongestHold() time.Duration { return time.Duration(s.core.longestStep.Load()) }
