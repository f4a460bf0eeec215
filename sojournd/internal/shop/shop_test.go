package shop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
)

func TestVisitorWhoOnlyLooksGetsNoCookie(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		b := s.browser()
		for _, path := range []string{"/", "/cart", "/cart.json", "/login", "/signup", "/me.json", "/account", "/nowhere"} {
			b.get(path)
		}
		b.post("/cart", "sku", "tent", "qty", "-1").to("/cart") // nothing to take away
		b.post("/logout").to("/")
		b.post("/login", "email", "nobody@example.com", "password", "12345678").want(401)
		b.post("/cart", "sku", "nothing").want(400)
		b.post("/preferences").want(400)
		if len(b.tokens) > 0 || len(b.cookies) > 0 {
			t.Errorf("got cookies: %v", len(b.tokens))
		}
		if n := w.records(s); n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
}

func TestPages(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		b := s.browser()
		check := func(path string, titles map[string]string) {
			t.Helper()
			for lang, title := range titles {
				b.lang = lang
				a := b.get(path).want(200).has("<title>"+title, `<html lang="`+lang+`" data-theme="auto">`)
				if cache := a.Header.Get("Cache-Control"); cache != "no-store" {
					t.Errorf("%s: Cache-Control is %q", path, cache)
				}
				if csp := a.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
					t.Errorf("%s: Content-Security-Policy is %q", path, csp)
				}
				if inline := regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<]|\son[a-z]+=|\sstyle=|javascript:|https?://`).FindString(a.body); inline != "" {
					t.Errorf("%s: inline or from elsewhere: %s", path, inline)
				}
				if key := regexp.MustCompile(`>\s*[a-z]+(\.[a-z_]+)+\s*<|%!`).FindString(a.body); key != "" {
					t.Errorf("%s: a message is missing: %s", path, key)
				}
				for _, tag := range []string{"main", "header", "form", "section", "ul", "div"} {
					if open, closed := strings.Count(a.body, "<"+tag+" ")+strings.Count(a.body, "<"+tag+">"), strings.Count(a.body, "</"+tag+">"); open != closed {
						t.Errorf("%s: %d <%s>, %d closed", path, open, tag, closed)
					}
				}
			}
		}
		check("/", map[string]string{"en": "Good things", "de": "Gutes"})
		check("/cart", map[string]string{"en": "Your cart", "de": "Ihr Warenkorb"})
		check("/login", map[string]string{"en": "Sign in", "de": "Anmelden"})
		check("/signup", map[string]string{"en": "Create an account", "de": "Konto anlegen"})
		b.login(ada)
		check("/account", map[string]string{"en": "Your account", "de": "Ihr Konto"})
		check("/account/email", map[string]string{"en": "Change e-mail", "de": "E-Mail ändern"})
		check("/reauth", map[string]string{"en": "Is it you?", "de": "Sind Sie es?"})
		b.lang = "de"
		b.get("/nowhere").want(404).has("Diese Seite gibt es nicht", "Nicht auf der Karte")
		b.get("/login").to("/") // is signed in

		front := b.get("/")
		for _, file := range regexp.MustCompile(`/static/[^"]+`).FindAllString(front.body, -1) {
			if a := b.get(file).want(200); !strings.Contains(a.Header.Get("Cache-Control"), "immutable") || len(a.Cookies()) > 0 {
				t.Errorf("%s: %v", file, a.Header)
			}
		}
		b.get("/static/0123/shop.css").want(404)
		b.get("/static/").want(404)
	})
}

func TestCatalogueAsJSON(t *testing.T) {
	var answer struct {
		Products []struct {
			SKU, Name string
			Cents     int `json:"price_cents"`
		}
	}
	newSite(t).program().get("/").want(200).decode(&answer)
	if len(answer.Products) != len(catalogue) || answer.Products[0].Name != "Ridge backpack" || answer.Products[0].Cents != 12900 {
		t.Errorf("%+v", answer)
	}
}

// Wrong input causes a 4xx with a message, in JSON and in HTML, in both
// languages.
func TestWrongInput(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		long := strings.Repeat("x", 300)
		cases := []struct {
			login  bool
			path   string
			fields []string
			status int
			code   string
		}{
			{false, "/cart", nil, 400, "unknown_sku"},
			{false, "/cart", []string{"sku", "unobtainium"}, 400, "unknown_sku"},
			{false, "/cart", []string{"sku", "tent", "qty", "many"}, 400, "bad_quantity"},
			{false, "/cart", []string{"sku", "tent", "qty", "1.5"}, 400, "bad_quantity"},
			{false, "/cart", []string{"sku", "tent", "qty", "1000"}, 400, "bad_quantity"},
			{false, "/cart", []string{"sku", "tent", "qty", "-1000"}, 400, "bad_quantity"},
			{false, "/cart", []string{"sku", "tent", "qty", "99999999999999999999"}, 400, "bad_quantity"},
			{false, "/cart", []string{"sku", "te\x00nt"}, 400, "bad_form"},
			{false, "/cart", []string{"sku", "te\xffnt"}, 400, "bad_form"},
			{false, "/cart", []string{"sku", strings.Repeat("x", maxForm)}, 413, "form_too_large"},
			{false, "/preferences", nil, 400, "no_preference"},
			{false, "/preferences", []string{"theme", "pink"}, 400, "bad_theme"},
			{false, "/preferences", []string{"language", "tlh"}, 400, "bad_language"},
			{false, "/preferences", []string{"theme", "dark", "language", "tlh"}, 400, "bad_language"},
			{false, "/login", nil, 401, "invalid_login"},
			{false, "/login", []string{"email", ada.Email, "password", "wrong password"}, 401, "invalid_login"},
			{false, "/login", []string{"email", "nobody@example.com", "password", ada.Password}, 401, "invalid_login"},
			{false, "/login", []string{"email", long, "password", ada.Password}, 401, "invalid_login"},
			{false, "/login", []string{"email", ada.Email, "password", long}, 400, "password_too_long"},
			{false, "/signup", nil, 400, "bad_email"},
			{false, "/signup", []string{"email", "no address", "password", "12345678"}, 400, "bad_email"},
			{false, "/signup", []string{"email", "Ada <a@example.com>", "password", "12345678"}, 400, "bad_email"},
			{false, "/signup", []string{"email", long + "@example.com", "password", "12345678"}, 400, "bad_email"},
			{false, "/signup", []string{"email", "c@example.com", "password", "1234567"}, 400, "bad_password"},
			{false, "/signup", []string{"email", "c@example.com", "password", long}, 400, "bad_password"},
			{false, "/signup", []string{"email", " ADA@example.com ", "password", "12345678"}, 409, "email_taken"},
			{false, "/reauth", []string{"password", ada.Password}, 401, "login_required"},
			{false, "/account/email", []string{"email", "c@example.com"}, 401, "login_required"},
			{false, "/nowhere", nil, 404, "not_found"},
			{false, "/me.json", nil, 405, "method_not_allowed"},
			{true, "/reauth", []string{"password", "wrong password"}, 401, "wrong_password"},
			{true, "/reauth", nil, 401, "wrong_password"},
			{true, "/account/email", nil, 400, "bad_email"},
			{true, "/account/email", []string{"email", "nonsense"}, 400, "bad_email"},
			{true, "/account/email", []string{"email", ben.Email}, 409, "email_taken"},
		}
		for _, signedIn := range []bool{false, true} {
			page, program := s.browser(), s.program()
			page.get("/")
			if signedIn {
				page.login(ada)
				program.login(ada)
			}
			for _, c := range cases {
				if c.login != signedIn {
					continue
				}
				program.post(c.path, c.fields...).fails(c.status, c.code)
				for lang, messages := range languages {
					page.lang = lang
					a := page.post(c.path, c.fields...)
					if c.code == "login_required" {
						a.want(303)
						if to := a.Header.Get("Location"); !strings.HasPrefix(to, "/login?next=%2F") {
							t.Errorf("%s: leads to %s", c.path, to)
						}
						continue
					}
					message := strings.SplitN(messages["error."+c.code], "%", 2)[0]
					a.want(c.status).has(message).lacks("%!")
				}
			}
		}
	})
}

func TestMalformedForms(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct{ kind, body string }{
		{"application/x-www-form-urlencoded", "sku=%zz"},
		{"multipart/form-data", "sku"},
		{"multipart/form-data; boundary=x", "--x\r\nsku"},
		{"", "sku=tent"},
		{"application/json", `{"sku":"tent"}`},
	} {
		b := s.program()
		r := b.request("POST", "/cart", strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.kind)
		if a := b.send(r); a.StatusCode != 400 {
			t.Errorf("%q: %d %s", c.kind, a.StatusCode, a.body)
		}
	}
	b := s.program()
	r := b.request("POST", "/cart", strings.NewReader("--x\r\nContent-Disposition: form-data; name=sku\r\n\r\ntent\r\n--x--\r\n"))
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	b.send(r).want(200)
	// Values in the URL are ignored.
	b.send(b.request("POST", "/cart?sku=camera", nil)).fails(400, "unknown_sku")
	b.send(b.request("POST", "/login?email="+ada.Email+"&password="+ada.Password, nil)).fails(401, "invalid_login")
}

func TestQuantityIsBounded(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		b := w.newSite(t).program()
		b.post("/cart", "sku", "tent", "qty", "999").want(200)
		b.post("/cart", "sku", "tent", "qty", "1").fails(422, "quantity_limit")
		if got := b.cart(); got != "tent:999" {
			t.Errorf("%q", got)
		}
	})
}

func TestLoginAsProgram(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		b := s.program()
		if me := b.me(); me.Subject != "" || me.Session != "" || me.Level != 0 {
			t.Errorf("nobody is %+v", me)
		}
		b.login(Account{" Ada@Example.COM", ada.Password})
		me := b.me()
		if me.Subject != s.user(ada.Email).ID || len(me.Session) != 36 || me.Level != 1 {
			t.Errorf("ada is %+v", me)
		}
		if strings.Contains(me.Subject, "@") {
			t.Errorf("the subject is an address: %q", me.Subject)
		}
		b.post("/logout").want(200)
		if me := b.me(); me.Subject != "" || len(b.cookies) > 0 {
			t.Errorf("after the logout: %+v, %d cookies", me, len(b.cookies))
		}
	})
}

func TestSignup(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		b := s.program()
		b.post("/cart", "sku", "tent").want(200)
		b.post("/signup", "email", "New@Example.com", "password", "a short sentence").want(201)
		if me := b.me(); !strings.HasPrefix(me.Subject, "u-") || me.Subject != s.user("new@example.com").ID {
			t.Errorf("%+v", me)
		}
		if got := b.cart(); got != "tent:1" {
			t.Errorf("the cart: %q", got)
		}
		s.browser().post("/signup", "email", "other@example.com", "password", "päßwörtle", "next", "/cart").to("/cart")
		s.browser().login(Account{"other@example.com", "päßwörtle"}, "next", "//evil.example").to("/")
	})
}

func TestLoginRenewsTheToken(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		b := s.program()
		b.post("/cart", "sku", "tent").want(200)
		planted := b.copy()
		b.login(ada)
		if me := planted.me(); me.Subject != "" {
			t.Errorf("the token from before the login is %+v", me)
		}
		before := b.copy()
		s.sleep(time.Hour)
		b.post("/reauth", "password", ada.Password).want(200)
		if me := before.me(); me.Subject != "" && w != everyone {
			t.Errorf("the token from before the confirmed password is %+v", me)
		}
		if me := b.me(); me.Subject == "" {
			t.Error("the new token isn't good")
		}
	})
}

func TestRememberedLogin(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		short, long := s.browser(), s.browser()
		short.login(ada, "remember", "")
		long.login(ada, "remember", "on")
		s.sleep(11 * time.Minute)
		long.post("/reauth", "password", ada.Password).to("/account") // stays remembered
		s.sleep(25 * time.Hour)
		if me := short.me(); me.Subject != "" {
			t.Error("the short login lasts longer than a day's pause")
		}
		short.get("/login").has("because you were away for a while")
		if me := long.me(); me.Subject == "" {
			t.Error("the remembered login doesn't last")
		}
	})
}

// A script that asks for a page gets the error, which no redirect would tell it.
// A session whose account is gone is nobody's.
func TestRefusalWithoutARedirect(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		script := s.browser()
		script.accept = "*/*"
		script.get("/account").want(401).has("<html", languages["en"]["error.login_required"])
		script.lang = "de"
		script.post("/account/email").want(401).has(languages["de"]["error.login_required"])
		script.lang = "en"
		script.login(ada)
		s.sleep(freshness + time.Second)
		script.get("/account/email").want(403).has(languages["en"]["error.fresh_login_required"])

		page := s.browser()
		gone := s.Sessions.Begin(t.Context(), sojourn.Request{})
		defer gone.Finish()
		if err := errors.Join(gone.Login("u-gone"), gone.Commit(t.Context())); err != nil {
			t.Fatal(err)
		}
		page.cookies["__Host-session"] = gone.Token()
		page.get("/account").to("/login?next=%2Faccount")
		page.get("/login?next=%2Faccount").want(200)
	})
}

func TestFreshPassword(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		page, program := s.browser(), s.program()
		page.login(ada)
		program.login(ada)
		page.get("/account/email").want(200)
		s.sleep(freshness + time.Second)

		program.post("/account/email", "email", "c@example.com").fails(403, "fresh_login_required")
		program.post("/session/devices/others/end").explains(403, "fresh_sign_in_required")
		program.post("/session/devices/"+page.me().Session+"/end").explains(403, "fresh_sign_in_required")
		page.get("/account/email").to("/reauth?next=%2Faccount%2Femail")
		page.post("/account/email", "email", "c@example.com").to("/reauth?next=%2Faccount%2Femail")
		page.get("/session/devices").want(200)
		page.get("/session/devices/others/end").to("/reauth?next=%2Fsession%2Fdevices%2Fothers%2Fend")
		if s.user(ada.Email).ID == "" || program.me().Subject == "" {
			t.Error("something happened without a fresh password")
		}
		page.get("/reauth?next=%2Faccount%2Femail").has(`name="next" value="/account/email"`)
		page.get("/reauth?next=https%3A%2F%2Fevil.example").lacks(`value="https`)

		session := page.me().Session
		page.post("/reauth", "password", "wrong password").want(401).has("The password is wrong.")
		page.get("/account/email").want(303)
		page.post("/reauth", "password", ada.Password, "next", "/account/email").to("/account/email")
		if page.me().Session != session {
			t.Error("the session's ID has changed")
		}
		page.post("/account/email", "email", "C@example.com").to("/account?done=email")
		page.get("/account?done=email").has("c@example.com", "was changed")
		page.get("/account?done=nonsense").lacks("role=\"status\"")
		program.login(Account{"c@example.com", ada.Password})
		program.post("/login", "email", ada.Email, "password", ada.Password).fails(401, "invalid_login")
	})
}

// OWASP ASVS 7.5.2: users list and end their own sessions. A list shows no
// tokens (browser.send checks it), and an ID of another user is not found.
func TestDevices(t *testing.T) {
	inWays(t, withList, func(t *testing.T, w *way) {
		s := w.newSite(t)
		one, two, other := s.program(), s.program(), s.program()
		two.agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Mobile/15E148 Safari/604.1"
		one.login(ada)
		s.sleep(time.Minute)
		two.login(ada)
		other.login(ben)

		list := one.sessions()
		if len(list) != 2 || !list[0].Current || list[1].Current || list[0].ID != one.me().Session || list[1].ID != two.me().Session {
			t.Fatalf("%+v", list)
		}
		if list[0].Name != "Firefox on Linux" || list[1].Name != "Safari on iOS" {
			t.Errorf("clients: %q, %q", list[0].Name, list[1].Name)
		}
		if !list[1].CreatedAt.Equal(s.clock()) || list[1].LastSeenAt.Before(list[1].CreatedAt) {
			t.Errorf("times: %+v", list[1])
		}
		page := s.browser()
		page.cookies = one.cookies
		page.get("/session/devices").has("Firefox on Linux", "Safari on iOS", "This device", static.Path("devices.css"))
		page.post("/preferences", "theme", "dark", "language", "de")
		page.get("/session/devices").has(`lang="de" data-theme="dark"`, "Firefox unter Linux")

		one.post("/session/devices/"+other.me().Session+"/end").explains(404, "no_such_session")
		if other.me().Subject == "" {
			t.Error("ended somebody else's session")
		}
		one.post("/session/devices/" + list[1].ID + "/end").want(200).has(`{"ended":1}`)
		if two.me().Subject != "" {
			t.Error("the ended session lives")
		}
		one.post("/session/devices/"+list[1].ID+"/end").explains(404, "no_such_session")
		phone := s.browser()
		phone.cookies = two.cookies
		phone.get("/login").has("You were signed out from another device.")

		two.login(ada)
		one.post("/session/devices/others/end").want(200).has(`{"ended":1}`)
		if two.me().Subject != "" || one.me().Subject == "" || other.me().Subject == "" {
			t.Error("end-others ended the wrong sessions")
		}
		one.post("/session/devices/" + one.me().Session + "/end").want(200) // oneself
		if one.me().Subject != "" {
			t.Error("one's own session lives")
		}
		one.get("/session/devices").explains(401, "sign_in_required")
		s.browser().get("/session/devices").to("/login?next=%2Fsession%2Fdevices")
	})
}

func TestPreferences(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		b := s.browser()
		b.get("/").has(`lang="en" data-theme="auto"`)
		b.post("/preferences", "theme", "dark", "next", "/cart").to("/cart")
		b.get("/").has(`lang="en" data-theme="dark"`)
		b.post("/preferences", "language", "de").to("/")
		b.get("/cart").has(`lang="de" data-theme="dark"`, "Ihr Warenkorb")

		// The first login copies them to the account, and every login restores
		// them.
		b.login(ada)
		if got := s.user(ada.Email).Preferences; got != (Preferences{"dark", "de"}) {
			t.Errorf("saved: %+v", got)
		}
		b.post("/preferences", "theme", "light")
		other := s.browser()
		other.post("/preferences", "theme", "auto", "language", "en")
		other.login(ada)
		other.get("/").has(`lang="de" data-theme="light"`)

		// The user's preferences do not apply to the next visitor.
		b.post("/logout")
		b.get("/").has(`lang="en" data-theme="auto"`)

		p := s.program()
		p.lang = "de"
		p.post("/preferences", "theme", "dark").want(200).has(`{"theme":"dark","language":"de"}`)
		p.post("/preferences", "theme", "pink").fails(400, "bad_theme").has("Die Farben")
	})
}

func TestCrossOriginIsRefused(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		b := s.program()
		b.login(ada)
		r := b.request("POST", "/cart", strings.NewReader("sku=tent"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		b.send(r).fails(403, "cross_origin")
		if got := b.cart(); got != "" {
			t.Errorf("the cart: %q", got)
		}
	})
}

// If a session ends during a request, the request's change is refused, and the
// user's saved cart does not change.
func TestEndedMeanwhile(t *testing.T) {
	inWays(t, withList, func(t *testing.T, w *way) {
		s := w.newSite(t)
		page, program := s.browser(), s.program()
		page.login(ada)
		page.post("/cart", "sku", "tent")
		program.cookies = page.cookies
		if _, err := s.Sessions.EndSubject(t.Context(), s.user(ada.Email).ID, sojourn.ID{}); err != nil {
			t.Fatal(err)
		}
		program.post("/cart", "sku", "camera").fails(409, "session_ended")
		page.post("/cart", "sku", "camera").want(409).has("You were signed out meanwhile", `href="/login?next=%2fcart"`).lacks(`id="cart-count">`)
		if got := lines(s.user(ada.Email).Cart); got != "tent:1" {
			t.Errorf("saved: %q", got)
		}
		s.sleep(time.Second)
		page.login(ada)
		if got := page.cart(); got != "tent:1" {
			t.Errorf("after the next login: %q", got)
		}
	})
}

// failOn returns a store on which calls of one kind fail while broken is set.
func failOn(op driver.Op, cause string) (st store.Store, broken *atomic.Bool) {
	broken = new(atomic.Bool)
	return driver.Intercept(memstore.New(), func(ctx context.Context, c driver.Call) driver.Result {
		if c.Op == op && broken.Load() {
			return driver.Result{Err: errors.New(cause)}
		}
		return c.Do(ctx)
	}), broken
}

// If the store does not answer, every page is a 503 and none says "signed out"
// (I9).
func TestStoreFails(t *testing.T) {
	st, broken := failOn(driver.Get, "the disk is on fire")
	s := newSiteOn(t, st, stored)
	s.Log = slog.New(faultyHandler{slog.DiscardHandler})
	page, program := s.browser(), s.program()
	page.login(ada)
	program.cookies = page.cookies
	broken.Store(true)
	for _, path := range []string{"/", "/cart", "/login", "/account", "/live", "/nowhere"} {
		program.get(path).fails(503, "store_unavailable").lacks("fire")
		if path != "/live" {
			page.get(path).want(503).has("We can’t look up who you are").lacks("fire")
		}
	}
	program.post("/cart", "sku", "tent").fails(503, "store_unavailable")
	program.post("/logout").fails(503, "store_unavailable")
	broken.Store(false)
	if program.me().Subject == "" {
		t.Error("signed out by a failing store")
	}
}

// A change that the session refuses is not saved with the user either.
func TestCommitFails(t *testing.T) {
	st, broken := failOn(driver.Update, "the disk is full")
	s := newSiteOn(t, st, stored)
	s.Log = slog.New(faultyHandler{slog.DiscardHandler})
	b := s.program()
	b.login(ada)
	b.post("/cart", "sku", "tent").want(200)
	user, token := s.user(ada.Email), b.cookies["__Host-session"]
	broken.Store(true)
	b.post("/cart", "sku", "camera").fails(503, "store_unavailable").lacks("disk")
	b.post("/reauth", "password", ada.Password).fails(503, "store_unavailable").lacks("disk")
	broken.Store(false)
	if got := b.cart(); got != "tent:1" || b.cookies["__Host-session"] != token {
		t.Errorf("in the session: %q", got)
	}
	if got := lines(s.user(ada.Email).Cart); got != lines(user.Cart) {
		t.Errorf("saved: %q", got)
	}
}

// stream opens /live over a real connection and sends its lines.
func stream(t *testing.T, server *httptest.Server, b *browser) <-chan string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if kind := res.Header.Get("Content-Type"); res.StatusCode != 200 || kind != "text/event-stream" {
		t.Fatalf("%s, %q", res.Status, kind)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(res.Body); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	if first := <-lines; first != "event: hello" {
		t.Fatalf("begins with %q", first)
	}
	return lines
}

func drain(lines <-chan string) string {
	var all []string
	for line := range lines {
		all = append(all, line)
	}
	return strings.Join(all, "\n")
}

func TestLiveEndsWithTheSession(t *testing.T) {
	inWays(t, withList, func(t *testing.T, w *way) {
		s := w.newSite(t)
		server := httptest.NewServer(s)
		t.Cleanup(server.Close)
		t.Cleanup(s.Close)
		one, two := s.program(), s.program()
		one.login(ada)
		two.login(ada)
		kept, ended := stream(t, server, one), stream(t, server, two)
		one.post("/session/devices/others/end").want(200)
		if got := drain(ended); !strings.Contains(got, "event: signed-out") {
			t.Errorf("the ended session's stream: %q", got)
		}
		s.sleep(time.Second) // a login of the instant in which a user's sessions were ended is refused
		// A confirmed password does not end the session.
		one.post("/reauth", "password", ada.Password).want(200)
		s.Close()
		if got := drain(kept); strings.Contains(got, "signed-out") {
			t.Errorf("the other's: %q", got)
		}
	})
}

func TestLiveIsNoActivity(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		s := w.newSite(t)
		server := httptest.NewServer(s)
		t.Cleanup(server.Close)
		t.Cleanup(s.Close)
		b := s.program()
		b.login(ada)
		for range 3 {
			s.sleep(7 * time.Hour)
			stream(t, server, b)
		}
		s.sleep(4 * time.Hour)
		b.send(b.request("HEAD", "/live", nil)) // answers at once
		if b.me().Subject != "" {
			t.Fatal("an open page kept the session alive")
		}
		b.get("/live").fails(401, "login_required")
	})
}

// After too many wrong passwords the right one is refused too, for a while. An
// account that does not exist gets the same answer.
func TestTooManyWrongPasswords(t *testing.T) {
	s := newSite(t)
	try := func(ip, email, password string) *answer {
		b := s.program()
		r := b.request("POST", "/login", strings.NewReader(url.Values{"email": {email}, "password": {password}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = ip
		return b.send(r)
	}
	var answers []string
	for _, email := range []string{ada.Email, "nobody@example.com", " ADA@example.com"} {
		for i := range password.MaxWrongHere {
			if email != " ADA@example.com" { // is ada's, and used up
				try("192.0.2.1:1", email, fmt.Sprint("wrong", i)).fails(401, "invalid_login")
			}
		}
		a := try("192.0.2.1:1", email, ada.Password)
		a.fails(429, "too_many_tries")
		if a.Header.Get("Retry-After") != "900" {
			t.Error("no Retry-After")
		}
		answers = append(answers, a.body)
	}
	if answers[0] != answers[1] || answers[0] != answers[2] {
		t.Errorf("the answers tell who exists: %q", answers)
	}
	try("192.0.2.2:1", ada.Email, ada.Password).want(200) // the owner is elsewhere
	try("192.0.2.1:1", ben.Email, ben.Password).want(200) // another account
	try("192.0.2.1:1", ada.Email, "x").fails(429, "too_many_tries")

	for i := range password.MaxWrong - password.MaxWrongHere {
		try(fmt.Sprintf("198.51.100.%d:1", i), ada.Email, "wrong").fails(401, "invalid_login")
	}
	try("192.0.2.2:1", ada.Email, ada.Password).fails(429, "too_many_tries") // many addresses guess
	s.sleep(2 * password.Window)
	try("192.0.2.1:1", ada.Email, ada.Password).want(200)

	// A right password resets the count of wrong ones.
	for range 3 {
		for range password.MaxWrongHere - 1 {
			try("192.0.2.3:1", ben.Email, "wrong").fails(401, "invalid_login")
		}
		try("192.0.2.3:1", ben.Email, ben.Password).want(200)
	}
	page := s.browser()
	for range password.MaxWrongHere {
		page.post("/login", "email", "eve@example.com", "password", "wrong").want(401)
	}
	page.post("/login", "email", "eve@example.com", "password", "wrong").want(429).has("Too many wrong passwords for this e-mail address. Please wait 15 minutes.")
}

// Parallel attempts count before any of them is answered.
func TestWrongPasswordsInParallel(t *testing.T) {
	s := newSite(t)
	s.Log = slog.New(faultyHandler{slog.DiscardHandler}) // the account's share of the queue is small: 503
	var wg sync.WaitGroup
	var looked atomic.Int64
	for range 50 {
		wg.Go(func() {
			b := s.program()
			if b.post("/login", "email", ada.Email, "password", "wrong").StatusCode == 401 {
				looked.Add(1)
			}
		})
	}
	wg.Wait()
	if n := looked.Load(); n > password.MaxWrongHere {
		t.Errorf("%d passwords were looked at, want %d at most", n, password.MaxWrongHere)
	}
}

// The page shows a notice only after a sign-out.
func TestSignOutSaysSo(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		b := w.newSite(t).browser()
		b.login(ada)
		b.post("/logout").to("/?done=logout")
		b.get("/?done=logout").has(`role="status">You are signed out.`)
		b.login(ada)
		if a := b.get("/?done=logout"); strings.Contains(a.body, "You are signed out.") {
			t.Error("who is signed in is told that they are not")
		}
		if a := b.get("/?done=nonsense"); strings.Contains(a.body, "done.") {
			t.Error(a.body)
		}
	})
}

// A visitor whose languages are not available sees the list of languages, until
// they choose one.
func TestUnspokenLanguage(t *testing.T) {
	inEveryWay(t, func(t *testing.T, w *way) {
		b := w.newSite(t).browser()
		const bar = `class="unspoken"`
		for _, lang := range []string{"en", "de-AT", "", "*"} {
			b.lang = lang
			if a := b.get("/"); strings.Contains(a.body, bar) {
				t.Errorf("%q is spoken", lang)
			}
		}
		b.lang = "fr-FR,fr;q=0.9"
		b.get("/login").has(bar, "This shop speaks:", ">English</button>", ">Deutsch</button>")
		b.post("/preferences", "language", "de", "next", "/login").to("/login")
		if a := b.get("/login").has(`lang="de"`); strings.Contains(a.body, bar) {
			t.Error("the choice is asked for again")
		}
	})
}
