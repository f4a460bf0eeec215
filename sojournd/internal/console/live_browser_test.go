package console

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
)

// busy fills an hour of figures, an alert of each kind, and events.
func (w *world) busy(seconds int) {
	w.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 12 {
		subject := ""
		if i%4 != 0 {
			subject = fmt.Sprintf("user-%d", i)
		}
		w.user(w.shop, subject, []string{firefox, chrome}[i%2], fmt.Sprintf("198.51.100.%d", i))
	}
	w.user(w.blog, "linus", chrome, "203.0.113.9")
	for i := range seconds {
		for range 5 + random.IntN(6) {
			w.history.Checked("shop", time.Duration(20+random.ExpFloat64()*60)*time.Microsecond)
			w.history.Called("get", time.Duration(200+random.ExpFloat64()*900)*time.Microsecond, i%97 != 3)
		}
		for _, e := range []sojourn.Event{
			{Kind: sojourn.EventCreated}, {Kind: sojourn.EventCreated, Subject: "x"}, {Kind: sojourn.EventEnded, Reason: sojourn.ReasonLogout},
			{Kind: sojourn.EventEnded, Reason: sojourn.ReasonIdle}, {Kind: sojourn.EventRefused, Refusal: sojourn.RefusedUnknown},
			{Kind: sojourn.EventRefused, Refusal: sojourn.RefusedEnded},
		} {
			if e.App = "shop"; random.IntN(10) == 0 {
				w.history.Observe(e)
			}
		}
		if i%30 == 0 {
			w.history.Count(w.Context())
		}
		w.mu.Lock()
		w.now = w.now.Add(time.Second)
		w.mu.Unlock()
		w.history.Tick()
	}
	thief := sojourn.Client{IP: netip.MustParseAddr("192.0.2.66"), UserAgent: firefox}
	theft := sojourn.Event{App: "shop", Kind: sojourn.EventEnded, Reason: sojourn.ReasonTheft, Time: w.time(), Session: w.user(w.shop, "grace@example.com", chrome, "203.0.113.7"), Subject: "grace@example.com", Client: thief, Detail: "a former secret was used"}
	guess := sojourn.Event{App: "shop", Kind: sojourn.EventThrottled, Time: w.time(), Client: thief}
	for _, e := range []sojourn.Event{theft, guess, guess} {
		w.hub.Observer("shop")(e)
		w.history.Observe(e)
	}
	w.history.Barred("shop", "limit", "user-5", sojourn.Client{IP: netip.MustParseAddr("198.51.100.5"), UserAgent: chrome})
}

// TestLiveGallery takes pictures of the pages of figures, alerts and events:
// SOJOURN_GALLERY=/tmp/gallery go test -run LiveGallery ./internal/console
func TestLiveGallery(t *testing.T) {
	dir := os.Getenv("SOJOURN_GALLERY")
	if dir == "" {
		t.Skip("a picture of every page, if SOJOURN_GALLERY names a directory")
	}
	w := newWorld(t)
	w.busy(3700)
	b := w.tab(t)
	signIn(b, "ann")
	for name, path := range map[string]string{"figures": "/?app=shop", "hour": "/?app=shop&span=hour", "alerts": "/alerts", "events": "/apps/shop/events"} {
		b.Visit(path)
		for _, theme := range []string{"light", "dark"} {
			for _, size := range []struct{ width, height int64 }{{360, 740}, {1280, 860}, {3840, 2160}} {
				browsertest.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}})
				browsertest.Call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: size.width, Height: size.height, DeviceScaleFactor: 1})
				if wide := b.Eval(`String(document.documentElement.scrollWidth > document.documentElement.clientWidth)`); wide == "true" {
					t.Errorf("%s scrolls sideways at %d px", name, size.width)
				}
				b.Picture(filepath.Join(dir, fmt.Sprintf("live-%s-%s-%d.webp", name, theme, size.width)))
			}
		}
	}
}

// TestLivePages: in a real browser the figures change without a reload, also
// after an outage of the store. Events come live, a pause says what it left out,
// and the page says when a role was taken away. No page has an obstacle for keyboard or
// screen reader.
func TestLivePages(t *testing.T) {
	browsertest.Need(t)
	browsertest.NeedAxe(t)
	w := newWorld(t)
	w.busy(62)
	b := w.tab(t)
	signIn(b, "sam")
	b.See("[data-part=card-shop]", "9")
	b.Eval(`document.querySelector("#live details").open = true, window.same = true, ""`)
	b.Accessible("overview")
	w.user(w.shop, "newcomer", chrome, "203.0.113.80")
	w.history.Count(t.Context())
	w.pass(time.Second)
	w.history.Tick()
	b.See("[data-part=card-shop]", "11")
	b.See("[data-part=live-table]", "11")
	if got := b.Eval(`String(window.same && document.querySelector("#live details").open)`); got != "true" {
		t.Error("the page was loaded again, or the table closed")
	}
	w.down.Store(true)
	b.See("#figures-state", "its store doesn't answer")
	w.down.Store(false)
	b.Eval(`new Promise(done => { const look = () => document.getElementById("figures-state").hidden ? done("") : setTimeout(look, 50); look(); })`)

	b.Visit("/alerts")
	b.Accessible("alerts")
	b.Click(".alert.guessing .links a") // to the sessions from the address
	b.See("#progress-text", "The search is complete")
	b.Visit("/alerts")
	b.See(".alert.theft", "A stolen token")
	b.Click(".alert.theft .links a") // to the subject
	b.See("h1", "grace@example.com")

	b.Visit("/apps/shop/events")
	b.See("#tail-state", "Live")
	b.Accessible("events")
	row := func(subject string) {
		w.event("shop", sojourn.EventElevated, func(e *sojourn.Event) { e.Subject = subject })
	}
	row("first")
	b.See("#tail li:first-child", "first")
	row("<img src=x onerror='document.title=1'>")
	b.See("#tail li:first-child", "<img src=x onerror='document.title=1'>")
	b.Eval(`document.getElementById("tail-pause").click(), ""`)
	b.See("#tail-state", "Paused")
	for i := range 600 {
		row(fmt.Sprintf("paused-%d", i))
		if i%150 == 149 {
			w.pass(time.Second) // a stream sends so many rows in a second
			b.See("#tail-pause", fmt.Sprintf("(%d new)", i+1))
		}
	}
	b.See("#tail li:first-child", "<img") // nothing is shown yet
	b.Eval(`document.getElementById("tail-pause").click(), ""`)
	b.See("#tail li:first-child", "paused-599")
	for n, want := range map[int]string{500: "paused-100", 501: "100 events came during the pause"} {
		if got := b.Eval(fmt.Sprintf(`document.querySelector("#tail li:nth-child(%d)").textContent`, n)); !strings.Contains(got, want) {
			t.Errorf("row %d is %q, want %q", n, got, want)
		}
	}
	row("after")
	b.See("#tail li:first-child", "after")

	w.operators[2].Roles = map[string]Role{"blog": Look}
	w.reload()
	b.See("#tail-state", "may no longer look")
}
