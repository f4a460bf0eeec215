package browsertest_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/mirror"
	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
	"github.com/sojourn-go/sojourn/sojourntest"
)

// The mirror's script is tested here, because the library's module has no browser.

func TestMain(m *testing.M) {
	code := m.Run()
	browsertest.Stop()
	os.Exit(code)
}

var (
	theme    = sojourn.NewKey[string]("theme")
	language = sojourn.NewKey[string]("language")
	nickname = sojourn.NewKey[string]("nickname")
)

// A site has static pages, pages of a server, and a mirror. Its policy for content
// is the strictest with which these can work.
type site struct {
	*sojourntest.Sessions
	mirror *mirror.Mirror
	blog   *mirror.Mirror // of another application, at /blog/session/
	url    string
	t      *testing.T

	mu       sync.Mutex // guards what follows
	requests map[string]int
	held     map[string]chan struct{}
}

func newSite(t *testing.T) *site {
	t.Helper()
	browsertest.Need(t)
	sessions := sojourntest.New(t, sojourn.Options{})
	colours := mirror.Public(theme, mirror.Key{Attribute: "data-theme", Values: []string{"light", "dark"}})
	m, err := mirror.New(sessions.Engine, colours,
		mirror.Public(language, mirror.Key{Attribute: "lang", Values: []string{"en", "de", "fr"}}),
		mirror.Public(nickname, mirror.Key{Personal: true}))
	if err != nil {
		t.Fatal(err)
	}
	blog := mirror.Must(mirror.New(sojourntest.New(t, sojourn.Options{App: "blog"}).Engine, colours))
	s := &site{Sessions: sessions, mirror: m, blog: blog, t: t, requests: map[string]int{}, held: map[string]chan struct{}{}}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	t.Cleanup(s.release) // first, since the server waits for its requests
	s.url = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	return s
}

func (s *site) tab() *browsertest.Tab {
	s.t.Helper()
	return browsertest.Open(s.t, s.url, filepath.Join("..", "..", "..", "out", "browser"))
}

// hold makes the requests for a path wait until release.
func (s *site) hold(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[path] = make(chan struct{})
}

func (s *site) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, gate := range s.held {
		close(gate)
		delete(s.held, path)
	}
}

// count returns how many requests for a path have come.
func (s *site) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[path]
}

func (s *site) arrive(path string) (gate chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[path]++
	return s.held[path]
}

const (
	upper = `<!doctype html><html%s lang="en"><head><meta charset="utf-8"><title>page</title>%s<link rel="stylesheet" href="/page.css"></head><body>
<h1>Static page</h1><p><a id="next" href="/next">next</a>
<form id="in" action="/login" method="post"><input name="user"><button>Sign in</button></form>
<form id="out" action="/logout" method="post"><button>Sign out</button></form>
<form id="set" action="/theme" method="post"><input name="theme"><button>Set</button></form>`
	lower = `<p id="end">The end</p>%s</body></html>`
	css   = `html { background: white; color: black } html[data-theme=dark] { background: #111; color: #eee }`
)

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	s.Advance(time.Millisecond)
	gate := s.arrive(r.URL.Path)
	if strings.HasPrefix(r.URL.Path, "/session/") {
		if gate != nil {
			<-gate
		}
		s.mirror.ServeHTTP(w, r)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/blog/session/") {
		s.blog.ServeHTTP(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; require-trusted-types-for 'script'")
	h.Set("Content-Type", "text/html; charset=utf-8")
	static, err := s.mirror.Tag("/session/", nil)
	if err != nil {
		s.t.Error(err)
	}
	switch r.URL.Path {
	case "/", "/next", "/slow", "/missing":
		writePage(w, gate, static, "")
	case "/wrong": // as a page that was made for another declaration
		writePage(w, gate, template.HTML(strings.Replace(string(static), "sha384-", "sha384-A", 1)), "")
	case "/blog":
		writePage(w, gate, `<script src="/blog/session/mirror.js"></script>`, "")
	case "/late":
		writePage(w, gate, "", static)
	case "/page.css":
		h.Set("Content-Type", "text/css")
		h.Set("Cache-Control", "max-age=3600")
		fmt.Fprint(w, css)
	default:
		s.Handler(http.HandlerFunc(s.app)).ServeHTTP(w, r)
	}
}

// writePage writes the upper half of a page, and the lower one when the gate is open.
func writePage(w http.ResponseWriter, gate chan struct{}, first, last template.HTML) {
	fmt.Fprintf(w, upper, "", first)
	_ = http.NewResponseController(w).Flush()
	if gate != nil {
		<-gate
	}
	fmt.Fprintf(w, lower, last)
}

// app is the part of the site that the server makes.
func (s *site) app(w http.ResponseWriter, r *http.Request) {
	session := sojourn.From(r.Context())
	var err error
	switch r.URL.Path {
	case "/login":
		err = session.Login(r.FormValue("user"))
	case "/logout":
		err = session.Logout()
	case "/theme":
		err = theme.Set(session, r.FormValue("theme"))
	case "/app":
		var tag template.HTML
		if tag, err = s.mirror.Tag("/session/", session); err != nil {
			break
		}
		shown, _ := s.mirror.Attribute(session, "data-theme")
		fmt.Fprintf(w, upper+lower, " data-theme="+cmp.Or(shown, "none"), tag, "")
		return
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		sojourn.Error(w, r, err)
		return
	}
	http.Redirect(w, r, cmp.Or(r.FormValue("to"), "/"), http.StatusSeeOther)
}

// A tab has what the tests of the mirror do in it.
type tab struct {
	*browsertest.Tab
	site *site
}

func (s *site) open() tab { s.t.Helper(); return tab{s.tab(), s} }

func (b tab) beside() tab { b.site.t.Helper(); return tab{b.Beside(), b.site} }

func (b tab) signIn(user string) {
	b.site.t.Helper()
	b.Fill("#in input", user)
	b.Click("#in button")
	b.Await(`sojourn.mirror.signedIn`)
}

func (b tab) set(key, value string) {
	b.site.t.Helper()
	b.Eval(fmt.Sprintf(`sojourn.mirror.set(%q, %q).then(() => "")`, key, value))
}

// sync waits until all that has begun is over, and the server was asked once more.
func (b tab) sync() {
	b.site.t.Helper()
	b.Eval(`sojourn.mirror.sync().then(() => "")`)
}

// shows waits until the page has a value, and checks the attribute.
func (b tab) shows(key, attribute, value string) {
	b.site.t.Helper()
	b.Await(fmt.Sprintf(`(sojourn.mirror.get(%q) ?? "none") === %q`, key, value))
	if got := b.Eval(fmt.Sprintf(`document.documentElement.getAttribute(%q) ?? "none"`, attribute)); attribute != "" && got != value {
		b.site.t.Errorf("%s is %q, want %q", attribute, got, value)
	}
}

// inSession returns the themes in the sessions of a user.
func (b tab) inSession(user string) string {
	b.site.t.Helper()
	list, _, err := b.site.ListSnapshots(b.site.t.Context(), user, "", 10)
	if err != nil || len(list) == 0 {
		b.site.t.Fatalf("%s has no session (%v)", user, err)
	}
	var values []string
	for _, session := range list {
		var have struct{ Theme string }
		if err := json.Unmarshal(session.Values, &have); err != nil {
			b.site.t.Fatal(err)
		}
		values = append(values, have.Theme)
	}
	return strings.Join(values, " ")
}
