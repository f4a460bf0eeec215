//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// The shop in JavaScript (examples/node) runs behind a real Caddy with a real
// sojournd. The files are unchanged except for the ports and the key.
func TestJavaScript(t *testing.T) {
	t.Parallel()
	node := newNodeShop(t)
	b := node.browser()

	t.Log("a stranger")
	b.page("GET", "/", nil, 200).has("Sign in", "nothing yet")
	if len(b.cookies) > 0 {
		t.Errorf("a visitor who only looks gets %v", b.cookies)
	}
	b.page("GET", "/account?tab=1", nil, 302).to("/login?return_to=%2Faccount%3Ftab%3D1")
	b.script("GET", "/account", 401)

	t.Log("a cart before the login")
	for _, sku := range []string{"tent", "lamp", "tent"} {
		b.page("POST", "/cart", url.Values{"sku": {sku}}, 303).to("/")
	}
	b.page("POST", "/cart", url.Values{"sku": {"<script>"}}, 404)
	b.page("GET", "/", nil, 200).has("2 × A tent", "1 × A lantern")
	if len(b.cookies) != 1 || b.cookies["__Host-shop-visitor"] == "" {
		t.Errorf("cookies %v", b.cookies)
	}
	var wg sync.WaitGroup
	for range 8 {
		tab := b.tab()
		wg.Go(func() { tab.page("POST", "/cart", url.Values{"sku": {"mug"}}, 303) })
	}
	wg.Wait()
	b.page("GET", "/", nil, 200).has("2 × A tent", "8 × A camp mug")

	t.Log("the login")
	stranger := b.tab()
	b.page("POST", "/login", url.Values{"user": {"ada"}, "password": {"guess"}}, 422).has("No such name")
	b.page("POST", "/login", url.Values{"user": {"ada"}, "password": {"difference-engine"}, "return_to": {"/account?tab=1"}}, 303).to("/account?tab=1")
	if len(b.cookies) != 1 || b.cookies["__Host-shop-session"] == "" {
		t.Errorf("cookies %v", b.cookies)
	}
	b.page("GET", "/account?tab=1", nil, 200).has("<b>ada</b>")
	b.page("GET", "/", nil, 200).has("You are ada", "2 × A tent", "8 × A camp mug")
	b.script("GET", "/account", 200)
	stranger.page("GET", "/", nil, 200).has("Sign in", "nothing yet") // its token was replaced
	for _, back := range []string{"//elsewhere.example/", "https://elsewhere.example/", "/\\elsewhere.example", "javascript:alert(1)", "/.//elsewhere.example"} {
		b.tab().page("POST", "/login", url.Values{"user": {"ben"}, "password": {"kite-and-lightning"}, "return_to": {back}}, 303).to("/")
	}

	t.Log("another site's form")
	b.do("POST", "/cart", url.Values{"sku": {"tent"}}, 403, "Sec-Fetch-Site", "cross-site", "Origin", "https://elsewhere.example")

	t.Log("the logout")
	b.page("POST", "/login", url.Values{"user": {"ada"}, "password": {"difference-engine"}}, 303)
	before := b.tab()
	b.page("POST", "/logout", nil, 303).to("/")
	if len(b.cookies) > 0 {
		t.Errorf("after the logout: cookies %v", b.cookies)
	}
	before.page("GET", "/account", nil, 302)
	before.page("GET", "/", nil, 200).has("Sign in", "nothing yet")

	t.Log("ended by an operator")
	b.page("POST", "/login", url.Values{"user": {"ada"}, "password": {"difference-engine"}}, 303)
	b.page("GET", "/account", nil, 200)
	node.endSubject("ada")
	b.page("GET", "/account", nil, 302)
	b.script("GET", "/account", 401)

	t.Log("without sojournd")
	b.page("POST", "/login", url.Values{"user": {"ada"}, "password": {"difference-engine"}}, 303)
	node.server.stop()
	node.keepPorts()
	for _, path := range []string{"/", "/account"} {
		if status := b.status("GET", path); status < 500 {
			t.Errorf("%s: %d", path, status)
		}
	}
	node.noTokens()
}

// A nodeShop is the three programs.
type nodeShop struct {
	t      *testing.T
	site   string
	api    string
	key    string
	server *server
	listen [2]string // where the server listens
	output *printout // of the shop

	mu     sync.Mutex
	tokens []string // that any browser was sent
}

const nodeFiles = "../examples/node"

func newNodeShop(t *testing.T) *nodeShop {
	t.Helper()
	servertest.Need(t, "caddy")
	n := &nodeShop{t: t}
	checks := n.startServer()
	shopPort := n.startShop()
	caddyfile, err := os.ReadFile(filepath.Join(nodeFiles, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	caddy := servertest.Caddy(t, servertest.ProxyOptions{Files: func(port int) (map[string]string, error) {
		admin, err := servertest.FreePort()
		text := strings.NewReplacer(
			"127.0.0.1:7082", checks, "127.0.0.1:8000", "127.0.0.1:"+shopPort, ":8080", fmt.Sprintf(":%d", port), ":2019", fmt.Sprintf(":%d", admin),
		).Replace(string(caddyfile))
		return map[string]string{"Caddyfile": text}, err
	}})
	n.site = fmt.Sprintf("http://localhost:%d", caddy.Port())
	return n
}

// startServer starts sojournd with a new key and returns the address of its
// checks.
func (n *nodeShop) startServer() (checks string) {
	n.t.Helper()
	text, err := os.ReadFile(filepath.Join(nodeFiles, "sojourn.yaml"))
	if err != nil {
		n.t.Fatal(err)
	}
	key, hash := newKey(n.t)
	config := filepath.Join(n.t.TempDir(), "sojourn.yaml")
	text = regexp.MustCompile(`sha256:0+`).ReplaceAll(text, []byte(hash))
	if err := os.WriteFile(config, text, 0o600); err != nil {
		n.t.Fatal(err)
	}
	for i := range n.listen {
		port, err := servertest.FreePort()
		if err != nil {
			n.t.Fatal(err)
		}
		n.listen[i] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	n.server = start(n.t, "serve", "--config", config, "--api-listen", n.listen[0], "--internal-listen", n.listen[1], "--log-level", "debug")
	n.t.Cleanup(func() {
		if n.t.Failed() {
			n.t.Logf("sojournd said:\n%s%s", n.server.stdout, n.server.stderr)
		}
	})
	found := regexp.MustCompile(`API +(\S+)\n +internal +http://(\S+)`).FindStringSubmatch(n.server.stdout.String())
	if found == nil {
		n.t.Fatalf("no addresses in:\n%s", n.server.stdout)
	}
	n.key, n.api = key, found[1]
	return found[2]
}

// startShop starts shop.mjs and returns its port.
func (n *nodeShop) startShop() string {
	n.t.Helper()
	node := modernNode(n.t)
	keyFile := filepath.Join(n.t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(n.key+"\n"), 0o600); err != nil {
		n.t.Fatal(err)
	}
	shop := exec.Command(node, filepath.Join(n.install(), "shop.mjs"))
	shop.Env = append(os.Environ(), "PORT=0", "SOJOURN_URL="+n.api, "SOJOURN_KEY_FILE="+keyFile)
	var ready <-chan struct{}
	n.output, ready = newPrintout("for Caddy")
	shop.Stdout, shop.Stderr = n.output, n.output
	if err := servertest.Spawn(shop); err != nil {
		n.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- shop.Wait() }()
	n.t.Cleanup(func() {
		_ = shop.Process.Signal(syscall.SIGKILL)
		<-ended
		if n.t.Failed() {
			n.t.Logf("the shop said:\n%s", n.output)
		}
	})
	select {
	case <-ready:
	case <-time.After(time.Minute):
		n.t.Fatalf("the shop said only:\n%s", n.output)
	}
	_, rest, _ := strings.Cut(n.output.String(), "on port ")
	port, _, _ := strings.Cut(rest, ",")
	return port
}

// install does what npm install does for the shop.
func (n *nodeShop) install() (dir string) {
	n.t.Helper()
	dir = n.t.TempDir()
	scope := filepath.Join(dir, "node_modules", "@sojourn-go")
	client, err := filepath.Abs("../clients/js")
	if err == nil {
		err = errors.Join(os.MkdirAll(scope, 0o700), os.Symlink(client, filepath.Join(scope, "client")))
	}
	for _, name := range []string{"shop.mjs", "package.json"} {
		text, readErr := os.ReadFile(filepath.Join(nodeFiles, name))
		err = errors.Join(err, readErr, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return dir
}

// endSubject ends sessions as an operator.
func (n *nodeShop) endSubject(subject string) {
	n.t.Helper()
	r, err := http.NewRequest("DELETE", n.api+"/v1/sessions?subject="+url.QueryEscape(subject), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+n.key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); answer.StatusCode >= 300 {
		n.t.Fatalf("ending the sessions: %s: %s", answer.Status, body)
	}
}

// keepPorts closes every connection to the ports of the stopped server. Another
// test's server could get them otherwise, and answer.
func (n *nodeShop) keepPorts() {
	n.t.Helper()
	for _, address := range n.listen {
		l, err := net.Listen("tcp", address)
		if err != nil {
			n.t.Fatal(err)
		}
		n.t.Cleanup(func() { l.Close() })
		go func() {
			for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
				conn.Close()
			}
		}()
	}
}

// noTokens checks that no program printed a token or the key.
func (n *nodeShop) noTokens() {
	n.t.Helper()
	for _, secret := range append(n.tokens, n.key) {
		for _, printed := range []*printout{n.output, n.server.stdout, n.server.stderr} {
			if strings.Contains(printed.String(), secret) {
				n.t.Error("a token or the key was printed")
			}
		}
	}
	if len(n.tokens) == 0 {
		n.t.Error("nobody was sent a token")
	}
}

// A nodeBrowser keeps the cookies of one site.
type nodeBrowser struct {
	*nodeShop
	cookies map[string]string
}

func (n *nodeShop) browser() *nodeBrowser { return &nodeBrowser{n, map[string]string{}} }

// tab returns another browser with the same cookies.
func (b *nodeBrowser) tab() *nodeBrowser {
	other := b.browser()
	for name, value := range b.cookies {
		other.cookies[name] = value
	}
	return other
}

type nodePage struct {
	*nodeBrowser
	*http.Response
	path, text string
}

// page makes a navigation.
func (b *nodeBrowser) page(method, path string, form url.Values, want int) *nodePage {
	b.t.Helper()
	return b.do(method, path, form, want, "Accept", "text/html,*/*;q=0.8", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "same-origin")
}

func (b *nodeBrowser) script(method, path string, want int) {
	b.t.Helper()
	b.do(method, path, nil, want, "Accept", "*/*", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin")
}

func (b *nodeBrowser) status(method, path string) int {
	b.t.Helper()
	return b.do(method, path, nil, 0).StatusCode
}

func (b *nodeBrowser) do(method, path string, form url.Values, want int, headers ...string) *nodePage {
	b.t.Helper()
	r, err := http.NewRequest(method, b.site+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		b.t.Errorf("%s %s: %v", method, path, err)
		return &nodePage{nodeBrowser: b, Response: &http.Response{}, path: path}
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Error(err)
	}
	if want != 0 && answer.StatusCode != want {
		b.t.Errorf("%s %s: %s, want %d: %s", method, path, answer.Status, want, text)
	}
	for _, c := range answer.Cookies() {
		if !c.Secure || !c.HttpOnly || c.Path != "/" || c.SameSite != http.SameSiteLaxMode || answer.Header.Get("Cache-Control") != "no-store" {
			b.t.Errorf("%s %s: %q, Cache-Control %q", method, path, answer.Header["Set-Cookie"], answer.Header["Cache-Control"])
		}
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
			continue
		}
		b.cookies[c.Name] = c.Value
		b.mu.Lock()
		b.tokens = append(b.tokens, c.Value)
		b.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, token := range b.tokens {
		if strings.Contains(string(text), token) || strings.Contains(answer.Header.Get("Location"), token) {
			b.t.Errorf("%s %s shows a token", method, path)
		}
	}
	return &nodePage{b, answer, path, string(text)}
}

func (p *nodePage) has(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		if !strings.Contains(p.text, text) {
			p.t.Errorf("%s doesn't say %q: %s", p.path, text, p.text)
		}
	}
}

func (p *nodePage) to(location string) {
	p.t.Helper()
	if got := p.Header.Get("Location"); got != location {
		p.t.Errorf("%s sends to %q, want %q", p.path, got, location)
	}
}
