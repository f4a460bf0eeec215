package shop

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
	"github.com/sojourn-go/sojourn/store"
)

var (
	ada = Account{"ada@example.com", "difference-engine"}
	ben = Account{"ben@example.com", "kite-and-lightning"}
)

// cheapPasswords are cheap to hash, because many tests sign in.
var cheapPasswords = sync.OnceValue(func() *password.Hasher {
	p, err := password.New(password.Cost{MemoryKiB: 64, Passes: 1})
	if err != nil {
		panic(err)
	}
	return p
})

// A site is a shop with a clock that the test controls.
type site struct {
	*Shop
	t     *testing.T
	store store.Store
	mu    sync.Mutex
	now   time.Time
}

// newSite returns a site whose sessions are all in a store.
func newSite(t *testing.T) *site { return stored.newSite(t) }

// newSiteOn returns a site on a store, which is nil if every session is sealed.
func newSiteOn(t *testing.T, st store.Store, w *way) *site {
	t.Helper()
	s := &site{t: t, store: st, now: time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)}
	users, err := NewMemoryUsers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	engine, err := sojourn.New(st, sojourn.Options{App: "shop", Now: s.clock, OnError: AnswerError, Sealed: w.sealing(users)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := AddDemo(t.Context(), users, cheapPasswords(), []Account{ada, ben}); err != nil {
		t.Fatal(err)
	}
	s.Shop, err = New(Options{
		Sessions: engine, Users: users, Passwords: cheapPasswords(), Demo: []Account{ada, ben}, Now: s.clock, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := engine.Close(ctx); err != nil {
			t.Error(err)
		}
		if st != nil {
			err = st.Close()
		}
		if err := errors.Join(err, users.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *site) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *site) sleep(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// user returns the stored user of an address.
func (s *site) user(email string) User {
	s.t.Helper()
	u, err := s.Users.ByEmail(s.t.Context(), email)
	if err != nil {
		s.t.Fatal(err)
	}
	return u
}

// A browser keeps cookies, and checks that no answer shows a token.
type browser struct {
	site *site
	t    *testing.T

	accept string // of the next requests
	lang   string
	agent  string

	mu      sync.Mutex
	cookies map[string]string
	tokens  []string // all that it ever got
	page    string   // the last that it has loaded
}

func (s *site) browser() *browser {
	return &browser{
		site: s, t: s.t, accept: "text/html", lang: "en", cookies: map[string]string{},
		agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
	}
}

// program returns a browser that asks for JSON.
func (s *site) program() *browser {
	b := s.browser()
	b.accept = "application/json"
	return b
}

// copy returns a browser with a copy of the cookies.
func (b *browser) copy() *browser {
	c := b.site.browser()
	c.accept = b.accept
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.Copy(c.cookies, b.cookies)
	return c
}

// An answer is a response with its body.
type answer struct {
	*http.Response
	t    *testing.T
	body string
}

func (b *browser) request(method, path string, body io.Reader) *http.Request {
	r := httptest.NewRequestWithContext(b.t.Context(), method, "https://shop.example"+path, body)
	r.Header.Set("Accept", b.accept)
	r.Header.Set("Accept-Language", b.lang)
	r.Header.Set("User-Agent", b.agent)
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

func (b *browser) send(r *http.Request) *answer {
	b.t.Helper()
	w := httptest.NewRecorder()
	b.site.ServeHTTP(w, r)
	res := w.Result()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range res.Cookies() {
		if c.Value != "" {
			b.tokens = append(b.tokens, c.Value)
		}
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
		if cache := res.Header.Get("Cache-Control"); !strings.Contains(cache, "no-store") {
			b.t.Errorf("%s %s: sets a cookie, Cache-Control is %q", r.Method, r.URL, cache)
		}
	}
	a := &answer{res, b.t, w.Body.String()}
	for _, token := range b.tokens {
		if strings.Contains(a.body, token) || strings.Contains(res.Header.Get("Location"), token) {
			b.t.Errorf("%s %s: the answer shows a token", r.Method, r.URL)
		}
		if secret := token[22:]; strings.Contains(a.body, secret) {
			b.t.Errorf("%s %s: the answer shows a secret", r.Method, r.URL)
		}
	}
	if res.StatusCode >= 500 && b.site.healthy() {
		b.t.Errorf("%s %s: %d %s", r.Method, r.URL, res.StatusCode, a.body)
	}
	return a
}

func (s *site) healthy() bool { _, faulty := s.Log.Handler().(faultyHandler); return !faulty }

// faultyHandler marks a site on which errors are expected.
type faultyHandler struct{ slog.Handler }

func (b *browser) get(path string) *answer {
	b.t.Helper()
	r := b.request("GET", path, nil)
	b.mu.Lock()
	b.page = r.URL.String()
	b.mu.Unlock()
	return b.send(r)
}

// post sends a form of the last page: name, value, name, value …
func (b *browser) post(path string, fields ...string) *answer {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	r := b.request("POST", path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b.mu.Lock()
	r.Header.Set("Referer", b.page)
	b.mu.Unlock()
	return b.send(r)
}

func (b *browser) login(a Account, more ...string) *answer {
	b.t.Helper()
	res := b.post("/login", append([]string{"email", a.Email, "password", a.Password}, more...)...)
	if res.StatusCode != 200 && res.StatusCode != 303 {
		b.t.Fatalf("login of %s: %d %s", a.Email, res.StatusCode, res.body)
	}
	return res
}

// cart returns /cart.json as "sku:qty sku:qty".
func (b *browser) cart() string {
	b.t.Helper()
	var c struct{ Items []Line }
	b.get("/cart.json").want(200).decode(&c)
	return lines(c.Items)
}

func (b *browser) me() (me struct {
	Subject, Session string
	Level            int
}) {
	b.t.Helper()
	b.get("/me.json").want(200).decode(&me)
	return me
}

// sessions returns the first page of the user's sessions.
func (b *browser) sessions() []listed {
	b.t.Helper()
	var all struct{ Sessions []listed }
	b.get("/session/devices").want(200).decode(&all)
	return all.Sessions
}

// A listed session is what /session/devices says of one.
type listed struct {
	ID, Name   string
	Current    bool
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at"`
}

func lines(items []Line) string {
	var words []string
	for _, l := range items {
		words = append(words, l.SKU+":"+itoa(l.Qty))
	}
	return strings.Join(words, " ")
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.StatusCode != status {
		a.t.Fatalf("%d, want %d: %s", a.StatusCode, status, a.body)
	}
	return a
}

// to checks a redirect.
func (a *answer) to(location string) *answer {
	a.t.Helper()
	a.want(303)
	if got := a.Header.Get("Location"); got != location {
		a.t.Fatalf("leads to %q, want %q", got, location)
	}
	return a
}

// explains checks an error of the pages of /session/.
func (a *answer) explains(status int, code string) *answer {
	a.t.Helper()
	var e struct{ Code, Detail string }
	a.want(status).decode(&e)
	if e.Code != code || e.Detail == "" {
		a.t.Fatalf("error %q (%q), want %q", e.Code, e.Detail, code)
	}
	return a
}

// fails checks a JSON error.
func (a *answer) fails(status int, code string) *answer {
	a.t.Helper()
	var e struct{ Error, Message string }
	a.want(status).decode(&e)
	if e.Error != code || e.Message == "" || strings.HasPrefix(e.Message, "error.") || strings.Contains(e.Message, "%!") {
		a.t.Fatalf("error %q (%q), want %q", e.Error, e.Message, code)
	}
	return a
}

func (a *answer) has(texts ...string) *answer {
	a.t.Helper()
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			a.t.Fatalf("%q isn't in:\n%s", text, a.body)
		}
	}
	return a
}

func (a *answer) lacks(text string) *answer {
	a.t.Helper()
	if strings.Contains(a.body, text) {
		a.t.Fatalf("%q is in:\n%s", text, a.body)
	}
	return a
}

func (a *answer) decode(into any) {
	a.t.Helper()
	if kind := a.Header.Get("Content-Type"); kind != "application/json" && kind != "application/problem+json" {
		a.t.Fatalf("Content-Type is %q: %s", kind, a.body)
	}
	d := json.NewDecoder(strings.NewReader(a.body))
	if err := d.Decode(into); err != nil {
		a.t.Fatalf("%v: %s", err, a.body)
	}
}
