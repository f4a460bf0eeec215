package pages_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/mirror"
	"github.com/sojourn-go/sojourn/pages"
	"github.com/sojourn-go/sojourn/sojourntest"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
)

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	safari  = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Mobile/15E148 Safari/604.1"
)

// A site is an application with the pages.
type site struct {
	t        *testing.T
	sessions *sojourntest.Sessions
	pages    *pages.Handler
}

func newSite(t *testing.T, opt pages.Options) *site {
	t.Helper()
	return newSiteWith(t, sojourn.Options{}, opt)
}

func newSiteWith(t *testing.T, engine sojourn.Options, opt pages.Options) *site {
	t.Helper()
	sessions := sojourntest.New(t, engine)
	opt.Now = sessions.Now
	h, err := pages.New(sessions.Engine, opt)
	if err != nil {
		t.Fatal(err)
	}
	return &site{t, sessions, h}
}

// own are the site's pages in most tests.
var own = pages.Options{Require: sojourn.Requirement{SignIn: "/login", StepUp: "/confirm"}}

// A browser is one with a user agent.
type browser struct {
	*sojourntest.Browser
	t      *testing.T
	agent  string
	accept string
	lang   string
}

// browser returns a browser that is signed in as a user, unless that is empty.
func (s *site) browser(agent, user string) *browser {
	login := s.sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var options []sojourn.LoginOption
		if r.URL.RawQuery == "remember" {
			options = append(options, sojourn.Remember())
		}
		w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
		if err := sojourn.From(r.Context()).Login(strings.TrimPrefix(r.URL.Path, "/login/"), options...); err != nil {
			sojourn.Error(w, r, err)
		}
	}))
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/login/") {
			login.ServeHTTP(w, r)
		} else {
			s.pages.ServeHTTP(w, r)
		}
	})
	b := &browser{s.sessions.Browser(app), s.t, agent, "text/html", ""}
	if user != "" {
		b.signIn(user)
	}
	return b
}

// signIn signs the browser in. The user may be followed by "?remember".
func (b *browser) signIn(user string) {
	b.t.Helper()
	want(b.t, b.send("POST", "/login/"+user), 200)
}

// send sends a request. Header has names and values.
func (b *browser) send(method, path string, header ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(method, "https://example.com"+path, nil)
	r.Header.Set("Accept", b.accept)
	r.Header.Set("User-Agent", b.agent)
	if b.lang != "" {
		r.Header.Set("Accept-Language", b.lang)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := b.Do(r)
	if w.Header().Get("Cache-Control") != "no-store" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		b.t.Errorf("%s %s: the header lacks protection: %v", method, path, w.Header())
	}
	return w
}

func (b *browser) get(path string, header ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.send("GET", path, header...)
}

// id returns the ID of the browser's session.
func (b *browser) id() string { return b.Session().ID().String() }

// want checks an answer's status, and that its body has some texts.
func want(t *testing.T, w *httptest.ResponseRecorder, status int, texts ...string) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("%d, want %d: %s", w.Code, status, w.Body)
	}
	for _, text := range texts {
		if !strings.Contains(w.Body.String(), text) {
			t.Fatalf("%q is missing in:\n%s", text, w.Body)
		}
	}
}

// leads checks a redirect.
func leads(t *testing.T, w *httptest.ResponseRecorder, to string) {
	t.Helper()
	if w.Code != 303 || w.Header().Get("Location") != to {
		t.Fatalf("%d to %q, want 303 to %q", w.Code, w.Header().Get("Location"), to)
	}
}

// devices is the answer to a request for JSON.
type devices struct {
	Sessions []struct {
		ID, Name, Kind, Address    string
		Current, Remembered, Bound bool
	}
	Next  string
	Ended []struct{ ID, Name, Kind, Address, Reason string }
}

func (b *browser) list(path string) (d devices) {
	b.t.Helper()
	w := b.get(path, "Accept", "application/json")
	want(b.t, w, 200)
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Header().Get("Content-Type") != "application/json" {
		b.t.Fatalf("%v %s", err, w.Header().Get("Content-Type"))
	}
	return d
}

func TestAddresses(t *testing.T) {
	s := newSite(t, own)
	b := s.browser(firefox, "ann")
	for _, c := range []struct {
		method, path string
		status       int
		header       string // and its value
	}{
		{"GET", "/session/", 303, "Location: /session/devices"},
		{"GET", "/session", 303, "Location: /session/devices"},
		{"GET", "/session/devices/", 303, "Location: /session/devices"},
		{"HEAD", "/session/devices", 200, "Content-Type: text/html; charset=utf-8"},
		{"POST", "/session/devices", 405, "Allow: GET, HEAD"},
		{"DELETE", "/session/devices", 405, "Allow: GET, HEAD"},
		{"OPTIONS", "/session/devices", 405, "Allow: GET, HEAD"},
		{"GET", "/session/devices/others", 405, "Allow: DELETE"},
		{"PUT", "/session/devices/others/end", 405, "Allow: GET, POST, HEAD"},
		{"GET", "/session/devices/others/end/", 404, ""},
		{"GET", "/session/devices/x/end", 404, ""},
		{"GET", "/session/devices//end", 404, ""},
		{"GET", "/session/nowhere", 404, "Content-Language: en"},
		{"GET", "/elsewhere", 404, ""},
		{"GET", "/sessiondevices", 404, ""},
		{"GET", "/session/pages.css", 200, "Content-Type: text/css; charset=utf-8"},
		{"GET", "/session/pages.js", 200, "Content-Type: text/javascript; charset=utf-8"},
		{"HEAD", "/session/pages.js", 200, "Content-Type: text/javascript; charset=utf-8"},
		{"POST", "/session/pages.js", 405, "Allow: GET, HEAD"},
		{"GET", "/session/static/pages.js", 404, ""},
		{"GET", "/session/../templates/frame.html", 404, ""},
		{"GET", "/session/devices?cursor=x", 400, ""},
	} {
		w := b.send(c.method, c.path)
		name, value, _ := strings.Cut(c.header, ": ")
		if w.Code != c.status || w.Header().Get(name) != value {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, w.Code, w.Header(), c.status, c.header)
		}
	}
}

// An application may put the handler inside the engine's own Handler, and at
// another path.
func TestInsideHandler(t *testing.T) {
	opt := own
	opt.Path = "/account/sessions/"
	s := newSite(t, opt)
	mux := http.NewServeMux()
	mux.Handle("/account/sessions/", s.pages)
	b := &browser{s.sessions.Browser(s.sessions.Handler(mux)), t, firefox, "text/html", ""}
	leads(t, b.get("/account/sessions/devices"), "/login?return_to=%2Faccount%2Fsessions%2Fdevices")
	b.SignIn("ann")
	want(t, b.get("/account/sessions/devices"), 200, `href="/account/sessions/pages.css"`, "Firefox on Linux")
	leads(t, b.send("POST", "/account/sessions/devices/"+b.id()+"/end"), "/")
}

// Behind a proxy that maps the path, the way back is the path that browsers know.
func TestPathOfProxy(t *testing.T) {
	s := newSite(t, own)
	proxied := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = strings.Replace(r.URL.Path, "/pages/shop/", "/session/", 1)
		s.pages.ServeHTTP(w, r)
	})
	b := &browser{s.sessions.Browser(proxied), t, firefox, "text/html", ""}
	leads(t, b.get("/pages/shop/devices?cursor=1"), "/login?return_to=%2Fsession%2Fdevices%3Fcursor%3D1")
}

func TestNew(t *testing.T) {
	sessions := sojourntest.New(t, sojourn.Options{})
	for _, c := range []struct {
		opt  pages.Options
		says string
	}{
		{pages.Options{Path: "session/"}, "Path"},
		{pages.Options{Path: "/session"}, "Path"},
		{pages.Options{Path: "//x/"}, "Path"},
		{pages.Options{Home: "https://elsewhere.example/"}, "Home"},
		{pages.Options{Stylesheet: "https://elsewhere.example/x.css"}, "Stylesheet"},
		{pages.Options{Require: sojourn.Requirement{SignIn: "login"}}, "SignIn"},
		{pages.Options{Require: sojourn.Requirement{StepUp: "javascript:x"}}, "StepUp"},
		{pages.Options{Require: sojourn.Requirement{Level: 4}}, "Level"},
		{pages.Options{Texts: map[string]map[string]string{"en": {"no.such": "x"}}}, "no.such"},
		{pages.Options{Texts: map[string]map[string]string{"en": {"time.days.other": "days"}}}, "placeholders"},
		{pages.Options{Texts: map[string]map[string]string{"en": {"time.months": "I II"}}}, "12"},
		{pages.Options{Texts: map[string]map[string]string{`"`: {}}}, "language"},
	} {
		if _, err := pages.New(sessions.Engine, c.opt); err == nil || !strings.HasPrefix(err.Error(), "pages: ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want an error about %s", c.opt, err, c.says)
		}
	}
	if _, err := pages.New(nil, pages.Options{}); err == nil {
		t.Error("works without an engine")
	}
}

// Browsers check the target of a form's redirect against form-action, too.
func TestSignInElsewhere(t *testing.T) {
	s := newSiteWith(t, sojourn.Options{Origins: []string{"https://example.com"}},
		pages.Options{Require: sojourn.Requirement{SignIn: "https://login.example.com/in", StepUp: "https://login.example.com/again"}})
	b := s.browser(firefox, "")
	w := b.get("/session/devices")
	leads(t, w, "https://login.example.com/in?return_to=https%3A%2F%2Fexample.com%2Fsession%2Fdevices")
	if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' https://login.example.com;") &&
		!strings.Contains(policy, "form-action 'self' https://login.example.com https://login.example.com;") {
		t.Error(policy)
	}
}

func TestRestyledAndRenamed(t *testing.T) {
	opt := own
	opt.Site, opt.Home, opt.Stylesheet = "Wayfare & Co", "/account", "/site.css"
	opt.Texts = map[string]map[string]string{"en": {"devices.title": "Where you are <signed in>"}, "nl": {"devices.title": "Uw apparaten"}}
	opt.Device = func(agent string) string {
		return map[string]string{firefox: "Browser on Penguin", safari: ""}[agent]
	}
	s := newSite(t, opt)
	b := s.browser(firefox, "ann")
	s.browser(safari, "ann")
	want(t, b.get("/session/devices"), 200, "<h1>Where you are &lt;signed in&gt;</h1>", "Wayfare &amp; Co</title>", `href="/account"`,
		"pages.css\">\n<link rel=\"stylesheet\" href=\"/site.css\">", "Browser on Penguin", "Unknown device")
	if policy := b.get("/session/devices").Header().Get("Content-Security-Policy"); !strings.Contains(policy, "font-src 'self';") {
		t.Errorf("the site's stylesheet can't load a font: %s", policy)
	}
	b.lang = "nl"
	want(t, b.get("/session/devices"), 200, `<html lang="nl">`, "<h1>Uw apparaten</h1>", "This device")
	b.lang = "de"
	want(t, b.get("/session/devices"), 200, "Browser unter Penguin")
}

func TestSmall(t *testing.T) {
	s := newSite(t, own)
	here := s.browser(firefox, "ann")
	for range 60 {
		s.browser("Mozilla/5.0 (compatible; "+strings.Repeat("Ünnötig", 100)+"bot/1.0)", "ann")
	}
	for range 20 {
		b := s.browser("Mozilla/5.0 (compatible; "+strings.Repeat("Ünnötig", 100)+"bot/1.0)", "ann")
		b.send("DELETE", "/session/devices/"+b.id())
	}
	here.lang = "de"
	total := 0
	for _, path := range []string{"/session/devices", "/session/pages.css", "/session/pages.js"} {
		w := here.get(path)
		want(t, w, 200)
		if total += w.Body.Len(); strings.Contains(w.Body.String(), "://") {
			t.Errorf("%s has an address of another host", path)
		}
	}
	if total >= 40<<10 {
		t.Errorf("%d bytes, not compressed, want less than 40 KB", total)
	}
	t.Logf("%d bytes", total)
}

func TestOutage(t *testing.T) {
	s := newSite(t, own)
	b := s.browser(firefox, "ann")
	s.sessions.Fail(errors.New("out"))
	want(t, b.get("/session/devices"), 503, "try again later")
	want(t, b.get("/session/devices", "Accept", "application/json"), 503, `"code":"unavailable"`)
	s.sessions.Fail(nil)
	want(t, b.get("/session/devices"), 200)
}

// The store stops after the session was read from a cache. With a mirror the page
// asks the session for values, too.
func TestOutageBehindCache(t *testing.T) {
	memory := memstore.New()
	defer memory.Close()
	out := false
	sessions, err := sojourn.New(driver.Intercept(memory, func(ctx context.Context, c driver.Call) (r driver.Result) {
		switch r = c.Do(ctx); {
		case c.Op == driver.Get && !c.Strict:
			c.Record.Cached = r.Err == nil
		case out:
			r = driver.Result{Err: errors.New("out")}
		}
		return r
	}), sojourn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close(context.Background())
	opt := own
	opt.Mirror = mirror.Must(mirror.New(sessions, mirror.Public(sojourn.NewKey[string]("theme"), mirror.Key{Attribute: "data-theme"})))
	h, err := pages.New(sessions, opt)
	if err != nil {
		t.Fatal(err)
	}
	login := httptest.NewRecorder()
	sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := sojourn.From(r.Context()).Login("ann"); err != nil {
			t.Error(err)
		}
	})).ServeHTTP(login, httptest.NewRequest("GET", "https://example.com/", nil))
	out = true
	for _, path := range []string{"/session/devices", "/session/devices/others/end", "/session/devices/live"} {
		r := httptest.NewRequest("GET", "https://example.com"+path, nil)
		r.Header.Set("Accept", "text/html")
		for _, c := range login.Result().Cookies() {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		want(t, w, 503, "try again later")
	}
}

// Without a store, nobody knows where else a user is signed in. The page says so.
func TestSealedForEveryone(t *testing.T) {
	sessions, err := sojourn.New(nil, sojourn.Options{Sealed: &sojourn.Sealing{
		Keys: [][]byte{[]byte("an arbitrary key of 32 bytes, ok!")[:32]}, For: sojourn.SealEveryone,
		NotBefore: func(context.Context, string) (time.Time, error) { return time.Time{}, nil },
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sessions.Close(context.Background()) })
	h, err := pages.New(sessions, own)
	if err != nil {
		t.Fatal(err)
	}
	login := httptest.NewRecorder()
	sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := sojourn.From(r.Context()).Login("ann"); err != nil {
			t.Error(err)
		}
	})).ServeHTTP(login, httptest.NewRequest("GET", "https://example.com/", nil))
	send := func(method, path, accept string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "https://example.com"+path, nil)
		r.Header.Set("Accept", accept)
		for _, c := range login.Result().Cookies() {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	want(t, send("GET", "/session/devices", "text/html"), 200, "This device", "can’t list where else")
	want(t, send("GET", "/session/devices", "application/json"), 200, `"alone":true`)
	want(t, send("DELETE", "/session/devices/others", "application/json"), 501, `"code":"unsupported"`)
}

func TestMirror(t *testing.T) {
	theme := sojourn.NewKey[string]("theme")
	sessions := sojourntest.New(t, sojourn.Options{})
	opt := own
	opt.Now = sessions.Now
	language := sojourn.NewKey[string]("language")
	opt.Mirror = mirror.Must(mirror.New(sessions.Engine,
		mirror.Public(theme, mirror.Key{Attribute: "data-theme", Values: []string{"light", "dark"}}),
		mirror.Public(language, mirror.Key{Attribute: "lang"})))
	h, err := pages.New(sessions.Engine, opt)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t, sessions, h}
	b := s.browser(firefox, "ann")
	b.Change(func(session *sojourn.Session) error { return theme.Set(session, "dark") })
	w := b.get("/session/devices")
	want(t, w, 200, `<script src="/session/mirror.js?v=`, `integrity="sha384-`, "data-state=", "dark")
	if page := w.Body.String(); strings.Index(page, "mirror.js") > strings.Index(page, "pages.css") {
		t.Error("the mirror's script comes after the stylesheet")
	}
	want(t, w, 200, `<html lang="en" data-theme="dark">`)
	b.Change(func(session *sojourn.Session) error { return language.Set(session, "DE") })
	want(t, b.get("/session/devices"), 200, `<html lang="de" data-theme="dark">`, "Ihre Geräte")
	want(t, b.get("/session/nowhere"), 404, "mirror.js")
	r := httptest.NewRequest("GET", "https://example.com/session/mirror.js", nil)
	if w := b.Do(r); w.Code != 200 || !strings.HasPrefix(w.Header().Get("Cache-Control"), "public") || w.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	r = httptest.NewRequest("POST", "https://example.com/session/mirror", strings.NewReader(`{"user":"","values":{}}`))
	r.Header.Set("Content-Type", "application/json")
	if w := b.Do(r); w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" || !strings.Contains(w.Body.String(), "dark") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}

	want(t, newSite(t, own).browser(firefox, "").get("/session/mirror.js"), 404)
}

func TestLanguages(t *testing.T) {
	s := newSite(t, own)
	b := s.browser(firefox, "ann")
	for header, title := range map[string]string{
		"": "Your devices", "de": "Ihre Geräte", "fr": "Vos appareils", "de-AT,en;q=0.8": "Ihre Geräte", "FR-ca": "Vos appareils",
		"ja, fr;q=0.5, de;q=0.7": "Ihre Geräte", "de;q=0, fr;q=0.1": "Vos appareils", "ja": "Your devices", "*": "Your devices",
		"fr;q=0.2, *;q=0.9": "Your devices", "de;q=2, fr": "Vos appareils", "de;q=NaN, fr;q=0.1": "Vos appareils", "en-GB, de": "Your devices",
		"de;x=1, fr;q=0.3": "Vos appareils", "de" + strings.Repeat("-a", 10): "Ihre Geräte", "de" + strings.Repeat("-a", 1000): "Your devices", strings.Repeat("x,", 60) + "de": "Your devices", ";;,,=;q": "Your devices", "zh-Hans-CN , de-CH-1996; q=0.3": "Ihre Geräte",
	} {
		b.lang = header
		if w := b.get("/session/devices"); !strings.Contains(w.Body.String(), "<h1>"+title+"</h1>") {
			t.Errorf("Accept-Language %.40q: want %s", header, title)
		}
	}
	opt := own
	opt.Language = func(r *http.Request) string { return r.URL.Query().Get("lang") }
	s = newSite(t, opt)
	b = s.browser(firefox, "ann")
	b.lang = "fr"
	want(t, b.get("/session/devices?lang=DE"), 200, `<html lang="de">`, "Firefox unter Linux")
	want(t, b.get("/session/devices?lang=de-AT"), 200, `<html lang="de">`)
	want(t, b.get("/session/devices?lang=xx"), 200, `<html lang="fr">`, "Firefox sur Linux")
}

func TestTimes(t *testing.T) {
	s := newSite(t, own)
	for _, c := range []struct {
		ago  time.Duration
		says []string // in English, German, French
	}{
		{0, []string{"just now", "gerade eben", "à l’instant"}},
		{time.Minute, []string{"1 minute ago", "vor 1 Minute", "il y a 1 minute"}},
		{2 * time.Hour, []string{"2 hours ago", "vor 2 Stunden", "il y a 2 heures"}},
		{5 * 24 * time.Hour, []string{"5 days ago", "vor 5 Tagen", "il y a 5 jours"}},
	} {
		b := s.browser(firefox, "user"+c.ago.String()+"?remember")
		s.sessions.Advance(c.ago)
		for i, lang := range []string{"en", "de", "fr"} {
			b.lang = lang
			want(t, b.get("/session/devices"), 200, c.says[i]+"</time>")
		}
	}
	// After a month it is the date.
	b := s.browser(firefox, "late?remember")
	signedIn := s.sessions.Now()
	for range 4 {
		s.sessions.Advance(10 * 24 * time.Hour)
		b.get("/session/devices")
	}
	b.lang = "de"
	months := []string{"Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"}
	want(t, b.get("/session/devices"), 200, ". "+months[signedIn.UTC().Month()-1]+" "+signedIn.UTC().Format("2006"))
}

func TestTheUserAgentsOfJSON(t *testing.T) {
	s := newSite(t, own)
	b := s.browser("curl/8.14.1", "ann")
	b.accept = "application/json, text/plain;q=0.5"
	d := b.list("/session/devices")
	if !slices.Equal([]string{d.Sessions[0].Name, d.Sessions[0].Kind}, []string{"curl", "program"}) {
		t.Errorf("%+v", d)
	}
	b.accept = "text/html;q=0.9, application/json;q=0"
	want(t, b.get("/session/devices"), 200, "<h1>")
}

// What a handler around the pages has said of Vary stays.
func TestVaryStays(t *testing.T) {
	s := newSite(t, own)
	outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "X-Tenant")
		s.pages.ServeHTTP(w, r)
	})
	w := httptest.NewRecorder()
	outer.ServeHTTP(w, httptest.NewRequest("GET", "https://example.com/session/devices", nil))
	for _, name := range []string{"X-Tenant", "Accept-Language", "Cookie"} {
		if !strings.Contains(strings.Join(w.Header()["Vary"], ", "), name) {
			t.Errorf("Vary is %q, without %s", w.Header()["Vary"], name)
		}
	}
}
