package nearcache

import (
	"sync"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

const (
	shardBits  = 6
	shardCount = 1 << shardBits

	maxShare  = 4  // a record takes at most a quarter of a shard
	maxSpared = 64 // makeRoom spares at most so many records that were read
)

// A shard keeps a part of the records.
type shard struct {
	mu      sync.Mutex // guards the fields below
	closed  bool
	limit   int64 // bytes of table
	table   arena.Table
	marks   []mark // by the record's handle
	hand    uint32 // the last handle that makeRoom looked at
	flights map[key]*flight
	unknown []unknownID
	stats   Stats
	buf     []byte // to encode into
}

// A mark is what the cache knows about a record in memory.
type mark struct {
	generation uint32
	subject    uint16 // the slot of the record's subject
	read       bool   // since makeRoom last passed
}

// A key names a session.
type key struct {
	app uint32
	id  store.ID
}

// A place is where a session is kept.
type place struct {
	key
	app *app
	sh  *shard
	tag uint32
	at  uint8 // of unknown IDs
}

func (c *Cache) place(name string, id store.ID) place {
	return c.placeIn(c.apps.Need(name, newApp), id)
}

func (c *Cache) placeIn(a *app, id store.ID) place {
	hash := arena.Hash(c.seed, a.num, &id)
	return place{key{a.num, id}, a, &c.shards[hash>>(64-shardBits)], uint32(hash), uint8(hash >> 48)}
}

func (sh *shard) close() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.closed = true
	sh.table.Close()
	sh.marks, sh.unknown, sh.buf = nil, nil, nil
}

// current reports whether a record with this mark may be used.
func (c *Cache) current(a *app, m *mark) bool {
	return m.generation == c.generationOf(a)+c.subjects[m.subject].Load()
}

// find returns the record of a session. The handle is 0 if there is none that
// may be used.
func (c *Cache) find(p *place) (uint32, []byte) {
	h, b := p.sh.table.Find(p.key.app, &p.id, p.tag)
	if h != 0 && !c.current(p.app, &p.sh.marks[h]) {
		p.sh.table.Remove(&c.strings, p.tag, h)
		return 0, nil
	}
	return h, b
}

// hit fills rec from memory, and reports whether the session is there.
func (c *Cache) hit(p *place, rec *store.Record) bool {
	h, b := c.find(p)
	if h == 0 {
		return false
	}
	p.sh.marks[h].read = true
	if err := arena.Decode(b, &c.strings, rec); err != nil {
		panic("nearcache: " + err.Error()) // the memory of the process is corrupt
	}
	rec.Cached = true
	p.sh.stats.Hits++
	return true
}

// forget drops a session's record.
func (c *Cache) forget(p *place) {
	if h, _ := c.find(p); h != 0 {
		p.sh.table.Remove(&c.strings, p.tag, h)
	}
}

// put keeps the record that a flight read, unless the flight was overtaken.
func (c *Cache) put(p *place, f *flight, rec *store.Record) {
	sh := p.sh
	slot := c.slotOf(p.key.app, rec.Subject)
	m := mark{generation: f.generation + c.subjects[slot].Load(), subject: slot}
	if sh.closed || !c.holds(p, f) || rec.Revision < f.floor {
		return
	}
	next := *rec
	if f.seen > next.LastSeenAt {
		next.LastSeenAt, next.LastClient = f.seen, f.client
	}
	h, b := c.find(p)
	if h != 0 {
		var old arena.Head
		arena.Peek(b, &old)
		if old.LastSeenAt > next.LastSeenAt {
			next.LastSeenAt, next.LastClient = old.LastSeenAt, old.LastClient(&c.strings)
		}
		if old.Revision > next.Revision || old.Revision == next.Revision && old.LastSeenAt == next.LastSeenAt {
			return
		}
		m.read = sh.marks[h].read
	}
	sh.buf = arena.Encode(sh.buf[:0], &c.strings, p.key.app, &next)
	if !c.keep(p, h, sh.buf, m) {
		var used [4]uint32
		c.strings.Release(arena.UsedStrings(used[:0], sh.buf))
		c.forget(p)
	}
	if cap(sh.buf) > 64<<10 {
		sh.buf = nil
	}
}

// keep puts an encoded record in the place of the one with handle h, or adds it
// if h is 0. It reports whether there was room.
func (c *Cache) keep(p *place, h uint32, data []byte, m mark) bool {
	sh := p.sh
	if arena.SlotBytes(len(data)) > sh.limit/maxShare || !c.makeRoom(sh, h, len(data)) {
		return false
	}
	var err error
	if h != 0 {
		err = sh.table.Replace(&c.strings, h, data)
	} else {
		h, err = sh.table.Insert(p.tag, data)
	}
	if err != nil {
		return false
	}
	for len(sh.marks) < int(sh.table.End()) {
		sh.marks = append(sh.marks, mark{})
	}
	sh.marks[h] = m
	return true
}

// makeRoom evicts records until there is room for one of n bytes, in the place
// of the one with handle h if that is not 0.
//
// It goes round over the handles (the clock algorithm), and spares records that
// were read since it last passed. So a flood of sessions that are never read
// again evicts itself.
func (c *Cache) makeRoom(sh *shard, h uint32, n int) bool {
	spared := 0
	for steps := 2*sh.table.End() + 1; ; steps-- {
		growth := sh.table.Growth(n)
		if h != 0 {
			growth = sh.table.GrowthOf(h, n)
		}
		if sh.table.Bytes()+growth <= sh.limit {
			return true
		}
		if steps == 0 {
			return false
		}
		if sh.hand++; sh.hand >= sh.table.End() {
			sh.hand = 1
		}
		b := sh.table.At(sh.hand)
		if b == nil || sh.hand == h {
			continue
		}
		app, id, m := c.apps.At(arena.AppOf(b)), *arena.IDOf(b), &sh.marks[sh.hand]
		current := c.current(app, m)
		if current && m.read && spared < maxSpared {
			m.read = false
			spared++
			continue
		}
		sh.table.Remove(&c.strings, uint32(arena.Hash(c.seed, app.num, &id)), sh.hand)
		if current {
			sh.stats.Evictions++
		}
	}
}

// touched moves the time of the session's last activity. This changes no
// revision.
func (c *Cache) touched(p *place, at store.Time, client store.Client) {
	p.sh.mu.Lock()
	defer p.sh.mu.Unlock()
	for f := p.sh.flights[p.key]; f != nil; f = f.next {
		if at > f.seen {
			f.seen, f.client = at, client
		}
	}
	h, b := c.find(p)
	if h == 0 {
		return
	}
	var old arena.Head
	arena.Peek(b, &old)
	switch {
	case at <= old.LastSeenAt:
	case old.LastClient(&c.strings) == client:
		arena.SetLastSeen(b, at)
	default:
		c.forget(p)
	}
}
