package sojourn_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
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
		w.want("from the cache", b.get("/").body, "alice")
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
		{"of net/http, at status 0", "1", true, func(rw http.ResponseWriter, _ *sojourn.Session) { panicking(rw, 0, boom) }},
		{"of net/http, at status 1000", "1", true, func(rw http.ResponseWriter, _ *sojourn.Session) { panicking(rw, 1000, boom) }},
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

// panicking writes a status that isn't one, and panics with err when net/http has.
func panicking(rw http.ResponseWriter, status int, err error) {
	defer func() {
		if recover() != nil {
			panic(err)
		}
	}()
	rw.WriteHeader(status)
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
			t.Errorf("k=%d after %s: %s, want one of %v", k, action.path, name, may)
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
			t.Error("the handler gets the caller's request, not a copy")
		}
		sojourn.From(inner.Context()).Login("alice")
	})).ServeHTTP(newTape(), r)
	if r.Context() != ctx || r.Body != body {
		t.Error("Handler changes the request's context or body")
	}
	before.Body = r.Body
	if !reflect.DeepEqual(before, r.Clone(ctx)) {
		t.Errorf("changed:\n%+v\n%+v", before, r)
	}
}

// The temporary files of an upload are gone after the request, as without Handler.
// Those of a form that the caller has parsed are the caller's.
func TestHandlerRemovesTemporaryFiles(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // on Windows
	files := func() int {
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Error(err)
		}
		return len(list)
	}
	w := newWorld(t)
	h := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(0); err != nil {
			t.Error(err)
		}
		w.want("files during the request", files(), 1)
		if r.URL.Path == "/panic" {
			panic(http.ErrAbortHandler)
		}
	}))
	for _, path := range []string{"/", "/panic", "/parsed"} {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		part, err := form.CreateFormFile("photo", "photo.jpg")
		if err != nil {
			t.Fatal(err)
		}
		part.Write(make([]byte, 11<<20)) // 10 MiB stay in memory
		form.Close()
		r := httptest.NewRequest("POST", path, &body)
		r.Header.Set("Content-Type", form.FormDataContentType())
		want := 0
		if path == "/parsed" {
			want = 1
			if err := r.ParseMultipartForm(0); err != nil {
				t.Fatal(err)
			}
		}
		func() {
			defer func() { recover() }()
			h.ServeHTTP(httptest.NewRecorder(), r)
		}()
		w.want(path+": files after the request", files(), want)
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
			t.Error("the context lacks the caller's values")
		}
		derived, stop := context.WithCancel(inner)
		defer stop()
		if sojourn.From(derived) != sojourn.From(inner) {
			t.Error("From a derived context returns another session")
		}
		cancel()
		<-derived.Done()
		if !errors.Is(inner.Err(), context.Canceled) {
			t.Error("the context isn't canceled with the caller's")
		}
	})).ServeHTTP(newTape(), r)
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "Engine.Handler") {
			t.Errorf("From without Handler: panic %q", text)
		}
	}()
	sojourn.From(t.Context())
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
			t.Error("the subject isn't alice")
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
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// A request fits into the allocator's class of 576 bytes, of which the
// collector takes 8. In the next class every request is some percent slower.
func TestRequestBytes(t *testing.T) {
	if sojourn.RequestBytes > 568 {
		t.Errorf("a request takes %d bytes", sojourn.RequestBytes)
	}
}
