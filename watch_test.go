package sojourn_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
						t.Error("Done is still open")
					}
					select {
					case <-other:
						if name != "end all" {
							t.Error("Done of another session is closed too")
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

// A stream of events ends with its session.
func TestWriterStreamEndsWithSession(t *testing.T) {
	stream := func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		c := http.NewResponseController(rw)
		rw.Header().Set("Content-Type", "text/event-stream")
		done := s.Done()
		fmt.Fprintf(rw, "data: %s\n\n", s.Subject())
		c.Flush()
		select {
		case <-done:
			io.WriteString(rw, "event: signed-out\n\n")
		case <-r.Context().Done():
		}
	}
	for name, end := range map[string]func(w *web, b *surfer){
		"logout":     func(w *web, b *surfer) { b.fork().post("/logout").wantStatus(w, http.StatusSeeOther) },
		"EndSubject": func(w *web, b *surfer) { w.EndSubject(w.Context(), "alice", sojourn.ID{}) },
		"EndAll":     func(w *web, b *surfer) { w.EndAll(w.Context()) },
		"End": func(w *web, b *surfer) {
			list, _, err := w.List(w.Context(), "alice", "", 10)
			if err != nil || len(list) != 1 {
				w.Errorf("list: %v, %v", list, err)
				return
			}
			w.End(w.Context(), list[0].ID)
		},
		"another user": func(w *web, b *surfer) { b.fork().login("bob") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWeb(t, stream)
			b := w.surfer().login("alice")
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // so that a failing test doesn't hang
			defer cancel()
			res, err := w.server.Client().Do(b.request("GET", "/", "").WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			lines := bufio.NewScanner(res.Body)
			lines.Scan()
			w.want("first", lines.Text(), "data: alice")
			end(w, b)
			lines.Scan()
			lines.Scan()
			w.want("last", lines.Text(), "event: signed-out")
		})
	}
}

// Without a session, Done never closes, and holds nothing.
func TestWriterDoneOfStranger(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		select {
		case <-s.Done():
			t.Error("closed")
		default:
		}
		color.Set(s, "red")
		select {
		case <-s.Done():
			t.Error("closed before it is stored")
		default:
		}
	})
	w.surfer().get("/").wantStatus(t, 200)
}

// A stream ends at the session's idle and absolute deadlines.
func TestWriterStreamEndsAtDeadline(t *testing.T) {
	for _, test := range []struct {
		name string
		life sojourn.Lifetime
		at   time.Duration
	}{
		// Not at a full minute, when the sweep would end it anyway.
		{"idle", sojourn.Lifetime{Idle: 630 * time.Second, Absolute: time.Hour}, 630 * time.Second},
		{"absolute", sojourn.Lifetime{Idle: 3630 * time.Second, Absolute: 3630 * time.Second}, 3630 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, options(func(o *sojourn.Options) {
					o.Now, o.Policy.Login = nil, test.life
				}))
				j := w.loggedIn("alice")
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
				defer cancel()
				r := httptest.NewRequestWithContext(ctx, "GET", "http://localhost/", nil)
				r.Header.Set("Cookie", "__Host-session="+j.session)
				w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					done := sojourn.From(r.Context()).Done()
					http.NewResponseController(rw).Flush()
					select {
					case <-done:
					case <-r.Context().Done():
						t.Error("it didn't end")
					}
				})).ServeHTTP(newTape(), r)
				if took := time.Since(began); took < test.at || took > test.at+time.Second {
					t.Errorf("ended after %v, want %v", took, test.at)
				}
			})
		})
	}
}

func TestDoneIsOneChannel(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	s := w.begin(j)
	first, second := s.Done(), s.Done()
	if first != second || first != w.begin(j).Done() {
		t.Error("several channels of one session")
	}
	w.want("watched", sojourn.OpenDones(w.Engine), 1)
}

// A feeder is a store with a change feed of the test's own.
type feeder struct {
	store.Store
	watch func(context.Context) (<-chan store.Change, error)
}

func (f feeder) Watch(ctx context.Context) (<-chan store.Change, error) { return f.watch(ctx) }

// A feed that takes long to begin delays no logout. As long as there is no feed,
// sessions are polled.
func TestDoneWhileTheFeedBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, onStore(func(s store.Store) store.Store {
			return feeder{s, func(ctx context.Context) (<-chan store.Change, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}}
		}), options(func(o *sojourn.Options) { o.Now = nil }))
		j := w.loggedIn("ann")
		asked := make(chan (<-chan struct{}))
		go func() { asked <- w.begin(j).Done() }()
		synctest.Wait()
		w.visit(j, (*sojourn.Session).Logout)
		<-(<-asked)
	})
}

// An end that comes after a feed broke off, and before the next one has begun, is
// noticed when that has begun.
func TestDoneBetweenTwoFeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *world
		var id sojourn.ID
		feeds := 0
		w = newWorld(t, onStore(func(s store.Store) store.Store {
			return feeder{s, func(ctx context.Context) (<-chan store.Change, error) {
				feed := make(chan store.Change)
				if feeds++; feeds == 1 {
					time.AfterFunc(time.Minute, func() { close(feed) })
					return feed, nil
				}
				if feeds == 2 { // another node ends the session
					if _, err := s.End(ctx, "default", id, store.ReasonRevoked, store.TimeOf(time.Now())); err != nil {
						t.Error(err)
					}
				}
				context.AfterFunc(ctx, func() { close(feed) })
				return feed, nil
			}}
		}), options(func(o *sojourn.Options) { o.Now = nil }))
		j := w.loggedIn("ann")
		id = w.id(j)
		began := time.Now()
		<-w.begin(j).Done()
		if d := time.Since(began); d > 2*time.Minute { // of the bubble's clock; the session lasts for a day
			t.Errorf("Done after %v", d)
		}
	})
}
