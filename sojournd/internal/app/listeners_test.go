package app

import (
	"net"
	"os"
	"slices"
	"testing"
)

// The console's addresses are those that an operator's browser can use.
func TestForBrowsers(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"http://127.0.0.1:7083":     "http://localhost:7083",
		"http://[::1]:7083":         "http://localhost:7083",
		"http://127.0.0.2:7083":     "http://127.0.0.2:7083",
		"http://192.0.2.7:7083":     "http://192.0.2.7:7083",
		"https://[::]:7083":         "https://" + net.JoinHostPort(name, "7083"),
		"https://0.0.0.0:443":       "https://" + net.JoinHostPort(name, "443"),
		"https://127.0.0.1:7083":    "https://127.0.0.1:7083",
		"unix:/run/sojourn/console": "unix:/run/sojourn/console",
	} {
		if got := forBrowsers([]string{url}); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}
