package browsertest_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/pages"
	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
	"github.com/sojourn-go/sojourn/sojourntest"
)

// A boundSite binds its logins by the script of package pages. It is served over
// plain HTTP, where Chromium doesn't register by itself.
type boundSite struct {
	*sojourntest.Sessions
	t   *testing.T
	url string

	mu       sync.Mutex // guards what follows
	requests map[string]int
	down     map[string]bool // paths that answer with 503
}

var pictures = filepath.Join("..", "..", "..", "out", "browser")

func newBoundSite(t *testing.T) *boundSite {
	t.Helper()
	s := &boundSite{
		Sessions: sojourntest.New(t, sojourn.Options{Bound: &sojourn.Binding{Script: true}}),
		t:        t, requests: map[string]int{}, down: map[string]bool{},
	}
	session, err := pages.New(s.Engine, pages.Options{Now: s.Now, Require: sojourn.Requirement{SignIn: "/", Fresh: -1}, Site: "Bound shop"})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/session/", clocked(session))
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("GET /me", s.me)
	mux.Handle("GET /account", sojourn.Requirement{SignIn: "/"}.Handler(http.HandlerFunc(s.page)))
	mux.Handle("GET /safe", sojourn.Requirement{SignIn: "/", Bound: true}.Handler(http.HandlerFunc(s.page)))
	mux.Handle("POST /order", sojourn.Requirement{SignIn: "/"}.Handler(http.HandlerFunc(s.page)))
	mux.HandleFunc("GET /clock.js", s.clock)
	mux.HandleFunc("GET /plant", s.plant)
	site := s.Handler(mux)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Sessions.Advance(time.Millisecond)
		if s.arrive(r.URL.Path) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		site.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	return s
}

func (s *boundSite) arrive(path string) (down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[path]++
	return s.down[path]
}

// count returns how many requests for a path have come.
func (s *boundSite) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[path]
}

// fail makes a path answer with 503, or not.
func (s *boundSite) fail(path string, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down[path] = down
}

// page says who is signed in, for whom the script is there too.
func (s *boundSite) page(w http.ResponseWriter, r *http.Request) {
	user := sojourn.From(r.Context()).Subject()
	w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; connect-src 'self'; form-action 'self'; require-trusted-types-for 'script'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><html lang="en"><title>%s</title><script src="/clock.js"></script>
<script src="/session/bound/bound.js" defer></script><p id="user">%s</p>
<form id="in" action="/login" method="post"><input name="user"><button>Sign in</button></form>
<form id="out" action="/logout" method="post"><button>Sign out</button></form>
<form id="order" action="/order" method="post"><button name="what" value="tent">Order</button></form>`, r.Method+" "+r.URL.Path, user)
}

func (s *boundSite) login(w http.ResponseWriter, r *http.Request) {
	if err := sojourn.From(r.Context()).Login(r.FormValue("user")); err != nil {
		sojourn.Error(w, r, err)
		return
	}
	http.Redirect(w, r, "/account", http.StatusSeeOther)
}

func (s *boundSite) logout(w http.ResponseWriter, r *http.Request) {
	if err := sojourn.From(r.Context()).Logout(); err != nil {
		sojourn.Error(w, r, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// me answers a page's script.
func (s *boundSite) me(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, sojourn.From(r.Context()).Subject())
}

// plant gives a thief's browser the cookies in the query.
func (s *boundSite) plant(w http.ResponseWriter, r *http.Request) {
	for name, values := range r.URL.Query() {
		http.SetCookie(w, &http.Cookie{Name: name, Value: values[0], Path: "/", Secure: true, HttpOnly: true})
	}
	_, _ = io.WriteString(w, "<!doctype html>")
}

// clocked puts the script of clock into the pages of a handler.
func clocked(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		maps.Copy(w.Header(), answer.Header())
		w.Header().Del("Content-Length")
		w.WriteHeader(answer.Code)
		_, _ = io.WriteString(w, strings.Replace(answer.Body.String(), "<head>", `<head><script src="/clock.js"></script>`, 1))
	})
}

// clock is the first script of each page. It sets the page's clock to the site's.
func (s *boundSite) clock(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/javascript")
	fmt.Fprintf(w, `var skew = %d - Date.now(); { const real = Date.now; Date.now = () => real() + skew; }`, s.Now().UnixMilli())
}

// A client is a browser of either make.
type client interface {
	Visit(path string)
	Eval(script string) string
	Await(condition string)
}

// A boundTab is a tab of a browser on the site.
type boundTab struct {
	client
	site *boundSite
}

func (s *boundSite) chromium() (boundTab, *browsertest.Tab) {
	s.t.Helper()
	browsertest.Need(s.t)
	b := browsertest.Open(s.t, s.url, pictures)
	return boundTab{b, s}, b
}

// signIn signs in by the form, and waits until the session is bound.
func (b boundTab) signIn(user string) {
	b.site.t.Helper()
	b.Visit("/")
	b.Eval(fmt.Sprintf(`document.querySelector("#in input").value = %q, document.querySelector("#in button").click(), ""`, user))
	b.Await(fmt.Sprintf(`document.title === "GET /account" && document.querySelector("#user").textContent === %q`, user))
	b.bound(user)
}

// bound waits until the newest session of a user is bound, and a request has
// presented its proof.
func (b boundTab) bound(user string) {
	b.site.t.Helper()
	b.Await(`sojourn.bound.sync().then(() => fetch("/session/bound/", { headers: { Accept: "application/json" } })).then((r) => r.json()).then((s) => s.state === "bound")`)
	list, _, err := b.site.List(b.site.t.Context(), user, "", 10)
	if err != nil || len(list) == 0 || !list[0].Bound {
		b.site.t.Fatalf("the session of %s isn't bound: %v (%v)", user, list, err)
	}
}

// pass moves the site's clock, and those of open pages.
func (s *boundSite) pass(d time.Duration, tabs ...boundTab) {
	s.t.Helper()
	s.Advance(d)
	for _, b := range tabs {
		b.Eval(fmt.Sprintf(`skew += %d, ""`, d.Milliseconds()))
	}
}

// asks returns whom the server takes a page's script for.
func (b boundTab) asks() string {
	b.site.t.Helper()
	return b.Eval(`fetch("/me").then((r) => r.text())`)
}
