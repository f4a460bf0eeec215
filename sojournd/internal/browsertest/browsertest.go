// Package browsertest runs Chromium for tests. If a test fails, it writes a
// picture of each tab of the test to out/browser.
package browsertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// OtherHost is a name of this machine that browsers don't treat as localhost.
const OtherHost = "other-machine.test"

// chromium starts one browser for all tests. Each tab has a context with its
// own cookies.
var chromium = sync.OnceValues(func() (context.Context, error) {
	return shared(chromedp.Flag("host-resolver-rules", "MAP "+OtherHost+" 127.0.0.1"))
})

// shared starts a browser, with a profile of its own, that Stop ends.
func shared(more ...chromedp.ExecAllocatorOption) (context.Context, error) {
	profile, err := os.MkdirTemp("", "sojourn-chromium-")
	if err != nil {
		return nil, err
	}
	ctx, stop, err := start(profile, more...)
	if err != nil {
		_ = os.RemoveAll(profile)
		return nil, err
	}
	stopping.Lock()
	defer stopping.Unlock()
	stopChromium = append(stopChromium, func() {
		stop()
		_ = os.RemoveAll(profile)
	})
	return ctx, nil
}

// start starts a browser with a profile. stop closes it as a user does, so that
// it writes all that the profile keeps.
func start(profile string, more ...chromedp.ExecAllocatorOption) (ctx context.Context, stop func(), err error) {
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
		return nil, nil, errNoChromium
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.NoSandbox, // it opens only our pages
		chromedp.DisableGPU, chromedp.WindowSize(1280, 900), chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("no-proxy-server", true))
	ctx, end := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	ctx, _ = chromedp.NewContext(ctx)
	stop = func() {
		_ = chromedp.Cancel(ctx)
		end()
	}
	if err := chromedp.Do(ctx); err != nil {
		end()
		return nil, nil, err
	}
	return ctx, stop, nil
}

var (
	errNoChromium = errors.New("needs chromium: on Debian, apt-get install chromium")
	stopping      sync.Mutex
	stopChromium  []func() // stopping guards it
)

// Stop ends the browsers that were started. TestMain calls it after the tests.
func Stop() {
	stopping.Lock()
	defer stopping.Unlock()
	for _, stop := range stopChromium {
		stop()
	}
	stopChromium = nil
}

// Need skips the test if there is no browser. With SOJOURN_REQUIRE_ALL the test
// fails instead.
func Need(t testing.TB) {
	t.Helper()
	need(t, chromium)
}

func need(t testing.TB, browser func() (context.Context, error)) {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser is slow")
	}
	if _, err := browser(); errors.Is(err, errNoChromium) && os.Getenv("SOJOURN_REQUIRE_ALL") != "1" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
}

// A Tab is a page of one visitor. Its methods end the test if they fail.
type Tab struct {
	t   testing.TB
	ctx context.Context
	url string
	dir string // for pictures
}

// Open opens a tab for a new visitor of the site at url, with the light theme
// and English as the language. It writes pictures to dir.
func Open(t testing.TB, url, dir string) *Tab {
	t.Helper()
	parent, err := chromium()
	if err != nil {
		t.Fatal(err)
	}
	return open(t, parent, url, dir, chromedp.WithNewBrowserContext())
}

// Beside opens another tab of the same visitor.
func (b *Tab) Beside() *Tab {
	b.t.Helper()
	return open(b.t, b.ctx, b.url, b.dir)
}

func open(t testing.TB, parent context.Context, url, dir string, options ...chromedp.ContextOption) *Tab {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(parent, options...)
	t.Cleanup(closeTab)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	t.Cleanup(cancel)
	b := &Tab{t, ctx, url, dir}
	name := fmt.Sprintf("%s-%s.png", strings.ReplaceAll(t.Name(), "/", "-"), time.Now().Format("150405.000"))
	t.Cleanup(func() {
		if t.Failed() {
			b.Picture(filepath.Join(dir, name))
		}
	})
	Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "light"}},
	})
	b.As("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36", "en")
	return b
}

// As changes the browser's name and language.
func (b *Tab) As(agent, lang string) {
	b.t.Helper()
	Call(b, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: agent, AcceptLanguage: lang})
}

// Picture writes the tab's page to a PNG or WebP file.
func (b *Tab) Picture(path string) {
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	format, beyond, quality := page.CaptureScreenshotFormatPng, true, int64(90)
	if filepath.Ext(path) == ".webp" {
		format = page.CaptureScreenshotFormatWebp
	}
	picture, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: format, Quality: &quality, CaptureBeyondViewport: &beyond})
	if err != nil {
		b.t.Logf("no screenshot: %v", err)
		return
	}
	path, _ = filepath.Abs(path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, picture.Data, 0o644)); err != nil {
		b.t.Logf("no screenshot: %v", err)
		return
	}
	b.t.Logf("screenshot: %s", path)
}

// Do runs chromedp's actions.
func (b *Tab) Do(what string, actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// Visit opens a page and waits until it is loaded.
func (b *Tab) Visit(path string) {
	b.t.Helper()
	b.Do("visit "+path, chromedp.Navigate(b.url+path))
}

// Click clicks a link or button and waits until the next page is loaded.
func (b *Tab) Click(selector string) {
	b.t.Helper()
	if _, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible)); err != nil {
		b.t.Fatalf("click %s: %v", selector, err)
	}
}

// Fill replaces the text of a field. It types where the focus is: chromedp's
// SendKeys reads the element's attributes beside the goroutine that changes them.
func (b *Tab) Fill(selector, text string) {
	b.t.Helper()
	b.Do("fill in "+selector, chromedp.Focus(chromedp.CSS(selector), chromedp.NodeVisible))
	b.Eval(`document.activeElement.select(), ""`)
	b.Do("fill in "+selector, chromedp.KeyEvent(kb.Backspace+text))
}

// See waits until an element shows a text.
func (b *Tab) See(selector, text string) {
	b.t.Helper()
	got := ""
	deadline := time.Now().Add(time.Minute)
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

// Eval runs a script and returns its result, or that of its promise.
func (b *Tab) Eval(script string) string {
	b.t.Helper()
	result, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("evaluate %s: %v", script, err)
	}
	return result
}

// Await evaluates a script until it returns true.
func (b *Tab) Await(condition string) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		met, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](condition, chromedp.EvalAwaitPromise)) // fails while the page changes
		switch {
		case met:
			return
		case b.ctx.Err() != nil || time.Now().After(deadline):
			b.t.Fatalf("wait for %s: %v", condition, err)
		}
		_ = chromedp.Do(b.ctx, chromedp.Sleep(20*time.Millisecond))
	}
}

// Screen returns what the tab shows, as a PNG.
func (b *Tab) Screen() []byte {
	b.t.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	return png
}

// Call sends a command of the DevTools protocol.
func Call[P, R any](b *Tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatalf("%s: %v", command.Method, err)
	}
	return result
}

// Cookies returns the names of the cookies that the tab has for its page.
func (b *Tab) Cookies() (names []string) {
	b.t.Helper()
	for _, c := range Call(b, network.GetCookies, network.GetCookiesParams{}).Cookies {
		names = append(names, c.Name)
	}
	return names
}
