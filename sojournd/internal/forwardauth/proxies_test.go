package forwardauth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
)

// raw sends the bytes of a request's head, as the proxies' sources and documentation have them, through a real server.
func (w *world) raw(server *httptest.Server, head string) *http.Response {
	w.Helper()
	lines := strings.Split(strings.TrimSpace(head), "\n")
	method, target, _ := strings.Cut(strings.TrimSpace(lines[0]), " ")
	r, err := http.NewRequestWithContext(w.Context(), method, server.URL, nil)
	if err != nil {
		w.Fatal(err)
	}
	r.URL.Opaque = target // as it is
	r.Header.Set("User-Agent", "")
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Add(name, value)
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.Fatal(err)
	}
	answer.Body.Close()
	return answer
}

// serve has the handler behind a server whose every peer is the proxy.
func (w *world) serve() *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = proxyIP + ":4711"
		w.ServeHTTP(rw, r)
	}))
	w.Cleanup(server.Close)
	return server
}

// Traefik 3: GET, the client's headers without those of the connection, and five of its own. A 2xx passes; all else goes to the client
// as it is. Host is that of the address it asks.
func TestTraefik(t *testing.T) {
	w := newWorld(t, app(func(a *forwardauth.App) {
		a.LoginURL = "https://login.example.com/"
		a.ReturnOrigins = []string{"https://shop.example.com"}
		a.RelaysCookies = true
	}))
	server := w.serve()
	request := func(method, cookie, more string) string {
		return `GET /check/shop/redirect/login
			Host: 127.0.0.1:7082
			User-Agent: Mozilla/5.0
			Accept: text/html,application/xhtml+xml,*/*;q=0.8
			Accept-Encoding: gzip
			Cookie: theme=dark; ` + cookie + `
			X-Forwarded-For: ` + userIP + `
			X-Forwarded-Host: shop.example.com
			X-Forwarded-Method: ` + method + `
			X-Forwarded-Port: 443
			X-Forwarded-Proto: https
			X-Forwarded-Server: traefik
			X-Forwarded-Uri: /cart?a=b
			X-Real-Ip: ` + userIP + more
	}
	answer := w.raw(server, request("GET", "", ""))
	w.want("stranger", answer, http.StatusFound)
	if got := answer.Header.Get("Location"); got != "https://login.example.com/?return_to=https%3A%2F%2Fshop.example.com%2Fcart%3Fa%3Db" {
		t.Errorf("sent to %q", got)
	}
	w.want("a stranger's script", w.raw(server, request("GET", "", "\nSec-Fetch-Mode: cors")), http.StatusUnauthorized)
	w.want("a stranger's form", w.raw(server, request("POST", "", "")), http.StatusFound)
	answer = w.raw(server, request("GET", w.login("ann"), ""))
	w.want("ann", answer, http.StatusOK)
	for name, want := range map[string]string{"Sojourn-Subject": "ann", "Sojourn-Level": "1"} {
		if got := answer.Header[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q", name, got)
		}
	}
}

// Envoy's ext_authz over HTTP: the original method, the path prefix with the original path and query behind it, Host, and what allowed_headers
// and headers_to_add name. 200 and no other code passes.
func TestEnvoy(t *testing.T) {
	w := newWorld(t, nil)
	server := w.serve()
	request := func(method, require, path, cookie string) string {
		return method + ` /check/shop/redirect/` + require + path + `
			Host: shop.example.com
			Content-Length: 0
			Accept: text/html
			Sec-Fetch-Mode: navigate
			Cookie: ` + cookie + `
			X-Forwarded-For: ` + userIP + `
			X-Forwarded-Host: shop.example.com
			X-Forwarded-Proto: https
			X-Forwarded-Uri: ` + path + `
			X-Envoy-Internal: true
			X-Request-Id: 0b9f9e2c`
	}
	ann := w.login("ann")
	for _, path := range []string{"/", "/cart?a=b", "/check/shop/redirect/any", "/?require=any", "/../any", "//any", "/%2e%2e/any", "/a%00b", "/%ff", "/a;b"} {
		for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
			w.want("stranger "+method+path, w.raw(server, request(method, "login", path, "a=b")), http.StatusFound)
			w.want("ann "+method+path, w.raw(server, request(method, "login", path, ann)), http.StatusOK)
			w.want("ann, level 2 "+method+path, w.raw(server, request(method, "level-2", path, ann)), http.StatusForbidden)
		}
	}
	answer := w.raw(server, request("GET", "login", "/cart?a=b", ""))
	if got := answer.Header.Get("Location"); got != "/login?return_to=%2Fcart%3Fa%3Db" {
		t.Errorf("sent to %q", got)
	}
	if got := w.raw(server, request("POST", "login", "/cart", "")).Header.Get("Location"); got != "/login" {
		t.Errorf("a form is sent to %q", got)
	}
	// OPTIONS * has no path to put behind the prefix.
	w.want("OPTIONS *", w.raw(server, request("OPTIONS", "login", "*", ann)), http.StatusNotFound)
}

// nginx's auth_request, with what the shipped configuration adds: the subrequest is a GET with all of the visitor's headers. An answer other
// than 2xx, 401 and 403 becomes a 500, so there must be none.
func TestNginx(t *testing.T) {
	w := newWorld(t, nil)
	server := w.serve()
	for _, cookie := range []string{"", "__Host-session=", "__Host-session=x; __Host-session=y", "=;;=", strings.Repeat("a=b; ", 3000), w.login("ann")} {
		for _, require := range []string{"any", "login", "fresh-10m", "level-2"} {
			answer := w.raw(server, `GET /check/shop/status/`+require+`
				Host: shop.example.com
				Content-Type: application/x-www-form-urlencoded
				Accept: text/html
				Sec-Fetch-Mode: navigate
				Cookie: `+cookie+`
				X-Forwarded-For: `+userIP+`
				X-Forwarded-Host: shop.example.com
				X-Forwarded-Method: POST
				X-Forwarded-Proto: https
				X-Forwarded-Uri: /\"<script>`)
			if answer.StatusCode != 200 && answer.StatusCode != 401 && answer.StatusCode != 403 {
				t.Errorf("%s with %.40q: %s", require, cookie, answer.Status)
			}
		}
	}
}

// No request makes the handler panic or answer with a 5xx, nor sends anybody out of the site, nor passes a stranger.
func FuzzHeaders(f *testing.F) {
	for _, uri := range hostile {
		f.Add("status/login", "GET", uri, "https", "shop.example.com", "text/html", "navigate", "__Host-session=x", userIP, "Bearer x")
	}
	f.Add("redirect/fresh-10m/..", "POST", "/a?b", "http", "[::1]:80", "*/*;q=0", "", "__Host-session="+strings.Repeat("A", 64)+"; __Host-visitor=", "1.2.3.4, unknown", "")
	f.Add("redirect/level-3", "", "/", "", "", ",;,text/html;q=", "cors", "\"a\"=b;;;", ",,,", "Basic")
	path := newWorld(f, func(_ *forwardauth.App, o *sojourn.Options) { o.MaxBadTokens = -1 })
	whole := newWorld(f, func(a *forwardauth.App, o *sojourn.Options) {
		a.LoginURL, a.ReturnOrigins = "https://login.example.com/", []string{"https://shop.example.com"}
		o.MaxBadTokens = -1
	})
	f.Fuzz(func(t *testing.T, check, method, uri, proto, host, accept, fetch, cookie, forwarded, authorization string) {
		for _, w := range []*world{path, whole} {
			r := httptest.NewRequest("GET", "/", nil)
			r.URL.Path = "/check/shop/" + check
			r.RemoteAddr = proxyIP + ":1"
			r.Header = http.Header{
				"X-Forwarded-Method": {method}, "X-Forwarded-Uri": {uri}, "X-Forwarded-Proto": {proto}, "X-Forwarded-Host": {host}, "X-Forwarded-For": {forwarded},
				"Accept": {accept}, "Sec-Fetch-Mode": {fetch}, "Cookie": {cookie}, "Authorization": {authorization},
			}
			out := httptest.NewRecorder()
			w.ServeHTTP(out, r)
			if out.Code >= 500 {
				t.Errorf("%d", out.Code)
			}
			if _, require, _ := strings.Cut(check, "/"); out.Code == 200 && require != "any" && !strings.HasPrefix(require, "any/") {
				t.Error("a stranger passed")
			}
			to := out.Header().Get("Location") + out.Header().Get("Sojourn-Login")
			switch {
			case to == "", to == "/login", to == "https://login.example.com/":
			case w == path && strings.HasPrefix(to, "/login?return_to=%2F") && !strings.HasPrefix(to, "/login?return_to=%2F%2F"):
			case w == whole && strings.HasPrefix(to, "https://login.example.com/?return_to=https%3A%2F%2Fshop.example.com%2F"):
			default:
				t.Errorf("sent to %q", to)
			}
			if strings.ContainsAny(to, "\r\n\\<>\"' ") {
				t.Errorf("sent to %q", to)
			}
		}
	})
}
