package sojourn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// The engine sweeps by itself, ends expired sessions, and reports them.
func TestSweepGoesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := memstore.New()
		defer mem.Close()
		var reasons []sojourn.Reason
		e := sojourn.Must(sojourn.New(mem, sojourn.Options{OnEvent: (func(e sojourn.Event) {
			if e.Kind == sojourn.EventEnded {
				reasons = append(reasons, e.Reason)
			}
		})}))
		for range 3000 {
			s := e.Begin(ctx, sojourn.Request{})
			s.Login("ann")
			if err := s.Commit(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if n, _, _ := e.Count(ctx); n != 100 {
			t.Errorf("%d sessions", n)
		}
		time.Sleep(24*time.Hour + 2*time.Minute)
		synctest.Wait()
		if n, _, _ := e.Count(ctx); n != 0 {
			t.Errorf("%d sessions", n)
		}
		e.Close(ctx)
		idle := 0
		for _, r := range reasons {
			if r == sojourn.ReasonIdle {
				idle++
			}
		}
		if idle != 100 {
			t.Errorf("%d ended idle", idle)
		}
	})
}

// Each application gets the events of its own ends, and gets each once, even if
// two engines serve it.
func TestEndsReachTheirOwnApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := memstore.New()
		defer mem.Close()
		var mu sync.Mutex
		heard := map[string][]string{}
		var engines []*sojourn.Engine
		for _, app := range []string{"shop", "blog", "shop"} {
			e := sojourn.Must(sojourn.New(mem, sojourn.Options{App: app, OnEvent: (func(e sojourn.Event) {
				mu.Lock()
				defer mu.Unlock()
				if e.App != app {
					t.Errorf("the observer of %s got %+v", app, e)
				}
				if e.Kind == sojourn.EventEnded {
					heard[app] = append(heard[app], e.Subject)
				}
			})}))
			defer e.Close(ctx)
			engines = append(engines, e)
		}
		want := map[string][]string{}
		for i := range 300 {
			e, app := engines[i%3], []string{"shop", "blog", "shop"}[i%3]
			subject := fmt.Sprintf("user-%03d", i)
			want[app] = append(want[app], subject)
			s := e.Begin(ctx, sojourn.Request{})
			s.Login(subject)
			if err := s.Commit(ctx); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(24*time.Hour + 2*time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		for app, subjects := range want {
			slices.Sort(heard[app])
			equal(t, "ends that the observers of "+app+" heard of", heard[app], subjects)
		}
	})
}

// Sessions of an application without an engine stay in the store and are
// refused. An engine that serves it later reports their ends.
func TestUnservedApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := memstore.New()
		defer mem.Close()
		old := sojourn.Must(sojourn.New(mem, sojourn.Options{App: "old"}))
		s := old.Begin(ctx, sojourn.Request{})
		s.Login("ann")
		if err := s.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		old.Close(ctx)
		other := sojourn.Must(sojourn.New(mem, sojourn.Options{App: "other"}))
		time.Sleep(25 * time.Hour)
		other.Close(ctx)
		if n, err := mem.Count(ctx, "old"); err != nil || n.Sessions != 1 {
			t.Errorf("%+v, %v: another application's engine ended the session", n, err)
		}
		var reasons []sojourn.Reason
		again := sojourn.Must(sojourn.New(mem, sojourn.Options{App: "old", OnEvent: (func(e sojourn.Event) {
			if e.Kind == sojourn.EventEnded {
				reasons = append(reasons, e.Reason)
			}
		})}))
		time.Sleep(2 * time.Minute)
		again.Close(ctx)
		equal(t, "ends", reasons, []sojourn.Reason{sojourn.ReasonIdle})
	})
}

func TestTombstonesAndSweep(t *testing.T) {
	w := newWorld(t)
	w.loggedIn("ann")
	w.pass(24 * time.Hour)
	for done := false; !done; {
		var ended []store.Ended
		var err error
		if ended, done, err = w.store.Sweep(ctx, "default", store.TimeOf(w.time()), 256); err != nil {
			t.Fatal(err)
		}
		for _, e := range ended {
			w.want("reason", e.Reason, store.ReasonIdle)
		}
	}
	sessions, _, _ := w.Count(ctx)
	w.want("sessions", sessions, int64(0))
}

// Without good randomness, the engine creates no session.
func TestRandomnessThatFails(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	sojourn.SetRand(w.Engine, io.LimitReader(strings.NewReader("too little"), 10))
	s := w.begin(new(jar))
	if err := s.Login("bob"); !errors.Is(err, sojourn.ErrUnavailable) {
		t.Errorf("login: %v", err)
	}
	s.Commit(ctx)
	w.want("cookies", len(s.SetCookies()), 0)
	s = w.begin(j)
	if err := s.Elevate(2); !errors.Is(err, sojourn.ErrUnavailable) {
		t.Errorf("elevate: %v", err)
	}
	w.want("ann", s.Level(), 1)
	s.Commit(ctx)
	w.want("epoch", w.record(w.id(j)).Epoch, uint32(1))
}

func TestCloseTwice(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		if err := w.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	if err := w.Flush(ctx); !errors.Is(err, sojourn.ErrClosed) {
		t.Errorf("flush: %v", err)
	}
	w = newWorld(t) // for another cleanup
	hang := make(chan int)
	defer close(hang)
	e := sojourn.Must(sojourn.New(w.store, sojourn.Options{OnEvent: (func(sojourn.Event) { <-hang })}))
	s := e.Begin(ctx, sojourn.Request{})
	s.Login("ann")
	s.Commit(ctx)
	short, cancel := context.WithCancel(ctx)
	cancel()
	if err := e.Close(short); !errors.Is(err, context.Canceled) {
		t.Errorf("with an observer that hangs: %v", err)
	}
}
