package app

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/dbsc/dbsctest"
)

// What sojournd and browsers tell each other about keys and challenges passes each
// proxy in both directions: on the endpoints below /session/bound/, and on the
// answers to checks.
func TestBoundHeadersThroughProxies(t *testing.T) {
	const (
		challenge    = `"c-1";id="019ab4e2-7c1d-7e3a-9b52-8d1f0c6a4e21"`
		registration = `(ES256 RS256);path="/session/bound/register";challenge="c-2"`
		waiting      = "/session/bound/?return_to=%2Faccount"
		rotated      = "__Host-shop-session=new; Path=/; Secure; HttpOnly"
		cached       = "public, max-age=60"
	)
	sojournd := func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		_, check := strings.CutPrefix(r.RequestURI, "/check/shop/")
		if !check {
			for _, name := range []string{"Secure-Session-Response", "Sec-Secure-Session-Id", "Secure-Session-Skipped", "Origin", "Content-Length"} {
				h["Got-"+name] = r.Header[name]
			}
			body, _ := io.ReadAll(r.Body)
			h.Set("Got-Cookie", r.Header.Get("Cookie"))
			h.Set("Got-Body", fmt.Sprint(len(body)))
			h.Set("Cache-Control", "no-store")
			h.Set("Secure-Session-Challenge", challenge)
			h.Set("Set-Cookie", "__Host-shop-session-bound-1a2b3c4d=p; Max-Age=600; Path=/; Secure; HttpOnly")
			w.WriteHeader(map[string]int{"/pages/shop/bound/register": 200, "/pages/shop/bound/refresh": 403, "/pages/shop/bound/refresh?late": 401}[r.RequestURI])
			_, _ = io.WriteString(w, `{"session_identifier":"s"}`)
			return
		}
		for _, name := range []string{"Sojourn-Subject", "Sojourn-Session", "Sojourn-Level"} {
			h.Set(name, "")
		}
		if strings.Contains(r.Header.Get("Cookie"), "case=registered") {
			h.Set("Set-Cookie", rotated)
			h.Set("Secure-Session-Registration", registration)
			return
		}
		if !strings.Contains(r.Header.Get("Cookie"), "__Host-shop-session-bound-1a2b3c4d=stale") {
			return
		}
		h.Set("Secure-Session-Challenge", challenge)
		status := map[bool]int{false: 401, true: 403}[strings.HasSuffix(r.URL.Path, "level-2")]
		switch page := strings.Contains(r.Header.Get("Accept"), "html"); {
		case strings.HasSuffix(r.URL.Path, "/any"):
			return
		case page && strings.Contains(r.URL.Path, "/redirect/"):
			h.Set("Location", waiting)
			status = 302
		case page:
			h.Set("Sojourn-Login", waiting)
		}
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(status)
	}
	const stale = "Cookie: a=b; __Host-shop-session=x; __Host-shop-session-bound-1a2b3c4d=stale; c=d"
	throughProxies(t, "    pages: {path: /session/}\n", sojournd, func(m *mapped) {
		m.application = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", cached)
			w.Header().Set("Got-Cookie", strings.Join(strings.Fields(strings.Join(r.Header["Cookie"], ";")), ""))
			switch r.URL.Path {
			case "/registers":
				w.Header().Set("Secure-Session-Registration", "(ES256)")
				w.Header().Set("Set-Cookie", "theme=dark")
			case "/denies":
				w.WriteHeader(http.StatusForbidden)
			}
			_, _ = io.WriteString(w, "the application")
		}
		want := func(what string, answer *http.Response, status int, headers ...string) {
			m.Helper()
			if answer.StatusCode != status {
				m.Errorf("%s: %s, want %d", what, answer.Status, status)
			}
			for i := 0; i < len(headers); i += 2 {
				if got := strings.Join(answer.Header.Values(headers[i]), " and "); got != headers[i+1] {
					m.Errorf("%s: %s is %q, want %q", what, headers[i], got, headers[i+1])
				}
			}
		}

		// A public page says that the browser should prove itself, and nobody caches it.
		for _, target := range []string{"/", "/denies"} {
			status := map[string]int{"/": 200, "/denies": 403}[target]
			answer, text := m.ask("GET", target, stale)
			want(target, answer, status, "Secure-Session-Challenge", challenge, "Secure-Session-Registration", "", "Cache-Control", "no-store", "Got-Cookie", "a=b;c=d")
			if text != "the application" {
				m.Errorf("%s: %q", target, text)
			}
			answer, _ = m.ask("GET", target, "Cookie: a=b")
			want(target+" of a stranger", answer, status, "Secure-Session-Challenge", "", "Secure-Session-Registration", "", "Cache-Control", cached)
		}

		// A rotation asks an unbound browser for a key, unless the application does so.
		answer, _ := m.ask("GET", "/", "Cookie: case=registered")
		want("registered", answer, 200, "Secure-Session-Registration", registration, "Set-Cookie", rotated, "Secure-Session-Challenge", "", "Cache-Control", "no-store")
		answer, _ = m.ask("GET", "/registers", "Cookie: case=registered")
		want("registered by the application", answer, 200, "Secure-Session-Registration", "(ES256)", "Set-Cookie", "theme=dark")

		// Page views are sent to the waiting page, scripts learn the challenge.
		answer, _ = m.ask("GET", "/account", asPage, stale)
		want("a page", answer, 302, "Location", waiting, "Secure-Session-Challenge", challenge, "Cache-Control", "no-store")
		answer, _ = m.ask("GET", "/account", stale)
		want("a script", answer, 401, "Location", "", "Secure-Session-Challenge", challenge, "Cache-Control", "no-store")
		answer, _ = m.ask("GET", "/admin", asPage, stale)
		want("a page that demands a bound session", answer, 302, "Location", waiting, "Cache-Control", "no-store")
		answer, _ = m.ask("GET", "/admin", stale)
		want("a script that demands one", answer, 403, "Location", "")
		m.took()

		// The endpoints get what the browser sent, and their answers come back whole.
		jwt := strings.Repeat("eyJhbGciOiJSUzI1NiJ9.", 300) // 6 KB; a key of RSA with 4096 bits makes 3 KB
		for target, status := range map[string]int{"register": 200, "refresh": 403, "refresh?late": 401} {
			answer, text := m.ask("POST", "/session/bound/"+target, stale, "Origin: http://localhost", "Secure-Session-Response: "+jwt, "Sec-Secure-Session-Id: 019ab4e2",
				`Secure-Session-Skipped: server_error;session_identifier="s"`, "Content-Length: 0")
			want(target, answer, status, "Got-Secure-Session-Response", strings.TrimSpace(jwt), "Got-Sec-Secure-Session-Id", "019ab4e2", "Got-Secure-Session-Skipped", `server_error;session_identifier="s"`,
				"Got-Origin", "http://localhost", "Got-Cookie", strings.TrimPrefix(stale, "Cookie: "), "Got-Body", "0", "Secure-Session-Challenge", challenge,
				"Set-Cookie", "__Host-shop-session-bound-1a2b3c4d=p; Max-Age=600; Path=/; Secure; HttpOnly", "Cache-Control", "no-store")
			if text != `{"session_identifier":"s"}` {
				m.Errorf("%s: the answer is %q", target, text)
			}
		}
		answer, _ = m.ask("POST", "/session/bound/register", "Secure-Session-Response: a", "Secure-Session-Response: b", "Content-Length: 0")
		if got := strings.Join(answer.Header.Values("Got-Secure-Session-Response"), ","); got != "a,b" && got != "a, b" {
			m.Errorf("of two responses sojournd got %q", got)
		}
		targets, application := m.took()
		for _, target := range targets {
			if !strings.HasPrefix(target, "/pages/shop/bound/re") {
				m.Errorf("sojournd was asked for %q", target)
			}
		}
		if len(targets) != 4 || len(application) > 0 {
			m.Errorf("sojournd was asked for %q, the application for %q", targets, application)
		}

		// What is far too long is refused, and reaches nobody.
		answer, _ = m.ask("POST", "/session/bound/register", "Secure-Session-Response: "+strings.Repeat("x", 64<<10), "Content-Length: 0")
		if targets, application := m.took(); answer.StatusCode >= 500 || answer.StatusCode == 200 && targets == nil || len(application) > 0 {
			m.Errorf("64 KiB: %s, reached %q, %q", answer.Status, targets, application)
		}
	})
}

// A browser binds its session through each proxy, and renews its proof. A thief
// with its cookies is a stranger when the proof is over.
func TestBoundThroughProxies(t *testing.T) {
	const settings = "    pages: {path: /session/}\n    bound: {require_level: 2}\n    relays_cookies: true\n"
	throughProxies(t, settings, nil, func(m *mapped) {
		cookie, id := m.login("ann")
		var proof string
		b := &dbsctest.Browser{Key: dbsctest.NewKey(), Post: func(path string, header http.Header) *http.Response {
			lines := []string{"Cookie: theme=dark; " + cookie + "; " + proof, "Content-Length: 0", "Sec-Fetch-Site: same-origin"}
			for name := range header {
				lines = append(lines, name+": "+header.Get(name))
			}
			answer, text := m.ask("POST", path, lines...)
			answer.Body = io.NopCloser(strings.NewReader(text))
			return answer
		}}
		refresh := func() {
			m.Helper()
			var err error
			if proof, err = b.Refresh(); err != nil {
				m.Fatal(err)
			}
		}
		get := func(target string, headers ...string) *http.Response {
			m.Helper()
			answer, _ := m.ask("GET", target, headers...)
			return answer
		}
		who := func(headers ...string) string {
			m.Helper()
			m.application = func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Who", r.Header.Get("Sojourn-Subject")) }
			answer := get("/", headers...)
			if answer.StatusCode != http.StatusOK {
				m.Errorf("a public page: %s", answer.Status)
			}
			return answer.Header.Get("Who")
		}

		// Unbound, the session is as good as ever, except where bound ones are required.
		if got := who("Cookie: " + cookie); got != "ann" {
			m.Fatalf("an unbound session is %q's", got)
		}
		if answer := get("/account", "Cookie: "+cookie); answer.StatusCode != http.StatusOK {
			m.Errorf("an unbound session at /account: %s", answer.Status)
		}

		// The rotation asks for a key.
		m.pass(16 * time.Minute)
		answer := get("/account", "Cookie: "+cookie)
		if len(answer.Cookies()) != 1 {
			m.Fatalf("no new secret: %v", answer.Header)
		}
		cookie = "__Host-shop-session=" + answer.Cookies()[0].Value
		if err := b.Register(answer.Header.Get("Secure-Session-Registration")); err != nil {
			m.Fatal(err)
		}
		refresh()
		if got := who("Cookie: " + cookie + "; " + proof); got != "ann" {
			m.Errorf("a proven session is %q's", got)
		}
		if snapshot, err := m.sessions.Get(m.Context(), id); err != nil || !snapshot.Bound {
			m.Errorf("bound: %v, %v", snapshot.Bound, err)
		}
		m.pass(2 * time.Minute) // the grace, in which the session is good without a proof

		// Many proofs later the user is still there, and a copy of the cookies is not.
		stolen := "Cookie: " + cookie + "; " + proof
		for range 3 {
			m.pass(10*time.Minute + time.Second)
			refresh()
			if got := who("Cookie: " + cookie + "; " + proof); got != "ann" {
				m.Errorf("after a refresh the session is %q's", got)
			}
		}
		challenge := `;id="` + id.String() + `"`
		for what, headers := range map[string]string{"a thief": stolen, "without the proof": "Cookie: " + cookie} {
			if got := who(headers); got != "" {
				m.Errorf("%s is taken for %q", what, got)
			}
			answer := get("/account", headers)
			if answer.StatusCode != http.StatusUnauthorized || !strings.HasSuffix(answer.Header.Get("Secure-Session-Challenge"), challenge) {
				m.Errorf("%s at /account: %s %v", what, answer.Status, answer.Header)
			}
			answer = get("/account?a=b", asPage, headers)
			if got := answer.Header.Get("Location"); answer.StatusCode != http.StatusFound || got != "/session/bound/?return_to=%2Faccount%3Fa%3Db" || answer.Header.Get("Cache-Control") != "no-store" {
				m.Errorf("%s at a page: %s to %q", what, answer.Status, got)
			}
			if answer, _ := m.ask("POST", "/session/bound/refresh", headers, "Sec-Secure-Session-Id: "+id.String(), "Content-Length: 0"); answer.StatusCode != http.StatusForbidden || len(answer.Cookies()) > 0 {
				m.Errorf("%s: a refresh without a signature: %s %v", what, answer.Status, answer.Header)
			}
		}
		b.Heed(get("/", "Cookie: "+cookie).Header) // the challenge of a public page is good for a refresh
		refresh()

		// /admin needs level 2, and so a bound session.
		up := m.sessions.Begin(m.Context(), sojourn.Request{Session: []string{strings.TrimPrefix(cookie, "__Host-shop-session=")}, Proofs: []string{strings.SplitN(proof, "=", 2)[1]}})
		if err := errors.Join(up.Elevate(2), up.Commit(m.Context())); err != nil {
			m.Fatal(err)
		}
		cookie = "__Host-shop-session=" + up.Token()
		if answer := get("/admin", "Cookie: "+cookie+"; "+proof); answer.StatusCode != http.StatusOK {
			m.Errorf("a bound session at /admin: %s", answer.Status)
		}
		other := m.sessions.Begin(m.Context(), sojourn.Request{})
		if err := errors.Join(other.Login("ben", sojourn.Level(2)), other.Commit(m.Context())); err != nil {
			m.Fatal(err)
		}
		loose := "Cookie: __Host-shop-session=" + other.Token()
		if answer := get("/admin", loose); answer.StatusCode != http.StatusForbidden {
			m.Errorf("an unbound session at /admin: %s", answer.Status)
		}
		answer = get("/admin", asPage, loose)
		if got := answer.Header.Get("Location"); answer.StatusCode != http.StatusFound || got != "/session/bound/?return_to=%2Fadmin" {
			m.Errorf("an unbound session at a page of /admin: %s to %q", answer.Status, got)
		}

		// Another session's proof is worth nothing, and another site can't register a key.
		if answer := get("/admin", loose+"; "+proof); answer.StatusCode != http.StatusForbidden {
			m.Errorf("with another session's proof: %s", answer.Status)
		}
		for _, headers := range [][]string{{"Sec-Fetch-Site: cross-site", "Origin: https://elsewhere.example"}, {"Origin: https://elsewhere.example"}} {
			lines := append(headers, loose, "Secure-Session-Response: "+b.Key.Registration("x"), "Content-Length: 0")
			if answer, _ := m.ask("POST", "/session/bound/register", lines...); answer.StatusCode != http.StatusUnauthorized {
				m.Errorf("a registration with %q: %s", headers, answer.Status)
			}
		}
		for _, jwt := range []string{"x", "a.b.c", strings.Repeat("x", 5000), "\"x\"", b.Key.Registration("a\nb")} {
			if answer, _ := m.ask("POST", "/session/bound/register", loose, "Sec-Fetch-Site: same-origin", "Secure-Session-Response: "+jwt, "Content-Length: 0"); answer.StatusCode != http.StatusBadRequest && answer.StatusCode != http.StatusForbidden {
				m.Errorf("the response %.40q: %s", jwt, answer.Status)
			}
		}

		// In an outage the browser keeps its session.
		m.mu.Lock()
		m.broken = true
		m.mu.Unlock()
		if answer, _ := m.ask("POST", "/session/bound/refresh", "Cookie: "+cookie, "Sec-Secure-Session-Id: "+id.String(), "Secure-Session-Response: "+b.Key.Refresh("x"), "Content-Length: 0"); answer.StatusCode < 500 {
			m.Errorf("a refresh without a store: %s", answer.Status)
		}
	})
}
