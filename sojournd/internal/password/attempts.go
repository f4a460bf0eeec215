package password

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"
)

// A Caller is the origin of a password to check. Each address and each account
// has a share of the queue.
type Caller struct {
	Address netip.Prefix // of the client; the zero value has no share of its own
	Account string       // the name that was entered; may be empty
}

// AddressOf returns the share of a client's address: for IPv6 its /64, which
// usually belongs to one customer. It is zero if there is no address.
func AddressOf(ip netip.Addr) netip.Prefix {
	if !ip.IsValid() {
		return netip.Prefix{}
	}
	if ip.Is6() {
		return netip.PrefixFrom(ip, 64).Masked()
	}
	return netip.PrefixFrom(ip, ip.BitLen())
}

const (
	Window       = 15 * time.Minute
	MaxWrongHere = 10     // passwords for one account from one address in a window
	MaxWrong     = 100    // passwords for one account (NIST SP 800-63B-4, 3.2.2), and from one address
	maxCounted   = 20_000 // accounts, addresses and pairs in memory, for each of two windows
)

// Attempts limits wrong passwords by the account that was entered, and by the
// client's address. It makes no difference whether the account exists, so the
// answer does not reveal that. The limit for one account from one address is
// lower, so a stranger elsewhere cannot lock the owner out with a few requests.
// The zero value is ready. It may be used concurrently.
type Attempts struct {
	mu     sync.Mutex       // guards all below
	began  time.Time        // of the current window
	now    map[[32]byte]int // by account, by address, and by both
	before map[[32]byte]int // of the previous window
}

// Begin counts an attempt before its password is checked, so that parallel
// attempts cannot exceed the limit. It reports false if the limit is reached.
// The caller must call right if the password was right, and undo if it was not
// checked.
func (a *Attempts) Begin(at time.Time, c Caller) (right, undo func(), ok bool) {
	account := sha256.Sum256([]byte("account " + c.Account))
	address := sha256.Sum256([]byte("address " + c.Address.String()))
	pair := sha256.Sum256([]byte(c.Address.String() + " " + c.Account))
	keys := [][32]byte{account}
	if c.Address.IsValid() {
		keys = append(keys, address, pair)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	age := at.Sub(a.began)
	if a.now == nil || age >= Window || len(a.now) >= maxCounted {
		a.before, a.now, a.began = a.now, map[[32]byte]int{}, at
	}
	if age >= 2*Window {
		a.before = nil
	}
	for _, key := range keys {
		most := MaxWrong
		if key == pair {
			most = MaxWrongHere
		}
		if a.now[key]+a.before[key] >= most {
			return nil, nil, false
		}
	}
	for _, key := range keys {
		a.now[key]++
	}
	undo = func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, key := range keys {
			if a.now[key] > 0 { // otherwise the window is over
				a.now[key]--
			}
		}
	}
	right = func() {
		undo()
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.now, pair)
		delete(a.before, pair)
	}
	return right, undo, true
}
