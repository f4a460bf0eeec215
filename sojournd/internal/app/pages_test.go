package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/sojournd/internal/config"
	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
)

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

// A mapped is a real proxy with a shipped set-up. It maps /session/ to the pages
// of an internal listener, on a store and a clock that the test controls.
type mapped struct {
	*testing.T
	proxy    string // host:port
	stop     func() // ends sojournd
	sessions *sojourn.Engine

	application http.HandlerFunc

	mu      sync.Mutex
	now     time.Time
	broken  bool     // the store can't answer
	targets []string // of the requests that reached sojournd's listener, without the checks of the set-up
	reached []string // of the requests that reached the application
}

// A setUp is a shipped set-up of a proxy that can run here.
type setUp struct {
	start func(servertest.TB, servertest.ProxyOptions) *servertest.ProxyServer
	files []string
}

var setUps = map[string]setUp{
	"nginx":   {servertest.Nginx, []string{"nginx.conf", "shop.conf"}},
	"caddy":   {servertest.Caddy, []string{"Caddyfile"}},
	"haproxy": {servertest.HAProxy, []string{"haproxy.cfg", "sojourn.lua"}},
}

// throughProxies runs a test behind each proxy. If stub is not nil, it answers what
// reaches sojournd's listener, in place of sojournd.
func throughProxies(t *testing.T, settings string, stub http.HandlerFunc, test func(m *mapped)) {
	t.Parallel()
	for name := range setUps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMapped(t, name, settings, stub)
			m.application = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the application") }
			test(m)
		})
	}
}

func newMapped(t *testing.T, name, settings string, stub http.HandlerFunc) *mapped {
	t.Helper()
	servertest.Need(t, name)
	m := &mapped{T: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	internal := m.internal(settings)
	if stub != nil {
		internal = stub
	}
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !checks.MatchString(r.RequestURI) {
			m.mu.Lock()
			m.targets = append(m.targets, r.RequestURI)
			m.mu.Unlock()
		}
		internal(w, r)
	}))
	t.Cleanup(listener.Close)
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.reached = append(m.reached, r.RequestURI)
		m.mu.Unlock()
		m.application(w, r)
	}))
	t.Cleanup(application.Close)
	m.stop = func() { listener.CloseClientConnections(); listener.Close() }
	proxy := setUps[name]
	m.proxy = proxy.start(t, servertest.ProxyOptions{Files: func(port int) (map[string]string, error) {
		admin, err := servertest.FreePort()
		if err != nil {
			return nil, err
		}
		ports := strings.NewReplacer("127.0.0.1:7082", listener.Listener.Addr().String(), "127.0.0.1:8000", application.Listener.Addr().String(),
			":8080", fmt.Sprintf(":%d", port), ":2019", fmt.Sprintf(":%d", admin))
		files := map[string]string{}
		for _, file := range proxy.files {
			text, err := os.ReadFile(filepath.Join("../../../examples/proxies", name, file))
			if err != nil {
				return nil, err
			}
			files[file] = ports.Replace(string(text))
		}
		return files, nil
	}}).Addr()
	return m
}

// checks matches what the set-ups ask for each request.
var checks = regexp.MustCompile(`^/check/shop/(status|redirect)/(any|login|level-2)$`)

// internal returns what the internal listener serves for the application "shop".
func (m *mapped) internal(settings string) http.HandlerFunc {
	m.Helper()
	c, err := config.Read("sojourn.yaml", []byte("store: 'memory:'\ntrusted_proxies: [127.0.0.1]\napplications:\n  - name: shop\n"+settings), nil, nil, checkParts)
	if err != nil {
		m.Fatal(err)
	}
	a := &c.Applications[0]
	options := a.Options([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")})
	options.Now = func() time.Time {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.now
	}
	if m.sessions, err = sojourn.New(m.store(), options); err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { _ = m.sessions.Close(context.Background()) })
	s := &server{log: slog.New(slog.DiscardHandler)}
	g := &generation{sites: map[string]*site{}, drained: make(chan struct{})}
	if g.sites["shop"], err = newSite(m.sessions, a, func(string, string, int, time.Duration) {}); err != nil {
		m.Fatal(err)
	}
	if g.check, err = forwardauth.New(forwardauth.Options{TrustedProxies: c.Proxies(), Apps: []forwardauth.App{{Name: "shop", Sessions: m.sessions, LoginURL: a.LoginURL, WaitingURL: a.BoundPath(), RelaysCookies: a.RelaysCookies}}}); err != nil {
		m.Fatal(err)
	}
	s.current.Store(g)
	return s.serveInternal
}

// store returns one that fails while m.broken is set.
func (m *mapped) store() store.Store {
	return driver.Intercept(memstore.New(), func(ctx context.Context, c driver.Call) driver.Result {
		m.mu.Lock()
		broken := m.broken
		m.mu.Unlock()
		if broken {
			return driver.Result{Err: errors.New("disk on fire")}
		}
		return c.Do(ctx)
	})
}

func (m *mapped) pass(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

// took returns the targets of the requests since the last call: those that
// reached sojournd, and those that reached the application.
func (m *mapped) took() (sojournd, application []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sojournd, application = m.targets, m.reached
	m.targets, m.reached = nil, nil
	return sojournd, application
}

// login returns the Cookie header of a browser that has just logged in, and the
// session's ID.
func (m *mapped) login(subject string) (cookie string, id sojourn.ID) {
	m.Helper()
	s := m.sessions.Begin(m.Context(), sojourn.Request{Client: sojourn.Client{UserAgent: firefox, IP: netip.MustParseAddr("203.0.113.7")}})
	if err := errors.Join(s.Login(subject), s.Commit(m.Context())); err != nil {
		m.Fatal(err)
	}
	return "__Host-shop-session=" + s.Token(), s.ID()
}

// ask sends a request through the proxy, byte for byte. The headers are lines.
// A dead connection is an answer of status 0.
func (m *mapped) ask(method, target string, headers ...string) (*http.Response, string) {
	m.Helper()
	conn, err := net.Dial("tcp", m.proxy)
	if err != nil {
		m.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		m.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(m.proxy)
	head := append([]string{method + " " + target + " HTTP/1.1", "Host: localhost:" + port, "User-Agent: " + firefox}, headers...)
	if !strings.Contains(strings.ToLower(strings.Join(headers, "\n")), "connection:") {
		head = append(head, "Connection: close")
	}
	if _, err := io.WriteString(conn, strings.Join(head, "\r\n")+"\r\n\r\n"); err != nil {
		m.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return &http.Response{Header: http.Header{}}, ""
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusSwitchingProtocols {
		return answer, ""
	}
	text, _ := io.ReadAll(answer.Body) // incomplete if the proxy gives up
	return answer, string(text)
}

const asPage = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document"

// A browser reaches the pages at the path of its own site, through each proxy.
func TestPagesThroughProxies(t *testing.T) {
	throughProxies(t, "    pages: {path: /session/, site: Wayfare}\n    step_up_url: /confirm\n    mirror: [{name: theme, attribute: data-theme, values: [light, dark]}]\n", nil, func(m *mapped) {
		ann, here := m.login("ann")
		_, other := m.login("ann")
		m.pass(2 * time.Minute) // the next request counts as activity
		forged := "X-Forwarded-For: 198.51.100.1\r\nX-Real-Ip: 198.51.100.1\r\nForwarded: for=198.51.100.1;host=elsewhere.example;proto=https\r\nX-Forwarded-Host: elsewhere.example\r\n" +
			"X-Forwarded-Proto: ftp\r\nX-Forwarded-Uri: //elsewhere.example/\r\nX-Forwarded-Prefix: //elsewhere.example\r\nX-Original-Url: /metrics\r\nX-Rewrite-Url: /metrics\r\n" +
			"Sojourn-Subject: root\r\nSojourn-Session: " + other.String() + "\r\nSojourn_Subject: root\r\nSojourn-Level: 3"

		// The list, with the security headers, for the user of the cookie only.
		answer, text := m.ask("GET", "/session/devices", asPage, "Cookie: theme=dark; "+ann, forged)
		if answer.StatusCode != http.StatusOK || !strings.Contains(text, "Firefox on Linux") || !strings.Contains(text, "Wayfare") || !strings.Contains(text, "/session/devices/"+other.String()) {
			m.Fatalf("the list: %s\n%s", answer.Status, text)
		}
		if strings.Contains(text, "elsewhere.example") || strings.Contains(text, "198.51.100.1") || strings.Contains(text, "root") || strings.Contains(text, "/pages/") {
			m.Errorf("a forged header is in the page:\n%s", text)
		}
		policy := answer.Header.Get("Content-Security-Policy")
		if answer.Header.Get("Cache-Control") != "no-store" || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe-inline") {
			m.Errorf("the headers are %v", answer.Header)
		}
		for _, link := range regexp.MustCompile(`(?:src|href)="(/session/[^"]+\.(?:css|js))"`).FindAllStringSubmatch(text, -1) {
			if answer, _ := m.ask("GET", link[1]); answer.StatusCode != http.StatusOK {
				m.Errorf("%s: %s", link[1], answer.Status)
			}
		}
		if err := m.sessions.Flush(m.Context()); err != nil {
			m.Fatal(err)
		}
		if snapshot, err := m.sessions.Get(m.Context(), here); err != nil || snapshot.LastSeen.IP.String() != "127.0.0.1" {
			m.Errorf("the visitor came from %v, %v", snapshot.LastSeen.IP, err)
		}

		// A stranger is led to the sign-in page, with the way back.
		answer, _ = m.ask("GET", "/session/devices?cursor=", asPage, forged)
		if got := answer.Header.Get("Location"); answer.StatusCode != http.StatusSeeOther || got != "/login?return_to=%2Fsession%2Fdevices%3Fcursor%3D" {
			m.Errorf("a stranger: %s to %q", answer.Status, got)
		}
		if answer, _ := m.ask("GET", "/session/devices", "Accept: application/json"); answer.StatusCode != http.StatusUnauthorized {
			m.Errorf("a stranger's script: %s", answer.Status)
		}

		// Pages of other origins change nothing, whether browsers tell Sec-Fetch-Site or
		// only Origin.
		_, port, _ := net.SplitHostPort(m.proxy)
		end := "/session/devices/" + other.String() + "/end"
		for _, headers := range []string{"Sec-Fetch-Site: cross-site\r\nOrigin: https://elsewhere.example", "Sec-Fetch-Site: same-site", "Origin: https://elsewhere.example", "Origin: null", "Origin: http://localhost:1", "Origin: https://elsewhere.example\r\nX-Forwarded-Host: elsewhere.example"} {
			if answer, _ := m.ask("POST", end, asPage, "Cookie: "+ann, headers, "Content-Length: 0"); answer.StatusCode != http.StatusForbidden {
				m.Errorf("a form with %q: %s", headers, answer.Status)
			}
		}

		// The mirror's script may be cached, and its exchange reaches the session.
		script := regexp.MustCompile(`src="(/session/mirror\.js[^"]*)"`).FindStringSubmatch(text)
		if script == nil {
			m.Fatalf("no script of the mirror in\n%s", text)
		}
		answer, _ = m.ask("GET", script[1], "Cookie: "+ann)
		if caching := answer.Header.Get("Cache-Control"); answer.StatusCode != http.StatusOK || !strings.Contains(caching, "immutable") || len(answer.Header["Set-Cookie"]) > 0 {
			m.Errorf("the mirror's script: %s %v", answer.Status, answer.Header)
		}
		const offer = `{"user":"","values":{"theme":{"value":"dark","age":5}}}`
		exchange := func(headers ...string) *http.Response {
			answer, _ := m.ask("POST", "/session/mirror", append(headers, "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(offer)), "Connection: close\r\n\r\n"+offer)...)
			return answer
		}
		if answer := exchange("Cookie: "+ann, "Sec-Fetch-Site: cross-site", "Origin: https://elsewhere.example"); answer.StatusCode != http.StatusForbidden {
			m.Errorf("another site's exchange: %s", answer.Status)
		}
		if answer := exchange("Sec-Fetch-Site: same-origin"); answer.StatusCode != http.StatusOK || len(answer.Cookies()) > 0 {
			m.Errorf("a stranger's exchange: %s, with the cookies %v", answer.Status, answer.Cookies())
		}
		if answer := exchange("Cookie: "+ann, "Sec-Fetch-Site: same-origin"); answer.StatusCode != http.StatusOK {
			m.Errorf("the exchange: %s", answer.Status)
		}
		if snapshot, err := m.sessions.Get(m.Context(), here); err != nil || !strings.Contains(string(snapshot.Values), `"theme":"dark"`) {
			m.Errorf("the session has the values %s, %v", snapshot.Values, err)
		}

		// After a while the sign-in isn't fresh any more.
		m.pass(11 * time.Minute)
		answer, _ = m.ask("GET", end, asPage, "Cookie: "+ann)
		if got := answer.Header.Get("Location"); answer.StatusCode != http.StatusSeeOther || got != "/confirm?return_to="+url.QueryEscape(end) {
			m.Errorf("with an old sign-in: %s to %q", answer.Status, got)
		}

		// A rotated secret reaches the browser, and works.
		m.pass(5 * time.Minute)
		answer, _ = m.ask("GET", "/session/devices", asPage, "Cookie: "+ann)
		rotated := answer.Cookies()
		if len(rotated) != 1 || rotated[0].Name != "__Host-shop-session" || "__Host-shop-session="+rotated[0].Value == ann || answer.Header.Get("Cache-Control") != "no-store" {
			m.Fatalf("no new secret: %s %v", answer.Status, answer.Header)
		}
		renewed := "__Host-shop-session=" + rotated[0].Value
		if answer, _ := m.ask("GET", "/session/devices", asPage, "Cookie: "+renewed); answer.StatusCode != http.StatusOK {
			m.Errorf("with the new secret: %s", answer.Status)
		}

		// A fresh sign-in ends the other session, and a sign-out clears the cookie.
		ben, own := m.login("ann")
		for _, site := range []string{"Origin: http://localhost:" + port, "Sec-Fetch-Site: same-origin"} {
			_, other := m.login("ann")
			answer, _ = m.ask("POST", "/session/devices/"+other.String()+"/end", asPage, "Cookie: "+ben, site, "Content-Length: 0")
			if _, err := m.sessions.Get(m.Context(), other); answer.StatusCode != http.StatusSeeOther || !strings.HasPrefix(answer.Header.Get("Location"), "/session/devices") || !errors.Is(err, sojourn.ErrNotFound) {
				m.Errorf("%s: %s to %q, %v", site, answer.Status, answer.Header.Get("Location"), err)
			}
		}
		answer, _ = m.ask("POST", "/session/devices/"+own.String()+"/end", asPage, "Cookie: "+ben, "Sec-Fetch-Site: same-origin", "Content-Length: 0")
		if cookies := answer.Cookies(); answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/" || len(cookies) == 0 || cookies[0].MaxAge >= 0 {
			m.Errorf("the sign-out: %s to %q with %q", answer.Status, answer.Header.Get("Location"), answer.Header["Set-Cookie"])
		}

		// Without a store, nobody is taken for a stranger.
		m.mu.Lock()
		m.broken = true
		m.mu.Unlock()
		answer, text = m.ask("GET", "/session/devices", asPage, "Cookie: "+renewed)
		if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" || answer.Header.Get("Cache-Control") != "no-store" || !strings.Contains(text, "Wayfare") {
			m.Errorf("without a store: %s %v\n%s", answer.Status, answer.Header, text)
		}

		// Nor without sojournd.
		m.stop()
		if answer, text = m.ask("GET", "/session/devices", asPage, "Cookie: "+renewed); answer.StatusCode != http.StatusServiceUnavailable && answer.StatusCode != http.StatusBadGateway {
			m.Errorf("without sojournd: %s %q", answer.Status, text)
		}
		if _, application := m.took(); len(application) > 0 {
			m.Errorf("the application got %q", application)
		}
	})
}

// tricks are targets by which a visitor may try to leave the pages for another
// part of sojournd's listener.
var tricks = []string{
	"/session/../v1/sessions", "/session/../metrics", "/session/../../metrics", "/session/./../metrics", "/session/x/../../metrics", "/session/..", "/session/.", "/session/../",
	"/session/%2e%2e/metrics", "/session/%2E%2E/metrics", "/session/.%2e/metrics", "/session/%2e./metrics", "/session/%252e%252e/metrics", "/session/%2e%2e%2f%2e%2e%2fmetrics",
	"/session/..%2fmetrics", "/session/..%2F..%2Fmetrics", "/session%2f..%2fmetrics", "/session%2f..%2f..%2fmetrics", "/session/..%5cmetrics", "/session/..\\..\\metrics", "/session\\..\\metrics", "/session/..%255c..%255cmetrics",
	"/session/..;/metrics", "/session/..;x=y/..;/metrics", "/session/%2e%2e;/metrics", "/session;/../metrics", "/session/..%3b/metrics", "/session/;/../metrics",
	"//session/../metrics", "/session//../metrics", "/session//..//..//metrics", "/session///metrics", "//metrics", "/session//metrics", "/session/%2fmetrics", "/session/%2f%2fmetrics", "/%2fmetrics", "//session//devices",
	"/session/%00/../metrics", "/session/%00", "/session/..%00/metrics", "/session/..%0d%0a/metrics", "/session/%0d%0aX:%20y", "/session/%20HTTP/1.1%0d%0aHost:%20x%0d%0a%0d%0aGET%20/metrics", "/session/%3f/../../metrics", "/session/%23/../../metrics", "/session/#/../../metrics", "/session/?/../../metrics", "/session/devices?/../../../metrics",
	"/session/%c0%ae%c0%ae/metrics", "/session/%e0%80%ae%e0%80%ae/metrics", "/session/\xc0\xae\xc0\xae/metrics", "/session/%uff0e%uff0e/metrics", "/session/..%c0%afmetrics", "/session/%zz/../metrics", "/session/%", "/session/..%",
	"/session", "/session/", "/sessionx/../metrics", "/session%20/metrics", "/SESSION/../metrics", "/Session/metrics", "/sess%69on/metrics", "/%73ession/../metrics",
	"/session/check/shop/status/any", "/session/metrics", "/session/healthz", "/session/readyz", "/session/pages/blog/devices", "/session/../pages/blog/devices", "/session/../blog/devices", "/session/..%2fblog%2fdevices",
	"/check/shop/status/any", "/pages/shop/devices", "/pages/shop/../../metrics", "/metrics", "/healthz", "/readyz", "/v1/sessions", "/_sojourn/any", "/_sojourn/../metrics", "/_sojourn/..%2f..%2fmetrics",
	"http://localhost/session/../metrics", "http://localhost/metrics", "http://elsewhere.example/session/../metrics", "http://127.0.0.1:7082/metrics", "HTTP://localhost/session/%2e%2e/metrics", "http:/metrics", "http:///metrics", "//127.0.0.1:7082/metrics", "http://localhost/session/devices", "*", "session/../metrics", "?/metrics", "/session/" + strings.Repeat("../", 50) + "metrics", "/session/" + strings.Repeat("a/", 2000),
	"http://user:password@localhost/session/../metrics", "https://localhost/session/%2e%2e/metrics", "unix:/session/", "/session/@127.0.0.1/metrics", "/session/:80/metrics", "/session/..%ef%bc%8fmetrics", "/session/{uri}", "/session/$request_uri", "/session/\\1", "/session/%{+Q}o",
}

// fromListener begins an answer of the listener, before the request's target.
const fromListener = "sojournd's listener: "

// Whatever a visitor sends, a request that the proxy passes on to sojournd's
// listener is one for the pages of this application, however its path is read.
func TestNothingElseThroughPages(t *testing.T) {
	stub := func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Sojourn-Subject", "Sojourn-Session", "Sojourn-Level"} {
			w.Header().Set(name, "")
		}
		w.Header().Set("Sojourn-Upgrade", strings.Join(r.Header["Upgrade"], ","))
		_, _ = io.WriteString(w, fromListener+r.RequestURI)
	}
	throughProxies(t, "    pages: {path: /session/}\n", stub, func(m *mapped) {
		look := func(what string, answer *http.Response, text string) {
			m.Helper()
			if target, ok := strings.CutPrefix(text, fromListener); ok && !inPages(target) {
				m.Errorf("%s: sojournd's answer to %q reaches the visitor", what, target)
			}
			if answer.StatusCode == http.StatusSwitchingProtocols {
				m.Errorf("%s: the protocol changed", what)
			}
			if upgrade := answer.Header.Get("Sojourn-Upgrade"); upgrade != "" {
				m.Errorf("%s: sojournd is asked for the protocol %q", what, upgrade)
			}
			targets, _ := m.took()
			for _, target := range targets {
				if !inPages(target) {
					m.Errorf("%s: sojournd is asked for %q", what, target)
				}
			}
		}
		for _, method := range []string{"GET", "POST"} {
			for _, target := range tricks {
				answer, text := m.ask(method, target, "Content-Length: 0")
				look(fmt.Sprintf("%s %.80q", method, target), answer, text)
			}
		}
		for _, method := range []string{"HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "PURGE", "get", "BREW"} {
			for _, target := range []string{"/session/devices", "/session/../metrics", "/session/%2e%2e/metrics", "http://localhost/metrics", "localhost:7082", "*"} {
				answer, text := m.ask(method, target, "Content-Length: 0")
				look(method+" "+target, answer, text)
			}
		}
		for _, upgrade := range []string{"h2c", "websocket", "H2C", "websocket, h2c", "h2c, websocket", "TLS/1.0"} {
			for _, more := range []string{"", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"} {
				answer, text := m.ask("GET", "/session/devices", more+"Connection: Upgrade, HTTP2-Settings", "Upgrade: "+upgrade, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
				look("an upgrade to "+upgrade, answer, text)
			}
		}
		// One request is one request, however its end is written.
		for _, smuggled := range []string{"Content-Length: 30\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked, identity", "Transfer-Encoding : chunked", "Content-Length: 0\r\nContent-Length: 30"} {
			answer, text := m.ask("POST", "/session/devices", smuggled+"\r\nConnection: close\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x")
			look("a request within a request, by "+smuggled, answer, text)
		}
		// In HTTP/2 a target is written in another way.
		if _, haproxy := strings.CutSuffix(m.Name(), "/haproxy"); haproxy {
			protocols := new(http.Protocols)
			protocols.SetUnencryptedHTTP2(true)
			transport := &http.Transport{Protocols: protocols}
			defer transport.CloseIdleConnections()
			ctx, cancel := context.WithTimeout(m.Context(), 5*time.Minute)
			defer cancel()
			sent := 0
			for _, target := range tricks {
				if strings.Contains(target, "#") {
					continue // Debian's HAProxy never answers this stream
				}
				r := &http.Request{Method: "GET", URL: &url.URL{Scheme: "http", Host: m.proxy, Opaque: target}, Header: http.Header{}}
				answer, err := transport.RoundTrip(r.WithContext(ctx))
				if err != nil {
					continue // Go's client doesn't send it
				}
				text, _ := io.ReadAll(answer.Body)
				_ = answer.Body.Close()
				look(fmt.Sprintf("over HTTP/2 %.80q", target), answer, string(text))
				sent++
			}
			if sent < len(tricks)/2 {
				m.Errorf("over HTTP/2 only %d of %d were answered", sent, len(tricks))
			}
		}

		// And what is honest gets there.
		if answer, text := m.ask("GET", "/session/devices?a=b%20c"); text != fromListener+"/pages/shop/devices?a=b%20c" {
			m.Errorf("an honest request: %s %q", answer.Status, text)
		}
		if targets, _ := m.took(); len(targets) != 1 || targets[0] != "/pages/shop/devices?a=b%20c" {
			m.Errorf("an honest request asks for %q", targets)
		}
	})
}

// inPages reports whether a request's target is below /pages/shop/, also after
// sojournd has decoded it, and stays there whoever resolves its dots.
func inPages(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	for range 2 {
		if !strings.HasPrefix(path, "/pages/shop/") {
			return false
		}
		clean := strings.NewReplacer("\\", "/", ";", "/").Replace(path)
		for segment := range strings.SplitSeq(clean, "/") {
			if segment == ".." {
				return false
			}
		}
		var err error
		if path, err = url.PathUnescape(path); err != nil {
			return true // sojournd answers 400
		}
	}
	return true
}
