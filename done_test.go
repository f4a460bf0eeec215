package sojourn_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

func TestDoneClosesWithTheSession(t *testing.T) {
	ends := map[string]func(*sojourn.Engine, *sojourn.Session){
		"logout": func(e *sojourn.Engine, s *sojourn.Session) {
			other := e.Begin(ctx, sojourn.Request{Session: []string{s.Token()}})
			other.Logout()
			other.Commit(ctx)
		},
		"end":         func(e *sojourn.Engine, s *sojourn.Session) { e.End(ctx, s.ID()) },
		"end subject": func(e *sojourn.Engine, s *sojourn.Session) { e.EndSubject(ctx, "ann", sojourn.ID{}) },
		"end all":     func(e *sojourn.Engine, s *sojourn.Session) { e.EndAll(ctx) },
		"expiry":      func(e *sojourn.Engine, s *sojourn.Session) { time.Sleep(24*time.Hour - 2*time.Second) },
		"other login": func(e *sojourn.Engine, s *sojourn.Session) {
			other := e.Begin(ctx, sojourn.Request{Session: []string{s.Token()}})
			other.Login("bob")
			other.Commit(ctx)
		},
	}
	stores := map[string]func(store.Store) store.Store{
		"with a feed": func(s store.Store) store.Store { return s },
		"without":     func(s store.Store) store.Store { return struct{ store.Store }{s} },
	}
	for feed, wrap := range stores {
		for name, end := range ends {
			t.Run(name+"/"+feed, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					mem := memstore.New()
					e, err := sojourn.New(wrap(mem), sojourn.Options{})
					if err != nil {
						t.Fatal(err)
					}
					defer mem.Close()
					defer e.Close(ctx)
					s := e.Begin(ctx, sojourn.Request{})
					s.Login("ann")
					if err := s.Commit(ctx); err != nil {
						t.Fatal(err)
					}
					bystander := e.Begin(ctx, sojourn.Request{})
					bystander.Login("carl", sojourn.Remember())
					bystander.Commit(ctx)

					done, other := s.Done(), bystander.Done()
					time.Sleep(time.Second)
					synctest.Wait()
					select {
					case <-done:
						t.Fatal("closed too early")
					default:
					}
					end(e, s)
					if feed == "without" || name == "expiry" {
						time.Sleep(time.Second)
					}
					synctest.Wait()
					select {
					case <-done:
					default:
						t.Error("still open")
					}
					select {
					case <-other:
						if name != "end all" {
							t.Error("the bystander's closed too")
						}
					default:
					}
				})
			})
		}
	}
}

func TestDoneWithoutASession(t *testing.T) {
	w := newWorld(t)
	select {
	case <-w.begin(new(jar)).Done():
		t.Error("closed")
	default:
	}
}

// Done closes if the session ended between its read and the call of Done.
func TestDoneOfAnEndedSession(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	s := w.begin(j)
	if err := w.End(ctx, s.ID()); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
}

// What Done holds is freed with the request.
func TestDoneIsForgottenWithTheRequest(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	request, over := context.WithCancel(ctx)
	s := w.Begin(request, sojourn.Request{Session: []string{j.session}})
	done := s.Done()
	w.want("open", sojourn.OpenDones(w.Engine), 1)
	over()
	for sojourn.OpenDones(w.Engine) > 0 { // context.AfterFunc runs in its own goroutine
	}
	w.End(ctx, s.ID())
	select {
	case <-done:
		t.Error("closed after the request was over")
	default:
	}
}

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
