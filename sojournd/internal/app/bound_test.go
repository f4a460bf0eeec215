package app

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
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
