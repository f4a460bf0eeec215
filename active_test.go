package sojourn_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/driver"
)

func idleAfter(d time.Duration) func(*world, *sojourn.Options) {
	return options(func(o *sojourn.Options) {
		o.Policy.Login = sojourn.Lifetime{Idle: d, Absolute: max(d, time.Hour)}
		o.Policy.Anonymous = o.Policy.Login
	})
}

// A stream whose messages count as activity lives as long as they come, though
// its request is passive. Done follows the deadline that they move. The absolute
// deadline stays.
func TestActiveKeepsAStreamAlive(t *testing.T) {
	const idle, every = 3 * time.Second, 200 * time.Millisecond
	for _, c := range []struct {
		messages int
		ends     time.Duration
	}{
		{0, idle},
		{1, every + idle},
		{300, 300*every + idle},
		{1 << 20, time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, idleAfter(idle), options(func(o *sojourn.Options) { o.Now = nil }))
			j := w.loggedIn("ann")
			began := time.Now()
			r := httptest.NewRequestWithContext(t.Context(), "GET", "http://localhost/", nil)
			r.Header.Set("Cookie", "__Host-session="+j.session)
			w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				s := sojourn.From(r.Context())
				s.Passive()
				done := s.Done()
				http.NewResponseController(rw).Flush()
				messages := time.NewTicker(every)
				defer messages.Stop()
				for n := 0; ; {
					select {
					case <-messages.C:
						if n++; n <= c.messages {
							s.Active()
						}
					case <-done:
						return
					}
				}
			})).ServeHTTP(newTape(), r)
			// The last touch may have been due just before the last message.
			if took := time.Since(began); took > c.ends || took < c.ends-idle/20-every {
				t.Errorf("%d messages: ended after %v, want %v", c.messages, took, c.ends)
			}
			w.want("afterwards", w.look(j), "")
		})
	}
}

// A handler hijacks its connection and returns. Messages on the connection
// still are activity, until it is closed.
func TestActiveOnAHijackedConnection(t *testing.T) {
	var w *web
	var s *sojourn.Session
	closed := make(chan struct{})
	w = newWebUnstarted(t, func(rw http.ResponseWriter, r *http.Request, session *sojourn.Session) {
		session.Passive()
		if session.Subject() == "" {
			t.Error("nobody is logged in")
		}
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		s = session
		go func() {
			<-r.Context().Done() // the handler has returned
			buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello\n")
			buf.Flush()
			for {
				line, err := buf.ReadString('\n')
				if err != nil {
					break
				}
				session.Active()
				io.WriteString(conn, line)
			}
			conn.Close()
			close(closed)
		}()
	})
	w.server.Start()
	j := w.loggedIn("alice")
	b := w.surfer()
	b.cookies["__Host-session"] = j.session
	conn, err := b.open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	id, lines := w.id(j), bufio.NewReader(conn)
	for range 5 {
		w.pass(23 * time.Hour) // of 24
		io.WriteString(conn, "message\n")
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		w.flush()
		w.want("last seen", w.record(id).LastSeenAt.Time(), w.time().UTC())
	}
	conn.Close()
	<-closed
	w.pass(time.Hour)
	s.Active() // its connection is closed
	w.flush()
	w.want("last seen", w.record(id).LastSeenAt.Time(), w.time().Add(-time.Hour).UTC())
}

// Active writes seldom, and does nothing without a live session.
func TestActiveIsCheap(t *testing.T) {
	var touches atomic.Int32
	w := newWorld(t, onCalls(func(ctx context.Context, c driver.Call) driver.Result {
		if c.Op == driver.Touch {
			touches.Add(1)
		}
		return c.Do(ctx)
	}))
	j := w.loggedIn("ann")
	s := w.begin(j)
	w.pass(time.Hour)
	w.look(j)
	w.flush()
	touches.Store(0)
	for range 600 {
		w.pass(100 * time.Millisecond)
		s.Active()
	}
	w.flush()
	if n := touches.Load(); n > 1 {
		t.Errorf("%d writes in a minute", n)
	}
	if n := testing.AllocsPerRun(1000, s.Active); n > 0 {
		t.Errorf("%v allocations for a message", n)
	}

	touches.Store(0)
	stranger := w.begin(new(jar))
	stranger.Active()
	count.Set(stranger, 1)
	stranger.Active() // not stored yet
	out := w.begin(j)
	if err := errors.Join(out.Logout(), out.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	out.Active()
	over := w.begin(j)
	over.Finish()
	over.Active()
	w.flush()
	w.want("writes without a session", touches.Load(), int32(0))
}

// Activity doesn't change the client that was seen last: only a request does.
func TestActiveKeepsTheClient(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) {
		o.ClientChanged = func(_, _ sojourn.Client) sojourn.Reaction { return sojourn.ReactionStepUp }
	}))
	j := w.loggedIn("ann")
	s := w.Begin(ctx, sojourn.Request{Session: []string{j.session}, Client: sojourn.Client{UserAgent: "Thief/1"}})
	s.Passive() // so nothing has compared the client
	s.Subject()
	w.pass(time.Hour)
	s.Active()
	w.flush()
	rec := w.record(w.id(j))
	w.want("last seen", rec.LastSeenAt.Time(), w.time().UTC())
	w.want("the client", rec.LastClient, home)
}

// I4: activity never revives a session, whatever ended it, and however close
// the messages are.
func TestI4ActiveRevivesNothing(t *testing.T) {
	for name, end := range map[string]func(*world, *jar) error{
		"logout": func(w *world, j *jar) error {
			s := w.begin(j)
			return errors.Join(s.Logout(), s.Commit(ctx))
		},
		"end":         func(w *world, j *jar) error { return w.End(ctx, w.id(j)) },
		"end subject": func(w *world, _ *jar) error { _, err := w.EndSubject(ctx, "ann", sojourn.ID{}); return err },
		"end all":     func(w *world, _ *jar) error { return w.EndAll(ctx) },
		"idle":        func(w *world, _ *jar) error { w.pass(10 * time.Minute); return nil },
		"regenerate": func(w *world, j *jar) error {
			s := w.begin(j)
			return errors.Join(s.Regenerate(), s.Commit(ctx))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, idleAfter(10*time.Minute))
			j := w.loggedIn("ann")
			first, id := *j, w.id(j)
			var sockets []*sojourn.Session
			for range 2 {
				s := w.begin(j)
				s.Passive()
				s.Subject()
				sockets = append(sockets, s)
			}
			stop := make(chan struct{})
			var wg sync.WaitGroup
			if name != "idle" { // its messages would keep it alive
				for _, s := range sockets {
					wg.Go(func() {
						for {
							select {
							case <-stop:
								return
							default:
								s.Active()
							}
						}
					})
				}
				for range 5 {
					w.pass(time.Minute)
				}
			}
			if err := end(w, j); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				w.pass(time.Minute)
				for _, s := range sockets {
					s.Active()
				}
			}
			close(stop)
			wg.Wait()
			w.flush()
			w.want("the session", w.look(&first), "")
			list, _, err := w.List(ctx, "ann", "", 10)
			if err != nil || len(list) != 0 {
				t.Errorf("%v, %v", list, err)
			}
			if _, err := w.Get(ctx, id); !errors.Is(err, sojourn.ErrNotFound) {
				t.Errorf("Get: %v", err)
			}
		})
	}
}
