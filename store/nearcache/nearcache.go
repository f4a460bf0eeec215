// Package nearcache keeps sessions that are read often in the memory of the
// process, in front of another store.
//
// A store that this process alone writes to, such as sqlitestore:
//
//	s, err := sqlitestore.Open(ctx, "/var/lib/shop/sojourn.db", sqlitestore.Options{})
//	...
//	sessions, err := sojourn.New(nearcache.New(s, nearcache.Options{}), sojourn.Options{})
//
// A store that other processes write to as well, such as redisstore or pgstore,
// with its change feed:
//
//	sessions, err := sojourn.New(nearcache.NewShared(s, nearcache.Options{}), sojourn.Options{})
//
// # What is answered from memory
//
// A Get that is not strict, of a live session. It sets Record.Cached. A strict
// Get always reads the store, and so does one of a session that has ended. The
// cache remembers for at most a second that an ID is unknown.
//
// When a call that ends or changes a session returns, the old session is no
// longer in memory. After a write with an unknown outcome the cache doesn't use
// what that write may have made wrong.
//
// The cache asks a shared store for a heartbeat four times a second. It uses its
// memory only while a heartbeat that it sent within the last second has come
// back on the feed, after all that other processes had changed before.
// Otherwise every Get reads the store. After a gap in the feed the cache doesn't
// use what was in memory before.
package nearcache

import (
	"context"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// DefaultMaxBytes is the memory limit if Options doesn't set one.
const DefaultMaxBytes = 64 << 20

// Options of a Cache. The zero value has good defaults.
type Options struct {
	// MaxBytes limits the memory of the records and of the tables that find
	// them; default DefaultMaxBytes. A session with 100 bytes of values takes
	// about 270. The user agents that sessions share (at most 4 MiB), the unknown
	// IDs (at most 256 KiB) and 8 bytes for each record are not counted. The
	// cache doesn't keep a record larger than 1/256 of the limit.
	MaxBytes int64
}

// Stats are counts since the cache was made, and its present contents.
type Stats struct {
	Hits         uint64 // Gets answered from memory
	NegativeHits uint64 // Gets of unknown IDs answered from memory
	Misses       uint64 // Gets, except strict ones, that read the store or waited for a Get that did
	Evictions    uint64 // records removed to make room for others
	Entries      int    // records in memory, including those that are outdated but not evicted yet
	Bytes        int64  // memory, as counted against MaxBytes
	Live         bool   // Gets are answered from memory
}

// A Cache is a store.Store and a store.Watcher in front of another store. All
// methods may be called concurrently. Close frees its memory, which is outside
// the Go heap, and closes the other store.
type Cache struct {
	store interface {
		store.Store
		store.Watcher
	}
	feed  *feed // nil: this process is the only writer
	began time.Time
	off   atomic.Bool // the store is closed

	generation atomic.Uint32 // records and flights with an older one are not used
	doubt      atomic.Uint64 // the last write of unknown outcome that may still happen unseen; 0: none
	doubts     atomic.Uint64 // the number of the last doubt

	subjects [subjectSlots]atomic.Uint32 // added to the generation of records, by subject
	ends     atomic.Uint32               // added to the generation of flights

	seed    maphash.Seed
	apps    arena.Apps[app]
	strings arena.Strings
	shards  [shardCount]shard
}

var (
	_ store.Store   = (*Cache)(nil)
	_ store.Watcher = (*Cache)(nil)
)

// New returns a cache in front of a store to which only this cache writes: no
// other process does, and nothing else in this process.
//
// When the store acknowledges a write, an earlier write with an unknown outcome
// must have happened by then, or never happen. Until then the cache answers
// nothing from memory.
func New(s interface {
	store.Store
	store.Watcher
}, opt Options) *Cache {
	c := &Cache{store: s, began: time.Now(), seed: maphash.MakeSeed()}
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = DefaultMaxBytes
	}
	for i := range c.shards {
		c.shards[i].limit = opt.MaxBytes / shardCount
	}
	return c
}

// NewShared returns a cache in front of a store that other processes write to
// as well.
func NewShared(s interface {
	store.Store
	store.Feeder
}, opt Options) *Cache {
	c := New(s, opt)
	c.feed = newFeed(s)
	c.feed.start(c)
	return c
}

// An app is an application.
type app struct {
	num        uint32
	generation atomic.Uint32
}

func newApp(_ string, num uint32) *app { return &app{num: num} }

// generationOf changes when the generation of the application or of the cache
// does: both only grow.
func (c *Cache) generationOf(a *app) uint32 { return c.generation.Load() + a.generation.Load() }

// Each subject has a slot, which it shares with other subjects.
const subjectSlots = 1 << 12

func (c *Cache) slotOf(app uint32, subject string) uint16 {
	return uint16(maphash.String(c.seed, subject)+arena.Spread(app)) % subjectSlots
}

// dropSubject drops a subject's sessions from memory, and everything in flight,
// whose subject is not known yet.
func (c *Cache) dropSubject(app uint32, subject string) {
	c.ends.Add(1) // first, because put reads it last
	c.subjects[c.slotOf(app, subject)].Add(1)
}

// dropAll drops everything in memory and in flight.
func (c *Cache) dropAll() { c.generation.Add(1) }

// live reports whether memory may be used. Call it before you read memory.
func (c *Cache) live() bool {
	return !c.off.Load() && c.doubt.Load() == 0 && (c.feed == nil || c.feed.isRecent(c))
}

// now returns the time since the cache was made, on the monotonic clock.
func (c *Cache) now() time.Duration { return time.Since(c.began) }

// shut stops the use of memory for good.
func (c *Cache) shut() {
	c.off.Store(true)
	c.dropAll()
}

// Close closes the other store, and frees the cache's memory.
func (c *Cache) Close() error {
	c.shut()
	if c.feed != nil {
		c.feed.cancel()
	}
	err := c.store.Close()
	if c.feed != nil {
		c.feed.stopped.Wait()
	}
	for i := range c.shards {
		c.shards[i].close()
	}
	return err
}

// Stats returns the counts. It takes each shard's lock for a moment.
func (c *Cache) Stats() Stats {
	total := Stats{Live: c.live()}
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		total.Hits += sh.stats.Hits
		total.NegativeHits += sh.stats.NegativeHits
		total.Misses += sh.stats.Misses
		total.Evictions += sh.stats.Evictions
		total.Entries += sh.table.Len()
		total.Bytes += sh.table.Bytes()
		sh.mu.Unlock()
	}
	return total
}

// Search implements store.Searcher. It searches the store.
func (c *Cache) Search(ctx context.Context, app string, opt store.SearchOptions) (store.SearchPage, error) {
	return store.Search(ctx, c.store, app, opt)
}

// Barrier implements store.Store. It reads the store.
func (c *Cache) Barrier(ctx context.Context, app, subject string) (store.Time, error) {
	return c.store.Barrier(ctx, app, subject)
}

// List implements store.Store. It reads the store.
func (c *Cache) List(ctx context.Context, app string, opt store.ListOptions) ([]store.Record, string, error) {
	return c.store.List(ctx, app, opt)
}

// Count implements store.Store. It reads the store.
func (c *Cache) Count(ctx context.Context, app string) (store.Count, error) {
	return c.store.Count(ctx, app)
}

// Watch implements store.Watcher. It is the store's own feed, with a Gap every
// second while heartbeats don't come back.
func (c *Cache) Watch(ctx context.Context) (<-chan store.Change, error) {
	changes, err := c.store.Watch(ctx)
	if err != nil || c.feed == nil {
		return changes, err
	}
	return c.feed.withoutBeats(ctx, c, changes), nil
}
