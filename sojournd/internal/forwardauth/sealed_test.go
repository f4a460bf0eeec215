package forwardauth_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
)

// newSealed creates a world whose sessions are in their cookies.
func newSealed(t *testing.T, whose sojourn.SealFor, change func(*forwardauth.App, *sojourn.Options)) *world {
	t.Helper()
	return newWorld(t, func(a *forwardauth.App, o *sojourn.Options) {
		o.Sealed = &sojourn.Sealing{
			For: whose, Keys: [][]byte{bytes.Repeat([]byte{1}, 32)},
			NotBefore: func(context.Context, string) (time.Time, error) { return time.Time{}, nil },
		}
		if change != nil {
			change(a, o)
		}
	})
}

// A check reads a sealed cookie without the store. The cookie of another
// application, and one that was changed, open nothing.
func TestSealed(t *testing.T) {
	const check = "/check/shop/status/login"
	w := newSealed(t, sojourn.SealEveryone, nil)
	cookie := w.login("ann")
	w.store.fail(errors.New("the store was asked"))
	answer := w.get(check, "Cookie", cookie)
	w.want("a login", answer, http.StatusOK)
	if h := answer.Header; h.Get("Sojourn-Subject") != "ann" || h.Get("Sojourn-Level") != "1" || len(h.Get("Sojourn-Session")) != 36 {
		t.Errorf("headers: %v", h)
	}
	w.want("a login that isn't fresh enough", w.get("/check/shop/status/level-2", "Cookie", cookie), http.StatusForbidden)
	w.want("a cookie that was cut", w.get(check, "Cookie", cookie[:len(cookie)-4]), http.StatusUnauthorized)
	w.want("a cookie as a visitor's", w.get(check, "Cookie", strings.Replace(cookie, "__Host-session", "__Host-visitor", 1)), http.StatusUnauthorized)
	other := newSealed(t, sojourn.SealEveryone, func(_ *forwardauth.App, o *sojourn.Options) { o.App = "blog" })
	w.want("another application's", w.get(check, "Cookie", other.login("ann")), http.StatusUnauthorized)
	w.pass(25 * time.Hour)
	w.want("after the idle limit", w.get(check, "Cookie", cookie), http.StatusUnauthorized)
}

// Activity makes a new cookie only where the proxy relays it, and never in place
// of a cookie of the application's answer. Where it can't, the session ends at
// the idle limit after its last cookie.
func TestSealedActivity(t *testing.T) {
	const check = "/check/shop/status/login"
	for _, relays := range []bool{false, true} {
		w := newSealed(t, sojourn.SealEveryone, app(func(a *forwardauth.App) { a.RelaysCookies = relays }))
		cookie := w.login("ann")
		if got := w.get(check, "Cookie", cookie).Header["Set-Cookie"]; len(got) > 0 {
			t.Errorf("relays %v: nothing was due, and Set-Cookie is %q", relays, got)
		}
		for range 3 {
			w.pass(10 * time.Hour)
			for what, answer := range map[string]*http.Response{
				"of a POST":          w.get(check, "Cookie", cookie, "X-Forwarded-Method", "POST"),
				"of a refusal":       w.get("/check/shop/status/level-2", "Cookie", cookie),
				"of a passive check": w.get("/check/shop/status/login-passive", "Cookie", cookie),
			} {
				if got := answer.Header["Set-Cookie"]; len(got) > 0 {
					t.Errorf("relays %v: the answer %s has %q", relays, what, got)
				}
			}
			lines := w.get(check, "Cookie", cookie).Header["Set-Cookie"]
			if !relays {
				if len(lines) > 0 {
					t.Errorf("sealed anew, though the proxy drops the cookie")
				}
				continue
			}
			if len(lines) != 1 {
				t.Fatalf("Set-Cookie is %q", lines)
			}
			next, err := http.ParseSetCookie(lines[0])
			if err != nil || next.Name != "__Host-session" || next.Value == strings.TrimPrefix(cookie, "__Host-session=") {
				t.Fatalf("Set-Cookie is %q (%v)", lines[0], err)
			}
			cookie = next.Name + "=" + next.Value
		}
		want := http.StatusUnauthorized
		if relays {
			want = http.StatusOK
		}
		w.want("after 30 hours", w.get(check, "Cookie", cookie), want)
	}
}

// A sealed visitor passes where anybody may, as nobody.
func TestSealedVisitor(t *testing.T) {
	w := newSealed(t, sojourn.SealVisitors, nil)
	s := w.engine.Begin(t.Context(), sojourn.Request{})
	defer s.Finish()
	if err := errors.Join(s.SetValue("cart", []byte(`["tent"]`)), s.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	cookie := "__Host-visitor=" + s.Token()
	w.store.fail(errors.New("the store was asked"))
	answer := w.get("/check/shop/status/any", "Cookie", cookie)
	w.want("a visitor", answer, http.StatusOK)
	if h := answer.Header; h.Get("Sojourn-Subject") != "" || h.Get("Sojourn-Session") != "" {
		t.Errorf("headers: %v", h)
	}
	w.want("a visitor's login", w.get("/check/shop/status/login", "Cookie", cookie), http.StatusUnauthorized)
}

// A sealed session as large as a cookie can be passes the real proxies, in the
// request and in the answer.
func TestDeployedSealed(t *testing.T) {
	for _, p := range []proxy{nginx, caddy, haproxy} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t, p, false, nobodyChanges)
			d.world = newSealed(t, sojourn.SealEveryone, func(a *forwardauth.App, o *sojourn.Options) {
				a.RelaysCookies = true
				o.Cookie = sojourn.Cookie{Name: "__Host-shop-session", Visitor: "__Host-shop-visitor"}
			})
			s := d.engine.Begin(t.Context(), sojourn.Request{})
			defer s.Finish()
			err := errors.Join(s.Login("ann"), s.SetValue("essay", []byte(`"`+strings.Repeat("x", 2700)+`"`)), s.Commit(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			cookie := "__Host-shop-session=" + s.Token()
			d.passed("a login", d.visit("GET", "/account", "Cookie", cookie), "ann")
			d.world.pass(2 * time.Hour)
			v := d.visit("GET", "/account", "Cookie", cookie)
			d.passed("activity", v, "ann")
			set := v.Cookies()
			if len(set) != 1 || set[0].Name != "__Host-shop-session" || len(set[0].Value) < 3600 || set[0].Value == s.Token() || v.Header.Get("Cache-Control") != "no-store" {
				t.Fatalf("headers: %v", v.Header)
			}
			d.passed("the new cookie", d.visit("GET", "/account", "Cookie", set[0].Name+"="+set[0].Value), "ann")
		})
	}
}
