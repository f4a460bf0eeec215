// Package password hashes and checks the passwords of people, and slows down
// guessing. The shop's users and the console's operators sign in with it.
package password

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/go-crypt/crypt/algorithm/argon2"
)

// A Hasher hashes passwords with argon2id (RFC 9106) into PHC strings. It
// hashes only a few at a time, so that a flood of logins waits instead of
// filling the memory. Each address and each account has a share of the queue,
// so that a flood from one place does not block others.
type Hasher struct {
	argon2 *argon2.Hasher
	decoy  string // the hash of nobody's password
	slots  chan struct{}
	queue  chan struct{}

	mu     sync.Mutex  // guards shares
	shares map[any]int // places in the queue and slots, by Caller.Address and Caller.Account
}

// Cost is the cost of one hash. The zero value is 19 MiB and 2 passes,
// from OWASP's Password Storage Cheat Sheet. Tests use less.
type Cost struct {
	MemoryKiB uint32
	Passes    int
}

const (
	MinLength = 8 // characters of a new password
	MaxLength = 200

	maxHashing = 4   // at a time: 4 × 19 MiB
	maxQueue   = 256 // requests that wait for their turn
	maxShare   = 16  // of these from one address
	maxAccount = 4   // and for one account
	maxWait    = time.Second * 10
)

// ErrBusy is returned if too many passwords wait to be checked.
var ErrBusy = errors.New("password: too many logins at this moment")

// New returns a hasher of the given cost.
func New(cost Cost) (*Hasher, error) {
	if cost.MemoryKiB == 0 {
		cost.MemoryKiB = 19 * 1024
	}
	if cost.Passes == 0 {
		cost.Passes = 2
	}
	hasher, err := argon2.New(argon2.WithVariantID(), argon2.WithMemoryInKiB(cost.MemoryKiB), argon2.WithIterations(cost.Passes),
		argon2.WithParallelism(1), argon2.WithSaltLength(16), argon2.WithKeyLength(32))
	if err != nil {
		return nil, fmt.Errorf("password: argon2id: %w", err)
	}
	p := &Hasher{
		argon2: hasher,
		slots:  make(chan struct{}, min(maxHashing, runtime.GOMAXPROCS(0))),
		queue:  make(chan struct{}, maxQueue),
		shares: map[any]int{},
	}
	p.decoy, err = p.Hash(context.Background(), Caller{}, "nobody's password")
	return p, err
}

// CheckHash returns an error unless a text is an argon2id hash, as a PHC string,
// that Verify can check with at most 1 GiB of memory.
func CheckHash(encoded string) error {
	cost := hashForm.FindStringSubmatch(encoded)
	if cost == nil {
		return errors.New("password: the hash is not argon2id in PHC form")
	}
	for i, most := range []int{1 << 20, 100, 16} { // KiB, passes, threads
		if n, err := strconv.Atoi(cost[i+1]); err != nil || n < 1 || n > most {
			return errors.New("password: the hash costs too much")
		}
	}
	_, err := argon2.DecodeVariant(argon2.VariantID)(encoded)
	return err
}

var hashForm = regexp.MustCompile(`^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}$`)

// Hash returns the PHC string of a password.
func (p *Hasher) Hash(ctx context.Context, c Caller, password string) (string, error) {
	done, err := p.turn(ctx, c)
	if err != nil {
		return "", err
	}
	defer done()
	digest, err := p.argon2.Hash(password)
	if err != nil {
		return "", fmt.Errorf("password: hash a password: %w", err)
	}
	return digest.Encode(), nil
}

// Verify reports whether the password matches the PHC string. If the string is
// empty, because the user does not exist, it takes the same time and reports
// false.
func (p *Hasher) Verify(ctx context.Context, c Caller, password, encoded string) (bool, error) {
	done, err := p.turn(ctx, c)
	if err != nil {
		return false, err
	}
	defer done()
	known := encoded != ""
	if !known {
		encoded = p.decoy
	}
	digest, err := argon2.Decode(encoded)
	if err != nil {
		return false, fmt.Errorf("password: read a password's hash: %w", err)
	}
	match, err := digest.MatchAdvanced(password)
	if err != nil {
		return false, fmt.Errorf("password: check a password: %w", err)
	}
	return match && known, nil
}

// turn waits for a slot. The caller must call done. The error is ErrBusy if the
// queue, or the caller's share of it, is full.
func (p *Hasher) turn(ctx context.Context, c Caller) (done func(), err error) {
	leave, ok := p.join(c)
	if !ok {
		return nil, ErrBusy
	}
	defer func() {
		if err != nil {
			leave()
		}
	}()
	select {
	case p.queue <- struct{}{}:
		defer func() { <-p.queue }()
	default:
		return nil, ErrBusy
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxWait, ErrBusy)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
		return func() { <-p.slots; leave() }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// join takes a place of the caller's shares. Leave gives it back.
func (p *Hasher) join(c Caller) (leave func(), ok bool) {
	shares := map[any]int{}
	if c.Address.IsValid() {
		shares[c.Address] = maxShare
	}
	if c.Account != "" {
		shares[c.Account] = maxAccount
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for owner, most := range shares {
		if p.shares[owner] >= most {
			return nil, false
		}
	}
	for owner := range shares {
		p.shares[owner]++
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for owner := range shares {
			if p.shares[owner]--; p.shares[owner] == 0 {
				delete(p.shares, owner)
			}
		}
	}, true
}
