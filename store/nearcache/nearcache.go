// Package nearcache keeps sessions that are read often in the memory of the process, in front of another store.
//
// A store that this process alone writes to, such as sqlitestore:
//
//	s, err := sqlitestore.Open(ctx, "/var/lib/shop/sojourn.db", sqlitestore.Options{})
//	...
//	sessions, err := sojourn.New(nearcache.New(s, nearcache.Options{}), sojourn.Options{})
//
// A store that other processes write to as well, such as redisstore or pgstore, with its change feed:
//
//	sessions, err := sojourn.New(nearcache.NewShared(s, nearcache.Options{}), sojourn.Options{})
//
// # What is answered from memory
//
// A Get that isn't strict, of a live session; then Record.Cached is set. Strict ones always read the store. So do
// those of sessions that have ended. That an ID is unknown is remembered for at most a second.
//
// A session's end, and every other change made through the cache, has left the memory when the call returns. After
// a write whose outcome is unknown the memory that it may have made wrong isn't used.
//
// A shared store is asked for a heartbeat four times a second. The memory is used only while one that this process
// sent within the last second has come back on the feed, and with it all that other processes changed before.
// Otherwise every Get reads the store. What was in memory before a gap in the feed is not used after it.
package nearcache

import (
	"context"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// DefaultMaxBytes is the memory limit where Options doesn't set one.
const DefaultMaxBytes = 64 << 20

// Options of a Cache. The zero value is good.
type Options struct {
	// MaxBytes limits the memory of the records, with what their allocation costs, and of the tables that find
	// them; default DefaultMaxBytes. A session of 100 bytes of values takes about 300. Holes that records left
	// behind, the user agents that sessions share (at most 4 MiB) and the unknown IDs (at most 256 KiB) come on
	// top. A record above 1/256 of the limit is not kept.
	MaxBytes int64
}

// Stats are counts since the cache was made, and what it holds.
type Stats struct {
	Hits         uint64 // Gets answered from memory
	NegativeHits uint64 // Gets of unknown IDs answered from memory
	Misses       uint64 // Gets, but for strict ones, that read the store, or waited for a Get that did
	Evictions    uint64 // of records that made room for others
	Entries      int    // records in memory, with those that are not used any more, but not evicted yet
	Bytes        int64  // memory, as counted against MaxBytes
	Live         bool   // Gets are answered from memory
}

// A Cache is a store.Store and a store.Watcher in front of another. All methods may be called concurrently.
// Close gives its memory back, which is outside the Go heap.
type Cache struct {
	store interface {
		store.Store
		store.Watcher
	}
	feed  *feed // nil: this process is the only writer
	began time.Time
	off   atomic.Bool // the store is closed

	generation atomic.Uint32 // of all that is in memory and in flight: what bears an older one is not used
	doubt      atomic.Uint64 // the last write of unknown outcome that may yet land unseen; 0: none
	doubts     atomic.Uint64

	subjects [subjectSlots]atomic.Uint32 // a part of the generation of what is in memory, by subject
	ends     atomic.Uint32               // a part of the generation of what is in flight

	seed    maphash.Seed
	apps    arena.Apps[app]
	strings arena.Strings
	shards  [shardCount]shard
}

var (
	_ store.Store   = (*Cache)(nil)
	_ store.Watcher = (*Cache)(nil)
)

// New returns a cache in front of a store that nobody else writes to: no other process, and in this one nobody
// but through the cache.
//
// When the store acknowledges a write, an earlier one whose outcome was unknown must have happened by then,
// or never happen. Until then nothing is answered from memory.
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

// NewShared returns a cache in front of a store that other processes write to as well.
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

// generationOf changes whenever that of the application or that of the cache does: both only grow.
func (c *Cache) generationOf(a *app) uint32 { return c.generation.Load() + a.generation.Load() }

// Each subject has a slot, which it shares with others.
const subjectSlots = 1 << 12

func (c *Cache) slotOf(app uint32, subject string) uint16 {
	return uint16(maphash.String(c.seed, subject)+arena.Spread(app)) % subjectSlots
}

// dropSubject makes unused what is in memory of a subject's sessions, and all that is in flight: nobody knows yet whose that is.
func (c *Cache) dropSubject(app uint32, subject string) {
	c.ends.Add(1) // first: put asks for it last
	c.subjects[c.slotOf(app, subject)].Add(1)
}

// dropAll makes everything in memory and in flight unused.
func (c *Cache) dropAll() { c.generation.Add(1) }

// live reports whether memory may be used. It must be asked before memory is read.
func (c *Cache) live() bool {
	return !c.off.Load() && c.doubt.Load() == 0 && (c.feed == nil || c.feed.isRecent(c))
}

// now is the time since the cache was made, on a clock that never goes back.
func (c *Cache) now() time.Duration { return time.Since(c.began) }

// shut ends the use of memory for good.
func (c *Cache) shut() {
	c.off.Store(true)
	c.dropAll()
}

// Close closes the store beneath, and gives the memory back.
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

// List implements store.Store. It reads the store.
func (c *Cache) List(ctx context.Context, app string, opt store.ListOptions) ([]store.Record, string, error) {
	return c.store.List(ctx, app, opt)
}

// Count implements store.Store. It reads the store.
func (c *Cache) Count(ctx context.Context, app string) (store.Count, error) {
	return c.store.Count(ctx, app)
}

// Watch implements store.Watcher: it is the store's own, with a Gap every second while heartbeats don't come back.
func (c *Cache) Watch(ctx context.Context) (<-chan store.Change, error) {
	changes, err := c.store.Watch(ctx)
	if err != nil || c.feed == nil {
		return changes, err
	}
	return c.feed.withoutBeats(ctx, c, changes), nil
}
