package nearcache

import "time"

const (
	unknownLife  = time.Second
	unknownSlots = 64 // of each shard
)

// An unknownID was not in the store. Each ID has one place in its shard, and a
// later one may replace it there. So a flood of them takes no more memory.
type unknownID struct {
	key
	generation uint32
	until      time.Duration
}

// isUnknown reports whether the store did not know the ID within unknownLife.
func (c *Cache) isUnknown(p *place) bool {
	if len(p.sh.unknown) == 0 {
		return false
	}
	u := &p.sh.unknown[p.at%unknownSlots]
	return u.key == p.key && u.generation == c.generationOf(p.app) && c.now() < u.until
}

// putUnknown notes that a read did not find the ID.
func (c *Cache) putUnknown(p *place, f *flight) {
	if p.sh.closed {
		return
	}
	if p.sh.unknown == nil {
		p.sh.unknown = make([]unknownID, unknownSlots)
	}
	p.sh.unknown[p.at%unknownSlots] = unknownID{p.key, f.generation, f.began + unknownLife}
}

// known notes that an ID is no longer unknown.
func (sh *shard) known(p *place) {
	if len(sh.unknown) == 0 {
		return
	}
	if u := &sh.unknown[p.at%unknownSlots]; u.key == p.key {
		*u = unknownID{}
	}
}
