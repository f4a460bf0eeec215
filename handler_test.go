package sojourn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// A handler that doesn't read the session causes no store access, whatever the
// client sends.
func TestHandlerIsLazy(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		s.Passive() // reads nothing
		io.WriteString(rw, handlerText)
	})
	b := w.surfer().login("alice")
	w.pass(20 * time.Minute) // a touch and a rotation are due
	w.calls.reset()
	for range 3 {
		a := b.get("/").wantStatus(t, 200)
		if a.Header["Vary"] != nil || a.Header["Cache-Control"] != nil || len(a.cookies) > 0 {
			t.Errorf("header: %v", a.Header)
		}
	}
	w.flush()
	equal(t, "store access", w.calls.made(), nil)
}

// A strict route doesn't use a cached session, even if something has read the
// cache before.
func TestI10StrictRoutesReadTheStore(t *testing.T) {
	beneath := memstore.New() // ends sessions without the cache's knowledge, like another node whose feed is slow
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		route := http.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			io.WriteString(rw, sojourn.From(r.Context()).Subject())
		}))
		switch r.URL.Path {
		case "/asked-before":
			io.WriteString(rw, s.Subject()+" ")
			fallthrough
		case "/strict":
			route = sojourn.Strict(route)
		}
		route.ServeHTTP(rw, r)
	}, onStore(func(store.Store) store.Store { return nearcache.New(beneath, nearcache.Options{}) }))
	for path, want := range map[string]string{"/strict": "", "/asked-before": "alice "} {
		b := w.surfer().login("alice")
		b.get("/")
		w.want("while it lives", b.get(path).body, want+"alice")
		if _, err := beneath.EndSubject(t.Context(), "default", "alice", sojourn.ID{}, sojourn.ReasonRevoked, store.TimeOf(w.time())); err != nil {
			t.Fatal(err)
		}
		w.want("from memory", b.get("/").body, "alice")
		w.want(path, b.get(path).body, want)
		w.pass(time.Second) // later than the barrier
	}
}

// A visitor who stores nothing gets no cookie. Without a token to look up there
// is no store access either.
func TestHandlerStrangersCostNothing(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		if v, ok, err := color.Lookup(s); v != "" || ok || err != nil {
			t.Errorf("%q %v %v", v, ok, err)
		}
		if s.Subject() != "" || !s.ID().IsZero() || s.Level() != 0 || s.Fresh(time.Hour) || s.Info().Remembered || s.EndReason() != "" || !s.Info().AuthenticatedAt.IsZero() {
			t.Errorf("%+v", s.Info())
		}
	})
	for _, cookie := range []string{"", "theme=dark", "__Host-session=", "__Host-session=short; __Host-visitor=!"} {
		headers := []string{}
		if cookie != "" {
			headers = []string{"Cookie", cookie}
		}
		a := w.surfer().get("/", headers...).wantStatus(t, 200)
		if len(a.cookies) > 0 || a.Header.Get("Vary") != "Cookie" {
			t.Errorf("%q: header: %v", cookie, a.Header)
		}
	}
	// Operations without an effect store nothing either.
	w.surfer().post("/logout").wantStatus(t, http.StatusSeeOther)
	w.flush()
	equal(t, "store access", w.calls.made(), nil)
}

// If a handler panics before the first byte, nothing changes, and the
// connection breaks as it does without this library.
func TestHandlerPanics(t *testing.T) {
	boom := errors.New("boom")
	for _, test := range []struct {
		name   string
		stored string
		logged bool
		do     func(http.ResponseWriter, *sojourn.Session)
	}{
		{"before the first byte", "1", true, func(http.ResponseWriter, *sojourn.Session) { panic(boom) }},
		{"ErrAbortHandler", "1", false, func(http.ResponseWriter, *sojourn.Session) { panic(http.ErrAbortHandler) }},
		{"after the first byte", "2", true, func(rw http.ResponseWriter, _ *sojourn.Session) {
			io.WriteString(rw, handlerText)
			panic(boom)
		}},
		{"abort after the first byte", "2", false, func(rw http.ResponseWriter, _ *sojourn.Session) {
			http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		}},
		{"after Commit", "2", true, func(_ http.ResponseWriter, s *sojourn.Session) {
			s.Commit(context.Background())
			panic(boom)
		}},
		{"after 103", "1", true, func(rw http.ResponseWriter, _ *sojourn.Session) {
			rw.WriteHeader(http.StatusEarlyHints)
			panic(boom)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var leaked *sojourn.Session
			w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
				leaked = s
				count.Update(s, increment)
				test.do(rw, s)
			})
			b := w.surfer()
			b.post("/count")
			// The client doesn't retry a POST.
			if a, err := b.try("POST", "/", ""); err == nil && a.Header.Get("Content-Length") != "" {
				t.Errorf("the client sees a whole response: %s %q", a.Status, a.body)
			}
			w.want("stored", b.get("/count").body, test.stored)
			if text := w.log.String(); strings.Contains(text, "boom") != test.logged || strings.Contains(text, "superfluous") {
				t.Errorf("log: %s", text)
			}
			// The dropped changes can't be stored later either, through a
			// session that somebody kept.
			if err := count.Set(leaked, 99); err == nil {
				t.Error("a change after the panic: no error")
			}
			if err := leaked.Commit(t.Context()); test.stored == "1" && !errors.Is(err, sojourn.ErrFinished) {
				t.Errorf("Commit after the panic: %v", err)
			}
			w.want("stored in the end", b.get("/count").body, test.stored)
		})
	}
}

// A recovering middleware gets the handler's own panic value.
func TestHandlerPanicValue(t *testing.T) {
	w := newWebUnstarted(t, nil)
	value := &struct{ int }{7}
	defer func() {
		if got := recover(); got != any(value) {
			t.Errorf("recovered %v", got)
		}
	}()
	w.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(value) })).ServeHTTP(newTape(), httptest.NewRequest("GET", "http://localhost/", nil))
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
		t.Errorf("net/http complains: %s", text)
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

func failAtStep(t *testing.T, mode string, k int) (reached bool) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		rw.Header().Set("Set-Cookie", "welcome=back")
		io.WriteString(rw, who(s)+" "+handlerText)
	})
	step := 0
	trip := func(name string, _ int) error {
		if step++; step != k+1 {
			return nil
		}
		reached = true
		if mode == "not done" {
			return errors.New("disk on fire")
		}
		return store.ErrUncertain
	}
	before, after := trip, (func(string, int) error)(nil)
	if mode == "answer lost" {
		before, after = nil, trip
	}
	w.calls.fail(before, after)
	b := w.surfer()
	may := []string{"nobody"} // who b may be
	for _, action := range []struct {
		path string
		who  string // after a success
	}{
		{"/count", ""}, {"/login?user=alice", "alice"}, {"/count", ""}, {"/elevate", ""}, {"/login?user=bob", "bob"}, {"/count", ""}, {"/logout", "nobody"}, {"/login?user=alice", "alice"},
	} {
		a := b.post(action.path)
		w.flush()
		switch {
		case a.StatusCode == http.StatusServiceUnavailable:
			if a.Header["Set-Cookie"] != nil || a.Header["Location"] != nil {
				t.Errorf("k=%d %s: header: %v", k, action.path, a.Header)
			}
			may = append(may, "nobody") // the commit whose response was withheld may have ended the old secret
		case a.StatusCode < 400:
			if action.who != "" {
				may = []string{action.who}
			}
		case a.StatusCode == http.StatusUnauthorized && action.path == "/elevate" && slices.Contains(may, "nobody"):
		case a.StatusCode == http.StatusConflict && slices.Contains(may, "nobody"): // the token's successor was withheld
		default:
			t.Errorf("k=%d %s: %s %s", k, action.path, a.Status, a.body)
		}
		page := b.get("/")
		w.flush()
		if page.StatusCode == http.StatusServiceUnavailable {
			page.withheld(t, http.StatusServiceUnavailable)
			continue
		}
		name, _, _ := strings.Cut(page.wantStatus(t, 200).body, " ")
		if !slices.Contains(may, name) {
			t.Errorf("k=%d after %s: %s, which is none of %v", k, action.path, name, may)
		}
		w.pass(3 * time.Minute) // touches are due
	}
	w.calls.fail(nil, nil)
	b.login("carol")
	w.want("in the end", b.who(), "carol")
	w.server.Close()
	return reached
}

// Handler doesn't change the caller's request.
func TestHandlerLeavesRequestAlone(t *testing.T) {
	w := newWebUnstarted(t, nil)
	r := httptest.NewRequest("POST", "http://localhost/a?b=c", strings.NewReader("d=e"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Cookie", "__Host-session=x; a=b")
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	ctx, body := r.Context(), r.Body
	before := r.Clone(ctx)
	w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, inner *http.Request) {
		if inner == r {
			t.Error("the handler has the caller's request")
		}
		sojourn.From(inner.Context()).Login("alice")
	})).ServeHTTP(newTape(), r)
	if r.Context() != ctx || r.Body != body {
		t.Error("context or body")
	}
	before.Body = r.Body
	if !reflect.DeepEqual(before, r.Clone(ctx)) {
		t.Errorf("changed:\n%+v\n%+v", before, r)
	}
}

// The request's context is the caller's, plus the session.
func TestHandlerContext(t *testing.T) {
	type key struct{}
	w := newWebUnstarted(t, nil)
	ctx, cancel := context.WithDeadline(context.WithValue(t.Context(), key{}, "v"), time.Now().Add(time.Hour))
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, "GET", "http://localhost/", nil)
	w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		inner := r.Context()
		if inner.Value(key{}) != "v" || inner.Err() != nil {
			t.Error("the caller's values")
		}
		derived, stop := context.WithCancel(inner)
		defer stop()
		if sojourn.From(derived) != sojourn.From(inner) {
			t.Error("From a derived context")
		}
		cancel()
		<-derived.Done()
		if !errors.Is(inner.Err(), context.Canceled) {
			t.Error("cancellation")
		}
	})).ServeHTTP(newTape(), r)
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "Engine.Handler") {
			t.Errorf("From without Handler: panic %q", text)
		}
	}()
	sojourn.From(t.Context())
}

// OnError writes the response. If it writes nothing, the response is still an
// error.
func TestHandlerOnError(t *testing.T) {
	var told error
	silent := false
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) { color.Set(s, "red") },
		options(func(o *sojourn.Options) {
			o.OnError = func(rw http.ResponseWriter, r *http.Request, err error) {
				told = err
				if !silent {
					rw.Header().Set("Content-Type", "application/problem+json")
					rw.WriteHeader(sojourn.StatusCode(err))
					fmt.Fprintf(rw, `{"status":%d}`, sojourn.StatusCode(err))
				}
			}
		}))
	w.calls.fail(always(errors.New("disk on fire"), "Create"), nil)
	a := w.surfer().get("/").wantStatus(t, http.StatusServiceUnavailable)
	if a.body != `{"status":503}` || a.Header.Get("Content-Type") != "application/problem+json" || !errors.Is(told, sojourn.ErrUnavailable) {
		t.Errorf("%v %q, told %v", a.Header, a.body, told)
	}
	a = w.surfer().post("/count", "Sec-Fetch-Site", "cross-site").wantStatus(t, http.StatusForbidden)
	if a.body != `{"status":403}` || !errors.Is(told, sojourn.ErrCrossOrigin) {
		t.Errorf("%q, told %v", a.body, told)
	}
	silent = true
	w.surfer().get("/").withheld(t, http.StatusServiceUnavailable)
	w.surfer().post("/count", "Sec-Fetch-Site", "cross-site").wantStatus(t, http.StatusForbidden)
}

var errorList = map[string]struct {
	err    error
	status int
}{
	"ErrEnded": {sojourn.ErrEnded, 409}, "ErrSuperseded": {sojourn.ErrSuperseded, 409}, "ErrCommitted": {sojourn.ErrCommitted, 500},
	"ErrConflict": {sojourn.ErrConflict, 409}, "ErrUncertain": {sojourn.ErrUncertain, 503}, "ErrUnavailable": {sojourn.ErrUnavailable, 503},
	"ErrFull": {sojourn.ErrFull, 503}, "ErrLimit": {sojourn.ErrLimit, 409}, "ErrTooLarge": {sojourn.ErrTooLarge, 413},
	"ErrValue": {sojourn.ErrValue, 422}, "ErrSubject": {sojourn.ErrSubject, 422}, "ErrAnonymous": {sojourn.ErrAnonymous, 401},
	"ErrNotFound": {sojourn.ErrNotFound, 404}, "ErrThrottled": {sojourn.ErrThrottled, 429}, "ErrCrossOrigin": {sojourn.ErrCrossOrigin, 403},
	"ErrBearer": {sojourn.ErrBearer, 500}, "ErrCursor": {sojourn.ErrCursor, 400}, "ErrFinished": {sojourn.ErrFinished, 500}, "ErrClosed": {sojourn.ErrClosed, 503},
	"ErrRevision": {sojourn.ErrRevision, 412}, "ErrKeyReused": {sojourn.ErrKeyReused, 422}, "ErrRepeats": {sojourn.ErrRepeats, 429},
}

// Every error of the package has a status, and the errors are distinct.
func TestStatusCodes(t *testing.T) {
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\t(Err\w+) *= errors\.New\("(.*)"\)`).FindAllStringSubmatch(string(source), -1) {
		e, ok := errorList[m[1]]
		if !ok {
			t.Errorf("%s: what is its status?", m[1])
			continue
		}
		if got := sojourn.StatusCode(fmt.Errorf("outer: %w", e.err)); got != e.status {
			t.Errorf("%s: %d, want %d", m[1], got, e.status)
		}
		if !strings.HasPrefix(m[2], "sojourn: ") {
			t.Errorf("%s begins with the package's name: %q", m[1], m[2])
		}
		for name, other := range errorList {
			if name != m[1] && errors.Is(e.err, other.err) {
				t.Errorf("%s is %s", m[1], name)
			}
		}
	}
	if got := sojourn.StatusCode(io.EOF); got != 500 {
		t.Errorf("an error of others: %d", got)
	}
}

// A handler may call Commit early, before a side effect.
func TestHandlerCommitsEarly(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		count.Update(s, increment)
		if err := s.Commit(r.Context()); err != nil {
			http.Error(rw, "not charged", sojourn.StatusCode(err))
			return
		}
		if err := count.Update(s, increment); !errors.Is(err, sojourn.ErrCommitted) {
			t.Errorf("after Commit: %v", err)
		}
		io.WriteString(rw, "charged")
	})
	b := w.surfer()
	if a := b.get("/"); a.body != "charged" || len(a.cookies) != 1 {
		t.Errorf("%q %v", a.body, a.Header)
	}
	w.want("stored", b.get("/count").body, "1")
	w.calls.fail(always(errors.New("disk on fire"), "Update"), nil)
	w.want("with a broken store", b.get("/").wantStatus(t, 503).body, "not charged\n")
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
					t.Error("it came back")
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

// An engine serves several handlers, and Handler inside Handler commits once.
func TestHandlerNested(t *testing.T) {
	w := newWebUnstarted(t, nil)
	tape := newTape()
	tape.notes(&w.calls)
	w.Handler(w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		count.Update(sojourn.From(r.Context()), increment)
		io.WriteString(rw, handlerText)
	}))).ServeHTTP(tape, httptest.NewRequest("GET", "http://localhost/", nil))
	equal(t, "order", tape.list(), []string{"Create", "write string"})
	if len(tape.sent["Set-Cookie"]) != 1 {
		t.Errorf("%v", tape.sent)
	}
}

// Handler inside Handler has no effect: there is one session, one cookie and
// one commit, whichever session the code between them has used.
func TestHandlerNestedIsOne(t *testing.T) {
	w := newWeb(t, nil)
	wrap := func(next http.Handler) http.Handler { // hides the writer and copies the request
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(struct{ http.ResponseWriter }{rw}, r.WithContext(context.WithValue(r.Context(), contextKey{}, 1)))
		})
	}
	counts := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			count.Update(sojourn.From(r.Context()), increment)
			next.ServeHTTP(rw, r)
		})
	}
	for name, around := range map[string][]middleware{
		"at once":           {w.Handler, w.Handler, counts, counts},
		"with code between": {w.Handler, counts, w.Handler, counts},
		"with a wrapper":    {w.Handler, counts, wrap, w.Handler, counts},
		"three times":       {w.Handler, counts, w.Handler, w.Handler, counts},
		"with a timeout":    {w.Handler, counts, timeout, w.Handler, counts},
		"of a context":      {w.Handler, counts, wrap, w.Handler, wrap, counts},
	} {
		w.server.Config.Handler = stack(webRoutes(nil), around...)
		b := w.surfer()
		if a := b.get("/who"); len(a.cookies) != 1 {
			t.Errorf("%s: a visitor gets %v", name, a.cookies)
		}
		w.want(name+": count", b.get("/count").body, "4")
		if a := b.post("/login?user=alice"); len(a.cookies) != 3 { // one sets the session; two clear both forms of the visitor's
			t.Errorf("%s: a login sets %v", name, a.cookies)
		}
		w.want(name+": who", b.who(), "alice")
		b.post("/logout")
		w.want(name+": who after the logout", b.who(), "nobody")
	}
}

type contextKey struct{}

// A request's context may outlive the request. Its finished session doesn't
// disable a later Handler.
func TestHandlerInALateContext(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {})
	var late context.Context
	keep := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { late = r.Context() }))
	keep.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "http://localhost/", nil))
	rw := httptest.NewRecorder()
	w.server.Config.Handler.ServeHTTP(rw, httptest.NewRequest("POST", "http://localhost/login?user=alice", nil).WithContext(late))
	if rw.Code != http.StatusSeeOther || len(rw.Result().Cookies()) != 1 {
		t.Errorf("%d %v", rw.Code, rw.Result().Header)
	}
}

// Two engines serve one request. Each has its own session and commits it, and
// its From returns it.
func TestHandlersOfTwoEngines(t *testing.T) {
	named := func(name string) *world {
		return newWorld(t, options(func(o *sojourn.Options) {
			o.App = name
			o.Cookie = sojourn.Cookie{Name: "__Host-" + name, Visitor: "__Host-" + name + "-visitor"}
		}))
	}
	outer, inner := named("outer"), named("inner")
	serve := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		a, b := outer.From(ctx), inner.From(ctx)
		if a == b || sojourn.From(ctx) != b {
			t.Error("From isn't the inner one's")
		}
		if r.Method == "POST" {
			if err := errors.Join(a.Login("alice"), b.Login("bob")); err != nil {
				t.Error(err)
			}
			return
		}
		io.WriteString(rw, who(a)+" "+who(b))
	})
	cookies := map[string]string{}
	ask := func(h http.Handler, method string) string {
		r := httptest.NewRequest(method, "http://localhost/", nil)
		for name, value := range cookies {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		rw := httptest.NewRecorder()
		h.ServeHTTP(rw, r)
		for _, c := range rw.Result().Cookies() {
			cookies[c.Name] = c.Value
		}
		return rw.Body.String()
	}
	h := outer.Handler(inner.Handler(serve))
	outer.want("before", ask(h, "GET"), "nobody nobody")
	ask(h, "POST")
	outer.want("cookies", len(cookies), 2)
	outer.want("after", ask(h, "GET"), "alice bob")

	// A third Handler, of the outer engine again: From returns the outer
	// engine's session.
	again := outer.Handler(inner.Handler(outer.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.WriteString(rw, who(sojourn.From(r.Context()))+" "+who(inner.From(r.Context())))
	}))))
	outer.want("nested again", ask(again, "GET"), "alice bob")

	// An engine also finds a session that NewContext put into a context.
	s := outer.Begin(t.Context(), sojourn.Request{})
	ctx := inner.From(sojourn.NewContext(sojourn.NewContext(t.Context(), inner.Begin(t.Context(), sojourn.Request{})), s))
	if ctx == s {
		t.Error("NewContext hides another engine's session")
	}
	defer func() {
		if recover() == nil {
			t.Error("an engine without a Handler has a session")
		}
	}()
	named("other").From(sojourn.NewContext(t.Context(), s))
}

// A request that doesn't use its session allocates almost nothing.
func TestHandlerAllocations(t *testing.T) {
	w := newWebUnstarted(t, nil)
	h := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(http.StatusNoContent) }))
	r := httptest.NewRequest("GET", "http://localhost/", nil)
	rw := &discard{header: http.Header{}}
	if n := testing.AllocsPerRun(200, func() { h.ServeHTTP(rw, r) }); n > 2 {
		t.Errorf("%v allocations, the limit is 2", n)
	}
	j := w.loggedIn("alice")
	r.Header.Set("Cookie", "__Host-session="+j.session)
	reads := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if sojourn.From(r.Context()).Subject() != "alice" {
			t.Error("not alice")
		}
	}))
	if raceEnabled() {
		return
	}
	if n := testing.AllocsPerRun(200, func() { clear(rw.header); reads.ServeHTTP(rw, r) }); n > 6 {
		t.Errorf("%v allocations to read the subject", n)
	} else {
		t.Logf("%v allocations to read the subject", n)
	}
}

// raceEnabled reports whether the test was built with -race. Under the race
// detector, sync.Pool drops some values.
func raceEnabled() bool {
	var pool sync.Pool
	for range 100 {
		pool.Put(new(bytes.Buffer))
		if pool.Get() == nil {
			return true
		}
	}
	return false
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// A store may derive contexts from a commit's context and leave them behind, as
// drivers do. They end with the commit, not when the client leaves.
func TestHandlerCommitContext(t *testing.T) {
	type key struct{}
	var derived []context.Context
	gone, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
	defer cancel()
	w := newWorld(t, onCalls(func(ctx context.Context, c driver.Call) driver.Result {
		if c.Op == driver.Create {
			if ctx.Err() != nil || context.Cause(ctx) != nil || ctx.Value(key{}) != "v" {
				t.Errorf("the commit's context: %v, %v, %v", ctx.Err(), context.Cause(ctx), ctx.Value(key{}))
			}
			if d, ok := ctx.Deadline(); !ok || time.Until(d) > time.Minute {
				t.Errorf("deadline %v, %v", d, ok)
			}
			for range 100 {
				child, stop := context.WithCancel(ctx)
				derived = append(derived, child)
				t.Cleanup(stop)
				if len(derived)%2 == 0 {
					stop()
				}
			}
		}
		return c.Do(ctx)
	}))
	for range 20 {
		s := w.Begin(gone, sojourn.Request{})
		count.Update(s, increment)
		cancel()
		if err := s.Commit(gone); err != nil {
			t.Fatal(err)
		}
	}
	for _, child := range derived {
		<-child.Done()
		if !errors.Is(child.Err(), context.Canceled) {
			t.Fatalf("%v", child.Err())
		}
	}
}
