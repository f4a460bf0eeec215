package shop

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// The tests in this file drive a real Chromium. A failed one leaves a picture of each of its tabs in out/browser.

// chromium starts one browser for all tests; each tab is in a context of its own, with its own cookies.
var chromium = sync.OnceValues(func() (context.Context, error) {
	path := ""
	for _, name := range []string{
		"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
	} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		return nil, errNoChromium
	}
	profile, err := os.MkdirTemp("", "sojourn-chromium-")
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.NoSandbox, // it sees no page but ours
		chromedp.DisableGPU, chromedp.WindowSize(1280, 900), chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("no-proxy-server", true))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ = chromedp.NewContext(ctx)
	stopChromium = func() {
		_ = chromedp.Cancel(ctx)
		stop()
		_ = os.RemoveAll(profile)
	}
	return ctx, chromedp.Do(ctx)
})

var (
	errNoChromium = errors.New("needs chromium: on Debian, apt-get install chromium")
	stopChromium  = func() {}
)

func TestMain(m *testing.M) {
	code := m.Run()
	stopChromium()
	os.Exit(code)
}

// A real is a site that real browsers can visit.
type real struct {
	*site
	url  string
	tabs int
}

func newReal(t *testing.T) *real {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	if _, err := chromium(); errors.Is(err, errNoChromium) && os.Getenv("SOJOURN_REQUIRE_ALL") != "1" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(s.Close) // first, since the server waits for the streams
	return &real{site: s, url: strings.Replace(server.URL, "127.0.0.1", "localhost", 1)}
}

// A tab is one page of one visitor.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string
}

// tab opens a tab of a new visitor, whose system prefers the light theme and whose language is English.
func (r *real) tab() *tab {
	r.t.Helper()
	parent, err := chromium()
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, closeTab := chromedp.NewContext(parent, chromedp.WithNewBrowserContext())
	r.t.Cleanup(closeTab)
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	r.t.Cleanup(cancel)
	r.tabs++
	tab := &tab{r.t, ctx, r.url}
	name := fmt.Sprintf("%s-%d.png", strings.ReplaceAll(r.t.Name(), "/", "-"), r.tabs)
	r.t.Cleanup(func() {
		if r.t.Failed() {
			tab.picture(filepath.Join("..", "..", "..", "out", "browser", name))
		}
	})
	call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "light"}},
	})
	tab.as("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36", "en")
	return tab
}

// as changes the browser's name and language.
func (b *tab) as(agent, lang string) {
	b.t.Helper()
	call(b, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: agent, AcceptLanguage: lang})
}

func (b *tab) picture(path string) {
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Logf("no screenshot: %v", err)
		return
	}
	path, _ = filepath.Abs(path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, png, 0o644)); err != nil {
		b.t.Logf("no screenshot: %v", err)
		return
	}
	b.t.Logf("screenshot: %s", path)
}

func (b *tab) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// visit opens a page, and waits until it is there.
func (b *tab) visit(path string) {
	b.t.Helper()
	b.do("visit "+path, chromedp.Navigate(b.url+path))
}

// click clicks what leads to another page, and waits until that is there.
func (b *tab) click(selector string) {
	b.t.Helper()
	if _, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible)); err != nil {
		b.t.Fatalf("click %s: %v", selector, err)
	}
}

func (b *tab) fill(selector, text string) {
	b.t.Helper()
	b.do("fill in "+selector, chromedp.Clear(chromedp.CSS(selector)), chromedp.SendKeys(chromedp.CSS(selector), text))
}

// see waits until the page shows something.
func (b *tab) see(selector, text string) {
	b.t.Helper()
	got := ""
	deadline := time.Now().Add(15 * time.Second)
	for time.Now().Before(deadline) {
		script := fmt.Sprintf(`(() => { const e = document.querySelector(%q); return e && e.checkVisibility() ? e.innerText : "(not there)"; })()`, selector)
		seen, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script)) // fails while the page changes
		if b.ctx.Err() != nil {
			b.t.Fatalf("look at %s: %v", selector, err)
		}
		got = seen
		if strings.Contains(got, text) {
			return
		}
		_ = chromedp.Do(b.ctx, chromedp.Sleep(50*time.Millisecond))
	}
	b.t.Fatalf("%s shows %q, want %q", selector, got, text)
}

func (b *tab) eval(script string) string {
	b.t.Helper()
	result, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("evaluate %s: %v", script, err)
	}
	return result
}

// call sends a command of the DevTools protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatalf("%s: %v", command.Method, err)
	}
	return result
}

func (b *tab) signIn(a Account) {
	b.t.Helper()
	b.visit("/login")
	b.fill("#email", a.Email)
	b.fill("#password", a.Password)
	b.click("form[action='/login'] button")
}

func TestBrowserSignIn(t *testing.T) {
	b := newReal(t).tab()
	b.visit("/account")
	b.see("[role=status]", "Please sign in to go on.")
	b.fill("#email", ada.Email)
	b.fill("#password", "not it at all")
	b.click("form[action='/login'] button")
	b.see("[role=alert]#error", "The e-mail address or the password is wrong.")
	b.fill("#password", ada.Password)
	b.do("keep signed in", chromedp.Click(chromedp.CSS("input[name=remember]")))
	b.click("form[action='/login'] button")
	b.see("h1", "Your account") // where it began
	b.see(".tiles", ada.Email)
	b.see(".tiles", "kept signed in")
	if cookies := b.eval("document.cookie"); cookies != "" {
		t.Errorf("scripts see the cookie: %q", cookies)
	}
	b.click("form.leave button")
	b.see("#sign-in", "Sign in")
	b.visit("/account")
	b.see("h1", "Sign in")
}

func TestBrowserCartAcrossLogin(t *testing.T) {
	r := newReal(t)
	b := r.tab()
	b.visit("/")
	b.do("add twice",
		chromedp.Click(chromedp.CSS("#p-tent .buy button")), chromedp.WaitVisible(chromedp.CSS("#p-tent .buy button.added")))
	b.see("#cart-count", "1")
	b.do("add another", chromedp.Click(chromedp.CSS("#p-camera .buy button")))
	b.see("#cart-count", "2")
	b.signIn(ada)
	b.see("#cart-count", "2")
	b.visit("/cart")
	b.see("[data-sku=tent]", "Two-night tent")
	b.click("[data-sku=tent] button[value='1']")
	b.see("[data-sku=tent] output", "2")

	other := r.tab()
	other.visit("/")
	other.do("add", chromedp.Click(chromedp.CSS("#p-compass .buy button")))
	other.see("#cart-count", "1")
	other.signIn(ada)
	other.visit("/cart")
	other.see("[data-sku=tent] output", "2")
	other.see("[data-sku=camera] output", "1")
	other.see("[data-sku=compass] output", "1")
	other.click("[data-sku=camera] > form:last-child button")
	other.see("#cart-count", "3")
}

// watchPaint notes the colour of the page in every frame from the first.
const watchPaint = `window.frames_ = new Set();
(function look() {
	if (document.body) frames_.add(getComputedStyle(document.documentElement).backgroundColor + " " + document.documentElement.dataset.theme + " " + document.documentElement.lang);
	requestAnimationFrame(look);
})();`

func TestBrowserThemeAndLanguage(t *testing.T) {
	const light, dark = "rgb(250, 246, 238)", "rgb(20, 25, 27)"
	r := newReal(t)
	b := r.tab()
	call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watchPaint})
	painted := func(want string) {
		t.Helper()
		b.eval(`new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(""))))`) // two frames more
		if got := b.eval(`[...frames_].join("; ")`); got != want {
			t.Errorf("painted: %s, want in every frame %s", got, want)
		}
	}
	choose := func(what string) {
		t.Helper()
		b.do("open the menu", chromedp.Click(chromedp.CSS("#prefs summary")))
		b.click("#prefs button[value=" + what + "]")
	}
	b.visit("/")
	painted(light + " auto en")
	choose("dark")
	painted(dark + " dark en")
	choose("de")
	painted(dark + " dark de")
	b.see("h1", "Gutes für unterwegs")
	b.visit("/cart")
	painted(dark + " dark de")

	// They come along when the visitor signs in, and to the next device; there the system's preference is another.
	b.signIn(ben)
	painted(dark + " dark de")
	b = r.tab()
	call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watchPaint})
	b.signIn(ben)
	painted(dark + " dark de")
	b.see("form[action='/logout'] button", "Abmelden")
	choose("light")
	painted(light + " light de")
}

func TestBrowserDevicesAndLiveLogout(t *testing.T) {
	r := newReal(t)
	here, there := r.tab(), r.tab()
	there.as("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0", "en")
	here.signIn(ada)
	there.signIn(ada)
	there.visit("/cart")
	here.visit("/account/sessions")
	here.see(".device.current", "Chrome on Linux")
	here.see(".device:not(.current)", "Firefox on Windows")

	here.click(".device:not(.current) button")
	here.see("[role=status]", "That device was signed out.")
	there.see("#signed-out", "You were signed out.")
	there.see("h1", "Sign in") // by itself
	there.see("[role=status]", "You were signed out from another device.")
	if got := there.eval("location.search"); got != "?next=%2Fcart" {
		t.Errorf("the way back is %q", got)
	}
	there.fill("#email", ada.Email)
	there.fill("#password", ada.Password)
	there.click("form[action='/login'] button")
	there.see("h1", "Your cart")

	// With a password that is some time ago, it is asked for first.
	r.sleep(20 * time.Minute)
	here.visit("/account/sessions")
	here.click("#end-others")
	here.see("h1", "Is it you?")
	here.fill("#password", ada.Password)
	here.click("form[action='/reauth'] button")
	here.see("h1", "Your devices")
	here.click("#end-others")
	here.see("[role=status]", "You are signed out everywhere else.")
	there.see("h1", "Sign in")
	if got := here.eval("String(document.querySelectorAll('.device').length)"); got != "1" {
		t.Errorf("%s devices are left", got)
	}
}

func TestBrowserFreshPasswordForEmail(t *testing.T) {
	r := newReal(t)
	b := r.tab()
	b.signIn(ada)
	r.sleep(11 * time.Minute)
	b.visit("/account")
	b.click("a[href='/account/email']")
	b.see("h1", "Is it you?")
	b.fill("#password", ada.Password)
	b.click("form[action='/reauth'] button")
	b.see("h1", "Change e-mail")
	b.fill("#email", "countess@example.com")
	b.click("form[action='/account/email'] button")
	b.see("[role=status]", "Your e-mail address was changed.")
	b.see(".tiles", "countess@example.com")
}

// TestGallery takes a picture of every page, to look at: SOJOURN_GALLERY=/tmp/gallery go test -run Gallery ./internal/shop
func TestGallery(t *testing.T) {
	dir := os.Getenv("SOJOURN_GALLERY")
	if dir == "" {
		t.Skip("a picture of every page, if SOJOURN_GALLERY names a directory")
	}
	r := newReal(t)
	b := r.tab()
	phone := r.tab()
	call(phone, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 390, Height: 844, DeviceScaleFactor: 2, Mobile: true})
	phone.as("Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Mobile/15E148 Safari/604.1", "en")
	shoot := func(tab *tab, name, path string) {
		t.Helper()
		tab.visit(path)
		tab.picture(filepath.Join(dir, name+".png"))
	}
	shoot(b, "01-front", "/")
	shoot(b, "02-cart-empty", "/cart")
	shoot(b, "03-login", "/login")
	shoot(b, "04-signup", "/signup")
	shoot(b, "05-404", "/nowhere")
	for _, sku := range []string{"tent", "camera", "sun-hat"} {
		b.visit("/")
		b.do("add", chromedp.Click(chromedp.CSS("#p-"+sku+" .buy button")), chromedp.WaitVisible(chromedp.CSS("#p-"+sku+" .added")))
	}
	shoot(b, "06-cart", "/cart")
	b.signIn(ada)
	phone.signIn(ada)
	shoot(b, "07-account", "/account")
	shoot(b, "08-devices", "/account/sessions")
	shoot(b, "09-email", "/account/email")
	r.sleep(20 * time.Minute)
	shoot(b, "10-reauth", "/account/email")
	shoot(phone, "20-phone-front", "/")
	shoot(phone, "21-phone-cart", "/cart")
	shoot(phone, "22-phone-devices", "/account/sessions")
	shoot(phone, "23-phone-account", "/account")
	phone.visit("/")
	phone.do("open the menu", chromedp.Click(chromedp.CSS("#prefs summary")))
	phone.picture(filepath.Join(dir, "24-phone-menu.png"))
	b.visit("/")
	b.do("open the menu", chromedp.Click(chromedp.CSS("#prefs summary")))
	b.click("#prefs button[value=dark]")
	b.do("open the menu", chromedp.Click(chromedp.CSS("#prefs summary")))
	b.picture(filepath.Join(dir, "30-dark-menu.png"))
	b.click("#prefs button[value=de]")
	shoot(b, "31-dark-german-front", "/")
	shoot(b, "32-dark-german-cart", "/cart")
	shoot(b, "33-dark-german-devices", "/account/sessions")
	shoot(phone, "34-phone-login-dark", "/account/email")
	b.eval(`document.body.insertAdjacentHTML("beforeend", '<form method=post action=/cart><button id=nonsense>!</button></form>'), ""`)
	b.click("#nonsense")
	b.picture(filepath.Join(dir, "35-dark-error.png"))
	if _, err := r.Sessions.EndSubject(t.Context(), r.user(ada.Email).ID); err != nil {
		t.Fatal(err)
	}
	phone.see("#signed-out", "abgemeldet")
	phone.picture(filepath.Join(dir, "36-phone-signed-out.png"))
	b.see("h1", "Sign in") // in the language of the browser again
	b.picture(filepath.Join(dir, "37-signed-out-login.png"))
}
