package app

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"

	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
)

// The demo's page "What happens here" shows what a session does: a cart survives
// the login, no parallel update is lost, the secret turns over, a stolen cookie
// ends the session, a copy of a bound session's cookies is useless, and a sign-out
// reaches the other browser.
func TestBrowserStory(t *testing.T) {
	browsertest.Need(t)
	browsertest.NeedAxe(t)
	pictures := filepath.Join("..", "..", "..", "out", "browser")
	shop := regexp.MustCompile(`http://localhost:\d+\b`).FindString(runDemo(t, ""))
	look := func(b *browsertest.Tab, name string) {
		t.Helper()
		b.Accessible(name)
		for _, theme := range []string{"dark", "light"} {
			browsertest.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}},
			})
			for _, size := range [][2]int64{{360, 800}, {650, 900}, {1280, 1240}} {
				browsertest.Call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: size[0], Height: size[1], DeviceScaleFactor: 1})
				if wide := b.Eval(`scrollTo(0, 0), String(document.documentElement.scrollWidth)`); wide != strconv.FormatInt(size[0], 10) {
					t.Errorf("%s: on a screen of %d px the page is %s px wide", name, size[0], wide)
				}
				dir := os.Getenv("SOJOURN_GALLERY")
				if dir == "" {
					continue
				}
				b.Picture(filepath.Join(dir, fmt.Sprintf("%s-%s-%d.webp", name, theme, size[0])))
				screen := filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", name, theme, size[0])) // README's, with fewer colours
				if err := os.WriteFile(screen, b.Screen(), 0o644); err != nil {
					t.Error(err)
				}
			}
		}
	}
	signIn := func(b *browsertest.Tab) {
		t.Helper()
		b.Fill("#email", "ada@example.com")
		b.Fill("#password", "difference-engine")
		b.Click("form[action='/login'] button")
	}

	b := browsertest.Open(t, shop, pictures)
	b.Visit("/")
	b.Click("#story-link")
	b.See("#now", "You have no session yet, and no cookie.")
	if cookies := b.Cookies(); len(cookies) > 0 {
		t.Errorf("a visitor who only looks has cookies: %v", cookies)
	}
	b.Click("#cart button")
	b.See("#cart-now", "1 article.")
	b.See("#now", "A visitor’s")
	b.Click("#burst button")
	b.See("#burst-now", "Lost: 0. 64 of 64 succeeded. The counter went from 0 to 64")

	b.Click("#cart a")
	signIn(b)
	b.See("h1", "What happens here")
	b.See("#now", "ada@example.com is signed in")
	b.See("#cart-now", "1 article. The session began at")
	b.See("#events", "signed in: a new secret") // by the script, or in the first page
	b.Click("#burst button")
	b.See("#burst-now", "Lost: 0. 64 of 64 succeeded. The counter went from 64 to 128")

	other := browsertest.Open(t, shop, pictures)
	other.Visit("/login")
	signIn(other)
	other.Visit("/cart")
	b.See("#others-now", "2 browsers are signed in with this account.") // without a reload
	b.Click("#others form[action='/story/others'] button")
	b.See("#others-now", "1 browser is signed in with this account. 1 other browser was signed out.")
	other.See("h1", "Sign in") // by itself
	b.Click("#others form[action='/story/phone'] button")
	b.See("#others-now", "2 browsers are signed in with this account.")
	b.See("#others-now", "Its page is open.")
	b.Click("#others form[action='/story/others'] button")
	b.See("#others-now", "The phone’s page heard that it was signed out, ") // without a reload
	b.See("#others-now", "1 browser is signed in with this account.")
	b.Click("#others form[action='/story/phone'] button")
	b.Visit("/session/devices")
	b.Click("[aria-labelledby=others] li .button") // not by the story's button
	b.Click("#confirm")
	b.Visit("/story")
	b.See("#others-now", "UTC the phone’s page heard that it was signed out.")

	b.Click("#theft form[action='/story/copy'] button")
	b.See("#theft-now", "Since then, 0 minutes have passed.")
	b.Click("#theft form[action='/story/thief'] button")
	b.See("#theft-now", "The copy is still good.")
	b.Click("#secret button")
	b.See("#events", "the secret turned over")
	b.See("#now", "good until the browser has shown the new one")
	look(b, "story")
	b.Click("#theft form[action='/story/thief'] button")
	b.See("#theft-now", "The copy is still good.")
	b.Click("#theft form[action='/story/pass'] button")
	b.See("#theft-now", "Since then, 30 minutes have passed.")
	b.Click("#theft form[action='/story/thief'] button")
	b.See("#theft-now", "It ended the session, for the thief and for you.")
	b.See("#now", "This session has ended. We signed you out because somebody else seems to have used your session.")
	b.See("#events", "ended (theft)")
	look(b, "story-theft")

	b.Click("#now a")
	signIn(b)
	b.See("#now", "ada@example.com is signed in")
	b.See("#cart-now", "1 article.")

	b.Click("#bound form[action='/story/bind'] button")
	b.See("#bound", "This session is bound to this browser.") // by itself
	b.See("#theft", "a copy of its cookie is worth little")
	b.Click("#bound form[action='/story/copy'] button")
	b.See("#bound-now", "The thief has both cookies.")
	b.Click("#bound form[action='/story/thief'] button")
	b.See("#bound-now", "took the thief for you, because the copied proof was still good")
	b.Click("#bound form[action='/story/pass'] button")
	b.See("#bound-now", "The copied proof is over.")
	b.Click("#bound form[action='/story/thief'] button")
	b.See("#bound-now", "refused the thief: no proof, and no key to get one. Your session goes on")
	b.See("#now", "ada@example.com is signed in")
	b.See("#events", "a token was refused (unproven)")
	look(b, "story-bound")
	b.Visit("/cart") // its page has the script too
	b.Await(`document.querySelector("script[src$='bound.js']") !== null`)
	b.Visit("/session/devices")
	b.See("main", "Bound to this browser")
	look(b, "devices-bound")
}

// A browser that knows the ID of a session, and no secret of it, sees nothing of it.
func TestStoryOfAnotherSession(t *testing.T) {
	shop := regexp.MustCompile(`http://localhost:\d+\b`).FindString(runDemo(t, ""))
	story := func(cookie *http.Cookie) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", shop+"/story", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close() //nolint:errcheck // a test
		page, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 {
			t.Fatal(res.Status, err)
		}
		return string(page)
	}
	res, err := http.Post(shop+"/cart", "application/x-www-form-urlencoded", strings.NewReader("sku=camp-mug"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()                    //nolint:errcheck // a test
	cookies := res.Request.Response.Cookies() // of the answer that redirected
	if len(cookies) != 1 {
		t.Fatalf("cookies %v", cookies)
	}
	if page := story(cookies[0]); !strings.Contains(page, `id="events"`) {
		t.Fatalf("the own session doesn't show:\n%s", page)
	}
	forged := *cookies[0]
	forged.Value = forged.Value[:22] + strings.Repeat("A", 42) // 22 characters hold the ID
	if page := story(&forged); strings.Contains(page, `id="events"`) {
		t.Errorf("another session shows:\n%s", page)
	}
}

// With sealed sessions the page says which parts don't apply, and their buttons
// do nothing.
func TestStorySealed(t *testing.T) {
	for who, says := range map[string]struct {
		text string
		n    int
	}{"visitors": {"With --sealed visitors, this needs a sign-in", 1}, "everyone": {"This doesn’t apply here", 5}} {
		t.Run(who, func(t *testing.T) {
			shop := regexp.MustCompile(`http://localhost:\d+\b`).FindString(runDemo(t, who))
			res, err := http.Get(shop + "/story")
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close() //nolint:errcheck // a test
			page, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != 200 {
				t.Fatal(res.Status, err)
			}
			if n := strings.Count(html.UnescapeString(string(page)), says.text); n != says.n {
				t.Errorf("%q is there %d times, want %d", says.text, n, says.n)
			}
			pressed, err := http.Post(shop+"/story/burst", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer pressed.Body.Close() //nolint:errcheck // a test
			if pressed.StatusCode != 404 || len(pressed.Cookies()) > 0 {
				t.Errorf("the burst answers %s, with cookies %v", pressed.Status, pressed.Cookies())
			}
		})
	}
}
