package console

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
	"github.com/sojourn-go/sojourn/sojournd/internal/events"
	"github.com/sojourn-go/sojourn/sojournd/internal/history"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
)

func TestMain(m *testing.M) {
	code := m.Run()
	browsertest.Stop()
	os.Exit(code)
}

const (
	secret  = "correct horse battery"
	firefox = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
	chrome  = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
)

var hasher = sync.OnceValue(func() *password.Hasher {
	p, err := password.New(password.Cost{MemoryKiB: 64, Passes: 1})
	if err != nil {
		panic(err)
	}
	return p
})

// A world is a console with the applications shop and blog on a new store, with
// a clock that the test controls. All its operators have one password. ann may do
// everything, lou may look everywhere, and sam may end the sessions of the shop.
type world struct {
	testing.TB
	*Console
	hub       *events.Hub
	history   *history.Recorder
	store     store.Store
	down      atomic.Bool  // the store fails
	lax       atomic.Int64 // reads of operators' sessions that a cache may answer
	sessions  *sojourn.Engine
	shop      *sojourn.Engine
	blog      *sojourn.Engine
	operators []Operator

	found func() // called when events were found; nil: nothing

	mu     sync.Mutex // guards all below
	now    time.Time
	audit  []Operation
	events []v1.Event
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, now: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)}
	mem := memstore.New()
	w.store = driver.Intercept(mem, func(ctx context.Context, c driver.Call) driver.Result {
		if w.down.Load() {
			return driver.Result{Err: errors.New("connection refused")}
		}
		if c.Op == driver.Get && c.App == "sojournd.console" && !c.Strict {
			w.lax.Add(1)
		}
		return c.Do(ctx)
	})
	w.hub = events.New(events.Options{})
	t.Cleanup(func() { w.hub.Close(context.Background()) })
	w.history = history.New(history.Options{
		Now: w.time, Health: func() history.Health { return history.Health{Cache: true, Live: !w.down.Load()} },
		Count: func(ctx context.Context, app string) (int64, int64, error) {
			return map[string]*sojourn.Engine{"shop": w.shop, "blog": w.blog}[app].Count(ctx)
		},
	})
	w.history.Configure([]string{"shop", "blog"})
	if err := w.hub.Configure([]events.App{{Name: "shop"}, {Name: "blog"}}); err != nil {
		t.Fatal(err)
	}
	engine := func(o sojourn.Options) *sojourn.Engine {
		o.Now = w.time
		publish := w.hub.Observer(o.App)
		o.OnEvent = func(e sojourn.Event) { publish(e); w.history.Observe(e) }
		e, err := sojourn.New(w.store, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close(context.Background()) })
		return e
	}
	w.shop = engine(sojourn.Options{App: "shop"})
	w.blog = engine(sojourn.Options{App: "blog"})
	w.sessions = engine(sojourn.Options{
		App: "sojournd.console", Policy: sojourn.AAL2(), OnError: AnswerError,
		Cookie: sojourn.Cookie{Name: "__Host-sojournd-console", Visitor: "__Host-sojournd-console-visitor", UntilBrowserCloses: true},
	})
	t.Cleanup(func() { w.down.Store(false); _ = mem.Close() })
	w.Console = New(Options{
		Passwords: hasher(), Events: w, History: w.history, Node: "node-1", Now: w.time, Log: slog.New(slog.DiscardHandler), Once: "ONCECODE", OnceAs: "ann",
		Audit: func(o Operation) { w.mu.Lock(); defer w.mu.Unlock(); w.audit = append(w.audit, o) },
	})
	hash, err := hasher().Hash(t.Context(), password.Caller{}, secret)
	if err != nil {
		t.Fatal(err)
	}
	w.operators = []Operator{
		{"ann", hash, map[string]Role{"*": End}},
		{"lou", hash, map[string]Role{"*": Look}},
		{"sam", hash, map[string]Role{"shop": End}},
	}
	w.reload()
	return w
}

// reload puts the operators into use.
func (w *world) reload() {
	w.Set(Setup{Sessions: w.sessions, Operators: slices.Clone(w.operators), Apps: []Application{{Name: "shop", Sessions: w.shop, MaxSessions: 100}, {Name: "blog", Sessions: w.blog, VisitorsSealed: true}}})
}

// bind gives a session a binding, of which only the engine knows what it means.
func (w *world) bind(app string, id sojourn.ID) {
	w.Helper()
	var r store.Record
	err := w.store.Get(context.Background(), app, id, true, &r)
	if err == nil {
		r.Binding = []byte("a binding")
		_, err = w.store.Update(context.Background(), app, &r, store.UpdateOptions{Now: store.TimeOf(w.time())})
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.Helper()
	for _, e := range []*sojourn.Engine{w.shop, w.blog, w.sessions} {
		if err := e.Flush(w.Context()); err != nil {
			w.Fatal(err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// Find implements Events.
func (w *world) Find(app, text string, limit int) (list []v1.Event, newest string) {
	w.mu.Lock()
	faked := w.events
	w.mu.Unlock()
	if faked == nil {
		list, newest = w.hub.Find(app, text, limit)
		if w.found != nil {
			w.found()
		}
		return list, newest
	}
	for _, e := range slices.Backward(faked) {
		if e.App == app && strings.Contains(`"`+e.Session+`"`, text) && len(list) < limit {
			list = append(list, e)
		}
	}
	return list, ""
}

// Stream implements Events.
func (w *world) Stream(rw http.ResponseWriter, r *http.Request, app, lastID string, last int, follow bool) error {
	return w.hub.Stream(rw, r, app, lastID, last, follow)
}

// done returns what the audit log has, and forgets it.
func (w *world) done() []Operation {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.audit
	w.audit = nil
	return list
}

// user signs a user of an application in, and returns the session.
func (w *world) user(e *sojourn.Engine, subject, agent, ip string, values ...string) sojourn.ID {
	w.Helper()
	s := e.Begin(w.Context(), sojourn.Request{Client: sojourn.Client{IP: netip.MustParseAddr(ip), UserAgent: agent}})
	defer s.Finish()
	if subject == "" {
		if err := s.Start(); err != nil {
			w.Fatal(err)
		}
	} else if err := s.Login(subject, sojourn.AMR("pwd"), sojourn.Level(1)); err != nil {
		w.Fatal(err)
	}
	for i := 0; i+1 < len(values); i += 2 {
		if err := s.SetValue(values[i], []byte(values[i+1])); err != nil {
			w.Fatal(err)
		}
	}
	if err := s.Commit(w.Context()); err != nil {
		w.Fatal(err)
	}
	w.mu.Lock()
	w.now = w.now.Add(time.Millisecond)
	w.mu.Unlock()
	return s.ID()
}

// hears waits for so many events of the shop that hold a text.
func (w *world) hears(text string, n int) {
	for {
		if list, _ := w.hub.Find("shop", text, n); len(list) == n {
			return
		}
		runtime.Gosched()
	}
}

// lives reports whether a session is live.
func (w *world) lives(e *sojourn.Engine, id sojourn.ID) bool {
	w.Helper()
	_, err := e.Get(w.Context(), id)
	if err != nil && !errors.Is(err, sojourn.ErrNotFound) {
		w.Fatal(err)
	}
	return err == nil
}

// A browser is one of an operator's, with its cookies.
type browser struct {
	*world
	cookies map[string]string
	ip      string
	origin  string // of the pages that send forms
}

func (w *world) browser() *browser {
	return &browser{w, map[string]string{}, "192.0.2.1", "https://console.example"}
}

// as returns a browser in which an operator is signed in.
func (w *world) as(name string) *browser {
	w.Helper()
	b := w.browser()
	b.post("/sign-in", "name", name, "password", secret).to("/")
	return b
}

type answer struct {
	*browser
	*http.Response
	body string
}

func (b *browser) get(path string) *answer { b.Helper(); return b.send("GET", path, nil) }

func (b *browser) post(path string, form ...string) *answer {
	b.Helper()
	values := url.Values{}
	for i := 0; i+1 < len(form); i += 2 {
		values.Add(form[i], form[i+1])
	}
	return b.send("POST", path, values)
}

func (b *browser) send(method, path string, form url.Values) *answer {
	b.Helper()
	r := httptest.NewRequestWithContext(b.Context(), method, "https://console.example"+path, strings.NewReader(form.Encode()))
	r.RemoteAddr = b.ip + ":1234"
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	site := "same-origin"
	if b.origin != "https://console.example" {
		site = "cross-site"
	}
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", b.origin)
	}
	r.Header.Set("Sec-Fetch-Site", site)
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	rec := httptest.NewRecorder()
	b.ServeHTTP(rec, r)
	res := rec.Result()
	for _, c := range res.Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	return &answer{b, res, string(body)}
}

func (a *answer) want(status int) *answer {
	a.Helper()
	if a.StatusCode != status {
		a.Fatalf("status %d (to %q), want %d\n%s", a.StatusCode, a.Header.Get("Location"), status, a.body)
	}
	return a
}

func (a *answer) to(path string) *answer {
	a.Helper()
	a.want(303)
	if got := a.Header.Get("Location"); got != path {
		a.Fatalf("redirects to %q, want %q", got, path)
	}
	return a
}

func (a *answer) has(texts ...string) *answer {
	a.Helper()
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			a.Errorf("the page lacks %q:\n%s", text, a.body)
		}
	}
	return a
}

func (a *answer) lacks(texts ...string) *answer {
	a.Helper()
	for _, text := range texts {
		if strings.Contains(a.body, text) {
			a.Errorf("the page has %q:\n%s", text, a.body)
		}
	}
	return a
}
