package nearcache

import (
	"math"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// A flight is a call to the store about a session, a read or a write, from before it begins until what it brought is
// in memory. What becomes known meanwhile may overtake it. Its shard's lock guards it.
type flight struct {
	next       *flight // another one of the same session
	live       bool    // memory could be used when it began
	generation uint32
	ends       uint32 // of the cache when it began
	floor      uint64 // the least revision that isn't outdated; overtaken: none is good
	began      time.Duration

	// What a touch during the flight told.
	seen   store.Time
	client store.Client

	// Of reads. They may be joined, and end when done is closed.
	read   bool
	done   chan struct{} // nil: nobody has joined
	result *store.Record
	err    error
	again  bool // whoever joined must read by himself

	// Of writes.
	doubt   uint64     // that the write, acknowledged, settles
	alone   bool       // it changes no other session
	known   bool       // the record that it replaces was in memory
	created store.Time // that record's CreatedAt
}

const overtaken = math.MaxUint64

// begin adds a flight to those of its session, under the shard's lock.
func (c *Cache) begin(p *place, live bool) *flight {
	f := &flight{live: live, generation: c.generationOf(p.app), ends: c.ends.Load()}
	if !live {
		return f // it can't be joined, and brings nothing
	}
	if p.sh.flights == nil {
		p.sh.flights = make(map[key]*flight)
	}
	f.next = p.sh.flights[p.key]
	p.sh.flights[p.key] = f
	return f
}

// end removes a flight.
func (sh *shard) end(k key, f *flight) {
	first := sh.flights[k]
	if first == f {
		if f.next == nil {
			delete(sh.flights, k)
		} else {
			sh.flights[k] = f.next
		}
		return
	}
	for ; first != nil; first = first.next {
		if first.next == f {
			first.next = f.next
			return
		}
	}
}

// holds reports whether nothing is known that speaks against what the flight brought, but for its floor.
func (c *Cache) holds(p *place, f *flight) bool {
	return f.live && c.live() && c.sameTimes(p, f)
}

// sameTimes reports whether nothing was dropped at large since the flight began.
func (c *Cache) sameTimes(p *place, f *flight) bool {
	return f.generation == c.generationOf(p.app) && f.ends == c.ends.Load()
}

// joinable returns a read in flight that tells what one begun now would, or nil.
func (c *Cache) joinable(p *place) *flight {
	for f := p.sh.flights[p.key]; f != nil; f = f.next {
		if f.read && f.floor == 0 && c.sameTimes(p, f) {
			return f
		}
	}
	return nil
}

// invalidate drops what is in memory and in flight of a session.
func (c *Cache) invalidate(p *place) {
	p.sh.mu.Lock()
	defer p.sh.mu.Unlock()
	c.changed(p, overtaken)
}

// changed notes, under the shard's lock, that a session has a revision.
func (c *Cache) changed(p *place, revision uint64) {
	p.sh.known(p)
	for f := p.sh.flights[p.key]; f != nil; f = f.next {
		f.floor = max(f.floor, revision)
	}
	h, b := c.find(p)
	if h == 0 {
		return
	}
	var old arena.Head
	arena.Peek(b, &old)
	if old.Revision < revision {
		c.forget(p)
	}
}
