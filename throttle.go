package sojourn

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A throttle bounds what bad tokens cost the store.
//
// It remembers dead tokens, so that each is looked up and counted once, however
// many requests carry it: a browser whose session is long gone sends its cookie
// with every picture. And it counts the dead tokens of each address. Above
// Options.MaxBadTokens in a minute the address is guessing: then its tokens are
// looked up without a limit only if this process has seen them live, and others
// at a few a second. The rest stay undecided.
//
// Everything is in tables of fixed size, indexed by keyed hashes, without locks:
// a flood of tokens or addresses takes no memory, and nobody can choose whom to
// displace. An entry is a hash of the whole token, and no secret.
type throttle struct {
	seeds   [2]maphash.Seed
	dead    [deadSets][deadWays]atomic.Pointer[deadToken]
	seen    [seenSlots]atomic.Uint64    // hashes of tokens that this process last saw live
	guesses atomic.Uint64               // a window of a minute: dead tokens of all addresses
	counted [addressSlots]atomic.Uint64 // windows of a minute: dead tokens of an address
	noKey   atomic.Uint64               // a window of a minute: sealed sessions without their key
	bound   [addressSlots]atomic.Uint64 // windows of a minute: refusals of a bound session
	reads   budget                      // of requests that read
	ends    budget                      // of requests that may end something
}

// A budget counts, for each second, the tokens that were looked up for guessing
// addresses.
type budget [addressSlots]atomic.Uint64

const (
	deadSets     = 2048
	deadWays     = 4
	seenSlots    = 16384
	addressSlots = 4096 // addresses that share a slot share a count

	// deadLife is how long a dead token is refused without a read of the store.
	// It could become good again only if the store lost data and got it back.
	deadLife = time.Minute

	// readsWhileGuessing is how many tokens a second are looked up for an address
	// that is guessing.
	readsWhileGuessing = 10
)

// A deadToken is a token that was refused, as the throttle remembers it.
type deadToken struct {
	sums    [2]uint64
	at      store.Time // when a strict read showed it dead; 0: look it up each time, without another event
	refusal Refusal
	reason  Reason // of RefusedEnded
	endedAt store.Time
}

func (t *throttle) init() {
	t.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
}

// sum returns the hash by which the tables are indexed.
func (t *throttle) sum(token string) uint64 { return maphash.String(t.seeds[0], token) }

// find returns the dead token; nil: it isn't remembered.
func (t *throttle) find(token string, sum uint64) *deadToken {
	for i := range t.dead[sum%deadSets] {
		d := t.dead[sum%deadSets][i].Load()
		if d != nil && d.sums[0] == sum && d.sums[1] == maphash.String(t.seeds[1], token) {
			return d
		}
	}
	return nil
}

// fresh reports whether d can be used without a read of the store.
func (d *deadToken) fresh(now store.Time) bool {
	return d != nil && d.at != 0 && now >= d.at && now.Sub(d.at) < deadLife
}

// remember notes that a token was refused, and reports whether that is news.
func (t *throttle) remember(token string, sum uint64, d *deadToken) (news bool) {
	d.sums = [2]uint64{sum, maphash.String(t.seeds[1], token)}
	set := &t.dead[sum%deadSets]
	for kept := false; !kept; { // until no parallel request comes between
		place, oldest := 0, (*deadToken)(nil)
		for i := range set {
			old := set[i].Load()
			if old != nil && old.sums == d.sums {
				if old.refusal == d.refusal && d.at == 0 {
					return false // old may know more
				}
				set[i].Store(d)
				return old.refusal != d.refusal
			}
			if i == 0 || oldest != nil && (old == nil || old.at < oldest.at) {
				place, oldest = i, old
			}
		}
		kept = set[place].CompareAndSwap(oldest, d)
	}
	if seen := &t.seen[sum%seenSlots]; seen.Load() == sum {
		seen.Store(0)
	}
	return true
}

// live notes that a token is good.
func (t *throttle) live(sum uint64) {
	if seen := &t.seen[sum%seenSlots]; seen.Load() != sum {
		seen.Store(sum)
	}
}

// mayRead reports whether a token of an address may be looked up.
func (t *throttle) mayRead(sum uint64, ip netip.Addr, now store.Time, limit int, b *budget) bool {
	if !t.guessing(ip, now, limit) || t.seen[sum%seenSlots].Load() == sum {
		return true
	}
	return addToWindow(&b[t.slot(ip)], uint32(now/1000)) <= readsWhileGuessing
}

// guessing reports whether an address has sent as many dead tokens in this minute
// as are allowed.
func (t *throttle) guessing(ip netip.Addr, now store.Time, limit int) bool {
	minute := minuteOf(now)
	if limit < 0 || !ip.IsValid() || inWindow(&t.guesses, minute) < uint32(limit) {
		return false
	}
	return inWindow(&t.counted[t.slot(ip)], minute) >= uint32(limit)
}

// told reports whether an event of this minute has told that an address is
// guessing.
func (t *throttle) told(ip netip.Addr, now store.Time, limit int) bool {
	return limit >= 0 && t.guessing(ip, now, limit+1)
}

// count counts a dead token, and reports whether the address is guessing, and if
// so whether this token is the first to show it.
func (t *throttle) count(ip netip.Addr, now store.Time, limit int) (guessing, first bool) {
	if limit < 0 || !ip.IsValid() {
		return false, false
	}
	minute := minuteOf(now)
	addToWindow(&t.guesses, minute)
	n := addToWindow(&t.counted[t.slot(ip)], minute)
	return n > uint32(limit), n == uint32(limit)+1
}

// toldBound reports whether an event of this minute has told that a request to a
// bound session was refused for the same reason. Sessions that share a slot share
// the event.
func (t *throttle) toldBound(id ID, why Refusal, now store.Time) bool {
	slot := maphash.Comparable(t.seeds[0], struct {
		id  ID
		why Refusal
	}{id, why}) % addressSlots
	return addToWindow(&t.bound[slot], minuteOf(now)) > 1
}

func (t *throttle) slot(ip netip.Addr) uint64 {
	return maphash.Comparable(t.seeds[0], network(ip)) % addressSlots
}

func minuteOf(now store.Time) uint32 { return uint32(now / 60_000) }

// A window is a count that belongs to one second or minute: its number is in the
// upper half.
func inWindow(w *atomic.Uint64, number uint32) uint32 {
	if v := w.Load(); uint32(v>>32) == number {
		return uint32(v)
	}
	return 0
}

func addToWindow(w *atomic.Uint64, number uint32) uint32 {
	for {
		old := w.Load()
		next := old + 1
		if uint32(old>>32) != number {
			next = uint64(number)<<32 | 1
		}
		if w.CompareAndSwap(old, next) {
			return uint32(next)
		}
	}
}

// network returns the addresses that one guesser is assumed to have: an IPv4
// address, or a /64 of IPv6.
func network(ip netip.Addr) netip.Addr {
	ip = ip.Unmap()
	if ip.Is4() {
		return ip
	}
	prefix, _ := ip.Prefix(64) // a valid address has one
	return prefix.Addr()
}
