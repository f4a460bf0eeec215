package sojourn_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

func developing(o *sojourn.Options) { o.Development = true }

// Over plain HTTP a client that keeps the rules of Secure can sign in and out,
// whatever the host.
func TestDevelopment(t *testing.T) {
	for name, test := range map[string]struct {
		cookie           sojourn.Cookie
		session, visitor string
	}{
		"default":     {sojourn.Cookie{}, "dev-session", "dev-visitor"},
		"own names":   {sojourn.Cookie{Name: "__Host-shop-session", Visitor: "__secure-shop-visitor", SameSite: http.SameSiteStrictMode}, "dev-shop-session", "dev-shop-visitor"},
		"plain names": {sojourn.Cookie{Name: "a", Visitor: "b"}, "a", "b"},
	} {
		log := captureLog(t)
		w := newWeb(t, nil, options(developing), options(func(o *sojourn.Options) { o.Cookie = test.cookie }))
		if !strings.Contains(log.String(), "development mode") || !strings.Contains(log.String(), "app=default") {
			t.Errorf("%s: no warning: %s", name, log)
		}
		log.Reset()
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		client := http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		do := func(method, path string) (body string, cookies []*http.Cookie) {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), method, w.server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = "192.168.1.5:8080"
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode >= 400 {
				t.Errorf("%s: %s %s: %s: %s %v", name, method, path, res.Status, text, err)
			}
			for _, c := range res.Cookies() {
				if c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite < http.SameSiteLaxMode || c.SameSite > http.SameSiteStrictMode {
					t.Errorf("%s: %v", name, c)
				}
			}
			return string(text), res.Cookies()
		}
		if _, set := do("POST", "/count"); len(set) != 1 || set[0].Name != test.visitor {
			t.Errorf("%s: a visitor gets %v", name, set)
		}
		if _, set := do("POST", "/login?user=ann"); len(set) != 2 || set[0].Name != test.session || set[1].Name != test.visitor || set[1].MaxAge >= 0 {
			t.Errorf("%s: a login gets %v", name, set)
		}
		if body, _ := do("GET", "/who"); body != "ann" {
			t.Errorf("%s: signed in as %s", name, body)
		}
		if body, _ := do("GET", "/count"); body != "1" {
			t.Errorf("%s: the count is %s", name, body)
		}
		if _, set := do("POST", "/logout"); len(set) != 1 || set[0].Name != test.session || set[0].MaxAge >= 0 {
			t.Errorf("%s: a logout gets %v", name, set)
		}
		if body, _ := do("GET", "/who"); body != "nobody" {
			t.Errorf("%s: after the logout: %s", name, body)
		}
		if log.Len() > 0 {
			t.Errorf("%s: logged %s", name, log)
		}
	}
}

// A request that shows that the site is in production is refused, with an error
// that says what to do, and without a cookie. The same request is served without
// development mode.
func TestDevelopmentIsRefusedInProduction(t *testing.T) {
	captureLog(t)
	for _, test := range []struct {
		name    string
		headers []string
		refused bool
	}{
		{"a browser", nil, false},
		{"TLS", []string{"tls", ""}, true},
		{"a proxy with HTTPS", []string{"X-Forwarded-For", "203.0.113.9", "X-Forwarded-Proto", "https"}, true},
		{"a proxy with HTTP", []string{"X-Forwarded-For", "192.168.1.5", "X-Forwarded-Proto", "http", "X-Forwarded-Host", "shop.test", "X-Forwarded-Port", "3000"}, false},
		{"a proxy with a WebSocket", []string{"X-Forwarded-Proto", "ws"}, false},
		{"a proxy with a secure WebSocket", []string{"X-Forwarded-Proto", "wss"}, true},
		{"two proxies, one with HTTPS", []string{"X-Forwarded-Proto", "http, https"}, true},
		{"two proxies, one with HTTPS, in two lines", []string{"X-Forwarded-Proto", "http", "X-Forwarded-Proto", "HTTPS"}, true},
		{"an empty scheme", []string{"X-Forwarded-Proto", ""}, true},
		{"a proxy that says no scheme", []string{"X-Forwarded-For", "192.168.1.5"}, true},
		{"a proxy that says its host", []string{"X-Forwarded-Host", "shop.example.com"}, true},
		{"a prefix", []string{"X-Forwarded-Prefix", "/api"}, true},
		{"X-Real-IP", []string{"X-Real-IP", "192.168.1.5"}, true},
		{"X-Real-IP and HTTP", []string{"X-Real-IP", "192.168.1.5", "X-Forwarded-Proto", "http"}, false},
		{"Via", []string{"Via", "1.1 cache"}, true},
		{"Cloudflare", []string{"CF-Connecting-IP", "203.0.113.9"}, true},
		{"CloudFront", []string{"CloudFront-Forwarded-Proto", "https"}, true},
		{"IIS", []string{"X-ARR-SSL", "2048|256"}, true},
		{"Front-End-Https", []string{"Front-End-Https", "on"}, true},
		{"X-Forwarded-Ssl", []string{"X-Forwarded-Ssl", "on"}, true},
		{"X-Forwarded-Ssl, off", []string{"X-Forwarded-Ssl", "off", "X-Forwarded-Proto", "http"}, false},
		{"Forwarded, HTTPS", []string{"Forwarded", `for=192.0.2.43;proto=https`}, true},
		{"Forwarded, HTTP", []string{"Forwarded", `for="[2001:db8::1]:1"; Proto="http";by=10.0.0.1`}, false},
		{"Forwarded, two", []string{"Forwarded", `for=192.0.2.43;proto=http, for=10.0.0.1;proto=https`}, true},
		{"Forwarded, no scheme", []string{"Forwarded", `for=192.0.2.43`}, true},
		{"a silent proxy, a form", []string{"Host", "127.0.0.1:8080", "Origin", "https://shop.example.com", "Sec-Fetch-Site", "same-origin"}, true},
		{"a silent proxy, a link", []string{"Host", "127.0.0.1:8080", "Referer", "https://shop.example.com/cart", "Sec-Fetch-Site", "same-origin"}, true},
		{"a silent proxy that keeps Host, an old browser", []string{"Host", "shop.example.com", "Origin", "https://Shop.example.com"}, true},
		{"a form", []string{"Host", "shop.test:8080", "Origin", "http://shop.test:8080", "Referer", "http://shop.test:8080/cart"}, false},
		{"a link on another site", []string{"Referer", "https://elsewhere.example/", "Sec-Fetch-Site", "cross-site"}, false},
	} {
		request := func() *http.Request {
			r := httptest.NewRequest("GET", "http://shop.test/", nil)
			for i := 0; i < len(test.headers); i += 2 {
				switch name, value := test.headers[i], test.headers[i+1]; name {
				case "tls":
					r.TLS = new(tls.ConnectionState)
				case "Host":
					r.Host = value
				default:
					r.Header.Add(name, value)
				}
			}
			return r
		}
		for _, development := range []bool{true, false} {
			w := newWorld(t, options(func(o *sojourn.Options) { o.Development = development }))
			ran := false
			handler := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				ran = true
				if err := sojourn.From(r.Context()).Start(); err != nil {
					sojourn.Error(rw, r, err)
				}
			}))
			a := httptest.NewRecorder()
			handler.ServeHTTP(a, request())
			refused := development && test.refused
			if ran == refused || (a.Header().Get("Set-Cookie") == "") != refused {
				t.Errorf("%s, development %v: the handler ran: %v, Set-Cookie: %q", test.name, development, ran, a.Header().Get("Set-Cookie"))
			}
			if refused && (a.Code != 500 || !strings.Contains(a.Body.String(), "turn the mode off (Options.Development)")) {
				t.Errorf("%s: %d %s", test.name, a.Code, a.Body)
			}
			s := w.Begin(ctx, w.RequestFrom(request()))
			err := s.Start()
			if refused != errors.Is(err, sojourn.ErrDevelopment) {
				t.Errorf("%s, development %v, without Handler: %v", test.name, development, err)
			}
			if refused {
				if err := s.Login("ann"); err == nil || s.Commit(ctx) == nil && len(s.SetCookies()) > 0 {
					t.Errorf("%s: a login without Handler: %v, %q", test.name, err, s.SetCookies())
				}
			}
			s.Finish()
		}
	}
}

// A refused request leaves nothing behind for the next one, which may get its
// memory.
func TestDevelopmentRefusesOneRequest(t *testing.T) {
	captureLog(t)
	w := newWorld(t, options(developing))
	for range 10 {
		for _, proto := range []string{"https", "http"} {
			r := httptest.NewRequest("GET", "http://shop.test/", nil)
			r.Header.Set("X-Forwarded-Proto", proto)
			s := w.Begin(ctx, w.RequestFrom(r))
			if err := s.Load(ctx); (err != nil) != (proto == "https") {
				t.Errorf("%s: %v", proto, err)
			}
			s.Finish()
		}
	}
}

func TestDevelopmentOptions(t *testing.T) {
	captureLog(t)
	for want, o := range map[string]sojourn.Options{
		"Development with Cookie.SameSite":           {Cookie: sojourn.Cookie{SameSite: http.SameSiteNoneMode}},
		"develop an embedded site over HTTPS":        {Cookie: sojourn.Cookie{SameSite: http.SameSiteNoneMode, Partitioned: true}},
		"Development with Cookie.Domain":             {Cookie: sojourn.Cookie{Domain: "example.com"}},
		"Development with Origins \"https://shop.ex": {Origins: []string{"http://localhost:80", "https://shop.example.com"}},
		"are both \"dev-a\"":                         {Cookie: sojourn.Cookie{Name: "__Host-a", Visitor: "__Secure-a"}},
	} {
		o.Development = true
		if _, err := sojourn.New(memstore.New(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		o.Development = false
		if e, err := sojourn.New(memstore.New(), o); err == nil {
			e.Close(ctx)
		} else if strings.Contains(err.Error(), "Development") {
			t.Errorf("without Development: %v", err)
		}
	}
}
