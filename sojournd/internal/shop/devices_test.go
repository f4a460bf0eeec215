package shop

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
	"github.com/sojourn-go/sojourn/store"
)

// signInFrom makes a session of a user, as the browser of a user agent does.
func (s *site) signInFrom(email, agent, ip string, options ...sojourn.LoginOption) {
	s.t.Helper()
	client := sojourn.Client{UserAgent: agent, IP: netip.MustParseAddr(ip)}
	session := s.Sessions.Begin(s.t.Context(), sojourn.Request{Client: client})
	defer session.Finish()
	if err := session.Login(s.user(email).ID, options...); err != nil {
		s.t.Fatal(err)
	}
	if err := session.Commit(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// endOne begins a session of a user and ends it.
func (s *site) endOne(email string, reason sojourn.Reason) {
	s.t.Helper()
	s.sleep(time.Millisecond) // so that its ID is the last one
	s.signInFrom(email, agents[0], "203.0.113.9")
	list, _, err := s.Sessions.List(s.t.Context(), s.user(email).ID, "", 1000)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.store.End(s.t.Context(), "shop", list[len(list)-1].ID, reason, store.TimeOf(s.clock())); err != nil {
		s.t.Fatal(err)
	}
}

// agents are user agents of several kinds, one of them hostile.
var agents = []string{
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
	"Donaudampfschifffahrtsgesellschaftskapitaensmuetzenbrowser/1.0 <script>alert(1)</script>",
	"Mozilla/5.0 (Linux; Android 15; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
	"curl/8.14.1",
}

// The pages of /session/ can be used with a keyboard and a screen reader, in
// both themes, from narrow to wide, with one device and with a hundred.
func TestBrowserDevicesForEveryone(t *testing.T) {
	r := newReal(t)
	browsertest.NeedAxe(t)
	// The shop restyles the pages. This shows them in their own colours.
	ownColours := func(b tab, name string) {
		t.Helper()
		b.Eval(`document.querySelector("link[href*='devices.css']").disabled = true, ""`)
		b.Accessible(name + " in its own colours")
	}
	picture := func(b tab, name string) {
		if dir := os.Getenv("SOJOURN_GALLERY"); dir != "" {
			b.Picture(filepath.Join(dir, "devices-"+name+".png"))
		}
	}
	show := func(b tab, width int64, theme string) {
		t.Helper()
		browsertest.Call(b.Tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: max(700, width/2), DeviceScaleFactor: 1})
		browsertest.Call(b.Tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}},
		})
	}
	look := func(b tab, path, name string) {
		t.Helper()
		b.Visit(path)
		b.Accessible(name)
		if wide := b.Eval(overflowing); wide != "" {
			t.Errorf("%s: too wide: %s", name, wide)
		}
		picture(b, name)
	}
	b := r.tab()
	b.signIn(ada)
	show(b, 1280, "light")
	look(b, "/session/devices", "1280-one")
	r.sleep(3 * time.Hour)
	for i, agent := range agents {
		r.signInFrom(ada.Email, agent, []string{"2001:db8:85a3:1234:5678:8a2e:370:7334", "203.0.113.7"}[i%2], []sojourn.LoginOption{sojourn.Remember(), sojourn.Level(1)}[i%2])
		r.sleep(time.Duration(i*i) * 7 * time.Minute)
	}
	r.endOne(ada.Email, sojourn.ReasonLogout)
	r.endOne(ada.Email, sojourn.ReasonTheft)
	look(b, "/session/devices?done=ended", "1280-six")
	ownColours(b, "1280-six")
	picture(b, "own-light")
	show(b, 1280, "dark")
	look(b, "/session/devices", "1280-six-dark")
	ownColours(b, "1280-six-dark")
	picture(b, "own-dark")
	show(b, 3840, "light")
	look(b, "/session/devices", "3840-six")
	b.As("Mozilla/5.0 (Linux; Android 15; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36", "de")
	show(b, 320, "dark")
	look(b, "/session/devices", "320-six-dark-german")
	b.Visit("/reauth?next=/session/devices/others/end")
	b.Fill("#password", ada.Password)
	b.Click("form[action='/reauth'] button")
	b.See("h1", "Alle anderen Geräte abmelden?")
	b.Accessible("the question")
	picture(b, "320-confirm-dark-german")
	show(b, 320, "light")
	look(b, "/session/nowhere", "320-error")
	for i := range 94 {
		r.signInFrom(ada.Email, agents[i%len(agents)], fmt.Sprintf("198.51.100.%d", i))
	}
	b.As("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "fr")
	look(b, "/session/devices", "320-hundred-french")
	b.Click("#more")
	b.See("#first", "Revenir aux premiers appareils")
	show(b, 3840, "dark")
	b.Accessible("the second page")
	picture(b, "3840-hundred-dark-french")
	b.Visit("/session/devices")
	b.Click("[aria-labelledby=others] li .button")
	b.See("h1", "Déconnecter cet appareil\u202f?")
	picture(b, "3840-confirm-dark-french")
}

// With the keyboard alone, and without scripts, a user signs out another device.
// With scripts, the focus stays where it is when the list changes.
func TestBrowserDevicesByKeyboard(t *testing.T) {
	r := newReal(t)
	b := r.tab()
	b.signIn(ada)
	r.signInFrom(ada.Email, agents[1], "203.0.113.7")
	press := func(key string) {
		t.Helper()
		b.Do("press "+key, chromedp.KeyEvent(key))
	}
	tabTo := func(selector string) {
		t.Helper()
		for range 20 {
			press(kb.Tab)
			if b.Eval(fmt.Sprintf("String(document.activeElement.matches(%q))", selector)) == "true" {
				return
			}
		}
		t.Fatalf("Tab doesn't lead to %s", selector)
	}
	b.Visit("/session/devices")
	tabTo("#end-others")
	r.signInFrom(ada.Email, agents[0], "203.0.113.8")
	b.See("[aria-labelledby=others]", "Safari on iOS")
	if got := b.Eval("document.activeElement.id"); got != "end-others" {
		t.Errorf("after the change the focus is on %q", got)
	}

	browsertest.Call(b.Tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.Visit("/session/devices")
	press(kb.Tab)
	press(kb.Enter) // the link to the content
	tabTo("[aria-labelledby=others] li .button")
	press(kb.Enter)
	b.See("h1", "Sign out this device?")
	tabTo("#confirm")
	press(kb.Enter)
	b.See("[role=status]", "The device is signed out.")
	b.See("[aria-labelledby=others]", " on ")
	if got := b.Eval("String(document.querySelectorAll('[data-session]').length)"); got != "2" {
		t.Errorf("%s devices are left, want 2", got)
	}
}
