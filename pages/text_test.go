package pages

import (
	"testing"

	"github.com/sojourn-go/sojourn"
)

// No language lacks a text, and all have the same placeholders.
func TestTextsAreWhole(t *testing.T) {
	all := ownTexts()
	for language, texts := range all {
		for name, text := range texts {
			if usual, ok := all[fallback][name]; !ok || verbs(text) != verbs(usual) || text == "" {
				t.Errorf("%s: %s is %q, and %q in English", language, name, text, usual)
			}
		}
		if len(texts) != len(all[fallback]) {
			t.Errorf("%s has %d texts, English has %d", language, len(texts), len(all[fallback]))
		}
	}
	for _, reason := range []sojourn.Reason{
		sojourn.ReasonLogout, sojourn.ReasonRevoked, sojourn.ReasonIdle, sojourn.ReasonAbsolute, sojourn.ReasonEvicted, sojourn.ReasonTheft,
	} {
		if all[fallback]["ended."+string(reason)] == "" {
			t.Errorf("ended.%s has no text", reason)
		}
	}
	for _, c := range codes {
		if all[fallback]["error."+c.code] == "" {
			t.Errorf("error.%s has no text", c.code)
		}
	}
}

func TestDeviceNames(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                                                "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0":                         "Edge on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36":                                       "Chrome on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 OPR/118.0.0.0":                         "Opera on Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15":                                 "Safari on macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Mobile/15E148 Safari/604.1":               "Safari on iOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/142.0 Mobile/15E148 Safari/604.1":                "Chrome on iOS",
		"Mozilla/5.0 (iPad; CPU OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/140.0 Mobile/15E148 Safari/605.1.15":                      "Firefox on iPadOS",
		"Mozilla/5.0 (Linux; Android 15; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36":                                       "Chrome on Android",
		"Mozilla/5.0 (Linux; Android 15; SM-S928B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36":            "Samsung Internet on Android",
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36":                                        "Chrome on ChromeOS",
		"Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko":                                                                                         "Internet Explorer on Windows",
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)":                                                                              "Googlebot",
		"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; +x)": "Googlebot",
		"curl/8.14.1":                   "curl",
		"Wget/1.25.0":                   "Wget",
		"Go-http-client/2.0":            "Go-http-client",
		"python-requests/2.32.3":        "python-requests",
		"Mozilla/5.0":                   "",
		"Mozilla/5.0 (Windows NT 10.0)": "Windows",
		"":                              "",
	} {
		if got := deviceName(agent); got != want {
			t.Errorf("%q is %q, want %q", agent, got, want)
		}
	}
}
