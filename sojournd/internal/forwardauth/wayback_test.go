package forwardauth_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
)

// wayBack returns where a page view is redirected, and the address to return to
// in it.
func (w *world) wayBack(uri string, headers ...string) (location, back string) {
	w.Helper()
	answer := w.get("/check/shop/redirect/login", page(uri, headers...)...)
	w.want(uri, answer, http.StatusFound)
	location = answer.Header.Get("Location")
	u, err := url.Parse(location)
	if err != nil {
		w.Errorf("Location %q: %v", location, err)
		return location, ""
	}
	return location, u.Query().Get("return_to")
}

func TestWayBackIsAPath(t *testing.T) {
	w := newWorld(t, nil)
	for _, uri := range []string{
		"/", "/cart", "/search?q=tent&page=2", "/search?q=a+b%20c", "/a%2Fb?x=%26y", "/?return_to=/x", "/r?u=https://elsewhere.example//a\\b", "/caf%C3%A9", "/a;b=c,d",
		"/" + strings.Repeat("a", 2045), "/" + strings.Repeat("[", 681) + "aa",
	} {
		location, back := w.wayBack(uri)
		if back != uri || !strings.HasPrefix(location, "/login?return_to=%2F") {
			t.Errorf("%q: %q, and so back to %q", uri, location, back)
		}
	}
}

// hostile are the known ways to leave a site.
var hostile = []string{
	"", "//elsewhere.example", "//elsewhere.example/cart", "///elsewhere.example", "/\\elsewhere.example", "\\\\elsewhere.example", "/\\/elsewhere.example", "/\t/elsewhere.example", "/\n/elsewhere.example",
	"https://elsewhere.example/", "https:elsewhere.example", "javascript:alert(1)", "elsewhere.example", "@elsewhere.example", ".elsewhere.example", ":80",
	"/..//elsewhere.example", "/.//elsewhere.example", "/a/..//elsewhere.example", "/%2e//elsewhere.example", "/%2E%2e//elsewhere.example", "/./\\elsewhere.example", "/a//../b",
	" /cart", "/cart ", "/ca rt", "/cart\x00", "/cart\r\nSet-Cookie: a=b", "/café", "/\u2028", "/\u202e", "/" + strings.Repeat("a", 2046), "/" + strings.Repeat("[", 682), "*",
}

func TestNoWayOut(t *testing.T) {
	w := newWorld(t, nil)
	for _, uri := range hostile {
		if location, _ := w.wayBack(uri); location != "/login" {
			t.Errorf("%q: sent to %q", uri, location)
		}
	}
}

// Whatever the address and the values, the header of an answer fits into the
// 4 KiB that nginx reads by default.
func TestAnswersFitBuffers(t *testing.T) {
	longest := "/" + strings.Repeat("l", 1023)
	w := newWorld(t, app(func(a *forwardauth.App) {
		a.LoginURL, a.StepUpURL, a.RelaysCookies = longest, longest, true
		a.Headers = map[string]string{}
		for i := range 16 {
			a.Headers[fmt.Sprintf("X-%062d", i)] = fmt.Sprintf("value.%d", i)
		}
	}))
	ann := w.login(strings.Repeat("ü", 127))
	for i := range 16 {
		w.put(ann, strconv.Itoa(i), strings.Repeat("x", 50*i))
	}
	w.pass(20 * time.Minute) // a new secret is sent, too
	for _, uri := range []string{
		"/account?" + strings.Repeat("x[]=1&", 300), "/" + strings.Repeat("a", 2045), "/" + strings.Repeat("[", 681), "/" + strings.Repeat("[", 8000), "/" + strings.Repeat("a", 8000),
	} {
		for _, check := range []string{"status/login", "redirect/login", "status/level-2", "redirect/level-2", "status/any"} {
			for _, cookie := range []string{"", ann} {
				answer := w.get("/check/shop/"+check, page(uri, "Cookie", cookie)...)
				var head bytes.Buffer
				answer.Body = nil
				if err := answer.Write(&head); err != nil {
					t.Fatal(err)
				}
				if answer.StatusCode >= 500 || head.Len() > 4000 {
					t.Errorf("%s, %.20q: %s, and a header of %d bytes", check, uri, answer.Status, head.Len())
				}
			}
		}
	}
	if err := forwardauth.CheckPage(longest + "l"); err == nil {
		t.Error("a longer login URL is accepted")
	}
}

func TestWayBackToOrigins(t *testing.T) {
	w := newWorld(t, app(func(a *forwardauth.App) {
		a.LoginURL = "https://login.example.com/in?lang=en"
		a.ReturnParam = "return_to"
		a.ReturnOrigins = []string{"https://shop.example.com", "https://Admin.example.com:8443", "http://localhost:8080"}
	}))
	for _, test := range []struct{ proto, host, uri, back string }{
		{"https", "shop.example.com", "/cart?a=b&c", "https://shop.example.com/cart?a=b&c"},
		{"https", "Shop.Example.com", "/cart", "https://shop.example.com/cart"},
		{"https", "admin.example.com:8443", "/", "https://admin.example.com:8443/"},
		{"http", "localhost:8080", "/", "http://localhost:8080/"},
		{"http", "shop.example.com", "/cart", ""},
		{"https", "shop.example.com:444", "/cart", ""},
		{"https", "admin.example.com", "/cart", ""},
		{"https", "shop.example.com.elsewhere.example", "/cart", ""},
		{"https", "elsewhere.example", "/cart", ""},
		{"https", "shop.example.com@elsewhere.example", "/cart", ""},
		{"https", "elsewhere.example#shop.example.com", "/cart", ""},
		{"https", "elsewhere.example/https://shop.example.com", "/cart", ""},
		{"https://shop.example.com/?", "", "/cart", ""},
		{"javascript", "shop.example.com", "/cart", ""},
		{"", "shop.example.com", "/cart", ""},
		{"https", "", "/cart", ""},
		{"https", "shop.example.com", "//elsewhere.example/", ""},
		{"https", "shop.example.com", "@elsewhere.example/", ""},
		{"https", "shop.example.com", ".elsewhere.example/", ""},
		{"https", "shop.example.com", ":1@elsewhere.example/", ""},
	} {
		location, back := w.wayBack(test.uri, "X-Forwarded-Proto", test.proto, "X-Forwarded-Host", test.host)
		if back != test.back || !strings.HasPrefix(location, "https://login.example.com/in?lang=en") || strings.Contains(location, "elsewhere") {
			t.Errorf("%v: sent to %q, and so back to %q", test, location, back)
		}
	}
}

// The headers are trusted only from a trusted proxy, and only if sent once.
func TestWayBackOfWhom(t *testing.T) {
	w := newWorld(t, nil)
	for _, peer := range []string{"203.0.113.9:1234", "[2001:db8::1]:443", "10.0.0.2:1", "10.0.0.2", "x:1", ":1", "x", "@", "", "unknown", "10.0.0.1:x"} {
		if location, _ := w.wayBack("/cart", "peer", peer); location != "/login" {
			t.Errorf("from %q: %q", peer, location)
		}
	}
	for _, peer := range []string{"10.0.0.1:1", "10.0.0.1", "[::ffff:10.0.0.1]:1", "unix:@", "unix:", "unix:203.0.113.9:80"} {
		if location, _ := w.wayBack("/cart", "peer", peer); location != "/login?return_to=%2Fcart" {
			t.Errorf("from %q: %q", peer, location)
		}
	}
	r := httptest.NewRequest("GET", "/check/shop/redirect/login", nil)
	r.RemoteAddr = proxyIP + ":1"
	r.Header = http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {"/cart", "/other"}}
	out := httptest.NewRecorder()
	w.ServeHTTP(out, r)
	if got := out.Header().Get("Location"); got != "/login" {
		t.Errorf("two addresses: %q", got)
	}
	r = from(r, "unix:@")
	r.Header["X-Forwarded-Uri"] = []string{"/cart"}
	alone, err := forwardauth.New(forwardauth.Options{Apps: []forwardauth.App{{Name: "shop", Sessions: w.engine, LoginURL: "/login"}}})
	if err != nil {
		t.Fatal(err)
	}
	out = httptest.NewRecorder()
	alone.ServeHTTP(out, r)
	if got := out.Header().Get("Location"); got != "/login" {
		t.Errorf("over a Unix socket, where no proxy is trusted: %q", got)
	}
}

// A form cannot be sent again by returning to its address.
func TestNoWayBackToAForm(t *testing.T) {
	w := newWorld(t, nil)
	if location, _ := w.wayBack("/cart", "X-Forwarded-Method", "POST"); location != "/login" {
		t.Errorf("sent to %q", location)
	}
	if location, _ := w.wayBack("/cart", "X-Forwarded-Method", "HEAD"); location == "/login" {
		t.Error("no way back for a HEAD")
	}
}

// The way back from a form leads to the page that has it, if that is a page of
// the same host, and a trusted proxy tells the host.
func TestWayBackToThePageOfAForm(t *testing.T) {
	w := newWorld(t, nil)
	for _, test := range []struct{ referer, host, peer, back string }{
		{"https://shop.example.com/cart?page=2#top", "shop.example.com", proxyIP + ":1", "?return_to=%2Fcart%3Fpage%3D2"},
		{"https://shop.example.com/cart", "Shop.Example.com", proxyIP + ":1", "?return_to=%2Fcart"},
		{"https://shop.example.com/login?return_to=%2F", "shop.example.com", proxyIP + ":1", ""},
		{"https://elsewhere.example/cart", "shop.example.com", proxyIP + ":1", ""},
		{"https://shop.example.com//elsewhere.example", "shop.example.com", proxyIP + ":1", ""},
		{"https://shop.example.com@elsewhere.example/", "shop.example.com", proxyIP + ":1", ""},
		{"https://shop.example.com/cart", "", proxyIP + ":1", ""},
		{"https://shop.example.com/cart", "shop.example.com", "203.0.113.9:1", ""},
		{"/cart", "shop.example.com", proxyIP + ":1", ""},
		{"", "", proxyIP + ":1", ""},
	} {
		location, _ := w.wayBack("/pay", "X-Forwarded-Method", "POST", "X-Forwarded-Host", test.host, "Referer", test.referer, "peer", test.peer)
		if location != "/login"+test.back {
			t.Errorf("%v: sent to %q", test, location)
		}
	}
}

// If a sign-in page is by mistake behind its own check, the answer is a 401,
// not an endless redirect.
func TestNoLoop(t *testing.T) {
	w := newWorld(t, nil)
	w.want("a path", w.get("/check/shop/redirect/login", page("/login?return_to=%2F")...), http.StatusUnauthorized)
	w = newWorld(t, app(func(a *forwardauth.App) { a.LoginURL = "https://shop.example.com/in" }))
	w.want("a URL", w.get("/check/shop/redirect/login", page("/in")...), http.StatusUnauthorized)
	w.want("of another host", w.get("/check/shop/redirect/login", page("/in", "X-Forwarded-Host", "www.example.com")...), http.StatusFound)
}

func TestStepUp(t *testing.T) {
	w := newWorld(t, app(func(a *forwardauth.App) { a.StepUpURL = "/confirm" }))
	ann := w.login("ann")
	answer := w.get("/check/shop/redirect/level-2", page("/admin", "Cookie", ann)...)
	w.want("page", answer, http.StatusFound)
	if got := answer.Header.Get("Location"); got != "/confirm?return_to=%2Fadmin" {
		t.Errorf("sent to %q", got)
	}
	w.want("script", w.get("/check/shop/redirect/level-2", "Cookie", ann), http.StatusForbidden)
	answer = w.get("/check/shop/status/level-2", page("/admin", "Cookie", ann)...)
	w.want("mode status", answer, http.StatusForbidden)
	if got := answer.Header.Get("Sojourn-Login"); got != "/confirm?return_to=%2Fadmin" {
		t.Errorf("Sojourn-Login is %q", got)
	}
	if got := w.get("/check/shop/redirect/level-2", page("/admin")...).Header.Get("Location"); got != "/login?return_to=%2Fadmin" {
		t.Errorf("a stranger is sent to %q", got)
	}
}

// The mode status tells where a redirect would lead, so that nginx can
// redirect, and only for page views.
func TestSojournLogin(t *testing.T) {
	w := newWorld(t, nil)
	answer := w.get("/check/shop/status/login", page("/cart?a=b&c=d")...)
	w.want("page", answer, http.StatusUnauthorized)
	if got := answer.Header.Get("Sojourn-Login"); got != "/login?return_to=%2Fcart%3Fa%3Db%26c%3Dd" {
		t.Errorf("Sojourn-Login is %q", got)
	}
	answer = w.get("/check/shop/status/login", page("/cart", "Sec-Fetch-Mode", "cors")...)
	w.want("script", answer, http.StatusUnauthorized)
	if got := answer.Header["Sojourn-Login"]; len(got) > 0 || answer.Header.Get("Location") != "" {
		t.Errorf("a script is sent to %q", got)
	}
}

func TestPageViews(t *testing.T) {
	w := newWorld(t, nil)
	const html = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
	for _, test := range []struct {
		what    string
		headers []string
		status  int
	}{
		{"a browser", []string{"Accept", html, "Sec-Fetch-Mode", "navigate"}, 302},
		{"a browser that tells what the page is for", []string{"Accept", html, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 302},
		{"a frame", []string{"Accept", html, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 401},
		{"a browser over plain HTTP, or an old one", []string{"Accept", html}, 302},
		{"an old browser", []string{"Accept", "application/xhtml+xml , TEXT/HTML ; level=1; q=0.5"}, 302},
		{"XMLHttpRequest", []string{"Accept", "*/*"}, 401},
		{"XMLHttpRequest for a part of a page", []string{"Accept", html, "X-Requested-With", "XMLHttpRequest"}, 401},
		{"fetch", []string{"Accept", "*/*", "Sec-Fetch-Mode", "cors"}, 401},
		{"fetch for a part of a page", []string{"Accept", "text/html", "Sec-Fetch-Mode", "same-origin"}, 401},
		{"an image", []string{"Accept", "image/avif,image/webp,*/*;q=0.8", "Sec-Fetch-Mode", "no-cors"}, 401},
		{"a WebSocket", []string{"Accept", html, "Sec-Fetch-Mode", "websocket"}, 401},
		{"JSON", []string{"Accept", "application/json"}, 401},
		{"curl", []string{"Accept", "*/*"}, 401},
		{"nothing", nil, 401},
		{"no HTML, please", []string{"Accept", "text/html;q=0, application/json"}, 401},
		{"no HTML, please, in full", []string{"Accept", "text/html; q=0.000"}, 401},
		{"hardly HTML", []string{"Accept", "text/html;q=0.001"}, 302},
		{"something like HTML", []string{"Accept", "text/html5, atext/html"}, 401},
		{"a mode that isn't", []string{"Accept", html, "Sec-Fetch-Mode", "NAVIGATE"}, 401},
	} {
		w.want(test.what, w.get("/check/shop/redirect/login", test.headers...), test.status)
	}
}

// Browsers resolve every path that is accepted to the same site.
func TestPathsInABrowsersEyes(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil && os.Getenv("SOJOURN_REQUIRE_ALL") != "1" {
		t.Skip("needs node: on Debian, apt-get install nodejs")
	} else if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, nil)
	var kept []string
	pieces := []string{"/", "\\", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "@", ":", "?", "#", "elsewhere.example", "a", ";", "https:", "\t", "&", "//"}
	for _, a := range pieces {
		for _, b := range pieces {
			for _, c := range pieces {
				for _, tail := range []string{"elsewhere.example", "/elsewhere.example", "//elsewhere.example/x"} {
					uri := "/" + a + b + c + tail
					location, back := w.wayBack(uri)
					if !strings.HasPrefix(location, "/login") {
						t.Fatalf("%q: sent to %q", uri, location)
					}
					if back != "" {
						kept = append(kept, back)
					}
				}
			}
		}
	}
	if len(kept) < 1000 {
		t.Fatalf("only %d addresses are left to look at", len(kept))
	}
	// The result is resolved again, as applications do.
	script := exec.CommandContext(t.Context(), node, "-e", `
		const base = "https://shop.example.com/login";
		for (const back of require("fs").readFileSync(0, "utf8").split("\n")) {
			const once = new URL(back, base);
			const twice = new URL(once.pathname + once.search, base);
			if (once.host !== "shop.example.com" || twice.host !== "shop.example.com") console.log(back, once.href, twice.href);
		}`)
	script.Stdin = strings.NewReader(strings.Join(kept, "\n"))
	if out, err := script.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}
