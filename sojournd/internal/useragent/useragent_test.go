package useragent

import (
	"strconv"
	"strings"
	"testing"
)

func TestName(t *testing.T) {
	t.Parallel()
	const mozilla = "Mozilla/5.0 "
	for agent, want := range map[string]string{
		mozilla + "(X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                                         "Firefox on Linux",
		mozilla + "(Android 16; Mobile; rv:143.0) Gecko/143.0 Firefox/143.0":                                                                           "Firefox on Android",
		mozilla + "(iPhone; CPU iPhone OS 15_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/143.0 Mobile/15E148 Safari/605.1.15":      "Firefox on iOS",
		mozilla + "(Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36":                                "Chrome on Windows",
		mozilla + "(X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36":                                 "Chrome on ChromeOS",
		mozilla + "(Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36":                                "Chrome on Android",
		mozilla + "(iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/141.0.7390.41 Mobile/15E148 Safari/604.1": "Chrome on iOS",
		mozilla + "(Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15":                          "Safari on macOS",
		mozilla + "(iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.7 Mobile/15E148 Safari/604.1":                 "Safari on iOS",
		mozilla + "(Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0":                  "Edge on Windows",
		mozilla + "(Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 OPR/122.0.0.0":                  "Opera on Windows",
		mozilla + "(Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36":            "Samsung Browser on Android",
		mozilla + "(Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Vivaldi/7.6.3797.52":            "Vivaldi on Windows",
		mozilla + "(compatible; Googlebot/2.1; +http://www.google.com/bot.html)":                                                                       "Googlebot",
		"curl/8.5.0": "curl", "okhttp/4.12.0": "okhttp", "MyApp": "MyApp", "MyApp/3.1 CFNetwork/1494.0.7 Darwin/23.4.0": "MyApp",
		"": "", "Mozilla/5.0": "", "<script>alert(1)</script>": "", "\xff\xfe/1": "", "\x1b[2J/1": "", strings.Repeat("a", 300): "", strings.Repeat("(", 300): "",
	} {
		for range 2 { // the second is from the cache
			if got := Name(agent); got != want {
				t.Errorf("%.120q is named %q, want %q", agent, got, want)
			}
		}
	}
	if Of(mozilla+"(iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.7 Mobile/15E148 Safari/604.1").Mobile != true ||
		Of(mozilla+"(X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0").Mobile {
		t.Error("a tablet is mobile, a desktop is not")
	}
}

// Ever new agents don't fill the memory.
func TestCacheIsBounded(t *testing.T) {
	for i := range 3 * maxCached {
		Of("agent/" + strconv.Itoa(i) + strings.Repeat("x", 1000))
	}
	cache.RLock()
	defer cache.RUnlock()
	if n := len(cache.of); n > maxCached {
		t.Errorf("%d names are kept", n)
	}
	for agent := range cache.of {
		if len(agent) > maxLength {
			t.Fatalf("an agent of %d bytes is kept", len(agent))
		}
	}
}

// No agent makes the parser panic, and no name has bytes that could harm a page,
// a terminal or a log.
func FuzzOf(f *testing.F) {
	f.Add("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	f.Add("Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) Version/" + strings.Repeat("9", 200))
	f.Add("Chrome/" + strings.Repeat("1.", 100))
	f.Add("Mozilla/5.0 (compatible; \xff")
	f.Fuzz(func(t *testing.T, agent string) {
		if name := parse(agent).String(); len(name) > 60 || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' || strings.ContainsRune("<>&\"'", c) }) {
			t.Errorf("%q is named %q", agent, name)
		}
	})
}
