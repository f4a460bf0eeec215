package nearcache

import (
	"math"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// A flight is a read or a write of a session in the store. It lasts from before
// the call until its result is in memory. Something that becomes known meanwhile
// may overtake it. The mutex of its shard guards it.
type flight struct {
	next       *flight // another flight of the same session
	live       bool    // memory could be used when the flight began
	generation uint32
	ends       uint32 // Cache.ends when the flight began
	floor      uint64 // the least revision that is not outdated; overtaken: there is none
	began      time.Duration

	// The last activity, if a touch during the flight noted one.
	seen   store.Time
	client store.Client

	// For reads. Other reads may join them, and wait until done is closed.
	read   bool
	done   chan struct{} // nil: nobody has joined
	result *store.Record
	err    error
	again  bool // those that joined must read again

	// For writes.
	doubt   uint64     // the doubt that the write settles when it is acknowledged
	alone   bool       // the write changes no other session
	known   bool       // the record that the write replaces was in memory
	created store.Time // that record's CreatedAt
}

const overtaken = math.MaxUint64

// begin adds a flight to those of its session, under the shard's lock.
func (c *Cache) begin(p *place, live bool) *flight {
	f := &flight{live: live, generation: c.generationOf(p.app), ends: c.ends.Load()}
	if !live {
		return f // no read can join it, and its result is not kept
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

// holds reports whether the result of the flight may be kept, if its revision is
// at least the floor.
func (c *Cache) holds(p *place, f *flight) bool {
	return f.live && c.live() && c.sameTimes(p, f)
}

// sameTimes reports whether no group of sessions was dropped since the flight
// began.
func (c *Cache) sameTimes(p *place, f *flight) bool {
	return f.generation == c.generationOf(p.app) && f.ends == c.ends.Load()
}

// joinable returns a read in flight whose result is as good as that of a new
// read, or nil.
func (c *Cache) joinable(p *place) *flight {
	for f := p.sh.flights[p.key]; f != nil; f = f.next {
		if f.read && f.floor == 0 && c.sameTimes(p, f) {
			return f
		}
	}
	return nil
}

// invalidate drops a session from memory, and its flights.
func (c *Cache) invalidate(p *place) {
	p.sh.mu.Lock()
	defer p.sh.mu.Unlock()
	c.changed(p, overtaken)
}

// changed notes that a session now has this revision. The shard must be locked.
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
