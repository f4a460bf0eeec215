package sojourn_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// A session under a key of the caller's own ends for good, whatever is in flight.
func TestI4KeyedSessionStaysEnded(t *testing.T) {
	const key = "a key of the caller's own"
	login := func(s *sojourn.Session) error { return s.Login("ben") }
	set := func(s *sojourn.Session) error { return s.SetValue("cart", []byte("2")) }
	for name, change := range map[string]func(*sojourn.Session) error{"set": set, "login": login} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			begin := func() *sojourn.Session {
				return w.Begin(ctx, sojourn.Request{Key: key, Arrived: w.time()})
			}
			commit := func(s *sojourn.Session, f func(*sojourn.Session) error) error {
				defer s.Finish()
				if err := f(s); err != nil {
					return err
				}
				return s.Commit(ctx)
			}
			if err := commit(begin(), set); err != nil {
				t.Fatal(err)
			}
			early := begin()
			if err := early.Load(ctx); err != nil {
				t.Fatal(err)
			}
			if err := commit(begin(), (*sojourn.Session).Logout); err != nil {
				t.Fatal(err)
			}
			if err := commit(early, change); !errors.Is(err, sojourn.ErrEnded) {
				t.Errorf("a change in flight: %v", err)
			}
			w.pass(time.Minute)
			if err := commit(begin(), change); !errors.Is(err, sojourn.ErrEnded) {
				t.Errorf("a later change: %v", err)
			}
			s := begin()
			defer s.Finish()
			w.want("ID", s.ID(), sojourn.ID{})
			w.want("reason", s.EndReason(), sojourn.ReasonLogout)
		})
	}
}

// A session under a key has no token, and an ID that depends on the application.
func TestKeyedSession(t *testing.T) {
	var ids []sojourn.ID
	for _, app := range []string{"shop", "shop", "blog"} {
		w := newWorld(t, options(func(o *sojourn.Options) { o.App = app }))
		s := w.Begin(ctx, sojourn.Request{Key: "a key of the caller's own", Session: []string{"ignored"}})
		must(w, s, func(s *sojourn.Session) error { return s.Login("ada") })
		if err := s.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if s.Token() != "" || len(s.SetCookies()) > 0 {
			t.Error("a session without a token has one")
		}
		ids = append(ids, s.ID())
		s.Finish()
	}
	if ids[0] != ids[1] || ids[0] == ids[2] {
		t.Errorf("IDs: %v", ids)
	}
}

// A session under a key that a cache doesn't have is read from the store.
func TestKeyedSessionBehindACache(t *testing.T) {
	w := newWorld(t, func(w *world, _ *sojourn.Options) {
		w.store = driver.Intercept(w.store, func(ctx context.Context, c driver.Call) driver.Result {
			if c.Op == driver.Get && !c.Strict {
				c.Record.Cached = true
				return driver.Result{Err: store.ErrNotFound}
			}
			return c.Do(ctx)
		})
	})
	for i := range 2 {
		s := w.Begin(ctx, sojourn.Request{Key: "a key of the caller's own"})
		if err := s.Load(ctx); err != nil {
			t.Fatal(err)
		}
		w.want("found", !s.ID().IsZero(), i == 1)
		must(w, s, (*sojourn.Session).Start)
		if err := s.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		s.Finish()
	}
}

// A session under a key can't go on in a new one, so it stays as it is.
func TestKeyedSessionIsNotRegenerated(t *testing.T) {
	w := newWorld(t)
	begin := func() *sojourn.Session { return w.Begin(ctx, sojourn.Request{Key: "sixteen bytes are enough"}) }
	s := begin()
	if err := errors.Join(s.Login("ann"), count.Set(s, 1), s.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	s = begin()
	if err := s.Regenerate("count"); !errors.Is(err, sojourn.ErrValue) {
		t.Errorf("Regenerate: %v", err)
	}
	if err := s.Commit(ctx); err != nil {
		t.Errorf("commit: %v", err)
	}
	w.want("who", begin().Subject(), "ann")
	for _, idle := range []time.Duration{-time.Hour, time.Millisecond} {
		s := w.Begin(ctx, sojourn.Request{Key: "sixteen bytes are enough", Idle: idle})
		if err := s.Load(ctx); !errors.Is(err, sojourn.ErrValue) {
			t.Errorf("idle %v: %v", idle, err)
		}
	}
}
