package sojourn_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// I1: no raw token, secret or half of one reaches a store or an event, in any
// spelling.
func TestI1NoSecretInStoreOrEvents(t *testing.T) {
	var given logbook // everything that the engine gives to the store
	w := newWorld(t, onCalls(func(ctx context.Context, c driver.Call) driver.Result {
		args := []any{c.App, c.ID}
		switch c.Op {
		case driver.Create:
			args = append(args, *c.Record, *c.Create)
		case driver.Update:
			args = append(args, *c.Record, *c.Update)
		case driver.Confirm:
			args = append(args, *c.Secret, *c.Confirmation)
		}
		fmt.Fprintf(&given, "%v %+v %x %s\n", args, args, args, args)
		return c.Do(ctx)
	}))
	j := new(jar)
	var tokens []string
	keep := func() { tokens = append(tokens, j.session, j.visitor) }
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
	keep()
	w.login(j, "ann")
	keep()
	for range 3 {
		w.pass(16 * time.Minute)
		w.look(j)
		keep()
		w.pass(2 * time.Minute)
		w.look(j)
		w.pass(2 * time.Minute)
		w.look(j)
	}
	w.visit(j, func(s *sojourn.Session) error { return s.Elevate(2, "otp") })
	keep()
	w.visit(j, func(s *sojourn.Session) error { return s.Logout() })
	w.flush()

	all := given.String() + fmt.Sprintf("%+v", w.events)
	checked, stored := 0, []byte(nil)
	for _, token := range tokens {
		raw, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil || len(raw) < 48 {
			continue
		}
		if len(raw) == 48 && stored == nil {
			stored = raw
		}
		checked++
		for _, part := range [][]byte{raw[16:32], raw[32:48]} {
			for _, spelling := range []string{
				string(part), hex.EncodeToString(part), base64.RawURLEncoding.EncodeToString(part), strings.Trim(fmt.Sprintf("%d", part), "[]"),
			} {
				if strings.Contains(all, spelling) {
					t.Fatalf("a secret leaks: %q", spelling)
				}
			}
		}
		if strings.Contains(all, token[22:]) {
			t.Fatal("a token leaks")
		}
	}
	if checked < 5 {
		t.Fatalf("only %d tokens were seen", checked)
	}
	// The check finds what it looks for: the hash is there.
	if sealedFor == "everyone" {
		return // nothing is stored
	}
	if hash := sha256.Sum256(stored[16:]); !strings.Contains(all, hex.EncodeToString(hash[:])) {
		t.Error("the store was given no hash of a secret: this test looks at nothing")
	}
}

// I2: only the token of a live session has an effect.
func TestI2UnknownTokensAreAnonymous(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	raw, _ := base64.RawURLEncoding.DecodeString(j.session)
	flip := func(i int) string {
		b := bytes.Clone(raw)
		b[i] ^= 1
		return base64.RawURLEncoding.EncodeToString(b)
	}
	hash := sha256.Sum256(raw[16:])
	for name, token := range map[string]string{
		"unknown ID":          flip(3),
		"wrong random half":   flip(47 - 31), // both halves differ from the known ones
		"the hash as secret":  base64.RawURLEncoding.EncodeToString(append(bytes.Clone(raw[:16]), hash[:]...)),
		"malformed":           "x",
		"padded":              j.session + "=",
		"a line break in it":  j.session[:63] + "\n",
		"standard base64":     strings.Repeat("+/", 32),
		"empty":               "",
		"NUL":                 strings.Repeat("\x00", 64),
		"64 KiB":              strings.Repeat("A", 64<<10),
		"the session's ID":    w.id(j).String(),
		"another letter case": strings.ToLower(j.session),
	} {
		forged := &jar{session: token, visitor: token}
		s := w.begin(forged)
		if s.Subject() != "" || !s.ID().IsZero() {
			t.Errorf("%s: subject %q, ID %v", name, s.Subject(), s.ID())
		}
		if err := color.Set(s, "red"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		w.answer(forged, s)
		if forged.visitor == token {
			t.Errorf("%s: the token was adopted", name)
		}
	}
	w.want("ann", w.look(j), "ann")
	equal(t, "endings", w.endings(), nil)
}

// I3: after a login, elevation or logout, the old secret is invalid.
func TestI3OldSecretIsDeadAtOnce(t *testing.T) {
	for name, renew := range map[string]func(*sojourn.Session) error{
		"login":            func(s *sojourn.Session) error { return s.Login("ann") },
		"reauthentication": func(s *sojourn.Session) error { return s.Login("ann") },
		"elevation":        func(s *sojourn.Session) error { return s.Elevate(2, "otp") },
		"logout":           func(s *sojourn.Session) error { return s.Logout() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			j := new(jar)
			if name == "login" {
				w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
			} else {
				w.login(j, "ann")
			}
			old := *j
			arrivedBefore := w.beginAt(&old, w.time())
			w.visit(j, renew)
			for what, s := range map[string]*sojourn.Session{"a later request": w.begin(&old), "one that arrived before": arrivedBefore} {
				if s.Subject() != "" || !s.ID().IsZero() {
					t.Errorf("%s with the old secret is %q, session %v", what, s.Subject(), s.ID())
				}
			}
			if name != "logout" {
				w.want("the new one", w.look(j), "ann")
			}
		})
	}
}

func TestI3FixationGainsNothing(t *testing.T) {
	w := newWorld(t)
	attacker := new(jar)
	w.visit(attacker, func(s *sojourn.Session) error { return color.Set(s, "planted") })
	victim := *attacker
	w.login(&victim, "victim")
	w.want("the attacker", w.look(attacker), "")
	w.want("the victim", w.look(&victim), "victim")
	w.pass(time.Hour)
	w.want("the attacker, later", w.look(attacker), "")
	w.want("the victim, later", w.look(&victim), "victim")
}

// I4: requests that were under way don't revive an ended session.
func TestI4NothingResurrects(t *testing.T) {
	ends := map[string]func(*world, *jar){
		"logout":      func(w *world, j *jar) { k := *j; w.visit(&k, (*sojourn.Session).Logout) },
		"end":         func(w *world, j *jar) { w.End(ctx, w.id(j)) },
		"end subject": func(w *world, j *jar) { w.EndSubject(ctx, "ann", sojourn.ID{}) },
		"end all":     func(w *world, j *jar) { w.EndAll(ctx) },
	}
	flights := map[string]func(*sojourn.Session) error{
		"set":     func(s *sojourn.Session) error { return color.Set(s, "red") },
		"update":  func(s *sojourn.Session) error { return count.Update(s, increment) },
		"delete":  func(s *sojourn.Session) error { return color.Delete(s) },
		"elevate": func(s *sojourn.Session) error { return s.Elevate(2) },
		"rotate":  func(s *sojourn.Session) error { return s.Rotate() },
		"read":    func(s *sojourn.Session) error { s.Subject(); return nil },
	}
	for end, do := range ends {
		for flight, change := range flights {
			t.Run(end+" during "+flight, func(t *testing.T) {
				w := newWorld(t)
				j := w.loggedIn("ann")
				w.pass(16 * time.Minute) // a touch and a rotation are due
				s := w.begin(j)
				if err := change(s); err != nil {
					t.Fatal(err)
				}
				id := s.ID()
				do(w, j)
				err := s.Commit(ctx)
				if flight != "read" && !errors.Is(err, sojourn.ErrEnded) {
					t.Errorf("commit: %v, want ErrEnded", err)
				}
				w.take(j, s)
				w.flush()
				w.want("after it", w.look(j), "")
				var rec store.Record
				if err := w.store.Get(ctx, "default", id, true, &rec); !errors.Is(err, store.ErrEnded) && !errors.Is(err, store.ErrNotFound) {
					t.Errorf("Get of the ended session: %v", err)
				}
			})
		}
	}
}

// I5: parallel requests lose no update.
func TestI5ParallelUpdatesAllLand(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	const n = 64
	var ready, wg sync.WaitGroup
	ready.Add(n)
	for i := range n {
		wg.Go(func() {
			s := w.begin(j)
			own := sojourn.NewKey[int](fmt.Sprintf("key%d", i))
			err := errors.Join(count.Update(s, increment), own.Set(s, i), color.Set(s, "last wins"))
			ready.Done()
			ready.Wait() // all have read the same revision
			if err = errors.Join(err, s.Commit(ctx)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := w.begin(j)
	got, _ := count.Get(s)
	w.want("count", got, n)
	for i := range n {
		v, ok, _ := sojourn.NewKey[int](fmt.Sprintf("key%d", i)).Lookup(s)
		if !ok || v != i {
			t.Errorf("key%d: %d, %v", i, v, ok)
		}
	}
}

func TestI5UpdateThatFailsAtTheCommit(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	taken := errors.New("taken")
	claim := func(n *int) error {
		if *n > 0 {
			return taken
		}
		*n++
		return nil
	}
	a, b := w.begin(j), w.begin(j)
	if err := errors.Join(count.Update(a, claim), count.Update(b, claim)); err != nil {
		t.Fatal(err)
	}
	w.answer(j, a)
	if err := b.Commit(ctx); !errors.Is(err, sojourn.ErrConflict) || !errors.Is(err, taken) || sojourn.StatusCode(err) != 409 {
		t.Errorf("commit: %v", err)
	}
	c := w.begin(j)
	if err := count.Update(c, claim); !errors.Is(err, taken) {
		t.Errorf("update: %v", err)
	}
}

// The error is the same if the newest session is one that a parallel request has
// created, or a new one because the request's own has ended.
func TestI5UpdateThatFailsOnAnotherSession(t *testing.T) {
	w := newWorld(t)
	refused := errors.New("refused")
	unlike := func(bad int) func(*int) error {
		return func(n *int) error {
			if *n == bad {
				return refused
			}
			*n++
			return nil
		}
	}
	check := func(s *sojourn.Session) {
		t.Helper()
		if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrConflict) || !errors.Is(err, refused) || sojourn.StatusCode(err) != 409 {
			t.Errorf("commit: %v", err)
		}
	}
	a, b := w.Begin(ctx, sojourn.Request{Key: "a key"}), w.Begin(ctx, sojourn.Request{Key: "a key"})
	if err := errors.Join(count.Update(a, unlike(1)), count.Update(b, unlike(1)), a.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	check(b)

	j := w.loggedIn("ann")
	w.visit(j, func(s *sojourn.Session) error { return count.Set(s, 1) })
	s := w.begin(j)
	if err := errors.Join(s.Login("ann"), count.Update(s, unlike(0)), w.End(ctx, s.ID())); err != nil {
		t.Fatal(err)
	}
	check(s)
}

// I6: a commit that fails stores nothing, and returns an error. A commit with
// an unknown outcome is not retried.
func TestI6UncertainIsNotRetried(t *testing.T) {
	w := newWorld(t, watched)
	j := w.loggedIn("ann")
	w.calls.fail(nil, always(store.ErrUncertain, "Update"))
	r := w.begin(j)
	if err := count.Update(r, increment); err != nil {
		t.Fatal(err)
	}
	err := r.Commit(ctx)
	if !errors.Is(err, sojourn.ErrUncertain) || sojourn.StatusCode(err) != 503 {
		t.Errorf("commit: %v", err)
	}
	w.calls.fail(nil, nil)
	got, _ := count.Get(w.begin(j))
	w.want("count", got, 1) // the write happened once
}

// I7: the engine's clock decides, whatever the store still holds.
func TestI7NeverPastADeadline(t *testing.T) {
	for _, test := range []struct {
		name   string
		o      []sojourn.LoginOption
		anon   bool
		limits sojourn.Lifetime
	}{
		{"login", nil, false, sojourn.DefaultPolicy().Login},
		{"remembered", []sojourn.LoginOption{sojourn.Remember()}, false, sojourn.DefaultPolicy().Remembered},
		{"anonymous", nil, true, sojourn.DefaultPolicy().Anonymous},
	} {
		start := func(t *testing.T) (*world, *jar) {
			w, j := newWorld(t), new(jar)
			if test.anon {
				w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
			} else {
				w.login(j, "ann", test.o...)
			}
			return w, j
		}
		lives := func(w *world, j *jar) bool { return !w.id(j).IsZero() }
		t.Run(test.name+"/idle", func(t *testing.T) {
			w, j := start(t)
			w.pass(test.limits.Idle - time.Millisecond)
			w.want("just before", lives(w, j), true)
			w.pass(time.Millisecond)
			s := w.begin(j)
			w.want("at the deadline", s.ID(), sojourn.ID{})
			w.want("reason", s.EndReason(), sojourn.ReasonIdle)
		})
		t.Run(test.name+"/activity moves idle only", func(t *testing.T) {
			w, j := start(t)
			var lastSeen time.Time
			for !w.time().After(epoch.Add(test.limits.Absolute)) {
				if !lives(w, j) {
					break
				}
				w.answer(j, w.begin(j))
				lastSeen = w.time()
				w.visit(j, func(s *sojourn.Session) error { s.ID(); return nil })
				w.pass(test.limits.Idle / 3)
			}
			if limit := epoch.Add(test.limits.Absolute); lastSeen.Before(limit.Add(-test.limits.Idle)) || !lastSeen.Before(limit) {
				t.Errorf("last seen %v, the absolute limit was %v", lastSeen, limit)
			}
			w.want("reason", w.begin(j).EndReason(), sojourn.ReasonAbsolute)
		})
	}
}

func TestI7TouchIntervalIsTheOnlyError(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	w.pass(59 * time.Second) // below the touch interval, so not recorded
	w.look(j)
	w.pass(24*time.Hour - 59*time.Second)
	w.want("at most an interval early", w.look(j), "")

	w = newWorld(t)
	j = w.loggedIn("ann")
	interval := time.Minute
	if sealedFor == "everyone" {
		interval = 24 * time.Hour / 20
	}
	w.pass(interval)
	w.look(j)
	w.pass(24*time.Hour - time.Millisecond)
	w.want("after recorded activity", w.look(j), "ann")
}

func TestI7ClockStepsBack(t *testing.T) {
	w := newWorld(t)
	w.pass(time.Hour)
	j := w.loggedIn("ann")
	w.pass(-30 * time.Minute)
	w.want("ann", w.look(j), "ann")
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
	w.pass(24*time.Hour + 30*time.Minute)
	w.want("after the limit", w.look(j), "")
}

// I8: a visitor who stores nothing causes no cost.
func TestI8StrangersCostNothing(t *testing.T) {
	w := newWorld(t, watched)
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error { return color.Delete(s) })
	w.visit(j, (*sojourn.Session).Logout)
	for range 10 {
		r := w.begin(j)
		w.want("subject", r.Subject(), "")
		if v, err := color.Get(r); v != "" || err != nil {
			t.Error(v, err)
		}
		w.answer(j, r)
	}
	w.flush()
	w.want("cookies", *j, jar{})
	equal(t, "calls of the store", w.calls.made(), nil)
	known := w.loggedIn("ann")
	w.flush()
	w.calls.reset()
	w.answer(known, w.begin(known)) // doesn't use the session
	w.flush()
	equal(t, "calls of the store for a handler that doesn't use the session", w.calls.made(), nil)
}

// I9: a store that is down is an error.
func TestI9FailsClosed(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	w.store.Close()
	s := w.begin(j)
	if err := s.Load(ctx); !errors.Is(err, sojourn.ErrUnavailable) {
		t.Fatalf("load: %v", err)
	}
	if _, err := color.Get(s); !errors.Is(err, sojourn.ErrUnavailable) {
		t.Errorf("get: %v", err)
	}
	if err := s.Login("ann"); !errors.Is(err, sojourn.ErrUnavailable) {
		t.Errorf("login: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("Subject returns although the session can't be read")
		}
	}()
	w.begin(j).Subject()
}

// I11: everything has a limit.
func TestI11Limits(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxValue, o.MaxSession = 100, 250 }))
	j := w.loggedIn("ann")
	s := w.begin(j)
	if err := color.Set(s, strings.Repeat("x", 98)); err != nil {
		t.Errorf("a value at the limit: %v", err)
	}
	if err := color.Set(s, strings.Repeat("x", 99)); !errors.Is(err, sojourn.ErrTooLarge) {
		t.Errorf("a value above the limit: %v", err)
	}
	if err := sojourn.NewKey[string]("b").Set(s, strings.Repeat("x", 98)); err != nil {
		t.Errorf("a second value: %v", err)
	}
	if err := sojourn.NewKey[string]("c").Set(s, strings.Repeat("x", 98)); !errors.Is(err, sojourn.ErrTooLarge) || sojourn.StatusCode(err) != 413 {
		t.Errorf("a session above the limit: %v", err)
	}
	w.answer(j, s)
	v, _ := color.Get(w.begin(j))
	w.want("the session is unharmed", v, strings.Repeat("x", 98))
}

func TestI11SessionsOfASubject(t *testing.T) {
	t.Run("the oldest ends", func(t *testing.T) {
		w := newWorld(t, options(func(o *sojourn.Options) { o.MaxSessions = 3 }))
		var jars []*jar
		for range 5 {
			jars = append(jars, w.loggedIn("ann"))
			w.pass(time.Second)
		}
		for i, j := range jars {
			want := "ann"
			if i < 2 {
				want = ""
				w.want("reason", w.begin(j).EndReason(), sojourn.ReasonEvicted)
			}
			w.want(fmt.Sprintf("browser %d", i), w.look(j), want)
		}
		equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonEvicted, sojourn.ReasonEvicted})
	})
	t.Run("refused", func(t *testing.T) {
		w := newWorld(t, options(func(o *sojourn.Options) { o.MaxSessions, o.RefuseOverLimit = 1, true }))
		first := w.loggedIn("ann")
		s := w.begin(new(jar))
		if err := s.Login("ann"); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrLimit) || s.Token() != "" || len(s.SetCookies()) > 0 {
			t.Errorf("commit: %v", err)
		}
		w.login(first, "ann") // again, in the same session
		w.want("the first", w.look(first), "ann")
	})
	t.Run("parallel logins", func(t *testing.T) {
		w := newWorld(t, options(func(o *sojourn.Options) { o.MaxSessions = 3 }))
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() { w.loggedIn("ann") })
		}
		wg.Wait()
		list, _, err := w.List(ctx, "ann", "", 100)
		if err != nil || len(list) != 3 {
			t.Errorf("%d sessions, %v", len(list), err)
		}
	})
}

// I13: a request that was authorised before a login or elevation writes nothing
// after it.
func TestI13NoStaleAuthority(t *testing.T) {
	for name, renew := range map[string]func(*sojourn.Session) error{
		"login":     func(s *sojourn.Session) error { return s.Login("ann") },
		"elevation": func(s *sojourn.Session) error { return s.Elevate(2) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			j := new(jar)
			w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
			if name == "elevation" {
				w.login(j, "ann")
			}
			early, reader := w.begin(j), w.begin(j)
			w.want("read before", reader.Subject(), map[string]string{"login": "", "elevation": "ann"}[name])
			if err := color.Set(early, "stolen"); err != nil {
				t.Fatal(err)
			}
			w.visit(j, renew)
			if err := early.Commit(ctx); !errors.Is(err, sojourn.ErrSuperseded) || sojourn.StatusCode(err) != 409 {
				t.Errorf("commit: %v", err)
			}
			w.want("cookies of it", len(early.SetCookies()), 0)
			w.want("cookies of a reader", len(func() []string { reader.Commit(ctx); return reader.SetCookies() }()), 0)
			v, _ := color.Get(w.begin(j))
			w.want("color", v, "red")
		})
	}
}

// Unlike a login, a rotation doesn't refuse the write of a request in flight.
func TestI13RotationKeepsWritesInFlight(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	early := w.begin(j)
	if err := color.Set(early, "blue"); err != nil {
		t.Fatal(err)
	}
	before := *j
	w.visit(j, (*sojourn.Session).Rotate)
	if *j == before {
		t.Fatal("the secret wasn't rotated")
	}
	w.answer(&before, early)
	v, _ := color.Get(w.begin(j))
	w.want("color", v, "blue")
	w.want("the old secret, in its grace", w.look(&before), "ann")
}

// I14: the answer to an old request sets and clears no cookie. A request is old
// if it arrived before the end of its session, or within 30 s after it with an
// unsafe method.
func TestI14LateRequests(t *testing.T) {
	for name, over := range map[string]struct {
		end  func(*world, *jar)
		want error
	}{
		"logged out": {func(w *world, j *jar) { k := *j; w.visit(&k, (*sojourn.Session).Logout) }, sojourn.ErrEnded},
		"revoked":    {func(w *world, j *jar) { w.EndSubject(ctx, "ann", sojourn.ID{}) }, sojourn.ErrEnded},
		"all ended":  {func(w *world, j *jar) { w.EndAll(ctx) }, sojourn.ErrEnded},
		"evicted":    {func(w *world, j *jar) { w.pass(time.Millisecond); w.loggedIn("ann"); w.loggedIn("ann") }, sojourn.ErrEnded},
		"expired":    {func(w *world, j *jar) { w.pass(24*time.Hour - time.Second) }, sojourn.ErrEnded},
		"renewed":    {func(w *world, j *jar) { k := *j; w.visit(&k, func(s *sojourn.Session) error { return s.Elevate(2) }) }, sojourn.ErrSuperseded},
	} {
		for when, late := range map[string]struct {
			arrived time.Duration
			safe    bool
		}{
			"before":                {-time.Second, false},
			"before, safe":          {-time.Second, true},
			"unsafe, shortly after": {30 * time.Second, false},
		} {
			t.Run(name+"/arrived "+when, func(t *testing.T) {
				w := newWorld(t, options(func(o *sojourn.Options) { o.MaxSessions = 2 }))
				j := w.loggedIn("ann")
				w.pass(time.Second)
				over.end(w, j)
				at := w.time().Add(late.arrived)
				w.pass(10 * time.Minute)
				begin := func() *sojourn.Session {
					return w.Begin(ctx, sojourn.Request{Session: []string{j.session}, Arrived: at, Client: home, Safe: late.safe})
				}

				s := begin()
				w.want("subject", s.Subject(), "")
				if err := color.Set(s, "red"); err != nil {
					t.Fatal(err)
				}
				if err := s.Commit(ctx); !errors.Is(err, over.want) {
					t.Errorf("write: %v, want %v", err, over.want)
				}
				w.want("cookies", len(s.SetCookies()), 0)

				s = begin()
				s.Logout()
				s.Commit(ctx)
				// A logout clears the cookie of an ended session, unless the
				// request arrived before the end.
				clears := errors.Is(over.want, sojourn.ErrEnded) && late.arrived > 0
				w.want("a late logout clears cookies", len(s.SetCookies()) > 0, clears)

				s = begin()
				if err := s.Login("ann"); err != nil {
					t.Fatal(err)
				}
				again := *j
				if (name == "revoked" || name == "all ended") && late.arrived < 0 { // the end also refuses all logins under way
					if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrEnded) {
						t.Errorf("login: %v", err)
					}
					return
				}
				w.answer(&again, s)
				w.want("a login", w.look(&again), "ann")
			})
		}
		for when, later := range map[string]struct {
			arrived time.Duration
			safe    bool
		}{
			"safe, at once":         {time.Millisecond, true},
			"unsafe, later than 30": {30*time.Second + time.Millisecond, false},
		} {
			t.Run(name+"/arrived "+when, func(t *testing.T) {
				w := newWorld(t, options(func(o *sojourn.Options) { o.MaxSessions = 2 }))
				j := w.loggedIn("ann")
				w.pass(time.Second)
				over.end(w, j)
				w.pass(later.arrived)
				s := w.Begin(ctx, sojourn.Request{Session: []string{j.session}, Client: home, Safe: later.safe})
				if err := color.Set(s, "red"); err != nil {
					t.Fatal(err)
				}
				session := j.session
				w.answer(j, s)
				if j.visitor == "" || j.session != session {
					t.Error("the request isn't an ordinary visitor's")
				}
				v, err := color.Get(w.begin(&jar{visitor: j.visitor}))
				w.want("what the visitor stored", v, "red")
				w.want("error", err, nil)
			})
		}
	}
}

// A sign-in page that stores something works as soon as another device has
// ended the session. Requests that the signed-out page still sends are refused.
func TestSignInPageAfterAnEnd(t *testing.T) {
	w := newWeb(t, func(_ http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		if err := color.Set(s, r.URL.Path); err != nil {
			t.Error(err)
		}
	})
	b := w.surfer().login("ann")
	if _, err := w.EndSubject(ctx, "ann", sojourn.ID{}); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second)
	b.fork().post("/draft").wantStatus(t, http.StatusConflict)
	b.get("/sign-in").wantStatus(t, http.StatusOK)
	w.want("visitor's cookie", b.cookies["__Host-visitor"] != "", true)
	b.login("ann")
	w.want("who", b.who(), "ann")
}
