package shop

import (
	"crypto/sha256"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/internal/peer"
)

// A Caller is the origin of a password to check. Each address and each account
// has a share of the queue.
type Caller struct {
	Address netip.Prefix // of the client; the zero value has no share of its own
	Account string       // the e-mail address that was entered; may be empty
}

// addressOf returns the client's address, for IPv6 its /64, which usually
// belongs to one customer. It is zero if the connection has no address.
func addressOf(r *http.Request) netip.Prefix {
	ip := peer.Of(r).IP
	if !ip.IsValid() {
		return netip.Prefix{}
	}
	if ip.Is6() {
		return netip.PrefixFrom(ip, 64).Masked()
	}
	return netip.PrefixFrom(ip, ip.BitLen())
}

const (
	wrongWindow  = 15 * time.Minute
	maxWrongHere = 10     // passwords for one account from one address in a window
	maxWrong     = 100    // passwords for one account (NIST SP 800-63B-4, 3.2.2)
	maxCounted   = 20_000 // accounts and pairs in memory, for each of two windows
)

// attempts limits wrong passwords by the e-mail address that was entered. It
// makes no difference whether the account exists, so the answer does not reveal
// that. The limit for one client address is lower, so a stranger elsewhere
// cannot lock the owner out with a few requests. It may be used concurrently.
type attempts struct {
	mu     sync.Mutex       // guards all below
	began  time.Time        // of the current window
	now    map[[32]byte]int // by account, and by account and address
	before map[[32]byte]int // of the previous window
}

// begin counts an attempt before its password is checked, so that parallel
// attempts cannot exceed the limit. It reports false if the limit is reached.
// The caller must call right if the password was right, and undo if it was not
// checked.
func (a *attempts) begin(at time.Time, c Caller) (right, undo func(), ok bool) {
	account := sha256.Sum256([]byte(c.Account))
	pair := sha256.Sum256([]byte(c.Address.String() + " " + c.Account))
	a.mu.Lock()
	defer a.mu.Unlock()
	age := at.Sub(a.began)
	if a.now == nil || age >= wrongWindow || len(a.now) >= maxCounted {
		a.before, a.now, a.began = a.now, map[[32]byte]int{}, at
	}
	if age >= 2*wrongWindow {
		a.before = nil
	}
	if a.now[account]+a.before[account] >= maxWrong || c.Address.IsValid() && a.now[pair]+a.before[pair] >= maxWrongHere {
		return nil, nil, false
	}
	a.now[account]++
	a.now[pair]++
	undo = func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, key := range [][32]byte{account, pair} {
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
