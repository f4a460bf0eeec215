package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/sojournd/internal/config"
)

// A serving is a running sojournd serve.
type serving struct {
	*server
	file     string // its configuration
	api      string
	internal string
	keys     map[string]string
	secrets  []string
	client   *http.Client
}

// startServe runs the server with a shop and a blog, each with a key. The text
// is added to the configuration.
func startServe(t *testing.T, text string, args ...string) *serving {
	t.Helper()
	s := &serving{file: filepath.Join(t.TempDir(), "sojourn.yaml"), keys: map[string]string{}, client: &http.Client{}}
	apps := "applications:\n"
	for _, name := range []string{"shop", "blog"} {
		key, hash := newKey(t)
		s.keys[name] = key
		s.secrets = append(s.secrets, key)
		apps += fmt.Sprintf("  - name: %s\n    keys: [{name: test, hash: '%s'}]\n", name, hash)
	}
	if !strings.Contains(text, "api:") {
		text += "api: {listen: ['127.0.0.1:0']}\n"
	}
	if !strings.Contains(text, "store:") {
		text += "store: 'memory:'\n"
	}
	s.write(t, text+"internal: {listen: ['127.0.0.1:0']}\n"+apps)
	s.server = start(t, append([]string{"serve", "--config", s.file}, args...)...)
	found := regexp.MustCompile(`API +(\S+)\n +internal +(\S+)`).FindStringSubmatch(s.stdout.String())
	if found == nil {
		t.Fatalf("no addresses in:\n%s", s.stdout)
	}
	s.api, s.internal = found[1], found[2]
	return s
}

func newKey(t *testing.T) (key, hash string) {
	t.Helper()
	code, stdout, stderr := call(t, "keys", "new", "--json")
	var made struct{ Key, Hash string }
	if err := json.Unmarshal([]byte(stdout), &made); err != nil || code != 0 || made.Key == "" || !strings.HasPrefix(made.Hash, "sha256:") {
		t.Fatalf("keys new: %d, %v, %s", code, err, stderr)
	}
	return made.Key, made.Hash
}

func (s *serving) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *serving) text() string {
	s.t.Helper()
	text, err := os.ReadFile(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// ask sends a request of an application.
func (s *serving) ask(app, method, path, body string, want int) map[string]any {
	s.t.Helper()
	base := s.api
	if strings.HasPrefix(base, "unix:") {
		base = "http://unix"
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.keys[app])
	res, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != want {
		s.t.Fatalf("%s %s: %s, want %d: %s %v", method, path, res.Status, want, text, err)
	}
	var answer map[string]any
	if len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			s.t.Fatalf("%s %s: %v: %s", method, path, err, text)
		}
	}
	if token, ok := answer["token"].(string); ok {
		s.secrets = append(s.secrets, token)
	}
	return answer
}

// look sends a request to the internal listener.
func (s *serving) look(path, cookie string) (status int, header http.Header, body string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), "GET", s.internal+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(text)
}

// reload sends SIGHUP and waits for a text in the log.
func (s *serving) reload(want string) {
	s.t.Helper()
	before := strings.Count(s.stderr.String(), want)
	if err := s.command.Process.Signal(syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
	s.eventually(fmt.Sprintf("the log says %q", want), func() bool { return strings.Count(s.stderr.String(), want) > before })
}

func (s *serving) eventually(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within a minute: %s\n%s", what, s.stderr)
		}
		select {
		case <-s.t.Context().Done():
			s.t.FailNow()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// The program is used like in production: a key, a login by the API, a check,
// metrics. It prints no secret.
func TestServe(t *testing.T) {
	audit := filepath.Join(t.TempDir(), "audit.jsonl")
	s := startServe(t, "events: {audit: {file: '"+audit+"'}}\n", "--log-level", "debug")
	created := s.ask("shop", "POST", "/v1/sessions", `{"subject":"ann","values":{"cart":[1]}}`, 201)
	token := created["token"].(string)
	id := created["session"].(map[string]any)["id"].(string)
	if whose := s.ask("shop", "POST", "/v1/sessions/resolve", `{"token":"`+token+`"}`, 200); whose["session"].(map[string]any)["subject"] != "ann" {
		t.Errorf("resolved: %v", whose)
	}
	s.ask("blog", "GET", "/v1/sessions/"+id, "", 404)

	status, header, _ := s.look("/check/shop/status/login/any/path?x=1", "__Host-shop-session="+token)
	if status != 200 || header.Get("Sojourn-Subject") != "ann" || header.Get("Sojourn-Session") != id {
		t.Errorf("check: %d, %v", status, header)
	}
	if status, _, _ := s.look("/check/shop/status/login", ""); status != 401 {
		t.Errorf("a stranger's check: %d", status)
	}
	if status, _, _ := s.look("/check/blog/status/login", "__Host-blog-session="+token); status != 401 {
		t.Errorf("another application's check: %d", status)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/": 404, "/v1/stats": 404, "/openapi.json": 404, "/check": 404, "/check/": 404} {
		if status, _, body := s.look(path, ""); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	s.ask("shop", "GET", "/metrics", "", 404)
	s.ask("shop", "GET", "/check/shop/status/login", "", 404)
	s.ask("shop", "GET", "/openapi.json", "", 200)
	s.ask("shop", "POST", "/v1/sessions/logout", `{"token":"`+token+`"}`, 200)
	s.ask("shop", "POST", "/v1/sessions/resolve", `{"token":"`+strings.Repeat("A", 64)+`"}`, 200)
	if status, _, _ := s.look("/check/shop/status/login", "__Host-shop-session="+token); status != 401 {
		t.Errorf("after the logout: %d", status)
	}

	for _, want := range []string{
		`sojourn_sessions_created_total{app="shop",kind="logged_in"} 1`, `sojourn_sessions_ended_total{app="shop",reason="logout"} 1`,
		`sojourn_tokens_refused_total{app="shop",refusal="unknown"} 1`, `sojourn_logins_total{app="shop",kind="authenticated"} 1`,
		`sojourn_check_duration_seconds_count{app="shop",status="200"} 1`, `sojourn_api_request_duration_seconds_count{route="POST /v1/sessions",status="201"} 1`,
		`sojourn_store_duration_seconds_count{call="create"} 1`, `sojourn_sessions{app="shop",kind="logged_in"} 0`, `sojourn_events_total{app="shop"}`, "go_goroutines",
	} {
		var metrics string
		s.eventually("metric "+want, func() bool {
			_, _, metrics = s.look("/metrics", "")
			return strings.Contains(metrics, want)
		})
		for _, secret := range s.secrets {
			if strings.Contains(metrics, secret) {
				t.Error("a secret is in the metrics")
			}
		}
	}
	s.ask("shop", "DELETE", "/v1/sessions?subject=ann", "", 200)
	s.stop()
	trail, err := os.ReadFile(audit)
	if err != nil || !strings.Contains(string(trail), `"kind":"created"`) || !strings.Contains(string(trail), `"action":"end_subject"`) {
		t.Errorf("the audit log: %v\n%s", err, trail)
	}
	printed := s.stdout.String() + s.stderr.String() + string(trail)
	if !strings.Contains(printed, "api request") {
		t.Errorf("nothing was logged at debug level:\n%s", printed)
	}
	for _, secret := range s.secrets {
		if strings.Contains(printed, secret) || strings.Contains(printed, secret[len(secret)-32:]) {
			t.Errorf("a secret was printed:\n%s", printed)
		}
	}
}

// If systemd starts the server, the server reports when it is ready and when it
// stops.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	s := startServe(t, "")
	hear := func(want string) {
		t.Helper()
		_ = l.SetReadDeadline(time.Now().Add(time.Minute))
		b := make([]byte, 100)
		n, err := l.Read(b)
		if string(b[:n]) != want {
			t.Errorf("heard %q, %v, want %q", b[:n], err, want)
		}
	}
	hear("READY=1")
	if status, _, _ := s.look("/readyz", ""); status != 200 {
		t.Errorf("and isn't ready: %d", status)
	}
	s.stop()
	hear("STOPPING=1")
}

// The files for containers and for systemd work with the program.
func TestDeploy(t *testing.T) {
	if code, stdout, stderr := call(t, "config", "check", "--config", "../deploy/sojourn.yaml"); code != 0 || !strings.Contains(stdout, "is right") {
		t.Errorf("the container's configuration: %d %s", code, stderr)
	}
	unit, err := os.ReadFile("../deploy/sojournd.service")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sojourn.yaml")
	if err := os.WriteFile(file, []byte("store: 'memory:'\napi: {listen: ['127.0.0.1:0']}\ninternal: {listen: ['127.0.0.1:0']}\napplications: [{name: shop}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?m)^Exec\w+=/usr/local/bin/sojournd (.*)$`).FindAllStringSubmatch(string(unit), -1)
	for _, command := range commands {
		args := strings.Fields(strings.ReplaceAll(command[1], "/etc/sojournd/sojourn.yaml", file))
		if code, _, stderr := callServer(t, args...); code != 0 {
			t.Errorf("%v: %d %s", args, code, stderr)
		}
	}
	if len(commands) != 3 {
		t.Errorf("%d commands in the unit", len(commands))
	}
	socketUnit, err := os.ReadFile("../deploy/sojournd.socket")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`(?m)^ListenStream=(.*)$`).FindAllStringSubmatch(string(socketUnit), -1) {
		if !strings.Contains(config.Example, "    - "+match[1]+"\n") {
			t.Errorf("the server doesn't listen on the unit's %s by default", match[1])
		}
	}
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return // then it isn't Debian with systemd
	}
	service, sockets := filepath.Join(t.TempDir(), "sojournd.service"), filepath.Join(t.TempDir(), "sojournd.socket")
	text := regexp.MustCompile(`/usr/local/bin/sojournd`).ReplaceAllString(string(unit), "/bin/true")
	if err := errors.Join(os.WriteFile(service, []byte(text), 0o600), os.WriteFile(sockets, socketUnit, 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), verify, "verify", "--man=no", service, sockets).CombinedOutput(); err != nil || strings.Contains(string(out), "sojournd.") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// SIGHUP reads the file again: a removed key is invalid, a new one is valid,
// levels change. A file with mistakes changes nothing.
func TestReload(t *testing.T) {
	s := startServe(t, "log: {level: info}\n")
	token := s.ask("shop", "POST", "/v1/sessions", `{"subject":"ann"}`, 201)["token"].(string)
	good := s.text()

	s.write(t, strings.Replace(good, "level: info", "level: loud", 1)+"nonsense: 1\n")
	s.reload("was not reloaded")
	if log := s.stderr.String(); !strings.Contains(log, "log.level") || !strings.Contains(log, "nonsense") {
		t.Errorf("the log doesn't name the mistakes:\n%s", log)
	}
	s.ask("shop", "GET", "/v1/stats", "", 200)

	next, hash := newKey(t)
	_, old, _ := strings.Cut(good, "keys: [{name: test, hash: '")
	old, _, _ = strings.Cut(old, "'")
	changed := strings.NewReplacer(old, hash, "level: info", "level: debug", "{listen: ['127.0.0.1:0']}", "{listen: ['127.0.0.1:0'], socket_mode: 0600}",
		"name: shop\n", "name: shop\n    policy: {grace: 2m}\n").Replace(good)
	s.write(t, changed+"  - name: third\n")
	s.reload("the configuration was reloaded")
	if log := s.stderr.String(); !strings.Contains(log, "takes effect after a restart") {
		t.Errorf("the log doesn't say what needs a restart:\n%s", log)
	}
	s.ask("shop", "GET", "/v1/stats", "", 401)
	s.ask("blog", "GET", "/v1/stats", "", 200)
	s.keys["shop"] = next
	if whose := s.ask("shop", "POST", "/v1/sessions/resolve", `{"token":"`+token+`"}`, 200); whose["session"] == nil {
		t.Error("the session is gone with the old configuration")
	}
	if status, _, _ := s.look("/check/third/status/any", ""); status != 200 {
		t.Errorf("the new application: %d", status)
	}
	if !strings.Contains(s.stderr.String(), "api request") {
		t.Error("the level didn't change")
	}

	s.write(t, good)
	s.reload("the configuration was reloaded")
	if status, _, _ := s.look("/check/third/status/any", ""); status != 404 {
		t.Errorf("the application that was taken out: %d", status)
	}
	s.ask("shop", "GET", "/v1/stats", "", 401)
	s.stop()
}

// No request fails while the configuration is read again many times.
func TestReloadUnderLoad(t *testing.T) {
	s := startServe(t, "")
	token := s.ask("shop", "POST", "/v1/sessions", `{"subject":"ann"}`, 201)["token"].(string)
	base := s.text()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 4)
	for range 4 {
		go func() {
			for ctx.Err() == nil {
				r, _ := http.NewRequestWithContext(t.Context(), "POST", s.api+"/v1/sessions/update", strings.NewReader(`{"token":"`+token+`","set":{"a":1}}`))
				r.Header.Set("Authorization", "Bearer "+s.keys["shop"])
				res, err := http.DefaultClient.Do(r)
				if err != nil {
					done <- err
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if res.StatusCode != 200 {
					done <- fmt.Errorf("update: %s", res.Status)
					return
				}
			}
			done <- nil
		}()
	}
	for i := range 20 {
		s.write(t, strings.Replace(base, "name: shop\n", fmt.Sprintf("name: shop\n    max_sessions: %d\n", 10+i), 1))
		s.reload("the configuration was reloaded")
	}
	stop()
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	s.stop()
}

// Without a key there is no API. With the first key there is one.
func TestNoKeyNoAPI(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sojourn.yaml")
	text := "store: 'memory:'\napi: {listen: ['unix:" + file + ".sock']}\ninternal: {listen: ['127.0.0.1:0']}\napplications: [{name: shop"
	if err := os.WriteFile(file, []byte(text+"}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &serving{server: start(t, "serve", "--config", file), file: file, keys: map[string]string{}, api: "unix:" + file + ".sock"}
	if !strings.Contains(s.stdout.String(), "none, because no application has a key") {
		t.Errorf("printed:\n%s", s.stdout)
	}
	if _, err := os.Stat(file + ".sock"); err == nil {
		t.Error("the API is open without a key")
	}
	key, hash := newKey(t)
	s.keys["shop"] = key
	s.write(t, text+", keys: [{name: first, hash: '"+hash+"'}]}]\n")
	s.reload("the configuration was reloaded")
	s.client = overSocket(file + ".sock")
	s.ask("shop", "GET", "/v1/stats", "", 200)
	s.stop()
	if _, err := os.Stat(file + ".sock"); err == nil {
		t.Error("the socket was left behind")
	}
}

func overSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
}

// A socket that a killed server left behind is replaced. A socket in use and a
// file are not.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	config := "api: {listen: ['unix:" + path + "']}\n"
	first := startServe(t, config)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info, err)
	}
	first.client = overSocket(path)
	first.ask("shop", "GET", "/v1/stats", "", 200)
	if code, _, stderr := callServer(t, "serve", "--config", first.file, "--store", "memory:"); code != 1 || !strings.Contains(stderr, "another program listens there") {
		t.Errorf("exit code %d, printed %q", code, stderr)
	}
	first.kill()
	second := startServe(t, config)
	second.client = overSocket(path)
	second.ask("shop", "GET", "/v1/stats", "", 200)
	second.stop()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := callServer(t, "serve", "--config", first.file, "--store", "memory:"); code != 1 || !strings.Contains(stderr, "is not a socket") {
		t.Errorf("exit code %d, printed %q", code, stderr)
	}
}

// TLS works with HTTP/2 and a certificate that is replaced at run time. Plain
// HTTP/2 works too.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	roots := x509.NewCertPool()
	makeCertificate(t, cert, key, 1, roots)
	s := startServe(t, "api: {listen: ['127.0.0.1:0'], tls: {certificate: '"+cert+"', key: '"+key+"'}}\n")
	serial := func() (int64, string) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
		r, _ := http.NewRequestWithContext(t.Context(), "GET", s.api+"/openapi.json", nil)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		defer client.CloseIdleConnections()
		return res.TLS.PeerCertificates[0].SerialNumber.Int64(), res.Proto
	}
	if n, proto := serial(); n != 1 || proto != "HTTP/2.0" {
		t.Errorf("certificate %d over %s", n, proto)
	}
	makeCertificate(t, cert, key, 2, roots)
	s.reload("the configuration was reloaded")
	if n, _ := serial(); n != 2 {
		t.Errorf("after the reload: certificate %d", n)
	}
	if err := os.WriteFile(cert, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := s.text()
	s.write(t, good+"  - name: third\n")
	s.reload("the configuration was not reloaded; nothing changes")
	if n, _ := serial(); n != 2 {
		t.Errorf("after a broken one: certificate %d", n)
	}
	if status, _, _ := s.look("/check/third/status/any", ""); status != 404 {
		t.Errorf("with a broken certificate the rest took effect: %d", status)
	}
	s.write(t, good)
	if code, _, stderr := call(t, "config", "check", "--config", s.file); code != 1 || !strings.Contains(stderr, cert) {
		t.Errorf("config check: %d, %s", code, stderr)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: &protocols}}
	r, _ := http.NewRequestWithContext(t.Context(), "GET", s.internal+"/healthz", nil)
	if res, err := client.Do(r); err != nil || res.Proto != "HTTP/2.0" {
		t.Errorf("h2c: %v, %v", res, err)
	}
	s.stop()
}

func makeCertificate(t *testing.T, certFile, keyFile string, serial int64, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprint("test ", serial)}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(cert)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A request in flight is finished after SIGTERM. New requests are refused.
func TestGracefulShutdown(t *testing.T) {
	s := startServe(t, "")
	address := strings.TrimPrefix(s.api, "http://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"subject":"ann"}`
	_, _ = fmt.Fprintf(conn, "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", s.keys["shop"], len(body))
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100") { // the server waits for the body
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	s.beginStop(t, address)
	_, _ = io.WriteString(conn, body)
	r, _ := http.NewRequestWithContext(t.Context(), "POST", s.api, nil)
	res, err := http.ReadResponse(in, r)
	if err != nil || res.StatusCode != 201 {
		t.Fatalf("the request in flight: %v, %v", res, err)
	}
	_ = conn.Close()
	if err := s.wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, s.stderr)
	}
}

// A connection without a request does not make the server's end an error.
func TestServeEndsUnusedConnections(t *testing.T) {
	t.Parallel()
	s := startServe(t, "limits: {shutdown_timeout: 4s}\n")
	connectOnly(t, s.api)
	connectOnly(t, s.internal)
	s.stop()
}

// Slow clients are disconnected. Other clients do not notice.
func TestSlowLoris(t *testing.T) {
	s := startServe(t, "limits: {read_header_timeout: 200ms, read_timeout: 400ms, write_timeout: 500ms}\n")
	r, _ := http.NewRequestWithContext(t.Context(), "GET", s.api+"/v1/events", nil)
	r.Header.Set("Authorization", "Bearer "+s.keys["shop"])
	stream, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()

	for name, head := range map[string]string{
		"header": "GET /v1/stats HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"body":   "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.keys["shop"] + "\r\nContent-Length: 100\r\n\r\n{",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.api, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(conn, head)
		answer, err := io.ReadAll(conn)
		if err != nil {
			t.Errorf("%s: the connection stays open: %v", name, err)
		}
		if name == "body" && (!bytes.Contains(answer, []byte(" 408 ")) || !bytes.Contains(answer, []byte("request_timeout"))) {
			t.Errorf("%s: %s", name, answer)
		}
		_ = conn.Close()
	}
	// This client sends requests and never reads.
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.api, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	for err == nil {
		_, err = io.WriteString(conn, "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a client that reads nothing holds its connection")
	}

	big := strings.Repeat("x", 100<<10)
	r, _ = http.NewRequestWithContext(t.Context(), "GET", s.api+"/v1/stats", nil)
	r.Header.Set("X-Big", big)
	if res, err := http.DefaultClient.Do(r); err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("large header: %v, %v", res, err)
	}
	// By now the stream is older than all these deadlines, and continues.
	s.ask("shop", "POST", "/v1/sessions", `{"subject":"ann"}`, 201)
	for events := bufio.NewScanner(stream.Body); ; {
		if !events.Scan() {
			t.Fatalf("the stream ended: %v", events.Err())
		}
		if strings.Contains(events.Text(), "authenticated") {
			break
		}
	}
	s.stop()
}

// If the store does not answer, the server is not ready but alive, no request
// passes, and nobody is treated as anonymous.
func TestServeWithoutStore(t *testing.T) {
	d := servertest.Redis(t, servertest.RedisOptions{})
	s := startServe(t, "store: '"+d.URL()+"'\n")
	token := s.ask("shop", "POST", "/v1/sessions", `{"subject":"ann"}`, 201)["token"].(string)
	if status, _, _ := s.look("/readyz", ""); status != 200 {
		t.Errorf("ready: %d", status)
	}
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	if status, _, body := s.look("/readyz", ""); status != 503 || !strings.Contains(body, "store") {
		t.Errorf("ready without a store: %d %s", status, body)
	}
	if status, _, _ := s.look("/healthz", ""); status != 200 {
		t.Errorf("alive: %d", status)
	}
	s.eventually("checks fail closed", func() bool {
		status, _, _ := s.look("/check/shop/status/any", "__Host-shop-session="+token)
		if status != 200 && status != 503 {
			t.Fatalf("check: %d", status)
		}
		return status == 503
	})
	s.ask("shop", "POST", "/v1/sessions/resolve", `{"token":"`+token+`"}`, 503)
	if _, _, metrics := s.look("/metrics", ""); !regexp.MustCompile(`sojourn_store_errors_total\{call="get"\} [1-9]`).MatchString(metrics) {
		t.Error("the metrics don't count the store's errors")
	}
}

// beginStop tells the server to stop, and returns when it accepts no connection
// any more.
func (s *serving) beginStop(t *testing.T, address string) {
	t.Helper()
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.eventually("new connections are refused", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}
