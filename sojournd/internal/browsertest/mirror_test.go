package browsertest_test

import (
	"bytes"
	"fmt"
	"image/png"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
)

// A network is the condition of a tab's network, as the DevTools have it.
type network struct {
	Offline            bool    `json:"offline"`
	Latency            float64 `json:"latency"`
	DownloadThroughput float64 `json:"downloadThroughput"`
	UploadThroughput   float64 `json:"uploadThroughput"`
}

var emulateNetwork = cdp.Command[network, cdp.Empty]{Method: "Network.emulateNetworkConditions"}

var (
	online = network{DownloadThroughput: -1, UploadThroughput: -1}
	slow   = network{Latency: 150, DownloadThroughput: 20_000, UploadThroughput: 20_000}
)

// watch notes, in every frame, how the page looks.
const watch = `window.looks = new Set();
(function look() {
	if (document.body) looks.add(getComputedStyle(document.documentElement).backgroundColor + " " + document.documentElement.lang);
	requestAnimationFrame(look);
})();
document.addEventListener("securitypolicyviolation", (e) => (window.violations = window.violations || []).push(e.violatedDirective));`

func watched(b tab) {
	b.site.t.Helper()
	browsertest.Call(b.Tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watch})
}

// brightness returns the average brightness of a picture, 0 to 255.
func brightness(t *testing.T, picture []byte) int {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	sum, n := 0, 0
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y += 4 {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x += 4 {
			r, g, b, _ := img.At(x, y).RGBA()
			sum, n = sum+int(r+g+b)/3/257, n+1
		}
	}
	return sum / n
}

// On a slow network, with the dark theme, no frame is light: neither the first one
// nor any later one. A page whose script comes late shows that the test would see it.
func TestMirrorDoesNotFlash(t *testing.T) {
	s := newSite(t)
	b := s.open()
	watched(b)
	b.Visit("/")
	b.set("theme", "dark")
	b.set("language", "de")
	before := s.count("/session/mirror")
	browsertest.Call(b.Tab, emulateNetwork, slow)
	s.hold("/session/mirror")
	for _, c := range []struct {
		path, looks string
		dark        bool
	}{{"/slow", "rgb(17, 17, 17) de", true}, {"/late", "rgb(255, 255, 255) en; rgb(17, 17, 17) de", false}} {
		s.hold(c.path)
		b.Eval(fmt.Sprintf(`setTimeout(() => location.href = %q), ""`, c.path))
		b.Await(fmt.Sprintf(`location.pathname === %q && document.querySelector("#set") !== null && looks.size > 0`, c.path))
		picture := b.Screen() // while the server has yet to send the lower half
		if dark := brightness(t, picture) < 60; dark != c.dark {
			t.Errorf("%s: the brightness of the first frames is %d", c.path, brightness(t, picture))
		}
		if got := b.Eval(`document.readyState`); got != "loading" {
			t.Errorf("%s is %s", c.path, got)
		}
		s.release()
		b.Await(`document.readyState === "complete" && sojourn.mirror.get("theme") === "dark"`)
		b.Eval(`new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(""))))`)
		if got := b.Eval(`[...looks].join("; ")`); got != c.looks {
			t.Errorf("%s looked like %s, want %s", c.path, got, c.looks)
		}
	}
	if got := b.Eval(`String(window.violations)`); got != "undefined" {
		t.Errorf("the policy for content is violated: %s", got)
	}
	if n := s.count("/session/mirror") - before; n != 0 {
		t.Errorf("the pages made %d requests", n)
	}
	if n := s.count("/session/mirror.js"); n != 1 {
		t.Errorf("the script was fetched %d times", n)
	}
	browsertest.Call(b.Tab, emulateNetwork, online)
	b.Visit("/wrong") // a script of another hash doesn't run
	if got := b.Eval(`String(document.documentElement.dataset.theme)`); got != "undefined" {
		t.Errorf("a script that the hash doesn't fit ran: %s", got)
	}
}

// A change shows in every tab at once, and makes one request.
func TestMirrorTwoTabs(t *testing.T) {
	s := newSite(t)
	first := s.open()
	first.Visit("/")
	second := first.beside()
	second.Visit("/next")
	second.Eval(`window.heard = []; document.addEventListener("sojourn:change", (e) => heard.push(e.detail.key + "=" + e.detail.value)), ""`)
	if n := s.count("/session/mirror"); n != 0 {
		t.Errorf("a visitor who sets nothing made %d requests", n)
	}
	for i, value := range []string{"dark", "light", "dark"} {
		first.set("theme", value)
		second.shows("theme", "data-theme", value)
		if n := s.count("/session/mirror"); n != i+1 {
			t.Errorf("%d changes made %d requests", i+1, n)
		}
	}
	first.Eval(`sojourn.mirror.set("theme", null).then(() => "")`)
	second.shows("theme", "", "none")
	if got := second.Eval(`document.documentElement.outerHTML.slice(0, 20)`); strings.Contains(got, "data-theme") {
		t.Errorf("after the removal: %s", got)
	}
	if got := second.Eval(`heard.join(" ")`); got != "theme=dark theme=light theme=dark theme=null" {
		t.Errorf("the second tab heard %s", got)
	}
	for _, bad := range []string{`"theme", "<b>"`, `"theme", ["dark"]`, `"theme", {}`, `"other", "x"`, `"toString", "x"`, `"nickname", "x".repeat(1100)`, `"nickname", () => 1`} {
		if got := first.Eval(`(() => { try { sojourn.mirror.set(` + bad + `); return "taken"; } catch (e) { return e.name; } })()`); got != "RangeError" {
			t.Errorf("set(%s): %s", bad, got)
		}
	}
	if n := s.count("/session/mirror"); n != 4 {
		t.Errorf("4 changes, and others that were refused, made %d requests", n)
	}
}

// At a sign-in the server's values win where it has some. On a second device they
// are there afterwards. Of two devices' changes the later wins.
func TestMirrorTwoDevices(t *testing.T) {
	s := newSite(t)
	first, second := s.open(), s.open()
	first.Visit("/")
	first.set("theme", "dark")
	first.set("nickname", "Ann")
	first.signIn("ann")
	first.sync()
	if got := first.inSession("ann"); got != "dark" {
		t.Errorf("the session has %s", got)
	}
	second.Visit("/")
	second.set("theme", "light")
	second.set("language", "fr")
	second.signIn("ann")
	second.shows("theme", "data-theme", "dark")
	second.shows("nickname", "", "Ann")
	second.shows("language", "lang", "fr")
	first.sync()
	first.shows("language", "lang", "fr")

	// The first device changes it, then the second one. The first one's network is
	// slower.
	browsertest.Call(first.Tab, emulateNetwork, network{Offline: true})
	first.set("theme", "light")
	second.set("theme", "dark")
	second.set("theme", "light")
	second.set("theme", "dark")
	browsertest.Call(first.Tab, emulateNetwork, online)
	first.shows("theme", "data-theme", "dark")
	second.sync()
	second.shows("theme", "data-theme", "dark")
	if got := first.inSession("ann"); got != "dark dark" {
		t.Errorf("the sessions have %s", got)
	}
}

// Without a network a change shows at once, and is sent later.
func TestMirrorOffline(t *testing.T) {
	s := newSite(t)
	b := s.open()
	b.Visit("/")
	b.signIn("ann")
	b.sync()
	other := b.beside()
	other.Visit("/next")
	before := s.count("/session/mirror")
	for _, tab := range []tab{b, other} {
		browsertest.Call(tab.Tab, emulateNetwork, network{Offline: true})
	}
	b.set("theme", "dark")
	b.shows("theme", "data-theme", "dark")
	other.shows("theme", "data-theme", "dark")
	if n := s.count("/session/mirror") - before; n != 0 {
		t.Fatalf("%d requests without a network", n)
	}
	for _, tab := range []tab{b, other} { // both hear that the network is back
		browsertest.Call(tab.Tab, emulateNetwork, online)
	}
	b.Await(`!JSON.parse(localStorage["sojourn:/session/mirror"]).values.theme.changed`)
	other.sync()
	if n := s.count("/session/mirror") - before; n != 2 {
		t.Errorf("the change and a question made %d requests", n)
	}
	if got := b.inSession("ann"); got != "dark" {
		t.Errorf("the session has %s", got)
	}

	// A tab that is closed before leaves the change to the next page.
	browsertest.Call(b.Tab, emulateNetwork, network{Offline: true})
	b.set("theme", "light")
	b.Do("leave", chromedp.Navigate("about:blank"))
	browsertest.Call(b.Tab, emulateNetwork, online)
	b.Visit("/")
	b.Await(`!JSON.parse(localStorage["sojourn:/session/mirror"]).values.theme.changed`)
	if got := b.inSession("ann"); got != "light" {
		t.Errorf("the session has %s", got)
	}
}

// Signed out in one tab is signed out in all. They hear it without a request.
func TestMirrorSignOutInAllTabs(t *testing.T) {
	s := newSite(t)
	b := s.open()
	b.Visit("/")
	b.set("theme", "dark")
	b.set("nickname", "Ann")
	b.signIn("ann")
	b.sync()
	other := b.beside()
	other.Visit("/next")
	other.Eval(`window.heard = []; for (const e of ["signin", "signout"]) document.addEventListener("sojourn:" + e, () => heard.push(e)); ""`)
	before := s.count("/session/mirror")
	b.Click("#out button")
	other.Await(`heard.join() === "signout" && !sojourn.mirror.signedIn`)
	other.shows("nickname", "", "none")
	other.shows("theme", "data-theme", "dark")
	b.shows("nickname", "", "none")
	if n := s.count("/session/mirror") - before; n != 1 {
		t.Errorf("the sign-out made %d requests", n)
	}
	if got := b.Eval(`localStorage["sojourn:/session/mirror"]`); strings.Contains(got, "Ann") || !strings.Contains(got, `"user":""`) {
		t.Errorf("local storage has %s", got)
	}
	b.signIn("bob")
	other.Await(`heard.join() === "signout,signin" && sojourn.mirror.signedIn`)
	other.shows("nickname", "", "none")
	b.Click("#out button")
	other.Await(`!sojourn.mirror.signedIn`)
	b.signIn("ann")
	other.shows("nickname", "", "Ann")
}

// Two applications of one host keep their values, and their users, apart.
func TestMirrorTwoApplications(t *testing.T) {
	s := newSite(t)
	b := s.open()
	b.Visit("/")
	b.set("theme", "dark")
	b.set("nickname", "Ann")
	b.signIn("ann")
	b.sync()
	other := b.beside()
	other.Visit("/blog")
	other.shows("theme", "data-theme", "none")
	other.set("theme", "light")
	other.sync() // nobody is signed in there
	b.Visit("/next")
	b.shows("theme", "data-theme", "dark")
	b.shows("nickname", "", "Ann")
	if got := b.Eval(`String(sojourn.mirror.signedIn)`); got != "true" {
		t.Errorf("signed in: %s", got)
	}
	other.shows("theme", "data-theme", "light")
	// A name that every object has is not one of a value.
	if got := b.Eval(`["__proto__", "constructor", "toString", "other"].map((k) => { try { sojourn.mirror.set(k, "x"); return k; } catch (e) { return e.name; } }).join()`); got != "RangeError,RangeError,RangeError,RangeError" {
		t.Errorf("undeclared names: %s", got)
	}
}

// A page that the server makes is right at its first paint: after a sign-in, and
// after a form that changed a value.
func TestMirrorServersPages(t *testing.T) {
	s := newSite(t)
	b := s.open()
	watched(b)
	b.Visit("/app")
	b.Visit("/app")
	if n := s.count("/session/mirror"); n != 0 {
		t.Errorf("a visitor's pages made %d requests", n)
	}
	b.signIn("ann")
	b.sync()
	other := s.open()
	other.Visit("/")
	other.signIn("ann")
	other.sync()
	for _, value := range []string{"dark", "light"} {
		b.Fill("#set input", value)
		b.Eval(`document.querySelector("#set").action = "/theme?to=/app", ""`)
		b.Click("#set button")
		b.shows("theme", "data-theme", value)
		want := map[string]string{"dark": "rgb(17, 17, 17) en", "light": "rgb(255, 255, 255) en"}[value]
		if got := b.Eval(`[...looks].join("; ")`); got != want {
			t.Errorf("the page looked like %s, want %s", got, want)
		}
		b.sync()
		other.sync()
		other.shows("theme", "data-theme", value)
	}
	b.Visit("/app") // which has the attribute from the session
	b.Eval(`sojourn.mirror.set("theme", null).then(() => "")`)
	if got := b.Eval(`document.documentElement.cloneNode(false).outerHTML`); got != `<html lang="en"></html>` {
		t.Errorf("after the removal the page is %s", got)
	}
}

// Where storage is full or forbidden, the page shows and sends changes all the same.
func TestMirrorWithoutStorage(t *testing.T) {
	for name, prepare := range map[string]string{
		"full": `for (let size = 1 << 20; location.protocol === "http:" && size >= 1;) try { localStorage.setItem("x" + Math.random(), "x".repeat(size)); } catch (e) { size >>= 1; }`,
		"forbidden": `for (const kind of ["localStorage", "sessionStorage"]) Object.defineProperty(window, kind, { get() { throw new DOMException("forbidden", "SecurityError"); } });
Object.defineProperty(navigator, "locks", { value: { request() { return Promise.reject(new DOMException("forbidden", "SecurityError")); } } });`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			b := s.open()
			b.Visit("/")
			b.signIn("ann")
			browsertest.Call(b.Tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: prepare})
			b.Visit("/next")
			if name == "full" {
				b.Eval(`localStorage.removeItem("sojourn:/session/mirror"), ""`) // its room is taken again
				b.Visit("/next")
				b.Await(`(() => { try { localStorage.setItem("another", "x".repeat(200)); return false; } catch (e) { return true; } })()`)
			}
			b.sync() // which tells who is signed in
			before := s.count("/session/mirror")
			b.Eval(`window.heard = []; document.addEventListener("sojourn:change", (e) => heard.push(e.detail.value)), ""`)
			for _, value := range []string{"dark", "light", "dark"} {
				b.set("theme", value)
				b.shows("theme", "data-theme", value)
			}
			if n := s.count("/session/mirror") - before; n != 3 {
				t.Errorf("3 changes made %d requests", n)
			}
			if got := b.Eval(`heard.join()`); got != "dark,light,dark" {
				t.Errorf("the page heard %s", got)
			}
			if got := b.inSession("ann"); got != "dark" {
				t.Errorf("the session has %s", got)
			}
			if got := b.Eval(`String(sojourn.mirror.signedIn)`); got != "true" {
				t.Errorf("signed in: %s", got)
			}
		})
	}
}

// Whatever somebody writes into local storage by hand, only declared values reach
// the page and the server.
func TestMirrorHostileStorage(t *testing.T) {
	s := newSite(t)
	b := s.open()
	b.Visit("/")
	victim := b.beside()
	victim.Visit("/")
	const evil = `\"><img src=x onerror=hacked=1><script>hacked=1</script>`
	for _, stored := range []string{
		`{"user":"x","values":{"theme":{"value":"` + evil + `","changed":5},"language":{"value":"` + evil + `","changed":5}}}`,
		`{"values":{"theme":{"value":["dark"],"changed":5},"language":{"value":{"toString":"de"},"changed":5}}}`,
		`{"values":{"onclick":{"value":"hacked=1","changed":5},"__proto__":{"theme":{"value":"dark"}},"constructor":{"value":"dark"}}}`,
		`{"user":["x"],"synced":"x","values":["theme"]}`, `{"values":"theme"}`, `{"values":{"theme":null,"language":7}}`,
		`null`, `7`, `"x"`, `[]`, `{`, ``, `undefined`, strings.Repeat("[", 2000),
		`{"values":{"nickname":{"value":"` + strings.Repeat("x", 200_000) + `","changed":5}}}`,
	} {
		b.Eval(fmt.Sprintf(`localStorage.setItem("sojourn:/session/mirror", %q), ""`, stored))
		victim.Await(fmt.Sprintf(`localStorage.getItem("sojourn:/session/mirror") === %q`, stored))
		victim.Eval(`new Promise((done) => setTimeout(() => done("")))`) // after the storage event
		seen := func(when string) {
			t.Helper()
			if got := victim.Eval(`document.documentElement.cloneNode(false).outerHTML + window.hacked + document.images.length`); got != `<html lang="en"></html>undefined0` {
				t.Errorf("%.60s: %s the page is %s", stored, when, got)
			}
		}
		seen("at the event")
		victim.Do("reload", chromedp.Reload())
		seen("after loading")
		victim.Eval(`window.fetch = (url, o) => { window.sent = o.body; return Promise.reject(); }, ""`)
		victim.sync()
		if got := victim.Eval(`window.sent`); got != `{"user":"","values":{}}` && got != `{"user":"x","values":{}}` {
			t.Errorf("%.60s: the page sends %.200s", stored, got)
		}
		victim.Visit("/next")
		victim.sync() // so that it stores nothing later
	}
	b.Eval(`localStorage.setItem("sojourn:/session/mirror", '{"synced":{"valueOf":1,"toString":1},"values":{"theme":{"value":"light","time":{"toString":1,"valueOf":1},"changed":{"valueOf":1,"toString":1}}}}'), ""`)
	victim.shows("theme", "data-theme", "light")
	victim.Visit("/")
	victim.shows("theme", "data-theme", "light")
	// What has the declared form is taken, and the server judges it again.
	b.Eval(`localStorage.setItem("sojourn:/session/mirror", '{"values":{"theme":{"value":"dark","changed":5},"nickname":{"value":7,"changed":5}}}'), ""`)
	victim.shows("theme", "data-theme", "dark")
	victim.sync()
	victim.shows("nickname", "", "none") // it was no string
}

// The script asks the server by itself only if something may have happened there.
func TestMirrorAsksOnlyWhenNeeded(t *testing.T) {
	s := newSite(t)
	b := s.open()
	asked := 0
	after := func(what string, want int) {
		t.Helper()
		b.Await(`document.readyState === "complete"`)
		b.Eval(`new Promise((done) => setTimeout(done, 0)).then(() => navigator.locks.request("sojourn:/session/mirror", () => ""))`) // after what has begun
		if now := s.count("/session/mirror"); now-asked != want {
			t.Errorf("%s: %d requests, want %d", what, now-asked, want)
		}
		asked = s.count("/session/mirror")
	}
	elsewhere := strings.Replace(s.url, "localhost", browsertest.OtherHost, 1)
	b.Visit("/")
	after("a visitor comes", 0)
	b.Click("#next")
	after("a link", 0)
	b.Do("to another site", chromedp.Navigate(elsewhere+"/next"))
	b.Eval(fmt.Sprintf(`document.querySelector("#next").href = %q, ""`, s.url+"/next"))
	b.Click("#next")
	after("back from another site", 1)
	b.Do("reload", chromedp.Reload())
	b.Click("#next")
	asked = s.count("/session/mirror")
	b.signIn("ann")
	after("a form", 1)
	b.Click("#next")
	after("a user's link", 0)
	b.Eval(`document.dispatchEvent(new Event("visibilitychange", { bubbles: true })), ""`)
	after("a tab is shown again", 0)
	b.Eval(`(() => { const s = JSON.parse(localStorage["sojourn:/session/mirror"]); s.synced -= 301e3; localStorage["sojourn:/session/mirror"] = JSON.stringify(s); return ""; })()`)
	b.Eval(`document.dispatchEvent(new Event("visibilitychange", { bubbles: true })), ""`)
	after("it is shown after five minutes", 1)
}
