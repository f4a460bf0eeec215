package password

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// cheap returns a hasher that is fast.
func cheap(t *testing.T) *Hasher {
	t.Helper()
	p, err := New(Cost{MemoryKiB: 64, Passes: 1})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPasswords(t *testing.T) {
	ctx := t.Context()
	p := cheap(t)
	hash, err := p.Hash(ctx, Caller{}, "correct horse")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Fatalf("%q, %v", hash, err)
	}
	for entered, want := range map[string]bool{"correct horse": true, "correct horsf": false, "": false} {
		if ok, err := p.Verify(ctx, Caller{}, entered, hash); ok != want || err != nil {
			t.Errorf("%q: %v, %v", entered, ok, err)
		}
	}
	if ok, err := p.Verify(ctx, Caller{}, "nobody's password", ""); ok || err != nil {
		t.Errorf("nobody signs in: %v, %v", ok, err)
	}
	if _, err := p.Verify(ctx, Caller{}, "x", "nonsense"); err == nil {
		t.Error("a broken hash is no error")
	}
	if other, _ := p.Hash(ctx, Caller{}, "correct horse"); other == hash {
		t.Error("no salt")
	}
}

// Many logins wait for their turn. If too many wait, further ones are refused.
func TestPasswordsAreHashedFewAtATime(t *testing.T) {
	p := cheap(t)
	flooded := &Hasher{argon2: p.argon2, decoy: p.decoy, slots: make(chan struct{}, 1), queue: make(chan struct{}, 2)}
	flooded.slots <- struct{}{} // one is at work
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := flooded.Verify(t.Context(), Caller{}, "x", ""); err != nil {
				t.Errorf("who waits: %v", err)
			}
		})
	}
	for len(flooded.queue) < 2 {
		time.Sleep(time.Millisecond)
	}
	if _, err := flooded.Verify(t.Context(), Caller{}, "x", ""); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	<-flooded.slots
	wg.Wait()
}

// Many logins from one address or for one account leave room in the queue for
// others.
func TestSharesOfTheQueue(t *testing.T) {
	p := cheap(t)
	for range cap(p.slots) { // nobody gets a turn before all wait
		p.slots <- struct{}{}
	}
	var wg sync.WaitGroup
	results := make(chan error, 1000)
	try := func(c Caller) {
		wg.Go(func() {
			_, err := p.Verify(t.Context(), c, "wrong", "")
			results <- err
		})
	}
	caller := func(ip, account string) Caller {
		address, _ := netip.ParseAddr(ip) // a Unix socket's peer has none
		return Caller{Address: AddressOf(address), Account: account}
	}
	for i := range 300 {
		try(caller("192.0.2.1", fmt.Sprint(i)))
		try(caller(fmt.Sprintf("2001:db8::%x", i), fmt.Sprint("v6 ", i)))
		try(caller(fmt.Sprintf("198.51.%d.%d", i/200, i%200), "ada@example.com"))
	}
	refused := 0
	for range 3*300 - 2*maxShare - maxAccount { // the others wait
		if err := <-results; !errors.Is(err, ErrBusy) {
			t.Fatalf("err %v", err)
		}
		refused++
	}
	for len(p.queue) < 2*maxShare+maxAccount {
		runtime.Gosched()
	}
	try(caller("203.0.113.9", "ben@example.com"))
	try(caller("@", "carl@example.com"))
	for len(p.queue) < 2*maxShare+maxAccount+2 {
		select {
		case err := <-results:
			t.Fatalf("somebody else is refused: %v", err)
		default:
			runtime.Gosched()
		}
	}
	for range cap(p.slots) {
		<-p.slots
	}
	wg.Wait()
	close(results)
	for err := range results {
		if err != nil {
			t.Errorf("who waited got %v", err)
		}
	}
	if len(p.shares) != 0 {
		t.Errorf("shares that are left: %v", p.shares)
	}
}

// An address that guesses passwords of many accounts is refused, and others go on.
func TestAttemptsOfAnAddress(t *testing.T) {
	var a Attempts
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	from := func(ip, account string) Caller {
		return Caller{AddressOf(netip.MustParseAddr(ip)), account}
	}
	for i := range MaxWrong {
		if _, _, ok := a.Begin(now, from("192.0.2.1", fmt.Sprint("user", i))); !ok {
			t.Fatalf("attempt %d is refused", i)
		}
	}
	if _, _, ok := a.Begin(now, from("192.0.2.1", "another")); ok {
		t.Error("one address may guess for ever, if it changes the account")
	}
	if _, _, ok := a.Begin(now, from("192.0.2.2", "another")); !ok {
		t.Error("another address is refused")
	}
	if _, _, ok := a.Begin(now.Add(2*Window), from("192.0.2.1", "another")); !ok {
		t.Error("it is refused for ever")
	}
}

func TestCheckHash(t *testing.T) {
	hash, err := cheap(t).Hash(t.Context(), Caller{}, "correct horse")
	if err != nil || CheckHash(hash) != nil {
		t.Fatal(hash, err, CheckHash(hash))
	}
	for _, wrong := range []string{
		"", "correct horse", "$2y$10$abcdefghijklmnopqrstuv", strings.Replace(hash, "argon2id", "argon2i", 1), strings.Replace(hash, "t=1", "t=0", 1),
		strings.Replace(hash, "m=64", "m=99999999", 1), strings.Replace(hash, "p=1", "p=400", 1), hash + "$", hash[:40], strings.Replace(hash, "v=19", "v=16", 1),
	} {
		if CheckHash(wrong) == nil {
			t.Errorf("%q is taken for a hash", wrong)
		}
	}
}
