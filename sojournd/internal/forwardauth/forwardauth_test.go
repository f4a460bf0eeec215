package forwardauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
	"github.com/sojourn-go/sojourn/store"
)

func TestWhoPasses(t *testing.T) {
	w := newWorld(t, nil)
	stale := w.login("ann")
	w.pass(11 * time.Minute)
	cookies := map[string]string{
		"anonymous": "", "stale": stale, "fresh": w.login("ben"), "second factor": w.login("cai", sojourn.Level(2)),
	}
	for _, test := range []struct {
		who, require string
		status       int // in the mode status
		page         int // of a page view in the mode redirect
	}{
		{"anonymous", "any", 200, 200},
		{"anonymous", "login", 401, 302},
		{"anonymous", "fresh-10m", 401, 302},
		{"anonymous", "level-0", 401, 302},
		{"anonymous", "level-2", 401, 302},
		{"stale", "any", 200, 200},
		{"stale", "login", 200, 200},
		{"stale", "fresh-10m", 403, 403},
		{"stale", "fresh-1h30m", 200, 200},
		{"stale", "fresh-661s", 200, 200},
		{"stale", "fresh-659s", 403, 403},
		{"stale", "level-0", 200, 200},
		{"stale", "level-1", 200, 200},
		{"stale", "level-2", 403, 403},
		{"fresh", "fresh-10m", 200, 200},
		{"fresh", "level-2", 403, 403},
		{"second factor", "level-2", 200, 200},
		{"second factor", "level-3", 403, 403},
	} {
		w.want(test.who+" "+test.require, w.get("/check/shop/status/"+test.require, "Cookie", cookies[test.who]), test.status)
		view := page("/cart", "Cookie", cookies[test.who])
		w.want(test.who+" "+test.require+", page in the mode status", w.get("/check/shop/status/"+test.require, view...), test.status)
		w.want(test.who+" "+test.require+", page", w.get("/check/shop/redirect/"+test.require, view...), test.page)
		w.want(test.who+" "+test.require+", script in the mode redirect", w.get("/check/shop/redirect/"+test.require, "Cookie", cookies[test.who]), test.status)
	}
}

func TestIdentity(t *testing.T) {
	w := newWorld(t, nil)
	for _, subject := range []string{"ann", "user-1_2.3~4", "ann@example.com", "Jörg Müller", "a/b?c#d%e+f&g", "名前", "a, b; c", strings.Repeat("ü", 127)} {
		cookie := w.login(subject, sojourn.Level(2))
		answer := w.get("/check/shop/status/login", "Cookie", cookie)
		w.want(subject, answer, http.StatusOK)
		raw := answer.Header.Get("Sojourn-Subject")
		if got, err := url.PathUnescape(raw); got != subject || err != nil {
			t.Errorf("%q comes as %q, which decodes to %q, %v", subject, raw, got, err)
		}
		if strings.ContainsFunc(raw, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%", r)
		}) {
			t.Errorf("%q comes as %q", subject, raw)
		}
		if got := answer.Header["Sojourn-Session"]; len(got) != 1 || got[0] != w.id(cookie).String() {
			t.Errorf("Sojourn-Session is %q", got)
		}
		if got := answer.Header["Sojourn-Level"]; len(got) != 1 || got[0] != "2" {
			t.Errorf("Sojourn-Level is %q", got)
		}
	}
}

// Empty headers are sent too. A proxy that copies a header must not copy the
// visitor's own.
func TestIdentityOfNobody(t *testing.T) {
	w := newWorld(t, nil)
	server := httptest.NewServer(w)
	defer server.Close()
	answer, err := http.Get(server.URL + "/check/shop/status/any")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	w.want("nobody", answer, http.StatusOK)
	for _, name := range []string{"Sojourn-Subject", "Sojourn-Session", "Sojourn-Level"} {
		if got := answer.Header[name]; len(got) != 1 || got[0] != "" {
			t.Errorf("%s is %q, want one, empty", name, got)
		}
	}
	if answer.ContentLength != 0 {
		t.Errorf("a body of %d bytes", answer.ContentLength)
	}
}

func TestEndedAndExpired(t *testing.T) {
	for name, end := range map[string]func(w *world, cookie string) error{
		"ended": func(w *world, c string) error { return w.engine.End(t.Context(), w.id(c)) },
		"subject ended": func(w *world, c string) error {
			_, err := w.engine.EndSubject(t.Context(), "ann", sojourn.ID{})
			return err
		},
		"all ended": func(w *world, c string) error { return w.engine.EndAll(t.Context()) },
		"idle":      func(w *world, c string) error { w.pass(24 * time.Hour); return nil },
		"logged out": func(w *world, c string) error {
			s := w.engine.Begin(t.Context(), sojourn.Request{Session: []string{strings.TrimPrefix(c, "__Host-session=")}})
			return errors.Join(s.Logout(), s.Commit(t.Context()))
		},
	} {
		w := newWorld(t, nil)
		cookie := w.login("ann")
		w.want(name+", before", w.get("/check/shop/status/login", "Cookie", cookie), http.StatusOK)
		if err := end(w, cookie); err != nil {
			t.Fatal(name, err)
		}
		w.want(name, w.get("/check/shop/status/login", "Cookie", cookie), http.StatusUnauthorized)
		answer := w.get("/check/shop/status/any", "Cookie", cookie)
		w.want(name+", any", answer, http.StatusOK)
		if answer.Header.Get("Sojourn-Subject") != "" || answer.Header.Get("Sojourn-Session") != "" {
			t.Errorf("%s: %v", name, answer.Header)
		}
	}
}

// A check counts as activity: it moves the idle deadline.
func TestCheckKeepsAlive(t *testing.T) {
	w := newWorld(t, nil)
	cookie := w.login("ann")
	for range 30 {
		w.pass(23 * time.Hour)
		w.want("active", w.get("/check/shop/status/login", "Cookie", cookie), http.StatusOK)
	}
}

// I9: if the store does not answer, no request passes, not even of visitors
// without a login.
func TestI9CheckFailsClosed(t *testing.T) {
	w := newWorld(t, nil)
	cookie := w.login("ann")
	for _, err := range []error{errors.New("disk on fire"), context.DeadlineExceeded, store.ErrClosed} {
		w.store.fail(err)
		for _, path := range []string{"/check/shop/status/any", "/check/shop/status/login", "/check/shop/redirect/login", "/check/shop/redirect/level-2"} {
			answer := w.get(path, page("/", "Cookie", cookie)...)
			w.want(path, answer, http.StatusServiceUnavailable)
			for name := range answer.Header {
				if strings.HasPrefix(name, "Sojourn-") || name == "Location" {
					t.Errorf("%s: %s was sent", path, name)
				}
			}
			if body, _ := io.ReadAll(answer.Body); strings.Contains(string(body), "fire") {
				t.Errorf("%s: the visitor reads %q", path, body)
			}
		}
	}
	if text := w.log.String(); !strings.Contains(text, "disk on fire") || strings.Contains(text, strings.TrimPrefix(cookie, "__Host-session=")) {
		t.Errorf("the log is %q", text)
	}
	w.store.fail(nil)
	w.want("again", w.get("/check/shop/status/login", "Cookie", cookie), http.StatusOK)
}

// The path after the requirement is the visitor's. It can neither weaken a
// check nor break it.
func TestSuffixIsNotRead(t *testing.T) {
	w := newWorld(t, nil)
	ann := w.login("ann")
	for _, suffix := range []string{
		"", "/", "?", "/any", "/../any", "/../../../shop/status/any", "//any", "/%2e%2e/any", "/..%2fany", "?require=any", "?mode=status&app=shop", "/?any", "/;any",
		"/a/very/long/" + strings.Repeat("path/", 500), "/%00", "/\\", "/check/shop/status/any",
	} {
		w.want("stranger "+suffix, w.get("/check/shop/status/login"+suffix), http.StatusUnauthorized)
		w.want("ann "+suffix, w.get("/check/shop/status/login"+suffix, "Cookie", ann), http.StatusOK)
		w.want("ann, level 2 "+suffix, w.get("/check/shop/status/level-2"+suffix, "Cookie", ann), http.StatusForbidden)
	}
}

// A check that does not exist passes nobody.
func TestNoSuchCheck(t *testing.T) {
	w := newWorld(t, nil)
	ann := w.login("ann")
	for _, path := range []string{
		"/", "/check", "/check/", "/check/shop", "/check/shop/", "/check/shop/status", "/check/shop/status/", "/check//status/any", "/check/other/status/any", "/check/Shop/status/any",
		"/check/shop/Status/any", "/check/shop//any", "/check/shop/status/Any", "/check/shop/status/none", "/check/shop/status/level-", "/check/shop/status/level-4",
		"/check/shop/status/level--1", "/check/shop/status/level-10", "/check/shop/status/level-2x", "/check/shop/status/fresh-", "/check/shop/status/fresh-10", "/check/shop/status/fresh-0s",
		"/check/shop/status/fresh--5m", "/check/shop/status/fresh-NaN", "/check/shop/status/fresh-99999999999h", "/check/shop/status/login*", "//check/shop/status/any", "/checks/shop/status/any",
		"/check/shop%2Fstatus%2Fany%00", "/check/shop/status/any%00",
	} {
		w.want(path, w.get(path, "Cookie", ann), http.StatusNotFound)
	}
}

func TestAnyMethod(t *testing.T) {
	w := newWorld(t, nil)
	ann := w.login("ann")
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
		// The application must refuse other origins. The proxy may set any
		// Host.
		w.want(method, w.ask(method, "/check/shop/status/login", "Cookie", ann, "Origin", "https://elsewhere.example", "Upgrade", "websocket"), http.StatusOK)
		w.want(method, w.ask(method, "/check/shop/status/login"), http.StatusUnauthorized)
	}
}

// A 401 is for scripts. It names the scheme, as RFC 9110 requires, and says
// what to do.
func TestUnauthorized(t *testing.T) {
	w := newWorld(t, nil)
	answer := w.get("/check/shop/redirect/login", "Accept", "application/json", "Sec-Fetch-Mode", "cors")
	w.want("script", answer, http.StatusUnauthorized)
	if got := answer.Header.Get("WWW-Authenticate"); got != `Cookie realm="shop"` {
		t.Errorf("WWW-Authenticate is %q", got)
	}
	if body, _ := io.ReadAll(answer.Body); string(body) != "sign in first\n" {
		t.Errorf("it says %q", body)
	}
}

func TestRotation(t *testing.T) {
	const check = "/check/shop/redirect/login"
	due := func(t *testing.T, relays bool) (*world, string) {
		w := newWorld(t, app(func(a *forwardauth.App) { a.RelaysCookies = relays }))
		cookie := w.login("ann")
		w.pass(16 * time.Minute)
		return w, cookie
	}
	w, cookie := due(t, false)
	if got := w.get(check, "Cookie", cookie).Header["Set-Cookie"]; len(got) > 0 {
		t.Error("rotated, though the proxy drops the cookie")
	}
	w, cookie = due(t, true)
	for what, answer := range map[string]*http.Response{
		"of a POST":                     w.get(check, "Cookie", cookie, "X-Forwarded-Method", "POST"),
		"of a POST, by Envoy":           w.ask("POST", check+"/pay", "Cookie", cookie),
		"of a POST, told by a stranger": w.get(check, "Cookie", cookie, "X-Forwarded-Method", "POST", "peer", "192.0.2.1:4711"),
		"of a refusal":                  w.get("/check/shop/redirect/level-2", "Cookie", cookie),
	} {
		if got := answer.Header["Set-Cookie"]; len(got) > 0 {
			t.Errorf("the answer %s rotates", what)
		}
	}
	answer := w.get(check, "Cookie", cookie)
	lines := answer.Header["Set-Cookie"]
	if len(lines) != 1 {
		t.Fatalf("Set-Cookie is %q", lines)
	}
	next, err := http.ParseSetCookie(lines[0])
	if err != nil || next.Name != "__Host-session" || !next.Secure || !next.HttpOnly || next.Path != "/" || next.MaxAge <= 0 {
		t.Errorf("Set-Cookie: %q", lines[0])
	}
	w.want("the new one", w.get(check, "Cookie", next.Name+"="+next.Value), http.StatusOK)
	w.want("the old one, in the grace", w.get(check, "Cookie", cookie), http.StatusOK)
	if next.Name+"="+next.Value == cookie {
		t.Error("the secret is the same")
	}
}

// Many bad tokens are answered like no token. A visitor with an old cookie
// looks like a guesser, and must reach the sign-in page.
func TestGuessing(t *testing.T) {
	w := newWorld(t, func(_ *forwardauth.App, o *sojourn.Options) { o.MaxBadTokens = 3 })
	ann := w.login("ann")
	for i := range 50 {
		bad := "__Host-session=" + strings.Repeat("A", 62) + fmt.Sprintf("%02d", i)
		w.want("a guess", w.get("/check/shop/status/login", "Cookie", bad), http.StatusUnauthorized)
		w.want("where anybody passes", w.get("/check/shop/status/any", "Cookie", bad), http.StatusOK)
		w.want("a page view", w.get("/check/shop/redirect/login", page("/", "Cookie", bad)...), http.StatusFound)
	}
	w.want("ann, from the same address", w.get("/check/shop/status/login", "Cookie", ann), http.StatusOK)
}

func TestParallelChecks(t *testing.T) {
	w := newWorld(t, app(func(a *forwardauth.App) { a.RelaysCookies = true }))
	cookies := map[string]string{"ann": w.login("ann"), "ben": w.login("ben")}
	w.pass(16 * time.Minute)
	var wg sync.WaitGroup
	for subject, cookie := range cookies {
		for range 4 {
			wg.Go(func() {
				for range 200 {
					answer := w.get("/check/shop/status/login", "Cookie", cookie)
					if answer.StatusCode != http.StatusOK || answer.Header.Get("Sojourn-Subject") != subject {
						t.Errorf("%s is told as %q: %s", subject, answer.Header.Get("Sojourn-Subject"), answer.Status)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

func TestObserve(t *testing.T) {
	w := newWorld(t, nil)
	var seen []string
	h, err := forwardauth.New(forwardauth.Options{
		Apps:    []forwardauth.App{{Name: "shop", Sessions: w.engine}},
		Observe: func(app string, status int, took time.Duration) { seen = append(seen, app+" "+http.StatusText(status)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/check/shop/status/any", "/check/shop/redirect/login", "/check/other/status/any"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	if got := strings.Join(seen, ", "); got != "shop OK, shop Unauthorized,  Not Found" {
		t.Errorf("it was told of %s", got)
	}
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t, nil)
	for name, change := range map[string]func(*forwardauth.App){
		"is no path":                 func(a *forwardauth.App) { a.LoginURL = "//evil.example/login" },
		"the login URL \"login\"":    func(a *forwardauth.App) { a.LoginURL = "login" },
		"is no origin":               func(a *forwardauth.App) { a.LoginURL = "ftp://login.example.com/" },
		"parts that are not allowed": func(a *forwardauth.App) { a.LoginURL = "https://user:secret@login.example.com/" },
		"the step-up URL":            func(a *forwardauth.App) { a.StepUpURL = "/a\nb" },
		"\"https://*.example.com\"":  func(a *forwardauth.App) { a.ReturnOrigins = []string{"https://*.example.com"} },
		"\"https://a.example/\"":     func(a *forwardauth.App) { a.ReturnOrigins = []string{"https://a.example/"} },
		"\"a.example\"":              func(a *forwardauth.App) { a.ReturnOrigins = []string{"a.example"} },
		"\"https://u@a.example\"":    func(a *forwardauth.App) { a.ReturnOrigins = []string{"https://u@a.example"} },
		"has a name":                 func(a *forwardauth.App) { a.Name = "a/b" },
		"the passive header is no":   func(a *forwardauth.App) { a.PassiveHeader = "X_Poll" },
		"begins with Sojourn":        func(a *forwardauth.App) { a.PassiveHeader = "sojourn-passive" },
		"the header X-A has no such": func(a *forwardauth.App) { a.Headers = map[string]string{"X-A": "email"} },
		"X-A and x-a":                func(a *forwardauth.App) { a.Headers = map[string]string{"X-A": "subject", "x-a": "subject"} },
		"and an engine":              func(a *forwardauth.App) { a.Sessions = nil },
	} {
		a := forwardauth.App{Name: "shop", Sessions: w.engine}
		change(&a)
		if _, err := forwardauth.New(forwardauth.Options{Apps: []forwardauth.App{a}}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
	a := forwardauth.App{Name: "shop", Sessions: w.engine}
	if _, err := forwardauth.New(forwardauth.Options{Apps: []forwardauth.App{a, a}}); err == nil {
		t.Error("the same application twice")
	}
}

// There are exactly four headers, because the set-ups remove a visitor's own by
// name.
func TestNamesOfHeaders(t *testing.T) {
	w := newWorld(t, app(func(a *forwardauth.App) { a.StepUpURL, a.RelaysCookies = "/confirm", true }))
	seen := map[string]bool{}
	for _, mode := range []string{"status", "redirect"} {
		for _, require := range []string{"any", "login", "fresh-1ns", "level-2", "nonsense"} {
			for _, cookie := range []string{"", "__Host-session=x", w.login("ann"), w.login("ann", sojourn.Level(2))} {
				for name := range w.get("/check/shop/"+mode+"/"+require, page("/", "Cookie", cookie)...).Header {
					if strings.HasPrefix(name, "Sojourn") {
						seen[name] = true
					}
				}
			}
		}
	}
	want := []string{"Sojourn-Level", "Sojourn-Login", "Sojourn-Session", "Sojourn-Subject"}
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A check that the proxy gave up does not count as a failure of the store, and
// does not pass.
func TestChecksGivenUp(t *testing.T) {
	w := newWorld(t, nil)
	var status []int
	h, err := forwardauth.New(forwardauth.Options{
		Apps:    []forwardauth.App{{Name: "shop", Sessions: w.engine}},
		Observe: func(_ string, s int, _ time.Duration) { status = append(status, s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	check := func(ctx context.Context) int {
		r := httptest.NewRequestWithContext(ctx, "GET", "/check/shop/redirect/login", nil)
		r.Header.Set("Cookie", w.login("ann"))
		out := httptest.NewRecorder()
		h.ServeHTTP(out, r)
		return out.Code
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for _, err := range []error{context.Canceled, errors.New("disk on fire")} {
		w.store.fail(err)
		for _, ctx := range []context.Context{gone, late, t.Context()} {
			if code := check(ctx); code != http.StatusServiceUnavailable {
				t.Errorf("%v: %d", err, code)
			}
		}
	}
	if want := []int{499, 499, 503, 499, 499, 503}; !slices.Equal(status, want) {
		t.Errorf("counted as %v, want %v", status, want)
	}
}

// An application in development is checked over plain HTTP. A visitor who uses
// HTTPS gets an error that says what to do, and so does one whose proxy doesn't
// say what the visitor uses.
func TestDevelopment(t *testing.T) {
	w := newWorld(t, func(a *forwardauth.App, o *sojourn.Options) { a.RelaysCookies, o.Development = true, true })
	cookie := strings.Replace(w.login("ann"), "__Host-", "dev-", 1)
	w.want("HTTP", w.get("/check/shop/status/login", "Cookie", cookie, "X-Forwarded-Proto", "http"), http.StatusOK)
	w.want("HTTP, nobody", w.get("/check/shop/redirect/login", page("/cart", "X-Forwarded-Proto", "http")...), http.StatusFound)
	w.pass(16 * time.Minute)
	for _, proto := range []string{"https", ""} {
		for _, check := range []string{"status/any", "status/login", "redirect/fresh-10m"} {
			answer := w.get("/check/shop/"+check, page("/cart", "Cookie", cookie, "X-Forwarded-Proto", proto)...)
			w.want(check+" over "+proto, answer, http.StatusInternalServerError)
			if text, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(text), "take development: true out") || answer.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s over %s: %q %s %v", check, proto, answer.Header.Get("Set-Cookie"), text, err)
			}
		}
	}
	answer := w.get("/check/shop/status/login", "Cookie", cookie, "X-Forwarded-Proto", "http")
	w.want("HTTP again", answer, http.StatusOK)
	if line := answer.Header.Get("Set-Cookie"); !strings.HasPrefix(line, "dev-session=") || strings.Contains(line, "Secure") {
		t.Errorf("Set-Cookie: %q", line)
	}
}
