//go:build unix

package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// A check ignores what a visitor appends to its path, as Envoy does, and does
// not redirect.
func TestChecksOfUncleanPaths(t *testing.T) {
	t.Parallel()
	s := startServe(t, "trusted_proxies: [127.0.0.1]\n")
	token := s.ask("shop", "POST", "/v1/sessions/login", `{"subject":"ann"}`, 200)["token"].(string)
	check := func(target, headers string) *http.Response {
		t.Helper()
		return sendRaw(t, "tcp", strings.TrimPrefix(s.internal, "http://"), "GET "+target+" HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n"+headers+"\r\n")
	}
	for _, suffix := range []string{"", "/", "//", "//any", "/../any", "/../../../shop/status/any", "/%2e%2e/any", "/..%2fany", "/a//b/../c", "?require=any", "/?/check/shop/status/any", "/metrics", "/a;b"} {
		if got := check("/check/shop/status/login"+suffix, "Cookie: __Host-shop-session="+token+"\r\n").StatusCode; got != 200 {
			t.Errorf("ann, %q: %d", suffix, got)
		}
		for _, path := range []string{"/check/shop/status/login", "/check/shop/redirect/level-2", "/check/blog/status/login"} {
			if got := check(path+suffix, "").StatusCode; got != 401 {
				t.Errorf("a stranger, %s %q: %d", path, suffix, got)
			}
		}
		if got := check("/check/shop/status/level-2"+suffix, "Cookie: __Host-shop-session="+token+"\r\n").StatusCode; got != 403 {
			t.Errorf("ann, level 2, %q: %d", suffix, got)
		}
		if got := check("/check/blog/status/login"+suffix, "Cookie: __Host-blog-session="+token+"; __Host-shop-session="+token+"\r\n").StatusCode; got != 401 {
			t.Errorf("ann of the shop, at the blog, %q: %d", suffix, got)
		}
	}
	page := check("/check/shop/redirect/login/x", "Accept: text/html\r\nX-Forwarded-Uri: /cart?a=b\r\n")
	if got := page.Header.Get("Location"); page.StatusCode != 302 || got != "/login?return_to=%2Fcart%3Fa%3Db" {
		t.Errorf("a page: %s to %q", page.Status, got)
	}
}

// sendRaw sends the bytes of a request and returns the answer without its body.
func sendRaw(t *testing.T, network, address, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.80q: %v", request, err)
	}
	answer.Body.Close()
	return answer
}

// nginx may ask over a Unix socket. It has no address, but it is trusted.
func TestNginxOverUnixSocket(t *testing.T) {
	t.Parallel()
	servertest.Need(t, "nginx")
	dir, err := os.MkdirTemp("", "sojournd-socket-") // nginx, which works as another user than root, must get there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	key, hash := newKey(t)
	socket, file := filepath.Join(dir, "internal.sock"), filepath.Join(dir, "sojourn.yaml")
	text := "store: 'memory:'\ntrusted_proxies: [127.0.0.1]\napi: {listen: ['127.0.0.1:0']}\n" +
		"internal: {listen: ['unix:" + socket + "']}\napplications:\n  - name: shop\n    keys: [{name: test, hash: '" + hash + "'}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &serving{server: start(t, "serve", "--config", file), keys: map[string]string{"shop": key}, client: http.DefaultClient}
	s.api = regexp.MustCompile(`API +(\S+)`).FindStringSubmatch(s.stdout.String())[1]

	if err := os.Chmod(socket, 0o666); err != nil { // in place of the socket's group, which takes root to set up
		t.Fatal(err)
	}

	reached := make(chan http.Header, 1)
	nginx := nginxBefore(t, "unix:"+socket, func(_ http.ResponseWriter, r *http.Request) { reached <- r.Header })

	answer := s.ask("shop", "POST", "/v1/sessions/login", `{"subject":"ann","client":{"ip":"203.0.113.7"}}`, 200)
	get := func(headers string) *http.Response {
		t.Helper()
		return sendRaw(t, "tcp", nginx.Addr(), "GET /account?a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"+headers+"\r\n")
	}
	if got := get("Cookie: __Host-shop-session=" + answer["token"].(string) + "\r\nX-Forwarded-For: 198.51.100.1\r\n"); got.StatusCode != 200 {
		t.Fatalf("ann: %s\n%s", got.Status, s.stderr)
	}
	if got := (<-reached).Get("Sojourn-Subject"); got != "ann" {
		t.Errorf("the application takes it for %q's", got)
	}
	id := answer["session"].(map[string]any)["id"].(string)
	s.eventually("the visitor's address is the one that nginx saw", func() bool {
		client, _ := s.ask("shop", "GET", "/v1/sessions/"+id, "", 200)["client"].(map[string]any)
		return client["ip"] == "127.0.0.1"
	})
	if got := get("Accept: text/html\r\n"); got.StatusCode != 302 || got.Header.Get("Location") != "/login?return_to=%2Faccount%3Fa%3Db" {
		t.Errorf("a stranger's page: %s to %q", got.Status, got.Header.Get("Location"))
	}
}

// The server accepts the configuration that the proxies' set-ups require.
func TestConfigurationOfTheSetUps(t *testing.T) {
	var found int
	for _, name := range []string{
		"../docs/server.md", "../docs/proxies/pages.md", "../examples/proxies/nginx/shop.conf", "../examples/proxies/caddy/Caddyfile", "../examples/proxies/haproxy/haproxy.cfg", "../examples/proxies/traefik/shop.yml", "../examples/proxies/envoy/envoy.yaml",
		"../examples/node/sojourn.yaml", "../deploy/sojourn.yaml",
	} {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text := string(page)
		switch filepath.Ext(name) {
		case ".md":
			_, text, _ = strings.Cut(text, "```yaml\ntrusted_proxies")
			text, _, _ = strings.Cut("trusted_proxies"+text, "```")
		default:
			if comment := regexp.MustCompile(`(?m)^#     (.*\n)`).FindAllStringSubmatch(text, -1); comment != nil {
				text = ""
				for _, line := range comment {
					text += line[1]
				}
			}
		}
		text = strings.Replace(text, strings.Repeat("0", 64), strings.Repeat("1", 64), 1) // the hash is the reader's to put in
		if !strings.Contains(text, "login_url: /login") {
			t.Errorf("%s tells no configuration", name)
			continue
		}
		found++
		file := filepath.Join(t.TempDir(), "sojourn.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, stdout, stderr := call(t, "config", "check", "--config", file); code != 0 || strings.Contains(stdout, "warning") {
			t.Errorf("%s: %s%s\n%s", name, stdout, stderr, text)
		}
	}
	if found == 0 {
		t.Error("found nothing")
	}

	// The container's configuration trusts the containers' network.
	compose, err := os.ReadFile("../deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := os.ReadFile("../deploy/sojourn.yaml")
	if err != nil {
		t.Fatal(err)
	}
	subnet := regexp.MustCompile(`(?m)- subnet: (\S+)`).FindSubmatch(compose)
	if subnet == nil || !strings.Contains(string(trusted), "trusted_proxies: ["+string(subnet[1])+"]") {
		t.Errorf("deploy: the subnet is %q, and sojourn.yaml doesn't trust it", subnet)
	}
}

// nginxBefore starts the nginx of the examples before an application. It asks
// checks, the address of sojournd's internal listener. edits are replacements in
// nginx's files, in pairs.
func nginxBefore(t *testing.T, checks string, application http.HandlerFunc, edits ...string) *servertest.ProxyServer {
	t.Helper()
	shop := httptest.NewServer(application)
	t.Cleanup(shop.Close)
	return servertest.Nginx(t, servertest.ProxyOptions{Files: func(port int) (map[string]string, error) {
		files := map[string]string{}
		for _, name := range []string{"nginx.conf", "shop.conf"} {
			text, err := os.ReadFile(filepath.Join("../examples/proxies/nginx", name))
			if err != nil {
				return nil, err
			}
			pairs := append([]string{"127.0.0.1:7082", checks, "127.0.0.1:8000", shop.Listener.Addr().String(), ":8080", ":" + strconv.Itoa(port)}, edits...)
			files[name] = strings.NewReplacer(pairs...).Replace(string(text))
		}
		return files, nil
	}})
}
