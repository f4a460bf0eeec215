package memstore

import (
	"sync"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// A shard keeps records. Everything in it is used under its lock.
type shard struct {
	mu     sync.Mutex
	closed bool
	arena.Table
	counts  []tally // by the application's number
	counted int64   // bytes that the store counts for this shard
}

func (sh *shard) close() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.closed = true
	sh.Table.Close()
}

// settle counts what the shard's memory has become.
func (c *core) settle(sh *shard) {
	n := sh.Bytes()
	c.used.Add(n - sh.counted)
	sh.counted = n
}

// insert adds an encoded record; its caller has asked admit.
func (c *core) insert(sh *shard, tag uint32, data []byte) (uint32, error) {
	h, err := sh.Insert(tag, data)
	if err != nil {
		return 0, store.ErrFull
	}
	c.settle(sh)
	return h, nil
}

// replace gives a record other bytes. It gives back the strings that the old ones used.
func (c *core) replace(sh *shard, handle uint32, data []byte) error {
	if sh.Replace(&c.strings, handle, data) != nil {
		return store.ErrFull
	}
	c.settle(sh)
	return nil
}

// remove forgets a record.
func (c *core) remove(sh *shard, tag, handle uint32) {
	sh.Remove(&c.strings, tag, handle)
	c.settle(sh)
}

// A state says whether a record is live.
type state uint8

const (
	live    state = iota
	expired       // at the given time; no call has ended it yet
	revoked       // under the watermark
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

// present is stateOf for calls to which an expired session is like a live one.
func present(a *app, h *arena.Head) bool {
	return !h.Ended() && h.CreatedAt > a.mark()
}

// encode is arena.Encode into a buffer of the pool.
func (c *core) encode(a *app, links *arena.Links, rec *store.Record) *buffer {
	buf := buffers.Get().(*buffer)
	buf.b = arena.Encode(buf.b[:0], &c.strings, a.num, links, rec)
	return buf
}

// A buffer holds a record on its way into a shard. Its strings are in use until it is dropped,
// or go over to the shard when it is kept.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func (b *buffer) kept() {
	if cap(b.b) <= 64<<10 {
		buffers.Put(b)
	}
}

func (b *buffer) dropped(c *core) {
	var used [4]uint32
	c.strings.Release(arena.UsedStrings(used[:0], b.b))
	b.kept()
}

// scratch is a record to decode into.
var scratch = sync.Pool{New: func() any { return new(store.Record) }}

func decode(c *core, b []byte, rec *store.Record) {
	if err := arena.Decode(b, &c.strings, rec); err != nil {
		panic("memstore: " + err.Error()) // the memory of the process is broken
	}
}

// decodeFor is decode for a list.
func decodeFor(c *core, b []byte, opt *store.ListOptions) (rec store.Record) {
	values, err := arena.DecodeHead(b, &c.strings, &rec)
	if err != nil {
		panic("memstore: " + err.Error())
	}
	if opt.Values {
		rec.Values = append(rec.Values, values...)
	}
	return rec
}

// bury ends a record that is not a tombstone, under its shard's lock. Its links are lost: the
// caller mends the ring, and tells the hub.
func (c *core) bury(sh *shard, a *app, handle uint32, reason store.Reason, at store.Time) store.Ended {
	rec := scratch.Get().(*store.Record)
	defer scratch.Put(rec)
	decode(c, sh.At(handle), rec)
	e := store.Ended{App: a.name, ID: rec.ID, Subject: rec.Subject, Reason: reason, At: at}
	sh.adjust(a, handle, rec.CreatedAt, -1, loggedIn(rec.Subject != "", -1))
	rec.Bury(reason, at)
	buf := c.encode(a, nil, rec)
	if c.replace(sh, handle, buf.b) != nil {
		// A tombstone larger than its session (one without a hash), and no memory to map. What
		// matters stays: that it ended.
		rec.Spent, rec.Epochs, rec.Halves = rec.Spent[:0], rec.Epochs[:0], rec.Halves[:0]
		buf.b = arena.Encode(buf.b[:0], &c.strings, a.num, nil, rec)
		if c.replace(sh, handle, buf.b) != nil {
			panic("memstore: no memory to end a session") // never seen: it is smaller than any session
		}
	}
	buf.kept()
	return e
}

func loggedIn(is bool, n int64) int64 {
	if is {
		return n
	}
	return 0
}
