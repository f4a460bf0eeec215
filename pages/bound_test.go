package pages_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/dbsc"
	"github.com/sojourn-go/sojourn/internal/dbsc/dbsctest"
	"github.com/sojourn-go/sojourn/internal/script"
	"github.com/sojourn-go/sojourn/pages"
)

func newBoundSite(t *testing.T, b sojourn.Binding) *site {
	t.Helper()
	return newSiteWith(t, sojourn.Options{Bound: &b}, own)
}

// A boundKey is a browser's key for its session.
type boundKey struct {
	*dbsctest.Key
	id string
}

// bind binds the browser's session to a new key, and gets the first proof.
func (b *browser) bind() boundKey {
	b.t.Helper()
	key := boundKey{dbsctest.NewKey(), b.id()}
	challenge := challengeOf(b.send("POST", "/session/bound/register"))
	want(b.t, b.send("POST", "/session/bound/register", dbsc.HeaderResponse, key.Registration(challenge)), 200)
	b.renew(key)
	return key
}

// renew gets a new proof, as a browser does.
func (b *browser) renew(key boundKey) {
	b.t.Helper()
	challenge := challengeOf(b.send("POST", "/session/bound/refresh", dbsc.HeaderSessionID, key.id))
	want(b.t, b.send("POST", "/session/bound/refresh", dbsc.HeaderSessionID, key.id, dbsc.HeaderResponse, key.Refresh(challenge)), 200)
}

func challengeOf(w *httptest.ResponseRecorder) string {
	parts := strings.Split(w.Header().Get(dbsc.HeaderChallenge), `"`)
	if len(parts) < 2 {
		return ""
	}
	return parts[1]
}

// state is what the waiting page tells programs.
func (b *browser) state(state string) {
	b.t.Helper()
	want(b.t, b.get("/session/bound/", "Accept", "application/json"), 200, `{"state":"`+state+`"}`)
}

// A page view without a proof waits, and goes on when there is one.
func TestWaitingPage(t *testing.T) {
	s := newBoundSite(t, sojourn.Binding{Script: true})
	b := s.browser(firefox, "ann")
	b.state("unbound")
	want(t, b.get("/session/bound/?return_to=/safe"), 200, "One moment, please", `src="/session/bound/bound.js"`, `src="/session/waiting.js"`,
		`<noscript><meta http-equiv="refresh" content="3; url=/session/bound/?return_to=%2Fsafe&amp;waits=1"></noscript>`)
	for _, path := range []string{"/session/bound/?return_to=/safe", "/session/bound/"} {
		s.sessions.Advance(time.Minute) // it offers once a minute
		if b.get(path).Header().Get(dbsc.HeaderRegistration) == "" {
			t.Errorf("%s doesn't offer the browser to register again", path)
		}
	}
	key := b.bind()
	b.state("bound")
	if offer := b.get("/session/bound/").Header().Get(dbsc.HeaderRegistration); offer != "" {
		t.Errorf("a bound session's browser is asked to register: %s", offer)
	}
	leads(t, b.get("/session/bound/?return_to=/safe"), "/safe")
	d := b.list("/session/devices")
	if !d.Sessions[0].Bound {
		t.Errorf("JSON: %+v", d.Sessions)
	}
	want(t, b.get("/session/devices"), 200, "Bound to this browser")
	there := s.browser(safari, "ann")
	there.bind()
	want(t, b.get("/session/devices"), 200, "Bound to its browser")

	s.sessions.Advance(time.Hour)
	b.state("unproven")
	leads(t, b.get("/session/devices"), "/session/bound/?return_to=%2Fsession%2Fdevices")
	want(t, b.get("/session/devices", "Accept", "application/json"), 401, `"code":"unproven"`)
	w := b.get("/session/bound/?return_to=/session/devices")
	want(t, w, 200, "One moment, please")
	if challengeOf(w) == "" {
		t.Error("the page carries no challenge")
	}
	b.renew(key)
	leads(t, b.get("/session/bound/?return_to=/session/devices"), "/session/devices")
	want(t, b.get("/session/devices"), 200, "This device")

	stranger := s.browser(firefox, "")
	stranger.state("anonymous")
	leads(t, stranger.get("/session/bound/?return_to=/session/devices"), "/session/devices")
	leads(t, stranger.get("/session/devices"), "/login?return_to=%2Fsession%2Fdevices")
}

// The way back is a path of the site, and never the waiting page itself.
func TestWaitingPageLeadsToThisSite(t *testing.T) {
	s := newBoundSite(t, sojourn.Binding{})
	b := s.browser(firefox, "ann")
	for address, to := range map[string]string{
		"":                                         "/",
		"?return_to=/a%3Fb%3Dc":                    "/a?b=c",
		"?return_to=//evil.example":                "/",
		"?return_to=/%5Cevil.example":              "/",
		"?return_to=https://evil.example":          "/",
		"?return_to=javascript:alert(1)":           "/",
		"?return_to=/session/bound/":               "/",
		"?return_to=/session/bound/%3Fx":           "/",
		"?return_to=/" + strings.Repeat("x", 2048): "/",
	} {
		want(t, b.get("/session/bound/"+address), 200, `href="`+to+`">Try again</a>`)
		leads(t, s.browser(firefox, "").get("/session/bound/"+address), to)
	}
}

// Without scripts the page loads itself three times. Then it says what is wrong.
func TestWaitingPageEnds(t *testing.T) {
	s := newBoundSite(t, sojourn.Binding{})
	b := s.browser(firefox, "ann")
	page := "/session/bound/?return_to=%2Fsafe"
	for _, waits := range []string{"", "&waits=1", "&waits=2", "&waits=-5", "&waits=x"} {
		want(t, b.get(page+waits), 200, `http-equiv="refresh"`, `role="alert" hidden`)
	}
	w := b.get(page + "&waits=3")
	want(t, w, 200, `role="status" hidden`, "opens only in a browser that can show", `action="/session/bound/again?return_to=%2Fsafe"`)
	for _, bad := range []string{`http-equiv="refresh"`, "bound.js"} {
		if strings.Contains(w.Body.String(), bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	// The route refuses what the page has seen.
	b.bind()
	for range 4 {
		leads(t, b.get(page), "/safe")
	}
	want(t, b.get(page), 200, "We could not confirm your browser")
}

// The page's button ends a session whose browser can't prove itself.
func TestSignInAgain(t *testing.T) {
	s := newBoundSite(t, sojourn.Binding{})
	b := s.browser(firefox, "ann")
	b.bind()
	s.sessions.Advance(time.Hour)
	want(t, b.get("/session/bound/again"), 405)
	want(t, b.send("POST", "/session/bound/again?return_to=/safe", "Sec-Fetch-Site", "cross-site"), 403)
	if list, _, err := s.sessions.List(t.Context(), "ann", "", 10); len(list) != 1 || err != nil {
		t.Fatalf("%v, %v", list, err)
	}
	leads(t, b.send("POST", "/session/bound/again?return_to=/safe"), "/safe")
	if list, _, err := s.sessions.List(t.Context(), "ann", "", 10); len(list) != 0 || err != nil {
		t.Errorf("ann's session lives: %v, %v", list, err)
	}
	b.state("anonymous")
}

// What isn't switched on isn't there, and the two paths must agree.
func TestBoundOptions(t *testing.T) {
	s := newSite(t, own)
	b := s.browser(firefox, "ann")
	for _, path := range []string{"/session/bound/", "/session/bound/bound.js", "/session/bound/register"} {
		want(t, b.get(path), 404)
	}
	s = newBoundSite(t, sojourn.Binding{})
	b = s.browser(firefox, "ann")
	want(t, b.get("/session/bound/bound.js"), 404)
	want(t, b.get("/session/bound/other"), 404)
	want(t, b.get("/session/bound/register"), 405)
	if w := b.get("/session/bound/"); strings.Contains(w.Body.String(), "bound.js") {
		t.Error("the page loads a script that isn't there")
	}
	_, err := pages.New(s.sessions.Engine, pages.Options{Path: "/me/"})
	if err == nil || err.Error() != `pages: Path is "/me/", but the engine's option Bound.Path is "/session/bound/": set that to "/me/bound/"` {
		t.Errorf("other paths: %v", err)
	}
	s.sessions.Fail(sojourn.ErrUnavailable)
	want(t, b.get("/session/bound/"), 503)
}

// The script has at most 2 KB, compressed, and knows how long a proof lives.
func TestBoundScript(t *testing.T) {
	s := newBoundSite(t, sojourn.Binding{Script: true, ProofLife: 5 * time.Minute})
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/session/bound/bound.js", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	s.pages.ServeHTTP(w, r)
	if w.Code != 200 || w.Header().Get("Content-Encoding") != "gzip" || w.Body.Len() > script.Max {
		t.Errorf("%d, %v, %d bytes", w.Code, w.Header(), w.Body.Len())
	}
	t.Logf("%d bytes, compressed", w.Body.Len())
	if w.Body.Len() > script.Max-16 {
		t.Error("the script has no room for a longer life of a proof in it")
	}
	if got := w.Header().Get("Cache-Control"); !strings.HasPrefix(got, "public, max-age=") {
		t.Errorf("Cache-Control: %s", got)
	}
	plain := httptest.NewRecorder()
	s.pages.ServeHTTP(plain, httptest.NewRequest(http.MethodGet, "/session/bound/bound.js", nil))
	if !strings.Contains(plain.Body.String(), `{"life":300000}`) {
		t.Error("the script doesn't know the life of a proof")
	}
	source, err := os.ReadFile("static/bound.js")
	if err != nil || !strings.Contains(string(source), "DECLARED") {
		t.Error(err)
	}
}
