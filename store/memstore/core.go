package memstore

import (
	"context"
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

const shardCount = 256

// A core is the store. Its locks are taken in this order: the keys' shard of an
// idempotency key, shards of subjects in ascending order, shards of records in
// ascending order, the feed.
//
// Record shards find records by ID; most calls need one of them and nothing else. The shard of a subject
// guards who its sessions are: they form a ring through the records, in the order in which
// they became the subject's, and only who holds the subject's lock adds to or takes from the ring. A record's
// links may be read or written only under its own shard's lock too, since updates move it.
type core struct {
	limit int64
	used  atomic.Int64 // bytes

	seed     maphash.Seed
	closed   atomic.Bool
	apps     arena.Apps[app]
	strings  arena.Strings
	feed     driver.Feed
	records  [shardCount]shard
	subjects [shardCount]subjectShard
	keys     [keyShards]keyShard

	sweepMu     sync.Mutex
	longestStep atomic.Int64 // of sweep, in nanoseconds

	examined func(records int) // for tests: a lock was held for so many
}

func newCore(limit int64) *core {
	return &core{limit: limit, seed: maphash.MakeSeed()}
}

// check is the beginning of every call.
func (c *core) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.closed.Load() {
		return store.ErrClosed
	}
	return nil
}

// close may be called more than once, and while calls are in flight: each shard is marked
// under its lock.
func (c *core) close() {
	c.closed.Store(true)
	for i := range c.subjects {
		c.subjects[i].close()
	}
	for i := range c.records {
		c.records[i].close()
	}
	c.feed.Close()
}

// A link names a session: the shard of its record in the upper 8 bits, its handle in the lower 24. 0 is none.
type link uint32

func linkOf(shard uint8, handle uint32) link { return link(shard)<<24 | link(handle) }

func (l link) shard() uint8   { return uint8(l >> 24) }
func (l link) handle() uint32 { return uint32(l) & arena.MaxHandle }

func (c *core) hashID(a *app, id *store.ID) uint64 { return arena.Hash(c.seed, a.num, id) }

func (c *core) hashSubject(a *app, subject string) uint64 {
	return maphash.String(c.seed, subject) + arena.Spread(a.num)
}

// The upper end of a hash chooses the shard, the lower the place in its table.
func shardOf(hash uint64) uint8 { return uint8(hash >> 56) }
func tagOf(hash uint64) uint32  { return uint32(hash) }

// admit reports whether there is room for so many bytes more.
func (c *core) admit(bytes int64, anonymous bool) error {
	limit := c.limit
	if anonymous {
		limit -= limit / 10
	}
	if bytes > 0 && c.used.Load()+bytes > limit {
		return store.ErrFull
	}
	return nil
}

// A shardSet is a set of record shards to lock together.
type shardSet [shardCount / 64]uint64

func (s *shardSet) add(i uint8) { s[i/64] |= 1 << (i % 64) }

// all yields the shards in ascending order.
func (s *shardSet) all(yield func(uint8) bool) {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			if !yield(uint8(i*64 + bits.TrailingZeros64(word))) {
				return
			}
		}
	}
}

func (c *core) lock(set *shardSet) {
	for i := range set.all {
		c.records[i].mu.Lock()
	}
}

func (c *core) unlock(set *shardSet) {
	for i := range set.all {
		c.records[i].mu.Unlock()
	}
}
