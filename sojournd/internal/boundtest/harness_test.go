// Package boundtest tests device-bound sessions with the browser that has them:
// Chromium with Device Bound Session Credentials, against the library's handlers
// over TLS.
package boundtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/pages"
	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
)

func TestMain(m *testing.M) {
	code := m.Run()
	browsertest.Stop()
	os.Exit(code)
}

var pictures = filepath.Join("..", "..", "..", "out", "browser")

const (
	sessionCookie = "__Host-session"
	proofCookie   = "__Host-session-bound-" // and the end of the session's ID
	register      = "/session/bound/register"
	refresh       = "/session/bound/refresh"

	life  = 10 * time.Minute // of a proof
	grace = time.Minute
)

var orders = sojourn.NewKey[int]("orders")

// A site is a shop whose logins are bound to their browsers. The test owns its
// clock.
type site struct {
	*browsertest.Server
	t *testing.T

	mu      sync.Mutex // guards what follows
	engine  *sojourn.Engine
	app     http.Handler
	now     time.Time
	events  []sojourn.Event
	seen    map[string][]int // the statuses of a path's answers
	outage  error            // of the store
	meddle  func(w http.ResponseWriter, r *http.Request, next http.Handler)
	cleanup func()
}

func newSite(t *testing.T) *site {
	t.Helper()
	browsertest.NeedBinding(t)
	st := memstore.New()
	t.Cleanup(func() { _ = st.Close() })
	s := &site{t: t, now: time.Now().Truncate(time.Second), seen: map[string][]int{}}
	s.start(st)
	s.Server = browsertest.Serve(t, http.HandlerFunc(s.serve))
	return s
}

// start starts an engine on a store, and the application on it.
func (s *site) start(st store.Store) {
	s.t.Helper()
	engine, err := sojourn.New(driver.Intercept(st, s.call), sojourn.Options{Now: s.clock, OnEvent: s.note, Bound: &sojourn.Binding{ProofLife: life, Grace: grace}})
	if err != nil {
		s.t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := engine.Close(ctx); err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(stop)
	session, err := pages.New(engine, pages.Options{Now: s.clock})
	if err != nil {
		s.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/session/", session)
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /me", s.me)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("POST /order", s.order)
	mux.Handle("GET /account", sojourn.Requirement{}.Handler(http.HandlerFunc(s.page)))
	mux.Handle("GET /safe", sojourn.Requirement{Bound: true}.Handler(http.HandlerFunc(s.page)))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.engine, s.app, s.cleanup = engine, engine.Handler(mux), stop
}

func (s *site) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// pass moves the clock, after what the engine still writes.
func (s *site) pass(d time.Duration) {
	s.t.Helper()
	if err := s.engine.Flush(s.t.Context()); err != nil {
		s.t.Error(err)
	}
	s.later(d)
}

// later moves the clock.
func (s *site) later(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

func (s *site) note(e sojourn.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

// refusals returns why requests of a session were refused.
func (s *site) refusals(id sojourn.ID) (why []sojourn.Refusal) {
	s.t.Helper()
	if err := s.engine.Flush(s.t.Context()); err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Kind == sojourn.EventRefused && e.Session == id {
			why = append(why, e.Refusal)
		}
	}
	return why
}

// refusedNobody checks that no request of a user's session was refused.
func (s *site) refusedNobody(user string) {
	s.t.Helper()
	if why := s.refusals(s.of(user).ID); why != nil {
		s.t.Errorf("the user was refused: %v", why)
	}
}

var errDown = errors.New("the store is down")

// fail makes the store fail from now on, or work again.
func (s *site) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outage = err
}

func (s *site) call(ctx context.Context, c driver.Call) driver.Result {
	s.mu.Lock()
	err := s.outage
	s.mu.Unlock()
	if err != nil && c.Op != driver.Close {
		return driver.Result{Err: err}
	}
	return c.Do(ctx)
}

// between puts what a network or a proxy does before the application.
func (s *site) between(meddle func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meddle = meddle
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.now = s.now.Add(time.Millisecond)
	app, meddle := s.app, s.meddle
	s.mu.Unlock()
	noted := &noting{ResponseWriter: w, note: func(status int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen[r.URL.Path] = append(s.seen[r.URL.Path], status)
	}}
	if meddle != nil {
		meddle(noted, r, app)
		return
	}
	app.ServeHTTP(noted, r)
}

// noting notes an answer's status before the browser has it.
type noting struct {
	http.ResponseWriter
	note  func(status int)
	noted bool
}

func (w *noting) WriteHeader(status int) {
	if !w.noted {
		w.noted = true
		w.note(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *noting) Write(b []byte) (int, error) {
	if !w.noted {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

func (w *noting) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// answers returns the statuses of a path's answers, and forgets them.
func (s *site) answers(path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := strings.Trim(fmt.Sprint(s.seen[path]), "[]")
	s.seen[path] = nil
	return text
}

func (s *site) page(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><html lang="en"><head><title>shop</title><link rel="icon" href="data:,"></head><body><h1>%s</h1>
<form id="in" action="/login" method="post"><input name="user"><input name="remember"><button>Sign in</button></form>
<form id="out" action="/logout" method="post"><button>Sign out</button></form></body></html>`, greeting(r))
}

func greeting(r *http.Request) string {
	if user := sojourn.From(r.Context()).Subject(); user != "" {
		return "Hello " + user
	}
	return "Hello stranger"
}

func (s *site) me(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, greeting(r)) }

func (s *site) login(w http.ResponseWriter, r *http.Request) {
	var options []sojourn.LoginOption
	if r.FormValue("remember") != "" {
		options = append(options, sojourn.Remember())
	}
	s.change(w, r, sojourn.From(r.Context()).Login(r.FormValue("user"), options...))
}

func (s *site) logout(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, sojourn.From(r.Context()).Logout())
}

func (s *site) order(w http.ResponseWriter, r *http.Request) {
	session := sojourn.From(r.Context())
	if err := (sojourn.Requirement{}).Check(r.Context(), session); err != nil {
		sojourn.Error(w, r, err)
		return
	}
	err := orders.Update(session, func(n *int) error { *n++; return nil })
	s.change(w, r, err)
}

func (s *site) change(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		sojourn.Error(w, r, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// of returns the only session of a user.
func (s *site) of(user string) sojourn.Info {
	s.t.Helper()
	list, _, err := s.engine.List(s.t.Context(), user, "", 10)
	if err != nil || len(list) != 1 {
		s.t.Fatalf("the sessions of %s: %v, %v", user, list, err)
	}
	return list[0]
}

// A browser is a tab of somebody who visits the site.
type browser struct {
	*browsertest.BoundTab
	s *site
}

func (s *site) browser() browser {
	s.t.Helper()
	return browser{browsertest.OpenBinding(s.t, s.URL(browsertest.BoundHost), pictures), s}
}

// signIn signs in, and waits until the browser has bound the session.
func (b browser) signIn(user string, remember bool) {
	b.s.t.Helper()
	before := b.Registrations()
	b.enter(user, remember)
	b.Until("registrations", b.Registrations, before+1)
	b.greets(user)
	if !b.s.of(user).Bound {
		b.s.t.Fatalf("the session of %s is not bound", user)
	}
	b.s.answers(refresh)
	b.s.answers(register)
}

// enter signs in, and goes to the first page.
func (b browser) enter(user string, remember bool) {
	b.s.t.Helper()
	b.Visit("/")
	b.Fill("input[name=user]", user)
	if remember {
		b.Fill("input[name=remember]", "yes")
	}
	b.Click("#in button")
	b.See("h1", "Hello "+user)
}

// greets loads the first page, which must know the user; "stranger": nobody.
func (b browser) greets(user string) {
	b.s.t.Helper()
	b.Visit("/")
	b.See("h1", "Hello "+user)
}

// lapse lets the browser's proof expire, there and on the server.
func (b browser) lapse(d time.Duration) {
	b.s.t.Helper()
	b.s.pass(d)
	b.Forget(proofCookie)
}

// refreshed fails the test unless the answers to refreshes since the last call are
// want.
func (b browser) refreshed(want string) {
	b.s.t.Helper()
	if got := b.s.answers(refresh); got != want {
		b.s.t.Fatalf("answers to refreshes: %q, want %q", got, want)
	}
}

// fetch gets paths at the same time, by a script, and returns what the answers
// say.
func (b browser) fetch(paths ...string) []string {
	b.s.t.Helper()
	list := b.Eval(fmt.Sprintf(`Promise.all(%s.map(p => fetch(p).then(r => r.text()))).then(list => list.join("\n"))`, quoted(paths)))
	return strings.Split(list, "\n")
}

func quoted(list []string) string {
	return `["` + strings.Join(list, `","`) + `"]`
}

// session returns the value of the session's cookie.
func (b browser) session() string {
	b.s.t.Helper()
	for _, c := range b.Jar() {
		if c.Name == sessionCookie {
			return c.Value
		}
	}
	return ""
}
