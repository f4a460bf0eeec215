package forwardauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
)

const (
	proxyIP = "10.0.0.1"
	userIP  = "203.0.113.7"
)

// A world is a handler with one application, on a store and a clock that the
// test controls.
type world struct {
	testing.TB
	*forwardauth.Handler
	engine *sojourn.Engine
	store  *brittle
	log    bytes.Buffer

	mu  sync.Mutex
	now time.Time
}

// newWorld creates the application "shop". The function may change its options.
func newWorld(t testing.TB, change func(*forwardauth.App, *sojourn.Options)) *world {
	t.Helper()
	w := &world{TB: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), store: newBrittle()}
	proxies := []netip.Prefix{netip.MustParsePrefix(proxyIP + "/32"), netip.MustParsePrefix("127.0.0.1/32")}
	opt := sojourn.Options{App: "shop", Now: w.time, TrustedProxies: proxies}
	app := forwardauth.App{Name: "shop", LoginURL: "/login"}
	if change != nil {
		change(&app, &opt)
	}
	var err error
	if w.engine, err = sojourn.New(w.store, opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.engine.Close(context.Background()); err != nil {
			t.Error(err)
		}
		w.store.Store.Close() //nolint:errcheck // in memory
	})
	app.Sessions = w.engine
	w.Handler, err = forwardauth.New(forwardauth.Options{
		Apps: []forwardauth.App{app}, TrustedProxies: proxies, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func app(f func(*forwardauth.App)) func(*forwardauth.App, *sojourn.Options) {
	return func(a *forwardauth.App, _ *sojourn.Options) { f(a) }
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.Helper()
	if err := w.engine.Flush(context.Background()); err != nil {
		w.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// A brittle is a store whose reads fail while err is set.
type brittle struct {
	store.Store
	mu    sync.Mutex
	err   error
	reads int
}

func newBrittle() *brittle {
	b := new(brittle)
	b.Store = driver.Intercept(memstore.New(), func(ctx context.Context, c driver.Call) driver.Result {
		if c.Op == driver.Get {
			b.mu.Lock()
			err := b.err
			b.reads++
			b.mu.Unlock()
			if err != nil {
				return driver.Result{Err: err}
			}
		}
		return c.Do(ctx)
	})
	return b
}

func (b *brittle) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// count returns the number of reads of the store since the last call.
func (b *brittle) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.reads
	b.reads = 0
	return n
}

// login returns the Cookie header of a browser that has just logged in.
func (w *world) login(subject string, o ...sojourn.LoginOption) string {
	w.Helper()
	s := w.engine.Begin(context.Background(), sojourn.Request{})
	if err := s.Login(subject, o...); err != nil {
		w.Fatal(err)
	}
	if err := s.Commit(context.Background()); err != nil {
		w.Fatal(err)
	}
	return "__Host-session=" + s.Token()
}

// put stores a value in the session of a cookie.
func (w *world) put(cookie, key string, value any) {
	w.Helper()
	id := w.id(cookie)
	snap, err := w.engine.Get(context.Background(), id)
	if err != nil {
		w.Fatal(err)
	}
	text, err := json.Marshal(value)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := w.engine.SetValues(context.Background(), id, snap.Revision, map[string]json.RawMessage{key: text}); err != nil {
		w.Fatal(err)
	}
}

// id returns the ID of the session of a cookie.
func (w *world) id(cookie string) sojourn.ID {
	w.Helper()
	s := w.engine.Begin(context.Background(), sojourn.Request{Session: []string{strings.TrimPrefix(cookie, "__Host-session=")}})
	if s.ID().IsZero() {
		w.Fatal("no session")
	}
	return s.ID()
}

// get sends a check like Caddy and Traefik. The headers are name, value, ...;
// an empty value removes one.
func (w *world) get(path string, headers ...string) *http.Response {
	w.Helper()
	return w.ask("GET", path, append([]string{"X-Forwarded-Method", "GET"}, headers...)...)
}

func (w *world) ask(method, path string, headers ...string) *http.Response {
	w.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr = proxyIP + ":4711"
	r.Header.Set("X-Forwarded-For", userIP)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "peer" {
			r = from(r, headers[i+1])
		} else if r.Header.Del(headers[i]); headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	out := httptest.NewRecorder()
	w.ServeHTTP(out, r)
	return out.Result()
}

// want checks the status of an answer.
func (w *world) want(what string, answer *http.Response, status int) {
	w.Helper()
	if answer.StatusCode != status {
		w.Errorf("%s: %s, want %d", what, answer.Status, status)
	}
	if got := answer.Header.Get("Cache-Control"); got != "no-store" {
		w.Errorf("%s: Cache-Control is %q", what, got)
	}
}

// page returns the headers of a browser that loads a page.
func page(uri string, more ...string) []string {
	return append([]string{
		"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Sec-Fetch-Mode", "navigate",
		"X-Forwarded-Proto", "https", "X-Forwarded-Host", "shop.example.com", "X-Forwarded-Uri", uri,
	}, more...)
}

// from makes a request come from a peer. "unix:" and a name stand for a Unix
// socket.
func from(r *http.Request, peer string) *http.Request {
	name, unix := strings.CutPrefix(peer, "unix:")
	if unix {
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/sojournd.sock", Net: "unix"}))
	}
	r.RemoteAddr = name
	return r
}
