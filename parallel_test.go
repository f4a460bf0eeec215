package sojourn_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/driver"
)

// These tests use one session from two goroutines of a handler, or after the
// handler has returned.

// A Logout during a running Update is not lost.
func TestLogoutBesideAnUpdate(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	s := w.begin(j)
	begun, over, done := make(chan int), make(chan int), make(chan error)
	go func() {
		done <- count.Update(s, func(*int) error { close(begun); <-over; return nil })
	}()
	<-begun
	if err := s.Logout(); err != nil {
		t.Error(err)
	}
	close(over)
	if err := <-done; !errors.Is(err, sojourn.ErrEnded) {
		t.Errorf("update: %v", err)
	}
	keep := *j
	w.answer(j, s)
	w.want("the session", w.look(&keep), "")
}

// An Update that outlives its request returns an error.
func TestUpdateOutlivesItsRequest(t *testing.T) {
	for _, result := range []error{nil, errors.New("no")} {
		w := newWorld(t)
		begun, over, done := make(chan int), make(chan int), make(chan error)
		h := w.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			s := sojourn.From(r.Context())
			go func() { done <- count.Update(s, func(*int) error { close(begun); <-over; return result }) }()
			<-begun
		}))
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "http://localhost/", nil))
		close(over)
		if err := <-done; err == nil {
			t.Error("no error")
		}
	}
}

// An Update whose function updates the same key returns an error, and doesn't
// hang.
func TestUpdateWithinItself(t *testing.T) {
	w := newWorld(t)
	s := w.begin(new(jar))
	err := count.Update(s, func(n *int) error {
		*n++
		return count.Update(s, increment)
	})
	if !errors.Is(err, sojourn.ErrConflict) {
		t.Errorf("%v", err)
	}
}

// After an Update's function panicked during a commit, Commit doesn't report
// success.
func TestPanicAtTheCommit(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	s, runs := w.begin(j), 0
	if err := count.Update(s, func(n *int) error {
		if runs++; runs > 1 {
			panic("again")
		}
		return increment(n)
	}); err != nil {
		t.Fatal(err)
	}
	w.visit(j, func(s *sojourn.Session) error { return count.Update(s, increment) })
	func() {
		defer func() { recover() }()
		s.Commit(ctx)
	}()
	if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrUncertain) {
		t.Errorf("%v", err)
	}
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

// A handler hijacks the connection and returns. Its goroutines still wait for
// Done.
func TestDoneOfAHijackedConnection(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	dones := make(chan (<-chan struct{}), 1)
	server := httptest.NewTLSServer(w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		dones <- sojourn.From(r.Context()).Done()
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { conn.Close() })
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	})))
	r, _ := http.NewRequest("GET", server.URL, nil)
	r.AddCookie(&http.Cookie{Name: "__Host-session", Value: j.session})
	if _, err := server.Client().Do(r); err != nil {
		t.Fatal(err)
	}
	done := <-dones
	server.Close()
	if _, err := w.EndSubject(ctx, "ann", sojourn.ID{}); err != nil {
		t.Fatal(err)
	}
	<-done
}

// A handler that starts its page before it reads the session counts as activity
// too.
func TestReadingAfterTheHeaderIsActivity(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	h := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(200)
		w.want("subject", sojourn.From(r.Context()).Subject(), "ann")
	}))
	for range 24 {
		w.pass(2 * time.Hour)
		r := httptest.NewRequest("GET", "https://localhost/", nil)
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: j.session})
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
}

// A response of 500 or above stores nothing half-done, even if a middleware
// within Handler has recovered a panic.
func TestServerErrorsChangeNothing(t *testing.T) {
	for status, want := range map[int]int{200: 1, 404: 1, 500: 0, 503: 0} {
		w := newWorld(t)
		j := w.loggedIn("ann")
		h := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			defer func() {
				recover()
				rw.WriteHeader(status)
			}()
			count.Update(sojourn.From(r.Context()), increment)
			panic("half-way")
		}))
		r := httptest.NewRequest("GET", "https://localhost/", nil)
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: j.session})
		h.ServeHTTP(httptest.NewRecorder(), r)
		n, _ := count.Get(w.begin(j))
		w.want(http.StatusText(status), n, want)
	}
}

// I12: a former secret is theft whatever cookies come with it. I14: a late
// request stays late.
func TestI12DecoyCookies(t *testing.T) {
	w := newWorld(t)
	_, old := w.rotated()
	w.pass(11 * time.Minute)
	s := w.Begin(ctx, sojourn.Request{Session: []string{old.session, "x"}, Client: home})
	w.want("subject", s.Subject(), "")
	equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonTheft})

	j := w.loggedIn("bob")
	w.EndSubject(ctx, "bob", sojourn.ID{})
	s = w.Begin(ctx, sojourn.Request{Session: []string{j.session, "x"}, Client: home})
	if err := color.Set(s, "red"); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrEnded) {
		t.Errorf("a late write beside a decoy: %v", err)
	}
}

// After a step-up because of a changed client, one authentication is enough.
func TestStepUpOnce(t *testing.T) {
	away := home
	away.UserAgent = "Browser/2"
	w := newWorld(t, options(func(o *sojourn.Options) {
		o.ClientChanged = func(was, is sojourn.Client) sojourn.Reaction { return sojourn.ReactionStepUp }
	}))
	j := w.loggedIn("ann")
	w.pass(time.Second)
	request := func() *sojourn.Session {
		return w.Begin(ctx, sojourn.Request{Session: []string{j.session}, Client: away})
	}
	s := request()
	w.want("fresh", s.Fresh(time.Minute), false)
	w.pass(100 * time.Millisecond) // the time to hash the password
	if err := s.Login("ann"); err != nil {
		t.Fatal(err)
	}
	w.answer(j, s)
	w.pass(time.Second)
	w.want("fresh after the login", request().Fresh(time.Minute), true)
	w.want("events", len(w.happened(sojourn.EventClientChanged)), 1)
}

// If the previous user's session can't be ended, a login as another user leaves
// nothing behind.
func TestLoginAsAnotherThatFails(t *testing.T) {
	w := newWorld(t, watched)
	j := w.loggedIn("ann")
	w.calls.fail(func(name string, _ int) error {
		if name != "End" {
			return nil
		}
		w.calls.fail(nil, nil) // only the first End fails
		return errors.New("down")
	}, nil)
	s := w.begin(j)
	if err := s.Login("bob"); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrUnavailable) || s.Token() != "" || len(s.SetCookies()) > 0 {
		t.Errorf("commit: %v", err)
	}
	list, _, _ := w.List(ctx, "bob", "", 10)
	w.want("bob's sessions", len(list), 0)
	w.want("ann", w.look(j), "ann")
}

// A bad cursor from a client is the client's error.
func TestBadCursor(t *testing.T) {
	w := newWorld(t)
	for _, page := range []struct {
		cursor string
		limit  int
	}{{"nonsense", 10}, {"", 0}, {"", 1001}} {
		if _, _, err := w.List(ctx, "", page.cursor, page.limit); sojourn.StatusCode(err) != 400 {
			t.Errorf("%v: %v", page, err)
		}
	}
}

// Writing the activity of one session doesn't wait for another session's. Flush
// waits for all.
func TestActivityIsWrittenSideBySide(t *testing.T) {
	var both sync.WaitGroup
	both.Add(2)
	var touched atomic.Int32
	w := newWorld(t, onCalls(func(ctx context.Context, c driver.Call) driver.Result {
		if c.Op == driver.Touch {
			both.Done()
			both.Wait() // for the other one
			defer touched.Add(1)
		}
		return c.Do(ctx)
	}))
	ann, ben := w.loggedIn("ann"), w.loggedIn("ben")
	w.pass(2 * time.Minute) // no rotation is due
	w.look(ann)
	w.look(ben)
	w.flush()
	w.want("touches written", touched.Load(), int32(2))
}
