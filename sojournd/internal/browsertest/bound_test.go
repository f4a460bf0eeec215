package browsertest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdpnetwork "github.com/chromedp/cdproto/network"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
)

// wake is what a page hears when its window is used again.
const wake = `dispatchEvent(new Event("focus")), ""`

// shows waits until a page is there, with a user.
func (b boundTab) shows(title, user string) {
	b.site.t.Helper()
	b.Await(fmt.Sprintf(`document.title === %q && document.querySelector("#user").textContent === %q`, title, user))
}

// click submits a form.
func (b boundTab) click(form string) {
	b.site.t.Helper()
	b.Eval(fmt.Sprintf(`document.querySelector("#%s button").click(), ""`, form))
}

// lives is what the script does for an honest user, in any browser.
func (b boundTab) lives() {
	s, t := b.site, b.site.t
	t.Helper()
	b.signIn("ann")
	if n := len(s.Events(sojourn.EventRefused)); n != 0 {
		t.Errorf("the sign-in was refused %d times: %v", n, s.Events(sojourn.EventRefused))
	}

	s.pass(20*time.Minute, b) // the computer slept
	if got := b.asks(); got != "ann" {
		t.Errorf("a request after the proof's end, by a script: %q", got)
	}
	s.pass(20*time.Minute, b)
	b.click("order")
	b.shows("POST /order", "ann")
	s.pass(20*time.Minute, b)
	b.Visit("/account") // by way of the waiting page
	b.shows("GET /account", "ann")
	s.pass(20*time.Minute, b)
	b.Visit("/") // which a visitor may see too
	b.shows("GET /", "ann")

	b.click("out")
	b.shows("GET /", "")
	b.signIn("ben")
	b.Visit("/safe")
	b.shows("GET /safe", "ben")
	if list, _, err := s.List(t.Context(), "ann", "", 10); len(list) > 0 || err != nil {
		t.Errorf("ann is still signed in: %v (%v)", list, err)
	}
}

func TestBoundScript(t *testing.T) {
	s := newBoundSite(t)
	b, _ := s.chromium()
	b.lives()
}

// The script signs ahead of the proof's end, once for all tabs.
func TestBoundScriptTabs(t *testing.T) {
	s := newBoundSite(t)
	first, tab := s.chromium()
	first.signIn("ann")
	tabs := []boundTab{first}
	for range 3 {
		b := boundTab{tab.Beside(), s}
		b.Visit("/account")
		b.shows("GET /account", "ann")
		tabs = append(tabs, b)
	}
	before := s.count("/session/bound/refresh")
	renewed := func() int { return s.count("/session/bound/refresh") - before }
	for i, ahead := range []time.Duration{7 * time.Minute, 1 * time.Minute, 8 * time.Minute} {
		want := []int{0, 1, 2}[i]
		s.pass(ahead, tabs...)
		for _, b := range tabs {
			b.Eval(wake)
		}
		for _, b := range tabs {
			b.Await(`navigator.locks.query().then((all) => all.held.length + all.pending.length === 0)`)
		}
		if got := renewed(); got != want {
			t.Errorf("after %d steps the proof was renewed %d times, want %d", i+1, got, want)
		}
	}

	// At the proof's end 64 requests come at once, from all tabs: none is refused.
	s.pass(30*time.Minute, tabs...)
	for _, b := range tabs {
		b.Eval(`window.burst = Promise.all(Array.from({ length: 16 }, () => fetch("/me").then((r) => r.text()))), ""`)
	}
	for i, b := range tabs {
		if got := b.Eval(`burst.then((all) => all.filter((who) => who === "ann").length + " of " + all.length)`); got != "16 of 16" {
			t.Errorf("tab %d: %s", i, got)
		}
	}
	if got := renewed(); got != 4 { // the first challenge was too old
		t.Errorf("64 requests renewed the proof by %d requests, want 2", got-2)
	}
	if refused := s.Events(sojourn.EventRefused); len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
}

// While the server can't renew proofs, the key stays. Afterwards all goes on.
func TestBoundScriptOutage(t *testing.T) {
	s := newBoundSite(t)
	b, _ := s.chromium()
	b.signIn("ann")
	s.fail("/session/bound/refresh", true)
	s.pass(20*time.Minute, b)
	if got := b.asks(); got != "" {
		t.Errorf("a request without a proof is taken for %s", got)
	}
	b.Visit("/account")
	b.Await(`document.title === "One moment, please – Bound shop"`)
	s.fail("/session/bound/refresh", false)
	b.shows("GET /account", "ann")
}

// A copy of the cookies is good for the proof's life. The victim goes on.
func TestBoundScriptThief(t *testing.T) {
	s := newBoundSite(t)
	b, tab := s.chromium()
	b.signIn("ann")
	stolen := browsertest.Call(tab, cdpnetwork.GetCookies, cdpnetwork.GetCookiesParams{}).Cookies
	thief, other := s.chromium()
	copied := url.Values{}
	for _, c := range stolen {
		copied.Set(c.Name, c.Value)
	}
	thief.Visit("/plant?" + copied.Encode())
	if got, want := len(other.Cookies()), len(stolen); got != want {
		t.Fatalf("the thief has %d cookies, want %d", got, want)
	}
	as := func() string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range stolen {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
		w := s.Browser(s.Handler(http.HandlerFunc(s.me))).Do(r)
		return w.Body.String()
	}
	if got := as(); got != "ann" {
		t.Errorf("a copy of all cookies, while the proof lives: %q", got)
	}
	for range 2 { // past the proof's life and grace
		s.pass(6*time.Minute, b)
		b.Eval(wake)
		if got := b.asks(); got != "ann" {
			t.Errorf("the victim is %q", got)
		}
	}
	if got := as(); got != "" {
		t.Errorf("a copy of all cookies, after the proof's end: %q", got)
	}
	thief.Visit("/account") // the waiting page, with the script but without the key
	thief.Await(`document.title === "We could not confirm your browser – Bound shop"`)
	thief.Visit("/")
	thief.shows("GET /", "")
	if got := b.asks(); got != "ann" {
		t.Errorf("the victim is %q", got)
	}
	if s.count("/session/bound/register") == 0 || len(s.Events(sojourn.EventEnded)) > 0 {
		t.Errorf("ended: %v", s.Events(sojourn.EventEnded))
	}
	found := false
	for _, e := range s.Events(sojourn.EventRefused) {
		found = found || e.Refusal == sojourn.RefusedUnproven && e.Subject == "ann"
	}
	if !found {
		t.Error("the theft is no event")
	}
}

// Without its key the browser can't go on: the page says so, and offers to sign in
// again. With a keyboard and a screen reader, too, in each language and theme.
func TestBoundWaitingPage(t *testing.T) {
	s := newBoundSite(t)
	b, tab := s.chromium()
	browsertest.NeedAxe(t)
	b.signIn("ann")
	b.Eval(`new Promise((done, fail) => { const r = indexedDB.deleteDatabase("sojourn"); r.onsuccess = () => done(""); r.onerror = fail; })`)
	s.pass(20*time.Minute, b)
	b.Visit("/account?a=b")
	b.Await(`document.title.startsWith("One moment") && document.querySelector("#wait").checkVisibility()`)
	tab.Accessible("the waiting page")
	b.Await(`document.title.startsWith("We could not") && document.querySelector("#over").checkVisibility()`)
	before := s.count("/account")
	tab.Accessible("the waiting page, after a while")
	for _, c := range []struct{ lang, title string }{{"de", "Ihr Browser ließ sich nicht bestätigen"}, {"fr", "Votre navigateur n’a pas pu être confirmé"}, {"en", "We could not confirm your browser"}} {
		tab.As("Mozilla/5.0", c.lang)
		b.Visit("/session/bound/?waits=3&return_to=%2Faccount%3Fa%3Db")
		tab.See("h1:not([hidden] *)", c.title)
		for i, theme := range []string{"light", "dark"} {
			browsertest.Call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}})
			width := []int64{1280, 320}[i]
			browsertest.Call(tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 800, DeviceScaleFactor: 1})
			tab.Accessible("the waiting page, " + theme)
			if wide := b.Eval(`String(document.documentElement.scrollWidth)`); wide != fmt.Sprint(width) {
				t.Errorf("%s: on a screen of %d px the page is %s px wide", c.lang, width, wide)
			}
		}
	}
	if got := s.count("/account"); got != before {
		t.Errorf("the page led back %d times", got-before)
	}
	tab.Click("#again")
	b.Await(`location.search === "?return_to=%2Faccount%3Fa%3Db"`) // of the sign-in page
	b.signIn("ann")
	if list, _, err := s.List(t.Context(), "ann", "", 10); len(list) != 1 || err != nil {
		t.Errorf("ann has the sessions %v (%v), want the new one alone", list, err)
	}
}

// Without scripts, the page loads itself again some times, and then says what is
// wrong.
func TestBoundWaitingPageWithoutScripts(t *testing.T) {
	s := newBoundSite(t)
	b, tab := s.chromium()
	browsertest.Call(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	tab.Visit("/")
	tab.Fill("#in input", "ann")
	tab.Click("#in button")
	tab.See("#user", "ann")
	tab.Visit("/safe")
	tab.See("h1:not([hidden] *)", "We could not confirm your browser")
	tab.See("#over", "opens only in a browser that can show that you signed in with it")
	if n := s.count("/session/bound/"); n != 4 {
		t.Errorf("the page was loaded %d times, want 4", n)
	}
	if n := s.count("/safe"); n != 1 {
		t.Errorf("it led back %d times", n-1)
	}
	browsertest.Call(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{})
	tab.Visit("/safe")
	b.shows("GET /safe", "ann")
}

// Firefox has no Device Bound Session Credentials. The key is in its profile, and
// survives a restart.
func TestBoundScriptFirefox(t *testing.T) {
	s := newBoundSite(t)
	profile := t.TempDir()
	firefox := browsertest.OpenFirefox(t, s.url, profile)
	b := boundTab{firefox, s}
	b.lives()
	firefox.Close()

	s.Advance(2 * time.Hour)
	firefox = browsertest.OpenFirefox(t, s.url, profile)
	b = boundTab{firefox, s}
	b.Visit("/safe")
	b.shows("GET /safe", "ben")
	if dir := filepath.Join(pictures, "firefox.png"); t.Failed() {
		firefox.Picture(dir)
	}
	for _, e := range s.Events(sojourn.EventCreated) {
		if !strings.Contains(e.Client.UserAgent, "Firefox/") {
			t.Errorf("the browser is %s", e.Client.UserAgent)
		}
	}
	firefox.Close()
}
