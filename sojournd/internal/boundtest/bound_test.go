package boundtest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/sojourn-go/sojourn/drivers/sqlitestore"
	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
)

// A login binds itself. Then pages go on for hours: each proof that has expired is
// renewed once, before the page, through rotations of the secret, which offer no
// other key. A good proof is not renewed.
func TestBoundForHours(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	b.signIn("ann", false)
	secret, secrets := b.session(), 0
	for range 12 {
		b.lapse(life + grace + time.Second)
		b.greets("ann")
		b.refreshed("200")
		b.greets("ann")
		b.refreshed("")
		if now := b.session(); now != secret {
			secret, secrets = now, secrets+1
		}
	}
	if secrets < 5 {
		t.Errorf("the secret rotated %d times", secrets)
	}
	if got := s.answers(register); got != "" {
		t.Errorf("answers to further registrations: %s", got)
	}
	s.refusedNobody("ann")
}

// 64 requests at the moment when the proof is over, and a rotation is due: none is
// refused, and one refresh is enough.
func TestBoundBurst(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	b.signIn("ann", false)
	for range 2 {
		b.lapse(life + grace + time.Second)
		got := b.fetch(slices.Repeat([]string{"/me"}, 64)...)
		if want := slices.Repeat([]string{"Hello ann"}, 64); !slices.Equal(got, want) {
			t.Fatalf("the answers: %q", got)
		}
		b.refreshed("200")
	}
	// With forms, whose bodies wait too.
	b.lapse(life + grace + time.Second)
	got := b.Eval(`Promise.all([...Array(16)].map(() => fetch("/order", {method: "POST", body: "x".repeat(10000)}).then(r => r.status))).then(list => list.join(" "))`)
	if want := strings.TrimSpace(strings.Repeat("200 ", 16)); got != want {
		t.Errorf("the forms: %s", got)
	}
	b.refreshed("200")
	s.refusedNobody("ann")
}

// The laptop sleeps for a day. The challenge that the browser keeps is too old
// then, so it signs a second one.
func TestBoundAfterADay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	b.signIn("ann", true)
	b.lapse(24 * time.Hour)
	b.greets("ann")
	b.refreshed("403 200")
	b.lapse(life + grace + time.Second)
	b.greets("ann")
	b.refreshed("200")
}

// The server refuses a proof that the browser still believes in: its clock jumped
// ahead, or it lost its last writes. The next page is the user's again.
func TestBoundForgottenProof(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	b.signIn("ann", false)
	for range 2 {
		s.pass(life + grace + time.Second)
		b.fetch("/me")
		b.greets("ann")
		b.refreshed("200")
	}
}

// A browser that is closed and opened again has its key.
func TestBoundBrowserRestarts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	profile := t.TempDir()
	tab, quit := browsertest.OpenProfile(t, s.URL(browsertest.BoundHost), pictures, profile)
	b := browser{tab, s}
	b.signIn("ann", true)
	quit()
	tab, quit = browsertest.OpenProfile(t, s.URL(browsertest.BoundHost), pictures, profile)
	b = browser{tab, s}
	b.greets("ann")
	b.refreshed("")
	b.lapse(life + grace + time.Second)
	b.greets("ann")
	b.refreshed("403 200") // it has forgotten the challenge
	quit()
	tab, _ = browsertest.OpenProfile(t, s.URL(browsertest.BoundHost), pictures, profile)
	b = browser{tab, s}
	b.lapse(5 * time.Hour)
	b.greets("ann")
	b.refreshed("403 200")
}

// The server is replaced by another on the same file.
func TestBoundServerRestarts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.cleanup()
	file := t.TempDir() + "/sessions.db"
	open := func() func() {
		st, err := sqlitestore.Open(t.Context(), file, sqlitestore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s.start(st)
		return func() {
			s.Close()
			s.cleanup()
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	stop := open()
	b := s.browser()
	b.signIn("ann", false)
	for i := range 2 {
		stop()
		if i == 1 {
			b.Forget(proofCookie)
			s.later(life + grace + time.Second)
		}
		stop = open()
		s.Open()
		b.greets("ann")
		b.refreshed([]string{"", "200"}[i])
	}
	stop()
}

// Logging out ends the browser's part too. The next user of the browser is bound
// anew, after a logout and without one.
func TestBoundLoginAsAnother(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	b.signIn("ann", false)
	b.Click("#out button")
	b.See("h1", "Hello stranger")
	b.Until("ends", b.Ends, 1)
	for _, c := range b.Cookies() {
		t.Errorf("after the logout, the browser has the cookie %s", c)
	}
	b.signIn("bob", false)
	first := s.of("bob").ID
	b.signIn("ann", false) // takes the place of bob
	if _, err := s.engine.Get(t.Context(), first); err == nil {
		t.Error("bob's session lives on")
	}
	for range 2 {
		b.lapse(life + grace + time.Second)
		b.greets("ann")
	}
	b.Until("ends", b.Ends, 2)
	b.lapse(life + grace + time.Second)
	s.answers(refresh)
	b.greets("ann")
	b.refreshed("200") // bob's key isn't asked for any more
	s.refusedNobody("ann")
}

// While the server is down, in each way, nobody is logged out, and when it is back
// the first page is the user's.
func TestBoundOutages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	b.signIn("ann", false)
	id := s.of("ann").ID
	meddle := func(by func(w http.ResponseWriter, r *http.Request, next http.Handler)) func() {
		return func() { s.between(by) }
	}
	for _, outage := range []struct {
		name     string
		down, up func()
	}{
		{"the store fails", func() { s.fail(errDown) }, func() { s.fail(nil) }},
		{"the port is closed", s.Close, s.Open},
		{"a proxy says 502", meddle(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusBadGateway)
		}), meddle(nil)},
		{"answers are lost", meddle(func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(&deaf{http.Header{}}, r)
			panic(http.ErrAbortHandler)
		}), meddle(nil)},
		{"only refreshes fail", meddle(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.URL.Path == refresh {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			next.ServeHTTP(w, r)
		}), meddle(nil)},
	} {
		b.lapse(life + grace + time.Second)
		outage.down()
		for range 6 {
			b.Eval(`fetch("/me").then(() => "", () => "")`)
		}
		outage.up()
		// After three failures Chromium waits before it tries again: half a second at
		// first, and half as long again each time.
		b.Await(`fetch("/me").then(r => r.text()).then(text => text === "Hello ann")`)
		b.greets("ann")
		if got := s.of("ann"); got.ID != id || !got.Bound {
			t.Errorf("%s: the session is %+v, was %s", outage.name, got, id)
		}
		if n := b.Ends(); n != 0 {
			t.Errorf("%s: the browser gave up %d bound sessions", outage.name, n)
		}
	}
}

// deaf swallows an answer.
type deaf struct{ header http.Header }

func (d *deaf) Header() http.Header         { return d.header }
func (d *deaf) Write(b []byte) (int, error) { return len(b), nil }
func (d *deaf) WriteHeader(int)             {}

// A registration that fails, or whose answer is lost, leaves the session as good as
// an unbound one. The next rotation offers the key again.
func TestBoundRegistrationFails(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(w http.ResponseWriter, r *http.Request, next http.Handler){
		"503": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusServiceUnavailable)
		},
		"lost": func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(&deaf{http.Header{}}, r)
			panic(http.ErrAbortHandler)
		},
		"cut off": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(&cut{ResponseWriter: w}, r)
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			b := s.browser()
			tried := make(chan struct{}, 10)
			s.between(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.URL.Path != register {
					next.ServeHTTP(w, r)
					return
				}
				defer func() { tried <- struct{}{} }()
				fail(w, r, next)
			})
			b.enter("ann", false)
			<-tried
			b.greets("ann")
			s.pass(2*life + grace)
			s.between(nil)
			b.greets("ann") // and a new secret, with an offer
			b.Until("registrations", b.Registrations, 1)
			b.greets("ann")
			s.answers(refresh)
			b.lapse(life + grace + time.Second)
			b.greets("ann")
			b.refreshed("200")
			if !s.of("ann").Bound {
				t.Error("the session is not bound")
			}
		})
	}
}

// Where a bound session is required, a browser whose registration failed waits on a
// page that offers it again, and goes on.
func TestBoundRequiredAfterAFailure(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	tried := make(chan struct{}, 10)
	s.between(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Path != register {
			next.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		tried <- struct{}{}
	})
	b.enter("ann", false)
	<-tried
	s.between(nil)
	s.pass(time.Minute) // after which it is offered again
	b.Visit("/safe")
	b.Await(`location.pathname === "/safe" && document.querySelector("h1").innerText === "Hello ann"`)
	if got := s.answers(register); got != "503 200" {
		t.Errorf("answers to registrations: %s", got)
	}
}

// cut loses the connection in the middle of a body.
type cut struct{ http.ResponseWriter }

func (c *cut) Write(b []byte) (int, error) {
	c.Header().Set("Content-Length", fmt.Sprint(len(b)))
	n, _ := c.ResponseWriter.Write(b[:len(b)/2])
	return n, http.NewResponseController(c.ResponseWriter).Flush()
}

// A page view that comes without a proof, because the refresh failed, waits on a page
// of the server, and goes on when the server is back. A form is not lost silently.
func TestBoundWaitingPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	b.signIn("ann", false)
	for range 2 {
		b.lapse(life + grace + time.Second)
		s.between(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.URL.Path == refresh {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			next.ServeHTTP(w, r)
		})
		b.Visit("/account?page=2")
		if got := b.Eval(`location.pathname`); got != "/session/bound/" {
			t.Fatalf("the browser is at %s", got)
		}
		if got := b.Eval(`fetch("/order", {method: "POST"}).then(r => String(r.status))`); got != "401" {
			t.Errorf("a change without a proof: %s", got)
		}
		s.between(nil)
		b.See("h1", "Hello ann")
		if got := b.Eval(`location.pathname + location.search`); got != "/account?page=2" {
			t.Errorf("the way back led to %s", got)
		}
	}
}

// A link from another site leads to the user's page, though the browser sends the
// session's cookie with no refresh on the way.
func TestBoundLinkFromAnotherSite(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	b.signIn("ann", false)
	for _, host := range []string{browsertest.OtherHost, "blog." + browsertest.BoundHost} {
		b.lapse(life + grace + time.Second)
		b.Do("visit "+host, chromedp.Navigate(s.URL(host)+"/"))
		b.See("h1", "Hello stranger")
		b.Eval(fmt.Sprintf(`location.href = %q, ""`, s.URL(browsertest.BoundHost)+"/"))
		b.See("h1", "Hello ann")
		if got := s.answers(refresh); !strings.HasSuffix(got, "200") {
			t.Errorf("a link from %s: answers to refreshes: %q", host, got)
		}
	}
	s.refusedNobody("ann")
}
