package sojourn_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// unwatched hides the change feed of a store.
type unwatched struct{ store.Store }

func TestDoneClosesWithTheSession(t *testing.T) {
	ends := map[string]func(*sojourn.Engine, *sojourn.Session){
		"logout": func(e *sojourn.Engine, s *sojourn.Session) {
			other := e.Begin(ctx, sojourn.Request{Session: []string{s.Token()}})
			other.Logout()
			other.Commit(ctx)
		},
		"end":         func(e *sojourn.Engine, s *sojourn.Session) { e.End(ctx, s.ID()) },
		"end subject": func(e *sojourn.Engine, s *sojourn.Session) { e.EndSubject(ctx, "ann") },
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
		"without":     func(s store.Store) store.Store { return unwatched{s} },
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

// A session that ended between its read and the call of Done is noticed.
func TestDoneOfAnEndedSession(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	s := w.begin(j)
	if err := w.End(ctx, s.ID()); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
}

// What Done holds goes with the request.
func TestDoneIsForgottenWithTheRequest(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	request, over := context.WithCancel(ctx)
	s := w.Begin(request, sojourn.Request{Session: []string{j.session}})
	done := s.Done()
	w.want("open", sojourn.OpenDones(w.Engine), 1)
	over()
	for sojourn.OpenDones(w.Engine) > 0 { // context.AfterFunc runs in a goroutine of its own
	}
	w.End(ctx, s.ID())
	select {
	case <-done:
		t.Error("closed after the request was over")
	default:
	}
}

// The engine's own sweep ends what has expired, and tells.
func TestSweepGoesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := memstore.New()
		defer mem.Close()
		var reasons []sojourn.Reason
		e := sojourn.Must(sojourn.New(mem, sojourn.Options{Observer: sojourn.ObserverFunc(func(e sojourn.Event) {
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
