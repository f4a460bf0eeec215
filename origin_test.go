package sojourn_test

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// The matrix of Sec-Fetch-Site, Origin and method. Unsafe requests must come
// from the site's own pages, or from no page at all.
func TestOriginMatrix(t *testing.T) {
	const self, trusted = "https://shop.example", "https://www.shop.example"
	w := newWebUnstarted(t, nil, options(func(o *sojourn.Options) { o.TrustedOrigins = []string{trusted} }))
	j := w.loggedIn("alice")
	reached := false
	h := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		reached = true
		io.WriteString(rw, sojourn.From(r.Context()).Subject())
	}))
	safe := []string{"GET", "HEAD", "OPTIONS"}
	unsafe := []string{"POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "post"}
	for _, test := range []struct {
		site, origin string // "-": absent
		passes       bool   // with an unsafe method or an upgrade
	}{
		{"same-origin", "-", true},
		{"same-origin", self, true},
		{"none", "-", true}, // typed into the address bar
		{"same-site", "-", false},
		{"same-site", "https://blog.shop.example", false},
		{"same-site", self, false}, // another scheme or port of the same host
		{"cross-site", "-", false},
		{"cross-site", "https://evil.example", false},
		{"cross-site", self, false},
		{"cross-site", "null", false},
		{"cross-site", trusted, true},
		{"same-site", trusted, true},
		{"same-site", "http://www.shop.example", false}, // trusted over HTTPS only
		{"same-site", "https://www.shop.example:444", false},
		{"nonsense", "-", false},
		{"", self, true}, // like absent
		{"-", self, true},
		{"-", "https://evil.example", false},
		{"-", "https://shop.example.evil.example", false},
		{"-", "https://shop.example:444", false},
		{"-", "null", false},
		{"-", "garbage", false},
		{"-", trusted, true},
		{"-", "-", true}, // not a browser
	} {
		for _, method := range append(append([]string{"websocket"}, safe...), unsafe...) {
			r := httptest.NewRequest("GET", self+"/", nil)
			r.Header.Set("Cookie", "__Host-session="+j.session)
			if r.Method = method; method == "websocket" {
				r.Method = "GET"
				r.Header.Set("Connection", "keep-alive, Upgrade")
				r.Header.Set("Upgrade", "websocket")
			}
			if test.site != "-" {
				r.Header.Set("Sec-Fetch-Site", test.site)
			}
			if test.origin != "-" {
				r.Header.Set("Origin", test.origin)
			}
			passes := test.passes
			for _, m := range safe {
				passes = passes || m == method
			}
			tape := newTape()
			w.flush()
			w.calls.reset()
			reached = false
			h.ServeHTTP(tape, r)
			if passes != reached || passes != (tape.status == 200) || !passes && tape.status != 403 {
				t.Errorf("%s, Sec-Fetch-Site %s, Origin %s: status %d, handler reached: %v", method, test.site, test.origin, tape.status, reached)
			}
			if calls := w.calls.made(); !passes && len(calls) > 0 {
				t.Errorf("%s: a refused request reads the store: %v", method, calls)
			}
			if !passes && (tape.sent["Set-Cookie"] != nil || tape.sent.Get("Cache-Control") != "no-store" || !strings.Contains(tape.body.String(), "another site")) {
				t.Errorf("refusal: %v %q", tape.sent, tape.body.String())
			}
		}
	}
}

// A login needs the same origin as everything else: a foreign page can't log
// its visitor in as another user.
func TestOriginOfLoginAndLogout(t *testing.T) {
	w := newWeb(t, nil)
	b := w.surfer().login("alice")
	for _, path := range []string{"/login?user=mallory", "/logout", "/count"} {
		a := b.post(path, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")
		a.withheld(t, http.StatusForbidden)
		a = b.post(path, "Origin", "https://evil.example")
		a.withheld(t, http.StatusForbidden)
	}
	w.want("who", b.who(), "alice")
	w.want("count", b.get("/count").body, "0")
	w.want("a stranger", w.surfer().post("/login?user=mallory", "Sec-Fetch-Site", "cross-site").StatusCode, 403)

	// GET changes nothing: this application changes sessions only with unsafe
	// methods.
	b.get("/login?user=mallory", "Sec-Fetch-Site", "cross-site")
	b.get("/logout", "Sec-Fetch-Site", "cross-site")
	w.want("who", b.who(), "alice")
}

// WebSocket handshakes over a real connection: from the site's own page, a
// trusted page and a foreign page.
func TestOriginWebSocket(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		user := s.Subject()
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello " + user + "\n")
		buf.Flush()
		buf.ReadString('\n')
	}, options(func(o *sojourn.Options) { o.TrustedOrigins = []string{"https://www.shop.example"} }))
	b := w.surfer("Connection", "Upgrade", "Upgrade", "websocket").login("alice")
	own := w.server.URL
	for origin, status := range map[string]int{own: 101, "https://www.shop.example": 101, "https://evil.example": 403, "null": 403} {
		res, err := w.server.Client().Do(b.request("GET", "/", "", "Origin", origin))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != status {
			t.Errorf("Origin %s: %s, want %d", origin, res.Status, status)
		}
	}
}

// Behind a proxy that replaces Host, Options.Origins say which origins are the
// site's own.
func TestOriginsBehindAProxy(t *testing.T) {
	const public, second, trusted = "https://shop.example", "https://shop.example:8443", "https://www.partner.example"
	asked := func(w *world, origin, site, host string) *httptest.ResponseRecorder {
		t.Helper()
		var last *httptest.ResponseRecorder
		for _, socket := range []bool{false, true} {
			r := httptest.NewRequest("POST", "http://"+cmp.Or(host, "x")+"/", nil)
			r.Host = host
			if socket {
				r.Method = "GET"
				r.Header.Set("Connection", "Upgrade")
				r.Header.Set("Upgrade", "websocket")
			}
			r.Header["Origin"] = []string{origin}
			if site != "" {
				r.Header["Sec-Fetch-Site"] = []string{site}
			}
			rw := httptest.NewRecorder()
			w.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(rw, r)
			if last != nil && last.Code != rw.Code {
				t.Errorf("Origin %q: a POST is %d, a WebSocket %d", origin, last.Code, rw.Code)
			}
			last = rw
		}
		return last
	}
	named := newWorld(t, options(func(o *sojourn.Options) {
		o.Origins = []string{"HTTPS://Shop.example:443", second}
		o.TrustedOrigins = []string{"https://WWW.partner.example:443"}
	}))
	for _, test := range []struct {
		origin, site, host string
		status             int
	}{
		{public, "", "10.0.0.5:8000", 200},
		{second, "", "10.0.0.5:8000", 200},
		{trusted, "", "10.0.0.5:8000", 200},
		{public, "same-origin", "10.0.0.5:8000", 200},
		{public, "same-site", "10.0.0.5:8000", 403}, // the browser knows better than the list
		{public, "cross-site", "10.0.0.5:8000", 403},
		{trusted, "cross-site", "10.0.0.5:8000", 200},
		{"http://shop.example", "", "shop.example", 403},
		{"https://shop.example:444", "", "10.0.0.5:8000", 403},
		{"https://shop.example.evil.example", "", "10.0.0.5:8000", 403},
		{"http://10.0.0.5:8000", "", "10.0.0.5:8000", 403}, // the host behind the proxy is no origin of the site
		{"https://evil.example", "", "10.0.0.5:8000", 403},
		{"null", "", "10.0.0.5:8000", 403},
		{"null", "", "", 403},
		{"garbage", "", "", 403},
	} {
		if rw := asked(named, test.origin, test.site, test.host); rw.Code != test.status {
			t.Errorf("Origin %q, Sec-Fetch-Site %q, Host %q: %d, want %d", test.origin, test.site, test.host, rw.Code, test.status)
		}
	}

	var told error
	unnamed := newWorld(t, options(func(o *sojourn.Options) {
		o.OnError = func(_ http.ResponseWriter, _ *http.Request, err error) { told = err }
	}))
	rw := asked(unnamed, public, "", "10.0.0.5:8000")
	if rw.Code != 403 || !strings.Contains(rw.Body.String(), "Options.Origins") {
		t.Errorf("the answer doesn't say what to set: %d %q", rw.Code, rw.Body)
	}
	if !errors.Is(told, sojourn.ErrCrossOrigin) || !strings.Contains(told.Error(), "Options.Origins") || !strings.Contains(told.Error(), public) {
		t.Errorf("the error doesn't say what to set: %v", told)
	}
	w := asked(unnamed, "null", "", "")
	unnamed.want("Origin null without a Host", w.Code, 403)
}

// New refuses an origin that no browser would send.
func TestOriginsAreChecked(t *testing.T) {
	for _, text := range []string{
		"", "shop.example", "//shop.example", "https://", "https://shop.example/", "https://shop.example/x", "https://shop.example?x", "https://shop.example#",
		"https://u@shop.example", "https://*.shop.example", "https://münchen.example", "null", "*", "https://shop example",
	} {
		for name, o := range map[string]sojourn.Options{"Origins": {Origins: []string{text}}, "TrustedOrigins": {TrustedOrigins: []string{text}}} {
			if _, err := sojourn.New(memstore.New(), o); err == nil || !strings.Contains(err.Error(), name+": ") || !strings.Contains(err.Error(), strconv.Quote(text)) {
				t.Errorf("%s %q: %v", name, text, err)
			}
		}
	}
	app := sojourn.Options{TrustedOrigins: []string{"capacitor://localhost"}}
	e, err := sojourn.New(memstore.New(), app)
	if err != nil {
		t.Fatal(err)
	}
	e.Close(t.Context())
	if _, err := sojourn.New(memstore.New(), sojourn.Options{Origins: app.TrustedOrigins}); err == nil {
		t.Error("Origins accepts a scheme that isn't a web site's")
	}
}

// AllowCrossOrigin opens one route. The rest of the site stays closed.
func TestOriginCallback(t *testing.T) {
	w := newWeb(t, nil)
	acs := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s := sojourn.From(r.Context())
		if _, err := r.Cookie("__Host-saml"); err != nil {
			http.Error(rw, "this browser asked for no sign-in", http.StatusForbidden)
			return
		}
		if err := s.Login("alice"); err != nil {
			sojourn.Error(rw, r, err)
			return
		}
		http.Redirect(rw, r, "/account", http.StatusSeeOther)
	})
	root := http.NewServeMux()
	root.Handle("/", w.Handler(webRoutes(nil)))
	root.Handle("POST /saml/acs", sojourn.AllowCrossOrigin(w.Handler(acs)))
	w.server.Config.Handler = root

	foreign := map[string][]string{
		"null, as from a page without a referrer": {"Origin", "null", "Sec-Fetch-Site", "cross-site"},
		"another site":   {"Origin", "https://idp.example", "Sec-Fetch-Site", "cross-site"},
		"an old browser": {"Origin", "https://idp.example"},
	}
	for name, headers := range foreign {
		b := w.surfer()
		b.post("/saml/acs", headers...).wantStatus(t, http.StatusForbidden)
		b.cookies["__Host-saml"] = "r1"
		b.post("/saml/acs", headers...).wantStatus(t, http.StatusSeeOther)
		w.want(name+": who", b.who(), "alice")
		for _, path := range []string{"/logout", "/count", "/login?user=mallory", "/saml/acs/"} {
			b.post(path, headers...).withheld(t, http.StatusForbidden)
		}
		w.want(name+": who", b.who(), "alice")
	}

	// Within Handler it is too late, and opens nothing.
	w.server.Config.Handler = w.Handler(sojourn.AllowCrossOrigin(webRoutes(nil)))
	w.surfer().post("/count", foreign["another site"]...).withheld(t, http.StatusForbidden)
}
