package app

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	browsertest.Stop()
	os.Exit(code)
}

// runDemo starts the demo on free ports, and returns what it printed. Sealed is
// as in Options.
func runDemo(t *testing.T, sealed string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var out buffer
	ended := make(chan error, 1)
	go func() {
		ended <- RunDemo(ctx, Options{Listen: "127.0.0.1:0", Console: "127.0.0.1:0", Store: StoreOptions{URL: "memory:"}, Out: &out, Sealed: sealed})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	deadline := time.After(2 * time.Minute)
	for !strings.Contains(out.String(), "Ctrl-C") {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("ended: %v", err)
		case <-deadline:
			t.Fatalf("printed only %q", out.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return out.String()
}

// From the demo, an operator finds a shopper by name, sees the devices and ends
// one. The shop's page signs out by itself.
func TestBrowserOperatorEndsTheShoppersSession(t *testing.T) {
	browsertest.Need(t)
	printed := runDemo(t, "")
	pictures := filepath.Join("..", "..", "..", "out", "browser")
	shop := regexp.MustCompile(`http://localhost:\d+\b`).FindString(printed)
	link := regexp.MustCompile(`http://localhost:\d+(/sign-in\?once=\S+)`).FindStringSubmatch(printed)
	if shop == "" || link == nil {
		t.Fatal(printed)
	}
	shopper := browsertest.Open(t, shop, pictures)
	shopper.Visit("/login")
	shopper.Fill("#email", "ada@example.com")
	shopper.Fill("#password", "difference-engine")
	shopper.Click("form[action='/login'] button")
	shopper.Visit("/cart")
	shopper.See("h1", "cart")

	operator := browsertest.Open(t, strings.TrimSuffix(link[0], link[1]), pictures)
	operator.Visit(link[1])
	operator.See("h1", "Overview")
	operator.Fill("#q", "demo-ada")
	operator.Eval(`document.querySelector(".search").requestSubmit(), ""`)
	operator.See("h1", "demo-ada")
	operator.See(".device", "Chrome on Linux")
	operator.Eval(`document.querySelector("details.end > summary").click(), ""`)
	operator.Fill(".device input[name=reason]", "the shopper has lost the phone")
	operator.Click(".device form button")
	operator.See("[role=status]", "The session has ended.")

	shopper.See("h1", "Sign in") // by itself
}
