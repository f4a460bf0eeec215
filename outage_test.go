package sojourn_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

var errDown = errors.New("dial tcp 10.1.2.3:6379: connection refused")

// recoverer is a middleware as routers have it: it logs a panic and answers
// 500. A polite one passes http.ErrAbortHandler on, like chi and echo. The
// others treat it like any panic, like gin and gorilla.
func recoverer(l io.Writer, polite bool) middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				p := recover()
				if p == nil {
					return
				}
				if polite && p == http.ErrAbortHandler { //nolint:errorlint // chi and echo compare the value itself
					panic(p)
				}
				log.New(l, "", 0).Print("recovered: ", p)
				http.Error(w, handlerText, http.StatusInternalServerError)
			}()
			next.ServeHTTP(w, r)
		})
	}
}

// silentRecoverer writes nothing, so net/http answers 200.
func silentRecoverer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { recover() }()
		next.ServeHTTP(w, r)
	})
}

// cheerfulRecoverer answers as if nothing had happened.
func cheerfulRecoverer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				io.WriteString(w, "welcome, stranger; "+handlerText)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func timeout(next http.Handler) http.Handler {
	return http.TimeoutHandler(next, time.Hour, handlerText)
}

type middleware = func(http.Handler) http.Handler

// stack wraps a handler in middlewares. The first is the outermost.
func stack(h http.Handler, around ...middleware) http.Handler {
	for i := len(around) - 1; i >= 0; i-- {
		h = around[i](h)
	}
	return h
}

// orders returns many orders of a recoverer, http.TimeoutHandler and Handler.
func orders(sessions middleware, l io.Writer) map[string][]middleware {
	blunt, polite := recoverer(l, false), recoverer(l, true)
	return map[string][]middleware{
		"Handler":                         {sessions},
		"recoverer, Handler":              {polite, sessions},
		"Handler, recoverer":              {sessions, polite},
		"blunt, Handler":                  {blunt, sessions},
		"Handler, blunt":                  {sessions, blunt},
		"Handler, silent":                 {sessions, silentRecoverer},
		"Handler, cheerful":               {sessions, cheerfulRecoverer},
		"timeout, Handler":                {timeout, sessions},
		"Handler, timeout":                {sessions, timeout},
		"Handler, timeout, blunt":         {sessions, timeout, blunt},
		"Handler, timeout, cheerful":      {sessions, timeout, cheerfulRecoverer},
		"Handler, blunt, timeout":         {sessions, blunt, timeout},
		"blunt, Handler, timeout":         {blunt, sessions, timeout},
		"timeout, Handler, blunt":         {timeout, sessions, blunt},
		"timeout, blunt, Handler":         {timeout, blunt, sessions},
		"blunt, timeout, Handler":         {blunt, timeout, sessions},
		"Handler, Handler, blunt":         {sessions, sessions, blunt},
		"Handler, blunt, Handler, silent": {sessions, blunt, sessions, silentRecoverer},
	}
}

// While the store is down, the visitor gets a 503 in every order of recoverers
// and TimeoutHandler.
func TestI9OutageIn503WhateverRecovers(t *testing.T) {
	captureLog(t)
	for _, ask := range []string{"in the handler", "on a goroutine"} {
		var recovered logbook
		w := newWeb(t, nil)
		b := w.surfer().login("alice")
		h := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			s := sojourn.From(r.Context())
			rw.Header().Set("Set-Cookie", "welcome=back")
			user := "nobody"
			if ask == "in the handler" {
				user = s.Subject()
			} else {
				var group sync.WaitGroup
				group.Go(func() { user = s.Subject() })
				group.Wait()
			}
			io.WriteString(rw, user)
		})
		for name, around := range orders(w.Handler, &recovered) {
			w.server.Config.Handler = stack(h, around...)
			w.calls.fail(nil, nil)
			if a := b.get("/"); a.body != "alice" {
				t.Fatalf("%s: %s: before the outage: %s %q", name, ask, a.Status, a.body)
			}
			w.calls.fail(always(errDown, "Get"), nil)
			a := b.get("/")
			a.withheld(t, http.StatusServiceUnavailable)
			if !strings.Contains(a.body, "sessions are unavailable") || strings.Contains(a.body, "dial") || a.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %s: %s %q %v", name, ask, a.Status, a.body, a.Header)
			}
		}
		if text := recovered.String(); strings.Contains(text, "runtime error") {
			t.Error(text)
		}
		if text := w.log.String(); text != "" {
			t.Errorf("net/http logs: %s", text)
		}
		w.calls.fail(nil, nil)
		w.want("in the end", b.who(), "alice")
	}
}

// A recoverer that knows http.ErrAbortHandler logs nothing during an outage,
// because the handler has no bug.
func TestOutageIsNoStackTrace(t *testing.T) {
	var recovered logbook
	w := newWeb(t, nil)
	b := w.surfer().login("alice")
	w.server.Config.Handler = stack(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		sojourn.From(r.Context()).Subject()
	}), w.Handler, recoverer(&recovered, true))
	w.calls.fail(always(errDown, "Get"), nil)
	b.get("/").withheld(t, http.StatusServiceUnavailable)
	w.want("logged", recovered.String(), "")
}

// A handler's own panic is still a 500 by the recoverer, in every order.
func TestRecoverersKeepTheirPanics(t *testing.T) {
	for _, order := range []string{"recoverer, Handler", "Handler, recoverer", "Handler, blunt", "Handler, timeout, blunt", "blunt, Handler, timeout"} {
		var recovered logbook
		w := newWeb(t, nil)
		b := w.surfer()
		b.post("/count")
		w.server.Config.Handler = stack(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			count.Update(sojourn.From(r.Context()), increment)
			panic("a bug")
		}), orders(w.Handler, &recovered)[order]...)
		a := b.get("/").wantStatus(t, http.StatusInternalServerError)
		if !strings.Contains(a.body, handlerText) || !strings.Contains(recovered.String(), "a bug") {
			t.Errorf("%s: %q, log %q", order, a.body, recovered.String())
		}
		w.server.Config.Handler = w.Handler(webRoutes(nil))
		w.want(order+": count", b.get("/count").body, "1")
	}
}

// Every accessor without an error is safe on a goroutine: it runs the deferred
// calls and ends only that goroutine.
func TestI9OutageOnAGoroutine(t *testing.T) {
	captureLog(t)
	asks := map[string]func(*sojourn.Session){
		"ID":            func(s *sojourn.Session) { s.ID() },
		"Subject":       func(s *sojourn.Session) { s.Subject() },
		"Level":         func(s *sojourn.Session) { s.Level() },
		"Fresh":         func(s *sojourn.Session) { s.Fresh(time.Hour) },
		"Info":          func(s *sojourn.Session) { s.Info() },
		"Snapshot":      func(s *sojourn.Session) { s.Snapshot() },
		"EndReason":     func(s *sojourn.Session) { s.EndReason() },
		"RefusalReason": func(s *sojourn.Session) { s.RefusalReason() },
		"Done":          func(s *sojourn.Session) { s.Done() },
	}
	var mu sync.Mutex
	deferred, went := 0, 0
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		var group sync.WaitGroup
		group.Go(func() {
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				deferred++
			}()
			asks[r.Header.Get("Ask")](s)
			mu.Lock()
			defer mu.Unlock()
			went++
		})
		group.Wait()
		io.WriteString(rw, handlerText)
	})
	b := w.surfer().login("alice")
	w.calls.fail(always(errDown, "Get"), nil)
	for ask := range asks {
		b.get("/", "Ask", ask).withheld(t, http.StatusServiceUnavailable)
	}
	w.want("goroutines that continue", went, 0)
	w.want("deferred calls", deferred, len(asks))
}

// What a handler stored before a goroutine failed is dropped with its response.
func TestI9OutageDropsTheResponseOnly(t *testing.T) {
	captureLog(t)
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		rw.WriteHeader(http.StatusEarlyHints) // not the response yet
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Subject()
		}()
		<-done
		if err := count.Update(s, increment); !errors.Is(err, sojourn.ErrUnavailable) {
			t.Errorf("a change after the failure: %v", err)
		}
		if err := s.Commit(r.Context()); !errors.Is(err, sojourn.ErrUnavailable) {
			t.Errorf("a commit after the failure: %v", err)
		}
		if _, _, err := http.NewResponseController(rw).Hijack(); !errors.Is(err, sojourn.ErrUnavailable) {
			t.Errorf("a hijack after the failure: %v", err)
		}
	})
	b := w.surfer().login("alice")
	w.calls.fail(always(errDown, "Get"), nil)
	b.get("/").withheld(t, http.StatusServiceUnavailable)
}

// If the outage comes after the response has started, the status can't change
// any more. The response is cut off, and the log says why.
func TestOutageMidResponse(t *testing.T) {
	text := captureLog(t)
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		http.NewResponseController(rw).Flush()
		s.Subject()
	})
	b := w.surfer().login("alice")
	w.calls.fail(always(errDown, "Get"), nil)
	if _, err := b.try("POST", "/", ""); err == nil {
		t.Error("the client sees a whole response")
	}
	w.server.Close()
	if !strings.Contains(text.String(), "connection refused") {
		t.Errorf("log: %q", text)
	}
}

// runtime.Goexit passes every recoverer. A group may pass it on to the
// goroutine that waits.
func TestGoexitInTheHandler(t *testing.T) {
	captureLog(t)
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		var group sync.WaitGroup
		group.Go(func() { s.Subject() })
		group.Wait()
		runtime.Goexit()
	})
	b := w.surfer().login("alice")
	w.calls.fail(always(errDown, "Get"), nil)
	a, _ := b.try("GET", "/", "") // the connection ends with its goroutine, within the body
	if a == nil || a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%+v", a)
	}
}

// Without Handler, nobody answers for a failure: the accessors panic with the
// error, and Load returns it.
func TestOutageWithoutHandler(t *testing.T) {
	w := newWebUnstarted(t, nil)
	j := w.loggedIn("alice")
	w.calls.fail(always(errDown, "Get"), nil)
	for _, where := range []string{"here", "on a goroutine"} {
		s := w.begin(j)
		ask := func() {
			defer func() {
				if err, _ := recover().(error); !errors.Is(err, sojourn.ErrUnavailable) || !errors.Is(err, errDown) {
					t.Errorf("%s: the panic's value: %v", where, err)
				}
			}()
			s.Subject()
		}
		if where == "here" {
			ask()
		} else {
			var group sync.WaitGroup
			group.Go(ask)
			group.Wait()
		}
		if err := s.Load(t.Context()); !errors.Is(err, errDown) {
			t.Errorf("Load: %v", err)
		}
	}
}

// Preload reads the session first, so no accessor in the handler can fail.
func TestPreload(t *testing.T) {
	var told error
	w := newWeb(t, nil, options(func(o *sojourn.Options) {
		o.OnError = func(rw http.ResponseWriter, r *http.Request, err error) { told = err }
	}))
	b := w.surfer().login("alice")
	reached := 0
	w.server.Config.Handler = w.Handler(sojourn.Strict(sojourn.Preload(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		reached++
		w.calls.fail(always(errDown, "Get"), nil) // after Preload
		s, user := sojourn.From(r.Context()), make(chan string)
		go func() { user <- s.Subject() }()
		io.WriteString(rw, <-user)
	}))))
	w.want("who", b.get("/").body, "alice")
	b.get("/").withheld(t, http.StatusServiceUnavailable)
	w.want("calls of the handler", reached, 1)
	if !errors.Is(told, errDown) {
		t.Errorf("OnError got %v", told)
	}
}

// In a separate process: an outage doesn't crash the program, although
// goroutines use the session and nothing recovers.
func TestOutageKillsNoProcess(t *testing.T) {
	if os.Getenv("SOJOURN_TEST_OUTAGE") == "" {
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOutageKillsNoProcess$", "-test.count=1", "-test.v")
		again.Env = append(os.Environ(), "SOJOURN_TEST_OUTAGE=1")
		if out, err := again.CombinedOutput(); err != nil || !strings.Contains(string(out), "still here") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	w := newWebUnstarted(t, nil)
	j := w.loggedIn("alice")
	w.calls.fail(always(errDown, "Get"), nil)
	h := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s := sojourn.From(r.Context())
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() { s.Subject() })
		}
		group.Wait()
	}))
	r := httptest.NewRequest("GET", "http://localhost/", nil)
	r.Header.Set("Cookie", "__Host-session="+j.session)
	rw := httptest.NewRecorder()
	h.ServeHTTP(rw, r)
	w.want("status", rw.Code, http.StatusServiceUnavailable)
	t.Log("still here")
}

// The handler takes too long. If http.TimeoutHandler is within Handler, its 503
// is the response, and the handler's changes are dropped. If it is around
// Handler, the visitor gets the 503, but the changes are stored.
func TestTimeoutHandlerOnEitherSide(t *testing.T) {
	brief := func(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Second/4, "too slow") }
	for _, test := range []struct {
		name   string
		around func(w *web, done middleware) []middleware
		stored string
	}{
		{"within Handler", func(w *web, done middleware) []middleware { return []middleware{w.Handler, brief, done} }, "1"},
		{"around Handler", func(w *web, done middleware) []middleware { return []middleware{brief, done, w.Handler} }, "2"},
	} {
		w := newWeb(t, nil)
		b := w.surfer()
		b.post("/count")
		answered, over := make(chan struct{}), make(chan struct{})
		slow := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			count.Update(sojourn.From(r.Context()), increment)
			<-answered
		})
		w.server.Config.Handler = stack(slow, test.around(w, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				defer close(over)
				next.ServeHTTP(rw, r)
			})
		})...)
		if a := b.get("/").wantStatus(t, http.StatusServiceUnavailable); a.body != "too slow" {
			t.Errorf("%s: %q", test.name, a.body)
		}
		close(answered)
		<-over
		w.want(test.name+": stored", storedCount(w, b), test.stored)
	}
}

// storedCount reads a surfer's count without the server.
func storedCount(w *web, b *surfer) string {
	s := w.begin(&jar{visitor: b.cookies["__Host-visitor"]})
	n, err := count.Get(s)
	if err != nil {
		w.Error(err)
	}
	return strconv.Itoa(n)
}

// If the store is down, the response is a 503 and never "anonymous", whatever
// the handler reads and however it handles the error.
func TestHandlerStoreDown(t *testing.T) {
	asks := map[string]func(rw http.ResponseWriter, s *sojourn.Session){
		"Subject":   func(_ http.ResponseWriter, s *sojourn.Session) { s.Subject() },
		"ID":        func(_ http.ResponseWriter, s *sojourn.Session) { s.ID() },
		"Level":     func(_ http.ResponseWriter, s *sojourn.Session) { s.Level() },
		"Fresh":     func(_ http.ResponseWriter, s *sojourn.Session) { s.Fresh(time.Hour) },
		"Info":      func(_ http.ResponseWriter, s *sojourn.Session) { s.Info() },
		"EndReason": func(_ http.ResponseWriter, s *sojourn.Session) { s.EndReason() },
		"Done":      func(_ http.ResponseWriter, s *sojourn.Session) { s.Done() },
		"Load":      func(_ http.ResponseWriter, s *sojourn.Session) { s.Load(context.Background()) },
		"Get":       func(_ http.ResponseWriter, s *sojourn.Session) { color.Get(s) },
		"Set":       func(_ http.ResponseWriter, s *sojourn.Session) { color.Set(s, "red") },
		"Delete":    func(_ http.ResponseWriter, s *sojourn.Session) { color.Delete(s) },
		"Update":    func(_ http.ResponseWriter, s *sojourn.Session) { count.Update(s, increment) },
		"Login":     func(_ http.ResponseWriter, s *sojourn.Session) { s.Login("alice") },
		"Elevate":   func(_ http.ResponseWriter, s *sojourn.Session) { s.Elevate(2, "otp") },
		"Rotate":    func(_ http.ResponseWriter, s *sojourn.Session) { s.Rotate() },
		"Logout":    func(_ http.ResponseWriter, s *sojourn.Session) { s.Logout() },
		"Subject, recovered": func(_ http.ResponseWriter, s *sojourn.Session) {
			defer func() {
				if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // the value itself, which recoverers pass on and don't log
					t.Errorf("the panic's value: %v", p)
				}
			}()
			s.Subject()
		},
	}
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		rw.Header().Set("Set-Cookie", "welcome=back")
		rw.Header().Set("Location", "/next")
		asks[r.Header.Get("Ask")](rw, s)
		io.WriteString(rw, handlerText) // the handler ignores the result
	})
	b := w.surfer().login("alice")
	visitor := w.surfer()
	visitor.post("/count")
	for ask := range asks {
		for _, client := range []*surfer{b, visitor} {
			w.calls.fail(always(errors.New("disk on fire"), "Get"), nil)
			client.get("/", "Ask", ask).withheld(t, http.StatusServiceUnavailable)
			w.calls.fail(nil, nil)
		}
	}
	w.want("in the end", b.who(), "alice")
	w.want("sessions", len(w.happened(sojourn.EventEnded)), 0)
	if text := w.log.String(); text != "" {
		t.Errorf("net/http logs: %s", text)
	}
}

// If a load fails after the first byte, the status can't change any more. The
// response is cut off.
func TestHandlerStoreDownMidResponse(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		io.WriteString(rw, handlerText)
		http.NewResponseController(rw).Flush()
		if s.Subject() == "" {
			io.WriteString(rw, "you are nobody")
		}
	})
	b := w.surfer().login("alice")
	w.calls.fail(always(errors.New("disk on fire"), "Get"), nil)
	if a, err := b.try("GET", "/", ""); err == nil || strings.Contains(a.body, "nobody") {
		t.Errorf("err %v, body %q", err, a.body)
	}
}

// In this scenario the store fails at its k-th call, for every k. The call is
// either not done, or done with its answer lost. Each response is whole or a
// 503, no user becomes another, and afterwards everything works.
func TestHandlerFailsAtEveryStep(t *testing.T) {
	for _, mode := range []string{"not done", "answer lost"} {
		t.Run(mode, func(t *testing.T) {
			for k := 0; ; k++ {
				if !failAtStep(t, mode, k) {
					t.Logf("%d store calls", k)
					break
				}
				if t.Failed() {
					t.Fatalf("k = %d", k)
				}
			}
		})
	}
}
