package shop

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
)

// The tests in this file use a real Chromium.

func TestMain(m *testing.M) {
	code := m.Run()
	browsertest.Stop()
	os.Exit(code)
}

// A real is a site for real browsers.
type real struct {
	*site
	url string
}

func newReal(t *testing.T) *real { return newRealOf(t, stored) }

func newRealOf(t *testing.T, w *way) *real {
	t.Helper()
	browsertest.Need(t)
	s := w.newSite(t)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(s.Close) // first, since the server waits for the streams
	return &real{site: s, url: strings.Replace(server.URL, "127.0.0.1", "localhost", 1)}
}

// A tab is a page of one visitor.
type tab struct {
	*browsertest.Tab
	t *testing.T
}

func (r *real) tab() tab {
	r.t.Helper()
	return tab{browsertest.Open(r.t, r.url, filepath.Join("..", "..", "..", "out", "browser")), r.t}
}

func (b tab) signIn(a Account) {
	b.t.Helper()
	b.Visit("/login")
	b.Fill("#email", a.Email)
	b.Fill("#password", a.Password)
	b.Click("form[action='/login'] button")
}

func TestBrowserSignIn(t *testing.T) {
	b := newReal(t).tab()
	b.Visit("/account")
	b.See("[role=status]", "Please sign in to go on.")
	b.Fill("#email", ada.Email)
	b.Fill("#password", "not it at all")
	b.Click("form[action='/login'] button")
	b.See("[role=alert]#error", "The e-mail address or the password is wrong.")
	b.Fill("#password", ada.Password)
	b.Do("keep signed in", chromedp.Click(chromedp.CSS("input[name=remember]")))
	b.Click("form[action='/login'] button")
	b.See("h1", "Your account") // where it began
	b.See(".tiles", ada.Email)
	b.See(".tiles", "kept signed in")
	if cookies := b.Eval("document.cookie"); cookies != "" {
		t.Errorf("scripts see the cookie: %q", cookies)
	}
	b.Click("form.leave button")
	b.See("#sign-in", "Sign in")
	b.See("[role=status]", "You are signed out.")
	b.Visit("/account")
	b.See("h1", "Sign in")
}

// After a sign-out the Back button shows nothing of the account.
func TestBrowserBackAfterSignOut(t *testing.T) {
	b := newReal(t).tab()
	b.signIn(ada)
	b.Visit("/account")
	b.See(".tiles", ada.Email)
	b.Click("form.leave button")
	b.See("[role=status]", "You are signed out.")
	b.Eval(`history.back(), ""`)
	b.See("h1", "Sign in")
	if text := b.Eval("document.body.innerText"); strings.Contains(text, "Signed in as") {
		t.Errorf("Back shows the account: %s", text)
	}
}

func TestBrowserCartAcrossLogin(t *testing.T) {
	r := newReal(t)
	b := r.tab()
	b.Visit("/")
	b.Do("add twice",
		chromedp.Click(chromedp.CSS("#p-tent .buy button")), chromedp.WaitVisible(chromedp.CSS("#p-tent .buy button.added")))
	b.See("#cart-count", "1")
	b.Do("add another", chromedp.Click(chromedp.CSS("#p-camera .buy button")))
	b.See("#cart-count", "2")
	b.signIn(ada)
	b.See("#cart-count", "2")
	b.Visit("/cart")
	b.See("[data-sku=tent]", "Two-night tent")
	b.Click("[data-sku=tent] button[value='1']")
	b.See("[data-sku=tent] output", "2")

	other := r.tab()
	other.Visit("/")
	other.Do("add", chromedp.Click(chromedp.CSS("#p-compass .buy button")))
	other.See("#cart-count", "1")
	other.signIn(ada)
	other.Visit("/cart")
	other.See("[data-sku=tent] output", "2")
	other.See("[data-sku=camera] output", "1")
	other.See("[data-sku=compass] output", "1")
	other.Click("[data-sku=camera] > form:last-child button")
	other.See("#cart-count", "3")
}

// Without a store, a cart survives the login, and the user signs out everywhere.
func TestBrowserSealed(t *testing.T) {
	r := newRealOf(t, everyone)
	b, other := r.tab(), r.tab()
	b.Visit("/")
	for n, sku := range []string{"tent", "camera"} {
		b.Do("add", chromedp.Click(chromedp.CSS("#p-"+sku+" .buy button")))
		b.See("#cart-count", itoa(n+1))
	}
	b.signIn(ada)
	b.See("#cart-count", "2")
	other.signIn(ada)
	other.See("#cart-count", "2")
	b.Visit("/account")
	b.See(".tiles", "keeps no list of your devices")
	b.Visit("/session/devices")
	b.See("#list", "can’t list where else you are signed in")
	b.Accessible("a user's devices without a list")
	r.sleep(time.Second)
	b.Click("#end-others")
	b.See("h1", "Sign out everywhere?")
	b.Click("#confirm")
	b.See("#sign-in", "Sign in")
	other.Visit("/account")
	other.See("[role=status]", "You were signed out from another device.")
}

// watchPaint records the colour of the page in every frame.
const watchPaint = `window.frames_ = new Set();
(function look() {
	if (document.body) frames_.add(getComputedStyle(document.documentElement).backgroundColor + " " + document.documentElement.dataset.theme + " " + document.documentElement.lang);
	requestAnimationFrame(look);
})();`

func TestBrowserThemeAndLanguage(t *testing.T) {
	const light, dark = "rgb(250, 246, 238)", "rgb(20, 25, 27)"
	r := newReal(t)
	b := r.tab()
	browsertest.Call(b.Tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watchPaint})
	painted := func(want string) {
		t.Helper()
		b.Eval(`new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(""))))`) // two frames more
		if got := b.Eval(`[...frames_].join("; ")`); got != want {
			t.Errorf("painted: %s, want in every frame %s", got, want)
		}
	}
	choose := func(what string) {
		t.Helper()
		b.Do("open the menu", chromedp.Click(chromedp.CSS("#prefs summary")))
		b.Click("#prefs button[value=" + what + "]")
	}
	chooseTheme := func(theme string) { // at once, without a new page
		t.Helper()
		b.Do("open the menu", chromedp.Click(chromedp.CSS("#prefs summary")))
		b.Do("choose", chromedp.Click(chromedp.CSS("#prefs button[value="+theme+"]")))
		b.Await(`document.querySelector("#prefs button[value=` + theme + `]").ariaPressed === "true"`)
		b.Eval(`frames_.clear(), ""`)
		b.Do("close the menu", chromedp.Click(chromedp.CSS("#prefs summary")))
	}
	b.Visit("/")
	painted(light + " auto en")
	chooseTheme("dark")
	painted(dark + " dark en")
	if cookies := b.Cookies(); len(cookies) > 0 {
		t.Errorf("a visitor who has chosen a theme has cookies: %v", cookies)
	}
	choose("de")
	painted(dark + " dark de")
	b.See("h1", "Gutes für unterwegs")
	b.Visit("/cart")
	painted(dark + " dark de")

	// They survive the sign-in and apply on the next device, whose system
	// prefers another theme.
	b.signIn(ben)
	painted(dark + " dark de")
	b.Eval(`sojourn.mirror.sync().then(() => "")`) // what the page does by itself after the sign-in
	b = r.tab()
	browsertest.Call(b.Tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watchPaint})
	b.signIn(ben)
	painted(dark + " dark de")
	b.See("form[action='/logout'] button", "Abmelden")
	chooseTheme("light")
	painted(light + " light de")

	// A page of a CDN has both, before its first paint and without a session to ask.
	b.Visit("/delivery")
	painted(light + " light en")
	b.See(".spoken[lang=de] h1", "Lieferung")
	b.Do("choose", chromedp.Click(chromedp.CSS(".spoken[lang=de] button[value=dark]")))
	b.Await(`document.documentElement.dataset.theme === "dark"`)
	b.Eval(`sojourn.mirror.sync().then(() => "")`)
	b.Visit("/cart")
	painted(dark + " dark de")
	b.Click("form.inline button") // sign out: neither is personal
	painted(dark + " dark en")
	if user, err := r.Users.ByEmail(t.Context(), ben.Email); err != nil || user.Preferences != (Preferences{"dark", "de"}) {
		t.Errorf("the user has %+v (%v)", user.Preferences, err)
	}
}

func TestBrowserDevicesAndLiveLogout(t *testing.T) {
	r := newReal(t)
	here, there := r.tab(), r.tab()
	there.As("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0", "en")
	here.signIn(ada)
	there.signIn(ada)
	there.Visit("/cart")
	here.Visit("/session/devices")
	here.See(".devices.current", "Chrome on Linux")
	here.See("[aria-labelledby=others]", "Firefox on Windows")

	here.Click("[aria-labelledby=others] li .button")
	here.See("h1", "Sign out this device?")
	here.Click("#confirm")
	here.See("[role=status]", "The device is signed out.")
	there.See("#signed-out", "You were signed out.")
	there.See("h1", "Sign in") // by itself
	there.See("[role=status]", "You were signed out from another device.")
	if got := there.Eval("location.search"); got != "?next=%2Fcart" {
		t.Errorf("the way back is %q", got)
	}
	there.Fill("#email", ada.Email)
	there.Fill("#password", ada.Password)
	there.Click("form[action='/login'] button")
	there.See("h1", "Your cart")

	// The open page shows the new session by itself.
	here.See("[aria-labelledby=others]", "Firefox on Windows")
	here.See("[role=status]", "The list has changed.")

	// If the password was entered long ago, the shop asks for it first.
	r.sleep(20 * time.Minute)
	here.Click("#end-others")
	here.See("h1", "Is it you?")
	here.Fill("#password", ada.Password)
	here.Click("form[action='/reauth'] button")
	here.See("h1", "Sign out all other devices?")
	here.Click("#confirm")
	here.See("[role=status]", "All other devices are signed out.")
	there.See("h1", "Sign in")
	if got := here.Eval("String(document.querySelectorAll('[data-session]').length)"); got != "1" {
		t.Errorf("%s devices are left", got)
	}

	// A page whose session ends elsewhere says so.
	if _, err := r.Sessions.EndSubject(t.Context(), r.user(ada.Email).ID, sojourn.ID{}); err != nil {
		t.Fatal(err)
	}
	here.See("#signed-out", "You are no longer signed in here. Signed out from another device or by the site.")
	here.Await("!sojourn.mirror.signedIn") // so all tabs know
	here.Click("#signed-out a")
	here.See("h1", "Sign in")
	if got := here.Eval("location.search"); got != "?next=%2Fsession%2Fdevices" {
		t.Errorf("the way back is %q", got)
	}
}

func TestBrowserFreshPasswordForEmail(t *testing.T) {
	r := newReal(t)
	b := r.tab()
	b.signIn(ada)
	r.sleep(11 * time.Minute)
	b.Visit("/account")
	b.Click("a[href='/account/email']")
	b.See("h1", "Is it you?")
	b.Fill("#password", ada.Password)
	b.Click("form[action='/reauth'] button")
	b.See("h1", "Change e-mail")
	b.Fill("#email", "countess@example.com")
	b.Click("form[action='/account/email'] button")
	b.See("[role=status]", "Your e-mail address was changed.")
	b.See(".tiles", "countess@example.com")
}

// overflowing lists the texts that are wider than their box, and whether the page
// scrolls sideways.
const overflowing = `(() => {
	const wide = [...document.querySelectorAll("body *")].filter(e => e.clientWidth > 2 && e.scrollWidth > e.clientWidth + 1 && !e.closest("svg, .visually-hidden, .skip, .label"));
	const root = document.documentElement;
	return wide.map(e => e.tagName + "." + e.className + ": " + e.textContent.trim().slice(0, 40)).concat(root.scrollWidth > root.clientWidth ? ["the page"] : []).join("; ");
})()`

func letter(r rune) rune {
	if r < 'a' || r > 'z' {
		return '-'
	}
	return r
}

// On a narrow phone every word fits, also in German.
func TestBrowserNarrow(t *testing.T) {
	b := newReal(t).tab()
	browsertest.Call(b.Tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 360, Height: 780, DeviceScaleFactor: 2, Mobile: true})
	b.As("Mozilla/5.0 (Linux; Android 15; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36", "de")
	b.Visit("/")
	b.Do("open the menu", chromedp.Click(chromedp.CSS("#prefs summary")))
	if wide := b.Eval(overflowing); wide != "" {
		t.Errorf("the menu: %s", wide)
	}
	look := func(path string) {
		t.Helper()
		b.Visit(path)
		if dir := os.Getenv("SOJOURN_GALLERY"); dir != "" {
			b.Picture(filepath.Join(dir, "narrow"+strings.Map(letter, path)+".png"))
		}
		if wide := b.Eval(overflowing); wide != "" {
			t.Errorf("%s: %s", path, wide)
		}
	}
	for _, path := range []string{"/", "/cart", "/login", "/signup", "/nowhere"} {
		look(path)
	}
	b.Visit("/")
	for _, sku := range []string{"camera", "compass"} {
		b.Do("add", chromedp.Click(chromedp.CSS("#p-"+sku+" .buy button")), chromedp.WaitVisible(chromedp.CSS("#p-"+sku+" .buy button.added")))
	}
	b.signIn(ada)
	for _, path := range []string{"/", "/?done=logout", "/cart", "/account", "/session/devices", "/account/email", "/reauth"} {
		look(path)
	}
}

// TestGallery takes a picture of every page:
// SOJOURN_GALLERY=/tmp/gallery go test -run Gallery ./internal/shop
func TestGallery(t *testing.T) {
	dir := os.Getenv("SOJOURN_GALLERY")
	if dir == "" {
		t.Skip("a picture of every page, if SOJOURN_GALLERY names a directory")
	}
	r := newReal(t)
	b := r.tab()
	phone := r.tab()
	browsertest.Call(phone.Tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 390, Height: 844, DeviceScaleFactor: 2, Mobile: true})
	phone.As("Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Mobile/15E148 Safari/604.1", "en")
	shoot := func(tab tab, name, path string) {
		t.Helper()
		tab.Visit(path)
		tab.Picture(filepath.Join(dir, name+".png"))
	}
	shoot(b, "01-front", "/")
	shoot(b, "02-cart-empty", "/cart")
	shoot(b, "03-login", "/login")
	shoot(b, "04-signup", "/signup")
	shoot(b, "05-404", "/nowhere")
	french := r.tab()
	french.As("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "fr")
	shoot(french, "40-french", "/")
	for _, sku := range []string{"tent", "camera", "sun-hat"} {
		b.Visit("/")
		b.Do("add", chromedp.Click(chromedp.CSS("#p-"+sku+" .buy button")), chromedp.WaitVisible(chromedp.CSS("#p-"+sku+" .added")))
	}
	shoot(b, "06-cart", "/cart")
	b.signIn(ada)
	phone.signIn(ada)
	shoot(b, "07-account", "/account")
	r.sleep(3 * time.Hour)
	r.signInFrom(ada.Email, agents[1], "203.0.113.7", sojourn.Remember())
	r.sleep(40 * time.Minute)
	r.signInFrom(ada.Email, agents[3], "198.51.100.24", sojourn.Remember())
	r.sleep(3 * time.Minute)
	r.endOne(ada.Email, sojourn.ReasonRevoked)
	shoot(b, "08-devices", "/session/devices")
	shoot(b, "09-email", "/account/email")
	r.sleep(20 * time.Minute)
	shoot(b, "10-reauth", "/account/email")
	sealed := newRealOf(t, everyone).tab()
	sealed.signIn(ada)
	shoot(sealed, "11-sealed-account", "/account")
	shoot(sealed, "12-sealed-devices", "/session/devices")
	shoot(sealed, "13-sealed-everywhere", "/session/devices/others/end")
	shoot(phone, "20-phone-front", "/")
	shoot(phone, "21-phone-cart", "/cart")
	shoot(phone, "22-phone-devices", "/session/devices")
	shoot(phone, "23-phone-account", "/account")
	phone.Visit("/")
	phone.Do("open the menu", chromedp.Click(chromedp.CSS("#prefs summary")))
	phone.Picture(filepath.Join(dir, "24-phone-menu.png"))
	b.Visit("/")
	b.Do("open the menu", chromedp.Click(chromedp.CSS("#prefs summary")))
	b.Do("choose the dark theme", chromedp.Click(chromedp.CSS("#prefs button[value=dark]")))
	b.Picture(filepath.Join(dir, "30-dark-menu.png"))
	b.Click("#prefs button[value=de]")
	shoot(b, "31-dark-german-front", "/")
	shoot(b, "32-dark-german-cart", "/cart")
	shoot(b, "33-dark-german-devices", "/session/devices")
	shoot(phone, "34-phone-login-dark", "/account/email")
	b.Eval(`document.body.insertAdjacentHTML("beforeend", '<form method=post action=/cart><button id=nonsense>!</button></form>'), ""`)
	b.Click("#nonsense")
	b.Picture(filepath.Join(dir, "35-dark-error.png"))
	if _, err := r.Sessions.EndSubject(t.Context(), r.user(ada.Email).ID, sojourn.ID{}); err != nil {
		t.Fatal(err)
	}
	phone.See("#signed-out", "abgemeldet")
	phone.Picture(filepath.Join(dir, "36-phone-signed-out.png"))
	b.See("h1", "Sign in") // in the language of the browser again
	b.Picture(filepath.Join(dir, "37-signed-out-login.png"))
}
