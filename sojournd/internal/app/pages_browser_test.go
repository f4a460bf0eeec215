package app

import (
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
)

// In a real browser, behind a real proxy: a stranger signs in on the way to the
// pages, ends all other sessions, and the mirror brings a theme into the session.
func TestPagesInBrowser(t *testing.T) {
	t.Parallel()
	browsertest.Need(t)
	m := newMapped(t, "caddy", "    pages: {path: /session/, site: Wayfare}\n    mirror: [{name: theme, attribute: data-theme, values: [light, dark]}]\n", nil)
	m.application = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/login" {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, `<!doctype html><html><head><script src="/session/mirror.js"></script></head><body><h1>The shop</h1></body></html>`)
			return
		}
		s := m.sessions.Begin(r.Context(), m.sessions.RequestFrom(r))
		if err := errors.Join(s.Login("ann"), s.Commit(r.Context())); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		for _, line := range s.SetCookies() {
			w.Header().Add("Set-Cookie", line)
		}
		http.Redirect(w, r, sojourn.LocalPath(r.FormValue("return_to"), "/"), http.StatusSeeOther)
	}
	_, other := m.login("ann")

	b := browsertest.Open(t, "http://"+strings.Replace(m.proxy, "127.0.0.1", "localhost", 1), filepath.Join("..", "..", "..", "out", "browser"))
	b.Visit("/session/devices")
	b.See("h1", "Your devices")
	b.See(".devices.current h3", "Chrome on Linux")
	b.See(".devices:not(.current) h3", "Firefox on Linux")
	b.Click("#end-others")
	b.Click("#confirm")
	b.See("#notice", "All other devices are signed out.")
	if _, err := m.sessions.Get(t.Context(), other); !errors.Is(err, sojourn.ErrNotFound) {
		t.Errorf("the other session: %v", err)
	}

	b.Visit("/")
	b.Eval(`sojourn.mirror.set("theme", "dark"), ""`)
	b.Await(`document.documentElement.dataset.theme === "dark"`)
	for deadline := time.Now().Add(2 * time.Minute); ; {
		list, _, err := m.sessions.ListSnapshots(t.Context(), "ann", "", 10)
		if err == nil && len(list) == 1 && strings.Contains(string(list[0].Values), `"theme":"dark"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the theme doesn't reach the session: %v, %v", list, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Visit("/session/devices")
	b.Await(`document.documentElement.dataset.theme === "dark"`)
}
