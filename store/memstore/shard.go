package memstore

import (
	"context"
	"math/bits"
	"sync"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// A shard keeps a part of the records.
type shard struct {
	mu      sync.Mutex // guards the fields below
	table   arena.Table
	counts  []tally // by the application's number
	counted int64   // bytes that the store counts for this shard
}

// A link names a session: the number of its shard and its handle there. It
// stays the same as long as the session is kept. 0 names none.
type link uint32

const (
	handleBits = 23
	noHandle   = arena.MaxHandle + 1 // no record has it
)

func linkOf(shard uint8, handle uint32) link { return link(shard)<<handleBits | link(handle) }

func (l link) shard() uint8   { return uint8(l >> handleBits) }
func (l link) handle() uint32 { return uint32(l) & (1<<handleBits - 1) }

// at returns the shard and the bytes of a record. The shard must be locked.
func (s *Store) at(l link) (*shard, []byte) {
	sh := &s.records[l.shard()]
	return sh, sh.table.At(l.handle())
}

// The upper end of a hash chooses the shard, the lower half is the tag there.
func shardOf(hash uint64) uint8 { return uint8(hash >> 56) }
func tagOf(hash uint64) uint32  { return uint32(hash) }

func (s *Store) hashID(a *app, id *store.ID) uint64 { return arena.Hash(s.seed, a.num, id) }

// lockRecord locks the shard of a record.
func (s *Store) lockRecord(a *app, id *store.ID) (*shard, uint32, error) {
	hash := s.hashID(a, id)
	sh := &s.records[shardOf(hash)]
	return sh, tagOf(hash), s.lock(&sh.mu)
}

// open begins a call about one session: it finds the application and locks the
// shard of the session's record. With an error nothing is locked. Get, which
// every request calls, does the same without the call.
func (s *Store) open(ctx context.Context, name string, id *store.ID) (*app, *shard, uint32, error) {
	if err := s.check(ctx); err != nil {
		return nil, nil, 0, err
	}
	a := s.apps.Find(name)
	if a == nil {
		return nil, nil, 0, store.ErrNotFound
	}
	sh, tag, err := s.lockRecord(a, id)
	return a, sh, tag, err
}

// A shardSet is a set of record shards that are locked together.
type shardSet [shardCount / 64]uint64

func (set *shardSet) add(i uint8) { set[i/64] |= 1 << (i % 64) }

// all yields the shards in ascending order.
func (set *shardSet) all(yield func(uint8) bool) {
	for i, word := range set {
		for ; word != 0; word &= word - 1 {
			if !yield(uint8(i*64 + bits.TrailingZeros64(word))) {
				return
			}
		}
	}
}

func (s *Store) lockAll(set *shardSet) {
	for i := range set.all {
		s.records[i].mu.Lock()
	}
}

func (s *Store) unlockAll(set *shardSet) {
	for i := range set.all {
		s.records[i].mu.Unlock()
	}
}

// A state says whether a record is live.
type state uint8

const (
	live    state = iota
	expired       // at the given time; no call has ended it yet
	revoked       // created before the watermark
	ended         // a tombstone
)

func stateOf(a *app, h *arena.Head, now store.Time) state {
	switch {
	case h.Ended():
		return ended
	case h.CreatedAt <= a.mark():
		return revoked
	}
	if reason, _ := h.ExpiredAt(now); reason != "" {
		return expired
	}
	return live
}

// present is for calls that treat an expired session like a live one.
func present(a *app, h *arena.Head) bool {
	return !h.Ended() && h.CreatedAt > a.mark()
}

// A buffer holds an encoded record until it is in a shard. Its strings are in
// use until it is dropped. When it is kept, they belong to the shard.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func (s *Store) encode(a *app, rec *store.Record) *buffer {
	buf := buffers.Get().(*buffer)
	buf.b = arena.Encode(buf.b[:0], &s.strings, a.num, rec)
	return buf
}

func (b *buffer) kept() {
	if cap(b.b) <= 64<<10 {
		buffers.Put(b)
	}
}

func (b *buffer) dropped(s *Store) {
	s.strings.Release(arena.UsedStrings(nil, b.b))
	b.kept()
}

// scratch has records to decode into.
var scratch = sync.Pool{New: func() any { return new(store.Record) }}

func (s *Store) decode(b []byte, rec *store.Record) {
	if err := arena.Decode(b, &s.strings, rec); err != nil {
		panic("memstore: " + err.Error()) // the memory of the process is corrupt
	}
}

// replace gives a record other bytes.
func (s *Store) replace(sh *shard, handle uint32, data []byte) error {
	if sh.table.Replace(&s.strings, handle, data) != nil {
		return store.ErrFull
	}
	s.settle(&sh.counted, sh.table.Bytes())
	return nil
}

// remove removes a record.
func (s *Store) remove(sh *shard, tag, handle uint32) {
	sh.table.Remove(&s.strings, tag, handle)
	s.settle(&sh.counted, sh.table.Bytes())
}

// write replaces the bytes of a session, if there is room. With beyond it may
// exceed the limit.
func (s *Store) write(sh *shard, a *app, handle uint32, rec *store.Record, beyond bool) (err error) {
	buf := s.encode(a, rec)
	if !beyond {
		err = s.admit(sh.table.GrowthOf(handle, len(buf.b)), rec.Subject == "")
	}
	if err == nil {
		err = s.replace(sh, handle, buf.b)
	}
	if err != nil {
		buf.dropped(s)
		return err
	}
	buf.kept()
	return nil
}

// bury ends a session, whose shard is locked. It publishes and returns the end,
// unless EndAll had ended the session. The caller removes the session from the
// list of its subject, which bury returns.
func (s *Store) bury(sh *shard, a *app, handle uint32, reason store.Reason, at store.Time, list *[]store.Ended) (subject string) {
	rec := scratch.Get().(*store.Record)
	defer scratch.Put(rec)
	s.decode(sh.table.At(handle), rec)
	e := store.Ended{App: a.name, ID: rec.ID, Subject: rec.Subject, Reason: reason, At: at}
	if rec.CreatedAt > a.mark() {
		*list = append(*list, e)
		if rec.Subject != "" {
			entry := rec.Obituary(reason, at)
			s.remember(a, &entry)
		}
		s.feed.Publish(store.Change{Kind: store.Gone, App: a.name, ID: e.ID})
	}
	sh.tally(a).adjust(rec.CreatedAt, -1, loggedIn(rec.Subject != "", -1))
	rec.Bury(reason, at)
	buf := s.encode(a, rec)
	if s.replace(sh, handle, buf.b) != nil {
		// The tombstone is larger than the session, and there is no memory.
		// What matters stays: that the session has ended.
		rec.Spent, rec.Epochs, rec.Halves = rec.Spent[:0], rec.Epochs[:0], rec.Halves[:0]
		buf.b = arena.Encode(buf.b[:0], &s.strings, a.num, rec)
		if s.replace(sh, handle, buf.b) != nil {
			panic("memstore: no memory to end a session") // can't happen: it is smaller than any session
		}
	}
	buf.kept()
	return e.Subject
}

func loggedIn(is bool, n int64) int64 {
	if is {
		return n
	}
	return 0
}
