package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
)

// Over plain HTTP from another host, a browser can sign in to the demo in
// development mode, and only then.
func TestBrowserDevelopment(t *testing.T) {
	browsertest.Need(t)
	for _, development := range []bool{true, false} {
		args := []string{"--store", "memory:"}
		if development {
			args = append(args, "--development")
		}
		demo := startDemo(t, args...)
		b := browsertest.Open(t, strings.Replace(demo.url, "localhost", browsertest.OtherHost, 1), filepath.Join("..", "out", "browser"))
		email, password := demo.account()
		b.Visit("/login?next=%2Faccount")
		b.Fill("#email", email)
		b.Fill("#password", password)
		b.Click("form[action='/login'] button")
		if development {
			b.See(".tiles", email)
		} else {
			b.See("#sign-in", "Sign in")
		}
		if warned := strings.Contains(demo.stderr.String(), "development mode"); warned != development {
			t.Errorf("development %v, warned %v: %s", development, warned, demo.stderr)
		}
		demo.stop()
	}
}
