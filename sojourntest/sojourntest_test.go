package sojourntest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojourntest"
)

// shop is the application of the tests.
func shop(sessions *sojourn.Engine) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request, *sojourn.Session) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r, sojourn.From(r.Context())); err != nil {
				sojourn.Error(w, r, err)
			}
		})
	}
	handle("GET /who", func(w http.ResponseWriter, r *http.Request, s *sojourn.Session) error {
		_, err := fmt.Fprintf(w, "%q at level %d", s.Subject(), s.Level())
		return err
	})
	handle("POST /cart", func(w http.ResponseWriter, r *http.Request, s *sojourn.Session) error {
		return cart.Update(s, func(c *[]string) error { *c = append(*c, r.FormValue("sku")); return nil })
	})
	handle("POST /login", func(w http.ResponseWriter, r *http.Request, s *sojourn.Session) error {
		return s.Login(r.FormValue("user"))
	})
	handle("POST /logout", func(w http.ResponseWriter, r *http.Request, s *sojourn.Session) error { return s.Logout() })
	member := sojourn.Requirement{SignIn: "/login"}
	mux.Handle("/account", member.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the account") })))
	return sessions.Handler(mux)
}

var cart = sojourn.NewKey[[]string]("cart")

func get(app http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	app.ServeHTTP(w, r)
	return w
}

func TestSignedIn(t *testing.T) {
	sessions := sojourntest.New(t, sojourn.Options{Bearer: true})
	app := shop(sessions.Engine)
	for what, test := range map[string]struct {
		r    *http.Request
		want string
	}{
		"nobody":      {httptest.NewRequest("GET", "/who", nil), `"" at level 0`},
		"ann":         {sessions.SignedIn(httptest.NewRequest("GET", "/who", nil), "ann"), `"ann" at level 1`},
		"with a code": {sessions.SignedIn(httptest.NewRequest("GET", "/who", nil), "ann", sojourn.Level(2)), `"ann" at level 2`},
		"bearer":      {sessions.SignedIn(httptest.NewRequest("GET", "/who", nil), "ann", sojourn.AsBearer()), `"ann" at level 1`},
		"HTTPS":       {sessions.SignedIn(httptest.NewRequest("GET", "https://shop.example/who", nil), "ann"), `"ann" at level 1`},
		"in again":    {sessions.SignedIn(sessions.SignedIn(httptest.NewRequest("GET", "/who", nil), "ann"), "ben"), `"ben" at level 1`},
	} {
		if w := get(app, test.r); w.Code != 200 || w.Body.String() != test.want {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	if n := len(sessions.Events(sojourn.EventRefused, sojourn.EventClientChanged)); n > 0 {
		t.Errorf("%d odd events", n)
	}
}

// Other cookies of the request stay, and a cart goes along with a login.
func TestChange(t *testing.T) {
	sessions := sojourntest.New(t, sojourn.Options{})
	app := shop(sessions.Engine)
	r := httptest.NewRequest("POST", "/cart?sku=tent", nil)
	r.AddCookie(&http.Cookie{Name: "theme", Value: "dark"})
	r = sessions.Change(r, func(s *sojourn.Session) error { return cart.Set(s, []string{"mug"}) })
	r = sessions.SignedIn(r, "ann")
	if w := get(app, r); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	s := sessions.Session(r)
	if c, err := cart.Get(s); err != nil || strings.Join(c, " ") != "mug tent" || s.Subject() != "ann" {
		t.Errorf("%v %v of %q", c, err, s.Subject())
	}
	if names := r.Header["Cookie"]; len(r.Cookies()) != 2 || !strings.Contains(names[0], "theme=dark") {
		t.Errorf("%q", names)
	}
}

func TestClock(t *testing.T) {
	sessions := sojourntest.New(t, sojourn.Options{})
	began := sessions.Now()
	if since := time.Since(began); since < 0 || since > time.Hour {
		t.Errorf("it is %v", began)
	}
	r := sessions.SignedIn(httptest.NewRequest("GET", "/", nil), "ann")
	if !sessions.Session(r).Fresh(10 * time.Minute) {
		t.Error("not fresh")
	}
	sessions.Advance(11 * time.Minute)
	if s := sessions.Session(r); s.Fresh(10*time.Minute) || s.Subject() != "ann" {
		t.Errorf("still fresh, or gone: %q", s.Subject())
	}
	sessions.Advance(24 * time.Hour)
	if s := sessions.Session(r); s.Subject() != "" || s.EndReason() != sojourn.ReasonIdle {
		t.Errorf("%q is still signed in", s.Subject())
	}
	if got := sessions.Now().Sub(began); got < 24*time.Hour+11*time.Minute || got > 25*time.Hour {
		t.Errorf("%v have passed", got)
	}
}

// A login right after everybody was signed out doesn't fail.
func TestLoginAfterAnEnd(t *testing.T) {
	sessions := sojourntest.New(t, sojourn.Options{})
	b := sessions.Browser(shop(sessions.Engine))
	for range 3 {
		b.SignIn("ann")
		if got := b.Get("/who").Body.String(); got != `"ann" at level 1` {
			t.Errorf("signed in as %s", got)
		}
		if _, err := sessions.EndSubject(t.Context(), "ann", sojourn.ID{}); err != nil {
			t.Fatal(err)
		}
		if got := b.Get("/who").Body.String(); got != `"" at level 0` {
			t.Errorf("after the end: %s", got)
		}
	}
}

func TestEvents(t *testing.T) {
	var own []sojourn.EventKind
	var mu sync.Mutex
	sessions := sojourntest.New(t, sojourn.Options{OnEvent: func(e sojourn.Event) {
		mu.Lock()
		defer mu.Unlock()
		own = append(own, e.Kind)
	}})
	b := sessions.Browser(shop(sessions.Engine))
	b.Post("/cart", url.Values{"sku": {"tent"}})
	b.Post("/login", url.Values{"user": {"ann"}})
	b.Post("/logout", nil)
	var all []sojourn.EventKind
	for _, e := range sessions.Events() {
		all = append(all, e.Kind)
	}
	if got := fmt.Sprint(all); got != "[created authenticated ended]" {
		t.Errorf("events: %s", got)
	}
	if ends := sessions.Events(sojourn.EventEnded); len(ends) != 1 || ends[0].Reason != sojourn.ReasonLogout || ends[0].Subject != "ann" {
		t.Errorf("%+v", ends)
	}
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(own) != fmt.Sprint(all) {
		t.Errorf("OnEvent got %v", own)
	}
}

// A browser keeps cookies through a login and a logout, and is a page's reader.
func TestBrowser(t *testing.T) {
	for what, o := range map[string]sojourn.Options{
		"default":    {},
		"a domain":   {Cookie: sojourn.Cookie{Domain: "example.org"}},
		"an origin":  {Origins: []string{"https://shop.example.net:8443"}},
		"plain HTTP": {Development: true},
		"own origin": {Cookie: sojourn.Cookie{Domain: "example.org"}, Origins: []string{"https://shop.example.org"}},
	} {
		sessions := sojourntest.New(t, o)
		b := sessions.Browser(shop(sessions.Engine))
		check := func(w *httptest.ResponseRecorder, status int, location string) {
			t.Helper()
			if w.Code != status || w.Header().Get("Location") != location {
				t.Errorf("%s: %d to %q, want %d to %q: %s", what, w.Code, w.Header().Get("Location"), status, location, w.Body)
			}
		}
		check(b.Get("/account?tab=2"), 303, "/login?return_to=%2Faccount%3Ftab%3D2")
		check(b.Post("/cart", url.Values{"sku": {"tent"}}), 200, "")
		check(b.Post("/login", url.Values{"user": {"ann"}}), 200, "")
		check(b.Get("/account"), 200, "")
		if c, err := cart.Get(b.Session()); err != nil || len(c) != 1 {
			t.Errorf("%s: the cart: %v, %v", what, c, err)
		}
		sessions.Advance(20 * time.Minute) // the secret rotates, and the browser keeps up
		check(b.Get("/account"), 200, "")
		sessions.Advance(20 * time.Minute)
		check(b.Get("/account"), 200, "")
		if n := len(sessions.Events(sojourn.EventRotated)); n == 0 {
			t.Errorf("%s: no rotation", what)
		}
		check(b.Post("/logout", nil), 200, "")
		check(b.Do(httptest.NewRequest("GET", "/account", nil)), 401, "")
		b.SignIn("ben", sojourn.Remember())
		check(b.Do(httptest.NewRequest("GET", "/account", nil)), 200, "")
		b.Change(func(s *sojourn.Session) error { return s.Logout() })
		check(b.Do(httptest.NewRequest("GET", "/account", nil)), 401, "")
		if other := sessions.Browser(shop(sessions.Engine)); other.Get("/who").Body.String() != `"" at level 0` {
			t.Errorf("%s: two browsers share cookies", what)
		}
	}
}

func TestFail(t *testing.T) {
	sessions := sojourntest.New(t, sojourn.Options{})
	b := sessions.Browser(shop(sessions.Engine))
	b.SignIn("ann")
	sessions.Fail(errors.New("the database is away"))
	if w := b.Get("/account"); w.Code != 503 || strings.Contains(w.Body.String(), "database") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	sessions.Fail(nil)
	if w := b.Get("/account"); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Requests of package httptest, which come by plain HTTP for example.com, are no
// reason for a warning.
func TestNoWarnings(t *testing.T) {
	var log bytes.Buffer
	old := slog.Default()
	defer slog.SetDefault(old)
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	sessions := sojourntest.New(t, sojourn.Options{})
	app := shop(sessions.Engine)
	if w := get(app, httptest.NewRequest("POST", "/cart?sku=tent", nil)); len(w.Result().Cookies()) != 1 {
		t.Errorf("%v", w.Header())
	}
	get(app, sessions.SignedIn(httptest.NewRequest("POST", "/cart?sku=tent", nil), "ann"))
	sessions.Browser(app).Post("/cart", nil)
	if log.Len() > 0 {
		t.Errorf("it says: %s", &log)
	}
}

// A recorder stands in for the test, and notes that it failed.
type recorder struct {
	testing.TB
	failed string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatal(args ...any) { r.failed = fmt.Sprint(args...); panic(r) }

func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }

// A mistake in a test fails it, and says what is wrong.
func TestMistakes(t *testing.T) {
	for want, mistake := range map[string]func(testing.TB){
		"leave Options.Now empty": func(t testing.TB) { sojourntest.New(t, sojourn.Options{Now: time.Now}) },
		"SameSite is 9":           func(t testing.TB) { sojourntest.New(t, sojourn.Options{Cookie: sojourn.Cookie{SameSite: 9}}) },
		"a subject is 1 to 255": func(t testing.TB) {
			sojourntest.New(t, sojourn.Options{}).SignedIn(httptest.NewRequest("GET", "/", nil), "")
		},
		"tired": func(t testing.TB) {
			sojourntest.New(t, sojourn.Options{}).Change(httptest.NewRequest("GET", "/", nil), func(*sojourn.Session) error { return errors.New("tired") })
		},
		"the database is away": func(t testing.TB) {
			sessions := sojourntest.New(t, sojourn.Options{})
			r := sessions.SignedIn(httptest.NewRequest("GET", "/", nil), "ann")
			sessions.Fail(errors.New("the database is away"))
			sessions.Session(r)
		},
	} {
		rec := &recorder{TB: t}
		func() {
			defer func() { _ = recover() }()
			mistake(rec)
		}()
		if !strings.Contains(rec.failed, want) {
			t.Errorf("%q, want %q", rec.failed, want)
		}
	}
}

// Requests may run in parallel.
func TestParallel(t *testing.T) {
	sessions := sojourntest.New(t, sojourn.Options{})
	app := shop(sessions.Engine)
	first := sessions.SignedIn(httptest.NewRequest("GET", "/who", nil), "ann")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			r := httptest.NewRequest("POST", fmt.Sprintf("/cart?sku=%d", i), nil)
			r.Header["Cookie"] = first.Header["Cookie"]
			get(app, r)
			sessions.Advance(time.Second)
			sessions.Events()
		})
	}
	wg.Wait()
	if c, err := cart.Get(sessions.Session(first)); err != nil || len(c) != 16 {
		t.Errorf("%v %v", c, err)
	}
}
