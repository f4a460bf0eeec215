package sojourn

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A throttle counts the bad tokens of each address in the current minute, in a table of fixed size: addresses that share
// a slot share a count, so that no flood of addresses takes memory.
type throttle struct {
	mu    sync.Mutex
	seed  maphash.Seed
	begun store.Time
	slots [4096]uint32
}

// count notes a bad token and reports whether there are more than limit, and if so whether this is the first above it.
func (t *throttle) count(ip netip.Addr, now store.Time, limit int) (tooMany, first bool) {
	if limit < 0 || !ip.IsValid() {
		return false, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seed == (maphash.Seed{}) {
		t.seed = maphash.MakeSeed()
	}
	if since := now.Sub(t.begun); since < 0 || since >= time.Minute {
		clear(t.slots[:])
		t.begun = now
	}
	slot := &t.slots[maphash.Comparable(t.seed, network(ip))%uint64(len(t.slots))]
	*slot++
	return *slot > uint32(limit), *slot == uint32(limit)+1
}

// network returns what one guesser may be assumed to have: an IPv4 address, or a /64 of IPv6.
func network(ip netip.Addr) netip.Addr {
	ip = ip.Unmap()
	if ip.Is4() {
		return ip
	}
	prefix, _ := ip.Prefix(64) // a valid address has one
	return prefix.Addr()
}
