package forwardauth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/dbsc/dbsctest"
	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
)

// bind binds the session of a cookie, and returns the cookie of its proof.
func (w *world) bind(cookie, registration string) (proof string) {
	w.Helper()
	b := &dbsctest.Browser{Key: dbsctest.NewKey(), Post: func(path string, header http.Header) *http.Response {
		r := httptest.NewRequest("POST", path, nil)
		r.Header = header
		r.Header.Set("Cookie", cookie)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		out := httptest.NewRecorder()
		w.engine.BoundHandler().ServeHTTP(out, r)
		return out.Result()
	}}
	if err := b.Register(registration); err != nil {
		w.Fatal(err)
	}
	proof, err := b.Refresh()
	if err != nil {
		w.Fatal(err)
	}
	return proof
}

// What each check answers to an unbound session, to a bound one, and to one
// without its proof, where the proxy relays cookies and where it doesn't.
func TestBound(t *testing.T) {
	for _, relays := range []bool{true, false} {
		w := newWorld(t, func(a *forwardauth.App, o *sojourn.Options) {
			a.RelaysCookies, a.WaitingURL, a.StepUpURL = relays, "/session/bound/", "/confirm"
			a.Headers = map[string]string{"X-Bound": "bound"}
			o.Bound = &sojourn.Binding{RequireLevel: 3}
		})
		s := w.engine.Begin(t.Context(), sojourn.Request{})
		if err := s.Login("ann", sojourn.Level(2)); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		cookie, id := "__Host-session="+s.Token(), s.ID().String()
		proof := w.bind(cookie, s.BoundHeaders().Get("Secure-Session-Registration"))
		w.pass(2 * time.Minute)
		loose := w.login("ben", sojourn.Level(2))

		for _, c := range []struct {
			require                   string
			unbound, proven, unproven int
		}{
			{"any", 200, 200, 200},
			{"login", 200, 200, 401},
			{"bound", 403, 200, 401},
			{"bound-passive", 403, 200, 401},
			{"level-2", 200, 200, 401},
			{"level-2-bound", 403, 200, 401},
			{"level-3", 403, 403, 401},
			{"fresh-10m-bound-passive", 403, 200, 401},
			{"fresh-1s-bound", 403, 403, 401},
			{"any-bound", 404, 404, 404}, {"login-bound", 404, 404, 404}, {"bound-bound", 404, 404, 404}, {"bound-10m", 404, 404, 404}, {"-bound", 404, 404, 404}, {"level-2-passive-bound", 404, 404, 404},
		} {
			for _, mode := range []string{"status", "redirect"} {
				check := "/check/shop/" + mode + "/" + c.require
				w.want(check+" unbound", w.get(check, "Cookie", loose), c.unbound)
				answer := w.get(check, "Cookie", cookie+"; "+proof)
				w.want(check+" proven", answer, c.proven)
				if answer.StatusCode == 200 && (answer.Header.Get("X-Bound") != "true" || answer.Header.Get("Sojourn-Subject") != "ann") {
					t.Errorf("%s: a proven session gets %v", check, answer.Header)
				}
				for _, method := range []string{"GET", "POST"} {
					answer = w.get(check, "Cookie", cookie, "X-Forwarded-Method", method)
					w.want(check+" unproven", answer, c.unproven)
					if challenge := answer.Header.Get("Secure-Session-Challenge"); (c.unproven != 404) != strings.HasSuffix(challenge, `;id="`+id+`"`) || answer.Header.Get("Sojourn-Subject") != "" || answer.Header.Get("X-Bound") != "" || len(answer.Cookies()) > 0 {
						t.Errorf("%s %s: an unproven session gets %v", method, check, answer.Header)
					}
				}
			}
		}

		// Page views are sent to the page that helps.
		const waiting = "/session/bound/?return_to=%2Fcart%3Fa%3Db"
		for _, c := range []struct{ require, cookie, want string }{
			{"login", cookie, waiting}, {"bound", loose, waiting}, {"level-2-bound", loose, waiting}, {"level-3", loose, "/confirm?return_to=%2Fcart%3Fa%3Db"},
			{"fresh-10m", cookie, waiting}, {"bound", "", "/login?return_to=%2Fcart%3Fa%3Db"},
		} {
			answer := w.get("/check/shop/redirect/"+c.require, page("/cart?a=b", "Cookie", c.cookie)...)
			if got := answer.Header.Get("Location"); answer.StatusCode != 302 || got != c.want {
				t.Errorf("%s: %s to %q, want %q", c.require, answer.Status, got, c.want)
			}
			if got := w.get("/check/shop/status/"+c.require, page("/cart?a=b", "Cookie", c.cookie)...).Header.Get("Sojourn-Login"); got != c.want {
				t.Errorf("%s: Sojourn-Login is %q, want %q", c.require, got, c.want)
			}
		}

		// Only a relayed rotation asks for a key.
		w.pass(16 * time.Minute)
		answer := w.get("/check/shop/status/login", "Cookie", loose)
		if registers := answer.Header.Get("Secure-Session-Registration") != ""; registers != relays || registers != (len(answer.Cookies()) > 0) {
			t.Errorf("relays %v: %v", relays, answer.Header)
		}

		// Others' proofs, and too many.
		for _, more := range []string{proof, strings.Repeat("; __Host-session-bound-00000000="+strings.Repeat("A", 43), 1000), "; " + proof + "x", "; __Host-blog-session-bound-00000000=" + strings.SplitN(proof, "=", 2)[1]} {
			w.want("proofs of others", w.get("/check/shop/status/bound", "Cookie", loose+"; "+more), 403)
		}
	}
}
