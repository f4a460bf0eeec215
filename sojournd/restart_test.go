package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
)

// A user with a cart and a visitor with a cart notice nothing when the server
// restarts.
func TestBrowserSurvivesRestart(t *testing.T) {
	for name, end := range map[string]func(*server){"kill -9": (*server).kill, "Ctrl-C": (*server).stop} {
		t.Run(name, func(t *testing.T) {
			browsertest.Need(t)
			store := "sqlite:" + filepath.Join(t.TempDir(), "s.db")
			demo := startDemo(t, "--store", store)
			pictures := filepath.Join("..", "out", "browser")
			carla, stranger := browsertest.Open(t, demo.url, pictures), browsertest.Open(t, demo.url, pictures)
			add := func(b *browsertest.Tab, sku, count string) {
				t.Helper()
				b.Visit("/")
				b.Do("add", chromedp.Click(chromedp.CSS("#p-"+sku+" .buy button")))
				b.See("#cart-count", count)
			}
			const email, password = "carla@example.com", "a password of mine"
			carla.Visit("/signup")
			carla.Fill("#email", email)
			carla.Fill("#password", password)
			carla.Click("form[action='/signup'] button")
			add(carla, "tent", "1")
			add(stranger, "camera", "1")
			add(carla, "compass", "2") // answered, so it is on the disk
			for round := range 2 {
				end(demo)
				demo = startDemo(t, "--store", store, "--listen", strings.Replace(demo.url, "http://localhost", "127.0.0.1", 1))
				for _, b := range []*browsertest.Tab{carla, stranger} {
					b.Do("reload", chromedp.Reload())
				}
				carla.See("#cart-count", string(rune('2'+round)))
				carla.Visit("/account")
				carla.See(".tiles", email)
				stranger.See("#cart-count", "1")
				stranger.Visit("/cart")
				stranger.See("[data-sku=camera] output", "1")
				stranger.See("#sign-in", "Sign in")
				add(carla, "tent", string(rune('3'+round)))
			}
			// The account exists and has the cart.
			other := browsertest.Open(t, demo.url, pictures)
			other.Visit("/login")
			other.Fill("#email", email)
			other.Fill("#password", password)
			other.Click("form[action='/login'] button")
			other.See("#cart-count", "4")
		})
	}
}
