package sojourn_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sojourn-go/sojourn"
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
			t.Error("Update returns no error")
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

// Several goroutines of one handler may use a session, and all their changes
// are stored. Run with -race.
func TestHandlerGoroutines(t *testing.T) {
	const n = 16
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		var g sync.WaitGroup
		for i := range n {
			g.Go(func() {
				if err := count.Update(s, increment); err != nil {
					t.Error(err)
				}
				if err := sojourn.NewKey[int]("key "+strconv.Itoa(i)).Set(s, i); err != nil {
					t.Error(err)
				}
				if err := sojourn.NewKey[string]("large").Set(s, strings.Repeat("x", 1<<20)); !errors.Is(err, sojourn.ErrTooLarge) {
					t.Error(err)
				}
				s.Subject()
				s.Info()
				s.Passive()
				if i == n/2 {
					if err := s.Login("alice"); err != nil {
						t.Error(err)
					}
				}
			})
		}
		g.Wait()
	})
	b := w.surfer()
	b.get("/").wantStatus(t, 200)
	w.want("who", b.who(), "alice")
	w.want("count", b.get("/count").body, strconv.Itoa(n))
	list, _, err := w.List(t.Context(), "", "", 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	rec := w.record(list[0].ID)
	for i := range n {
		if raw, ok := rec.Values.Get("key " + strconv.Itoa(i)); !ok || string(raw) != strconv.Itoa(i) {
			t.Errorf("key %d: %q", i, raw)
		}
	}
}

// One goroutine's first change fails. Another goroutine's first Update is still
// stored.
func TestHandlerUpdateBesideAFailure(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		err := count.Update(s, func(n *int) error {
			*n++
			if err := color.Set(s, strings.Repeat("x", 1<<20)); !errors.Is(err, sojourn.ErrTooLarge) {
				t.Errorf("large: %v", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	b := w.surfer()
	b.get("/").wantStatus(t, 200)
	w.want("count", b.get("/count").body, "1")
}

// An Update that is still running when the response starts returns an error.
func TestHandlerUpdateAcrossTheCommit(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		color.Set(s, "red")
		inside, goOn, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(over)
			err := count.Update(s, func(n *int) error {
				close(inside)
				<-goOn
				*n++
				return nil
			})
			if !errors.Is(err, sojourn.ErrCommitted) {
				t.Errorf("Update across the commit: %v", err)
			}
		}()
		<-inside
		io.WriteString(rw, handlerText)
		close(goOn)
		<-over
		if n, _ := count.Get(s); n != 0 {
			t.Errorf("a value that isn't stored is visible: %d", n)
		}
	})
	b := w.surfer()
	b.get("/").wantStatus(t, 200)
	w.want("count", b.get("/count").body, "0")
}

// A session that is used after its request returns an error, and never shows
// another user's data. Run with -race.
func TestHandlerSessionAfterItsRequest(t *testing.T) {
	secret := sojourn.NewKey[string]("secret")
	var leaks sync.WaitGroup
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		user := s.Subject()
		mine, err := secret.Get(s)
		if err != nil {
			t.Error(err)
		}
		if r.Method == "POST" {
			if err := secret.Set(s, strings.Repeat(user, 50)); err != nil {
				t.Error(err)
			}
		} else if mine != strings.Repeat(user, 50) {
			t.Errorf("%s reads %q", user, mine)
		}
		ended := make(chan struct{})
		leaks.Go(func() {
			finished := false
			for range 200 {
				v, ok, err := secret.Lookup(s)
				switch {
				case errors.Is(err, sojourn.ErrFinished):
					finished = true
				case err != nil:
					t.Error(err)
				case ok && v != strings.Repeat(user, 50):
					t.Errorf("a session of %s shows %q", user, v)
				case finished:
					t.Error("a finished session works again")
				}
				if got := s.Subject(); got != user {
					t.Errorf("a session of %s is %s's", user, got)
				}
				select {
				case <-ended:
				default:
					runtime.Gosched()
				}
			}
		})
		close(ended)
	})
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			b := w.surfer().login(fmt.Sprintf("user%d", i))
			b.post("/").wantStatus(t, 200)
			for range 20 {
				b.get("/").wantStatus(t, 200)
			}
		})
	}
	clients.Wait()
	leaks.Wait()
}

func TestHandlerFinished(t *testing.T) {
	var leaked, unasked *sojourn.Session
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		if unasked = s; r.URL.Path == "/asked" {
			leaked = s
			color.Get(s)
		}
	})
	b := w.surfer().login("alice")
	b.get("/asked")
	b.get("/unasked")
	w.server.Close()
	w.calls.reset()
	for what, s := range map[string]*sojourn.Session{"asked": leaked, "unasked": unasked} {
		if _, err := color.Get(s); !errors.Is(err, sojourn.ErrFinished) {
			t.Errorf("%s: Get: %v", what, err)
		}
		for call, err := range map[string]error{
			"Set": color.Set(s, "red"), "Update": count.Update(s, increment), "Delete": color.Delete(s), "Login": s.Login("mallory"),
			"Logout": s.Logout(), "Elevate": s.Elevate(1, "otp"), "Rotate": s.Rotate(),
		} {
			if !errors.Is(err, sojourn.ErrFinished) {
				t.Errorf("%s: %s: %v", what, call, err)
			}
		}
		if err := s.Commit(t.Context()); err != nil {
			t.Errorf("%s: Commit repeats what the response's did: %v", what, err)
		}
		if list := s.SetCookies(); len(list) > 0 {
			t.Errorf("%s: cookies %v", what, list)
		}
	}
	equal(t, "store access", w.calls.made(), nil)
}

// A goroutine may outlive its request and then read a session that was never
// read. Only that goroutine ends.
func TestGoroutineOutlivesItsRequest(t *testing.T) {
	captureLog(t)
	over, ended := make(chan struct{}), make(chan struct{})
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		go func() {
			defer close(ended)
			<-over
			s.Subject()
			t.Error("Subject returns after the request")
		}()
	})
	w.surfer().get("/").wantStatus(t, 200)
	close(over)
	<-ended
}

// An Update whose function panics leaves no trace, even if something recovers it.
func TestUpdateThatPanics(t *testing.T) {
	w := newWorld(t)
	j := new(jar)
	s := w.begin(j)
	func() {
		defer func() { recover() }()
		count.Update(s, func(*int) error { panic("a bug") })
	}()
	w.want("no session", s.ID().IsZero(), true)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	w.answer(j, s)
	w.want("started", w.id(j), s.ID())
}

// Start makes a session also beside an Update that fails.
func TestStartBesideAFailingUpdate(t *testing.T) {
	w := newWorld(t)
	j := new(jar)
	s := w.begin(j)
	no := errors.New("no")
	if err := count.Update(s, func(*int) error { return errors.Join(no, s.Start()) }); !errors.Is(err, no) {
		t.Fatal(err)
	}
	w.answer(j, s)
	w.want("a session", w.id(j).IsZero(), false)
}
