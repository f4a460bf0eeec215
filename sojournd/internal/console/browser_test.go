package console

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
)

// tab opens a real browser at the world's console.
func (w *world) tab(t testing.TB) *browsertest.Tab {
	t.Helper()
	browsertest.Need(t)
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	return browsertest.Open(t, strings.Replace(server.URL, "127.0.0.1", "localhost", 1), filepath.Join("..", "..", "..", "out", "browser"))
}

func signIn(b *browsertest.Tab, name string) {
	b.Visit("/sign-in")
	b.Fill("#name", name)
	b.Fill("#password", secret)
	b.Click("form button")
}

// Each page can be used with a keyboard and a screen reader, in both themes. No
// page asks another host for anything, and none runs what is inline.
func TestBrowserPages(t *testing.T) {
	browsertest.NeedAxe(t)
	w := newWorld(t)
	id := w.user(w.shop, "grace", firefox, "203.0.113.9", "cart", "[1]")
	over := w.user(w.shop, "grace", chrome, "203.0.113.9")
	if err := w.shop.End(t.Context(), over); err != nil {
		t.Fatal(err)
	}
	w.user(w.blog, "grace", firefox, "203.0.113.9")
	w.events = []v1.Event{{App: "shop", Kind: "refused", Refusal: "former", Session: id.String(), Time: w.now, Client: &v1.EventClient{IP: "192.0.2.66"}}}
	b := w.tab(t)
	check := func(themes ...string) {
		t.Helper()
		for _, theme := range append(themes, "light") {
			browsertest.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}})
			b.Accessible(b.Eval("location.pathname") + " in " + theme)
		}
		if others := b.Eval(`performance.getEntriesByType("resource").filter(e => !e.name.startsWith(location.origin)).map(e => e.name).join()`); others != "" {
			t.Errorf("the page asks %s", others)
		}
	}
	signIn(b, "nobody")
	b.See("#error", "The name or the password is wrong.")
	check("dark")
	signIn(b, "ann")
	b.See("h1", "Overview")
	if got := b.Eval(`document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "/", bubbles: true})), document.activeElement.id`); got != "q" {
		t.Errorf("the key / goes to %q", got)
	}
	b.Do("search by keys", chromedp.KeyEvent("grace\r"))
	b.See("h1", "grace")
	for _, path := range []string{"/apps/shop/sessions", "/apps/shop/sessions?subject=nobody", subjectPath("shop", "grace"), endPath("shop", "grace", id.String()), sessionPath("shop", over), "/"} {
		b.Visit(path)
		check()
	}
	for i := range 2*pageSize + 20 {
		w.user(w.blog, fmt.Sprint("reader", i), firefox, "198.51.100.1")
	}
	b.Visit("/apps/blog/sessions?browser=firefox&kind=user")
	b.See("#progress-text", "Found 121.") // by itself
	check()
	b.Visit(sessionPath("blog", w.user(w.blog, "ended", firefox, "198.51.100.1")))
	b.See("h2", "Deadlines")
	if _, err := w.blog.EndSubject(t.Context(), "ended", sojourn.ID{}); err != nil {
		t.Fatal(err)
	}
	b.See("#over", "There is no live session") // by itself

	b.Visit(sessionPath("shop", id))
	b.See("h1", id.String())
	b.Click("form[action$='/values'] button")
	b.See("pre", "1")
	check("dark")
	w.pass(20 * time.Minute)
	b.Visit(endPath("shop", "grace", ""))
	b.See("h1", "Confirm that it is you")
	check()
	b.Fill("#password", secret)
	b.Click("main form button")
	b.Fill("input[name=reason]", "a test")
	b.Click("main form button")
	b.See("[role=status]", "A login that was under way fails")
	w.down.Store(true)
	b.Visit("/apps/shop/sessions")
	b.See("h1", "The store doesn't answer")
	check()
	w.down.Store(false)
	b.See("h1", "Sessions") // by itself
}

// With scripts off an operator signs in, finds, looks and ends.
func TestBrowserWithoutScripts(t *testing.T) {
	w := newWorld(t)
	for i := range pageSize + 20 {
		w.user(w.blog, fmt.Sprint("reader", i), firefox, "198.51.100.1")
	}
	id := w.user(w.shop, "grace", firefox, "203.0.113.9")
	b := w.tab(t)
	browsertest.Call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	signIn(b, "ann")
	b.See("h1", "Overview")
	if got := b.Eval(`typeof refresh`); got != "undefined" {
		t.Errorf("scripts run: refresh is a %s", got)
	}
	b.Visit("/apps/blog/sessions")
	b.Do("open the filters", chromedp.Click(chromedp.CSS("form.query summary")))
	b.Fill("#browser", "firefox")
	b.Click("form.query button")
	b.See("#progress-text", "% searched")
	b.Click("#next")
	b.See("#progress-text", "The search is complete")
	b.Fill("#q", "grace")
	b.Do("send the search", chromedp.KeyEvent("\r"))
	b.See("h1", "grace")
	b.Click("a[href='" + sessionPath("shop", id) + "']")
	b.See("h2", "Deadlines")
	b.Fill("input[name=reason]", "lost phone")
	b.Click("section.danger form button")
	b.See("[role=status]", "The session has ended.")
	b.See("h1", "grace")
	if w.lives(w.shop, id) {
		t.Error("the session lives")
	}
}

// TestGallery takes a picture of every page, in light and dark, at three widths:
// SOJOURN_GALLERY=/tmp/gallery go test -run Gallery ./internal/console
func TestGallery(t *testing.T) {
	dir := os.Getenv("SOJOURN_GALLERY")
	if dir == "" {
		t.Skip("a picture of every page, if SOJOURN_GALLERY names a directory")
	}
	w := newWorld(t)
	for i := range 17 {
		subject := ""
		if i%3 != 0 {
			subject = fmt.Sprintf("user-%d", i)
		}
		w.user(w.shop, subject, []string{firefox, chrome}[i%2], fmt.Sprintf("198.51.100.%d", i))
		w.pass(time.Minute)
	}
	id := w.user(w.shop, "grace@example.com", firefox, "2001:db8::7", "cart", `{"user":"grace@example.com","items":[{"sku":"tent","quantity":2},{"sku":"camera","quantity":1}]}`, "theme", `"dark"`)
	w.pass(5 * time.Hour)
	w.user(w.shop, "grace@example.com", chrome, "203.0.113.9")
	w.pass(40 * time.Minute)
	w.user(w.blog, "linus", chrome, "203.0.113.9")
	w.user(w.shop, "grace@example.com", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Mobile/15E148 Safari/604.1", "203.0.113.77")
	w.pass(3 * time.Minute)
	w.events = []v1.Event{
		{App: "shop", Kind: "created", Session: id.String(), Time: w.now.Add(-5 * time.Hour), Client: &v1.EventClient{IP: "2001:db8::7"}},
		{App: "shop", Kind: "authenticated", Session: id.String(), Time: w.now.Add(-5 * time.Hour), Client: &v1.EventClient{IP: "2001:db8::7"}},
		{App: "shop", Kind: "rotated", Session: id.String(), Time: w.now.Add(-4 * time.Hour)},
		{App: "shop", Kind: "refused", Refusal: "former", Session: id.String(), Time: w.now.Add(-time.Hour), Client: &v1.EventClient{IP: "192.0.2.66"}},
	}
	b := w.tab(t)
	shot := 0
	sizes := []struct{ width, height int64 }{{360, 740}, {1280, 860}, {3840, 2160}}
	shoot := func(name string) {
		shot++
		for _, theme := range []string{"light", "dark"} {
			for _, size := range sizes {
				browsertest.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}})
				browsertest.Call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: size.width, Height: size.height, DeviceScaleFactor: 1})
				if wide := b.Eval(`String(document.documentElement.scrollWidth > document.documentElement.clientWidth)`); wide == "true" {
					t.Errorf("%s scrolls sideways at %d px", name, size.width)
				}
				b.Picture(filepath.Join(dir, fmt.Sprintf("%02d-%s-%s-%d.webp", shot, name, theme, size.width)))
			}
		}
	}
	b.Visit("/")
	shoot("sign-in")
	signIn(b, "ann")
	shoot("overview")
	b.Visit("/apps/shop/sessions")
	shoot("sessions")
	b.Visit("/apps/shop/sessions?subject=nobody")
	shoot("nothing")
	b.Visit("/apps/shop/sessions?browser=firefox&network=198.51.100.0%2F24&seen=day")
	shoot("search")
	over := w.user(w.shop, "grace@example.com", chrome, "203.0.113.99")
	if err := w.shop.End(t.Context(), over); err != nil {
		t.Fatal(err)
	}
	b.Visit("/apps/shop/subject?subject=grace%40example.com")
	b.Eval(`document.querySelector("details.end").open = true, ""`)
	shoot("subject")
	b.Visit(sessionPath("shop", id))
	b.Click("form[action$='/values'] button")
	shoot("session")
	b.Visit("/apps/shop/subject/end?subject=grace%40example.com")
	shoot("end")
	w.pass(20 * time.Minute)
	b.Visit("/apps/shop/subject/end?subject=grace%40example.com")
	shoot("confirm")
	b.Visit("/nowhere")
	shoot("no-page")
	w.down.Store(true)
	b.Visit("/")
	shoot("down")
}
