package forwardauth_test

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455, section 4.2.2, wants it
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
)

// A deployment is a real proxy with the shipped configuration, in front of a
// small application, with a handler for its checks.
type deployment struct {
	*world
	site   string // host:port of the proxy
	checks *httptest.Server
	app    *application

	throttled atomic.Int32 // events that tell of guesses
}

// A proxy is a proxy to start.
type proxy struct {
	name  string
	start func(servertest.TB, servertest.ProxyOptions) *servertest.ProxyServer
	dir   string // under examples
	files []string

	// documented is the language of the block in docs/server.md that replaces
	// the last of the files. If it is empty, none is replaced.
	documented string

	edits []string // old text and new text, ..., in the files

	// chosen takes the lines that pass a header which the application chose.
	chosen bool
}

var (
	nginx = proxy{name: "nginx", start: servertest.Nginx, dir: "proxies/nginx", files: []string{"nginx.conf", "shop.conf"}}
	caddy = proxy{name: "caddy", start: servertest.Caddy, dir: "proxies/caddy", files: []string{"Caddyfile"}}

	haproxy = proxy{name: "haproxy", start: servertest.HAProxy, dir: "proxies/haproxy", files: []string{"haproxy.cfg", "sojourn.lua"}}

	nginxOfDocs = proxy{name: "nginx of docs/server.md", start: servertest.Nginx, dir: "proxies/nginx", files: nginx.files, documented: "nginx"}
	caddyOfDocs = proxy{name: "caddy of docs/server.md", start: servertest.Caddy, dir: "proxies/caddy", files: caddy.files, documented: "caddyfile"}
	caddyOfNode = proxy{name: "caddy of examples/node", start: servertest.Caddy, dir: "node", files: []string{"Caddyfile"}}
)

// setUps are all set-ups of nginx, Caddy and HAProxy that are shipped or
// documented.
var setUps = []proxy{nginx, caddy, haproxy, nginxOfDocs, caddyOfDocs, caddyOfNode}

// eachProxy runs a test behind every real proxy, as the tests' user and, if
// that is root, as another user.
func eachProxy(t *testing.T, test func(t *testing.T, d *deployment)) {
	t.Helper()
	eachProxyOf(t, nobodyChanges, test)
}

func nobodyChanges(*forwardauth.App, string) {}

// eachProxyOf also changes the application's options. The function gets the
// site's host and port.
func eachProxyOf(t *testing.T, change func(a *forwardauth.App, site string), test func(t *testing.T, d *deployment)) {
	for _, p := range []proxy{nginx, caddy, haproxy} {
		for _, unprivileged := range []bool{false, true} {
			if unprivileged && os.Getuid() != 0 {
				continue
			}
			t.Run(p.name+map[bool]string{true: " unprivileged"}[unprivileged], func(t *testing.T) {
				t.Parallel()
				test(t, deploy(t, p, unprivileged, change))
			})
		}
	}
}

func deploy(t *testing.T, p proxy, unprivileged bool, change func(*forwardauth.App, string)) *deployment {
	t.Helper()
	d := &deployment{app: &application{}}
	checks := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.world.ServeHTTP(w, r) }))
	_ = checks.Listener.Close()
	var err error
	if checks.Listener, err = servertest.Listen(); err != nil {
		t.Fatal(err)
	}
	app := httptest.NewServer(acceptH2C(d.app))
	t.Cleanup(app.Close)
	running := p.start(t, servertest.ProxyOptions{Unprivileged: unprivileged, Files: func(port int) (map[string]string, error) {
		admin, err := servertest.FreePort()
		if err != nil {
			return nil, err
		}
		return p.configuration(strings.NewReplacer(append([]string{
			"127.0.0.1:7082", checks.Listener.Addr().String(),
			"127.0.0.1:8000", app.Listener.Addr().String(),
			":8080", fmt.Sprintf(":%d", port),
			":2019", fmt.Sprintf(":%d", admin),
		}, p.edits...)...))
	}})
	d.site = running.Addr()
	d.world = newWorld(t, func(a *forwardauth.App, o *sojourn.Options) {
		a.RelaysCookies = true
		change(a, fmt.Sprintf("localhost:%d", running.Port()))
		o.Cookie = sojourn.Cookie{Name: "__Host-shop-session", Visitor: "__Host-shop-visitor"}
		o.OnEvent = func(e sojourn.Event) {
			if e.Kind == sojourn.EventThrottled {
				d.throttled.Add(1)
			}
		}
	})
	d.app.engine = d.engine
	checks.Start()
	t.Cleanup(checks.Close)
	d.checks = checks
	return d
}

// replaceChecks closes the server of the checks. From then on the function gets
// each connection to its address.
func (d *deployment) replaceChecks(serve func(net.Conn)) {
	d.Helper()
	address := d.checks.Listener.Addr().String()
	d.checks.CloseClientConnections()
	d.checks.Close()
	l, err := net.Listen("tcp", address)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
}

// restart closes the server of the checks. The next check meets a server that
// closes the connection, and then a new server starts. The function that
// restart returns waits for that.
func (d *deployment) restart() (restarted func()) {
	d.Helper()
	address := d.checks.Listener.Addr().String()
	d.checks.CloseClientConnections()
	d.checks.Close()
	dying, err := net.Listen("tcp", address)
	if err != nil {
		d.Fatal(err)
	}
	next := httptest.NewUnstartedServer(d.checks.Config.Handler)
	next.Listener.Close()
	up := make(chan struct{})
	go func() {
		defer close(up)
		conn, err := dying.Accept()
		dying.Close()
		if err == nil {
			conn.Close()
		}
		for next.Listener, err = net.Listen("tcp", address); err != nil; {
			next.Listener, err = net.Listen("tcp", address)
		}
		next.Start()
	}()
	return func() {
		dying.Close()
		<-up
		d.checks = next
		d.Cleanup(next.Close)
	}
}

// configuration returns the shipped files with only the ports changed.
func (p *proxy) configuration(ports *strings.Replacer) (map[string]string, error) {
	files := map[string]string{}
	for i, name := range p.files {
		text, err := os.ReadFile(filepath.Join("../../../examples", p.dir, name))
		if p.documented != "" && i == len(p.files)-1 {
			text, err = documented(p.documented)
		}
		if err != nil {
			return nil, err
		}
		if p.chosen {
			text = []byte(withChosen(string(text)))
		}
		files[name] = ports.Replace(string(text))
	}
	return files, nil
}

// withChosen takes the lines of a set-up that pass X-User-Email.
func withChosen(text string) string { return strings.NewReplacer("--#+ ", "", "#+ ", "").Replace(text) }

// documented returns the block with a language in docs/server.md.
func documented(language string) ([]byte, error) {
	page, err := os.ReadFile("../../../docs/server.md")
	if err != nil {
		return nil, err
	}
	_, rest, found := strings.Cut(string(page), "\n```"+language+"\n")
	block, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !closed || strings.Contains(rest, "\n```"+language+"\n") {
		return nil, fmt.Errorf("docs/server.md doesn't have one block of %s", language)
	}
	return []byte(block + "\n"), nil
}

// forCaches are headers of an answer that every cache may store for a year.
var forCaches = map[string]string{
	"Cache-Control": "public, max-age=31536000, immutable", "Expires": "Fri, 01 Jan 2100 00:00:00 GMT",
	"CDN-Cache-Control": "max-age=31536000", "Surrogate-Control": "max-age=31536000",
}

// An application records the requests that reach it.
type application struct {
	engine *sojourn.Engine
	mu     sync.Mutex
	seen   []*http.Request
	bodies []string
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	a.mu.Lock()
	a.seen, a.bodies = append(a.seen, r), append(a.bodies, fmt.Sprint(string(body), err))
	a.mu.Unlock()
	switch r.URL.Path {
	case "/login":
		s := a.engine.Begin(r.Context(), sojourn.Request{})
		if err := errors.Join(s.Login(r.FormValue("user")), s.Commit(r.Context())); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Add("Set-Cookie", "theme=dark; Path=/")
		for _, line := range s.SetCookies() {
			w.Header().Add("Set-Cookie", line)
		}
	case "/logout":
		id, err := sojourn.ParseID(r.Header.Get("Sojourn-Session"))
		if err == nil {
			err = a.engine.End(r.Context(), id)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	case "/cookies":
		w.Header().Add("Set-Cookie", "theme=dark; Path=/")
		w.Header().Add("Set-Cookie", "cart=1; Path=/")
	case "/many-cookies":
		for i := range 3 {
			w.Header().Add("Set-Cookie", fmt.Sprintf("c%d=%s", i, strings.Repeat("c", 4000)))
		}
	case "/immutable":
		for name, value := range forCaches {
			w.Header().Set(name, value)
		}
	case "/fails":
		w.WriteHeader(http.StatusInternalServerError)
	case "/denies":
		w.WriteHeader(http.StatusUnauthorized)
	case "/socket":
		if !strings.EqualFold(strings.Join(r.Header["Upgrade"], ", "), "websocket") {
			w.WriteHeader(http.StatusUpgradeRequired)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // the same
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(accept[:])+"\r\n\r\n")
		line, _ := buffered.ReadString('\n')
		_, _ = io.WriteString(conn, "you said "+line)
		return
	}
	_, _ = io.WriteString(w, "the application")
}

// took returns the requests since the last call.
func (a *application) took() (list []*http.Request, bodies []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	list, bodies = a.seen, a.bodies
	a.seen, a.bodies = nil, nil
	return list, bodies
}

// A visit is the answer to a request, and the request that reached the
// application, or nil.
type visit struct {
	*http.Response
	text    string
	reached *http.Request
	body    string
}

// visit sends a request through the proxy. It does not change the target and
// the headers: name, value, ....
func (d *deployment) visit(method, target string, headers ...string) visit {
	d.Helper()
	return d.visitWithBody(method, target, "", headers...)
}

func (d *deployment) visitWithBody(method, target, body string, headers ...string) visit {
	d.Helper()
	conn, err := net.Dial("tcp", d.site)
	if err != nil {
		d.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		d.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(d.site)
	head := method + " " + target + " HTTP/1.1\r\nHost: localhost:" + port + "\r\nConnection: close\r\n"
	for i := 0; i < len(headers); i += 2 {
		head += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	if body != "" && !slices.Contains(headers, "Transfer-Encoding") {
		head += "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	d.app.took()
	if _, err := io.WriteString(conn, head+"\r\n"+body); err != nil {
		d.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		d.Fatalf("%s %s: %v", method, target, err)
	}
	text, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil {
		d.Fatalf("%s %s: %v", method, target, err)
	}
	v := visit{Response: answer, text: string(text)}
	seen, bodies := d.app.took()
	if len(seen) > 1 {
		d.Errorf("%s %s reached the application %d times", method, target, len(seen))
	}
	if len(seen) > 0 {
		v.reached, v.body = seen[0], bodies[0]
	}
	return v
}

// signIn logs a user in and returns the cookie.
func (d *deployment) signIn(subject string, o ...sojourn.LoginOption) string {
	d.Helper()
	return strings.Replace(d.login(subject, o...), "__Host-session=", "__Host-shop-session=", 1)
}

// passed checks that a request reached the application with the subject, which
// is empty for an anonymous visitor.
func (d *deployment) passed(what string, v visit, subject string) {
	d.Helper()
	if v.reached == nil {
		d.Errorf("%s: it didn't reach the application: %s", what, v.Status)
		return
	}
	// Many application servers (CGI, WSGI) do not distinguish Sojourn_Subject
	// and Sojourn-Subject.
	got := map[string][]string{}
	for name, values := range v.reached.Header {
		name = strings.ReplaceAll(strings.ToUpper(name), "-", "_")
		if strings.HasPrefix(name, "SOJOURN") {
			got[name] = append(got[name], values...)
		}
	}
	for name, values := range got {
		if len(values) > 1 || name != "SOJOURN_SUBJECT" && name != "SOJOURN_SESSION" && name != "SOJOURN_LEVEL" {
			d.Errorf("%s: the application got %s: %q", what, name, values)
		}
	}
	one := func(name string) string { return strings.Join(got[name], ",") }
	if who, err := url.PathUnescape(one("SOJOURN_SUBJECT")); who != subject || err != nil {
		d.Errorf("%s: the application takes it for %q's, %v; want %q", what, who, err, subject)
	}
	if (one("SOJOURN_SESSION") == "") != (subject == "") || (one("SOJOURN_LEVEL") == "") != (subject == "") {
		d.Errorf("%s: the application got %v", what, got)
	}
}

// stopped checks that a request did not reach the application.
func (d *deployment) stopped(what string, v visit, status int) {
	d.Helper()
	if v.StatusCode != status || v.reached != nil || strings.Contains(v.text, "the application") {
		d.Errorf("%s: %s, want %d; it reached the application: %v", what, v.Status, status, v.reached != nil)
	}
}
