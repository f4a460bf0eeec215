// Package memstore keeps sessions in the memory of one process: for tests, for
// development, and for sites that run as one process and may lose their
// sessions with it. Nothing survives a restart.
//
//	sessions := memstore.New()
//	defer sessions.Close()
//	engine, err := sojourn.New(sessions, sojourn.Options{})
//
// # Memory
//
// Records are kept in compact form outside the Go heap. So neither the work nor
// the heap goal of the garbage collector grows with their number. A session
// with a user ID and 100 bytes of values takes about 270 bytes in all.
//
// Close frees this memory. The collector doesn't: if a store is dropped without
// Close, its memory stays mapped until the process ends.
//
// A store has a limit. Records, tombstones, the tables that find them, lists of
// the subjects' sessions, lists of what ended lately, barriers and idempotency
// keys count toward it. Each write in flight may exceed the limit by its own
// size. The strings that sessions share, such as user agents, are not counted.
// They take a few megabytes at most. Memory that is freed returns to the system on Linux. On
// other systems sessions of a similar size use it again.
//
// At 90 % of the limit anonymous sessions are refused with store.ErrFull, so
// that a flood of visitors leaves room for logins. At 100 % all are refused.
// Ending a session always works, and so do Touch and Confirm. A Touch for which
// there is no room keeps the former client. A Confirm may exceed the limit by
// the few bytes that it adds.
//
// On systems without mmap in package syscall the records are in the Go heap,
// without pointers.
package memstore

import (
	"context"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// DefaultLimit is the memory limit of New, in bytes.
const DefaultLimit = 1 << 30

const shardCount = 256

// A Store is a store.Store and a store.Watcher in memory. All methods may be
// called concurrently. Call Close when the store is no longer needed.
//
// Its locks are taken in this order: the shard of an idempotency key, shards of
// subjects in ascending order, shards of records in ascending order, a shard of
// histories, the feed.
//
// Most calls need only the shard of one record. The shard of a subject has the
// list of the subject's sessions. Each session that has not ended is in the
// list of its subject whenever that shard is unlocked. The list may also have
// links of sessions that have just ended: its readers look at the records.
type Store struct {
	limit int64
	used  atomic.Int64 // bytes that count toward the limit

	closed   atomic.Bool // set by Close, which holds every lock of a shard then
	seed     maphash.Seed
	apps     arena.Apps[app]
	strings  arena.Strings
	feed     driver.Feed
	records  [shardCount]shard
	subjects [shardCount]subjectShard
	keys     [keyShards]keyShard

	histories [historyShards]historyShard

	sweepMu     sync.Mutex   // held by Sweep; guards the cursors of all applications
	longestStep atomic.Int64 // of Sweep, in nanoseconds

	examined func(records int) // for tests: a lock was held for so many
}

var (
	_ store.Store   = (*Store)(nil)
	_ store.Watcher = (*Store)(nil)
)

// New returns an empty store with a limit of DefaultLimit.
func New() *Store { return NewLimited(DefaultLimit) }

// NewLimited returns an empty store that keeps about maxBytes at most.
func NewLimited(maxBytes int64) *Store {
	return &Store{limit: maxBytes, seed: maphash.MakeSeed()}
}

// Close implements store.Store. It waits for the calls in flight, frees all
// memory and closes the channels of Watch.
func (s *Store) Close() error {
	for i := range s.keys {
		s.keys[i].mu.Lock()
		defer s.keys[i].mu.Unlock()
	}
	for i := range s.subjects {
		s.subjects[i].mu.Lock()
		defer s.subjects[i].mu.Unlock()
	}
	for i := range s.records {
		s.records[i].mu.Lock()
		defer s.records[i].mu.Unlock()
	}
	for i := range s.histories {
		s.histories[i].mu.Lock()
		defer s.histories[i].mu.Unlock()
	}
	if s.closed.Swap(true) {
		return nil
	}
	for i := range s.subjects {
		s.subjects[i].close()
	}
	for i := range s.records {
		s.records[i].table.Close()
	}
	for i := range s.histories {
		s.histories[i].close()
	}
	s.used.Store(0)
	s.feed.Close()
	return nil
}

// check is the beginning of every call.
func (s *Store) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return store.ErrClosed
	}
	return nil
}

// lock locks a shard, unless the store is closed. While a call holds any lock
// of a shard, Close waits. So a call that already holds one need not check for
// Close when it locks another.
func (s *Store) lock(mu *sync.Mutex) error {
	mu.Lock()
	if s.closed.Load() {
		mu.Unlock()
		return store.ErrClosed
	}
	return nil
}

// Bytes returns the memory that counts toward the limit.
func (s *Store) Bytes() int64 { return s.used.Load() }

// LongestHold returns the longest time that a step of Sweep has taken so far.
// Sweep has held no lock for longer.
func (s *Store) LongestHold() time.Duration { return time.Duration(s.longestStep.Load()) }

// Watch implements store.Watcher.
func (s *Store) Watch(ctx context.Context) (<-chan store.Change, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	return s.feed.Watch(ctx)
}

// admit returns ErrFull if there is no room for so many bytes more.
func (s *Store) admit(bytes int64, anonymous bool) error {
	limit := s.limit
	if anonymous {
		limit -= limit / 10
	}
	if bytes > 0 && s.used.Load()+bytes > limit {
		return store.ErrFull
	}
	return nil
}

// settle counts what the memory of a shard has become.
func (s *Store) settle(counted *int64, bytes int64) {
	s.used.Add(bytes - *counted)
	*counted = bytes
}

// An app is what the store knows about an application.
type app struct {
	name      string
	num       uint32
	watermark atomic.Int64 // a store.Time, of EndAll
	cursor    sweepCursor  // guarded by Store.sweepMu
}

// never is before every time.
const never = math.MinInt64

func newApp(name string, num uint32) *app {
	a := &app{name: name, num: num}
	a.watermark.Store(never)
	return a
}

func (a *app) mark() store.Time { return store.Time(a.watermark.Load()) }

// raise lifts the watermark to at, unless it is higher.
func (a *app) raise(at store.Time) {
	for {
		old := a.watermark.Load()
		if int64(at) <= old || a.watermark.CompareAndSwap(old, int64(at)) {
			return
		}
	}
}
