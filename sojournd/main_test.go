package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// The program is built, started, used, and stopped by Ctrl-C.
func TestDemoBinary(t *testing.T) {
	demo := startDemo(t, "--events", "--store", "memory:")
	res := fetch(t, "GET", demo.url+"/", "", nil)
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 || !strings.Contains(string(body), "Wayfare") || len(res.Cookies()) > 0 {
		t.Errorf("/: %s, cookies %v\n%s", res.Status, res.Cookies(), body)
	}
	token := demo.signIn()
	// Neither an open stream nor a connection without a request, as browsers open
	// them, prevents the shutdown.
	if res = fetch(t, "GET", demo.url+"/live", "", token); res.StatusCode != 200 {
		t.Errorf("/live: %s", res.Status)
	}
	connectOnly(t, demo.url)
	demo.stop()
	printed := demo.stdout.String() + demo.stderr.String()
	if !strings.Contains(printed, "session authenticated") {
		t.Errorf("--events logs none:\n%s", demo.stderr)
	}
	if strings.Contains(printed, token.Value) || strings.Contains(printed, token.Value[22:]) {
		t.Error("the token was printed")
	}
}

// connectOnly opens a connection that the server accepts, and sends no request.
func connectOnly(t *testing.T, url string) {
	t.Helper()
	dial := func() net.Conn {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	dial()
	// The next connection is answered, so the one before it was accepted.
	next := dial()
	if _, err := io.WriteString(next, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(next); err != nil {
		t.Fatal(err)
	}
}

func fetch(t *testing.T, method, url, form string, cookie *http.Cookie) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if cookie != nil {
		r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"", 0, "demo", ""},
		{"--help", 0, "restore", ""},
		{"help", 0, "restore", ""},
		{"help keys new", 0, "--seal", ""},
		{"--version", 0, about() + "\n", ""},
		{"demo --help", 0, "127.0.0.1:7080", ""},
		{"demo --help", 0, os.Getenv("XDG_STATE_HOME"), ""},
		{"serve --help", 0, "--config", ""},
		{"serve --help", 0, "SOJOURN_CONFIG", ""},
		{"config example", 0, "applications:", ""},
		{"config check --help", 0, "--set", ""},
		{"keys new", 0, "sha256:", ""},
		{"keys new --seal", 0, "# sealing key ", ""},
		{"keys new --file x", 2, "", "--file is for --seal"},
		{"config check", 0, "is right: the application shop. No application has a key", ""},
		{"config check --set log.level=loud --set nonsense=1 --log-format xml", 2, "", "has 3 mistakes"},
		{"config check --set log.level", 2, "", "log.level"},
		{"config check --config /nowhere/x.yaml", 2, "", "there is no configuration file /nowhere/x.yaml: sojournd config example"},
		{"config check --store redis://:pass@h", 2, "", "shows in ps"},
		{"config check --set store=redis://:pass@h", 2, "", "shows in ps"},
		{"backup --help", 0, "--store", ""},
		{"restore --help", 0, "--keep-sessions", ""},
		{"check --help", 0, "--store", ""},
		{"dmeo", 2, "", "demo"},
		{"demo --sealed", 2, "", "sojournd: --sealed: needs a value\n"},
		{"demo --sealed nobody", 2, "", "use visitors or everyone"},
		{"sessions list --subject=", 2, "", "--subject: must not be empty"},
		{"sessions set 01900000-0000-7000-8000-000000000000 level -5", 2, "", "unknown flag -5: write -- before a value that begins with -\n"},
		{"sessions list --network=", 2, "", "--network: must not be empty"},
		{"demo --store redis://:pass@h", 2, "", "shows in ps"},
		{"demo --lisen x", 2, "", "--listen"},
		{"demo extra", 2, "", "extra"},
		{"serve --listen :80", 2, "", "--listen"},
		{"backup", 2, "", "<file>"},
		{"backup a b", 2, "", "b"},
		{"restore", 2, "", "<file>"},
		{"backup --keep-sessions x", 2, "", "--keep-sessions"},
		{"check file", 2, "", "file"},
		{"serve --log-level loud", 2, "", "the command line: log.level: \"loud\" is no level: write debug, info, warn or error"},
		{"serve --internal-listen 0.0.0.0:80", 2, "", "internal.plain_http"},
		{"demo --store mysql://localhost", 2, "", "use --store sqlite:/"},
		{"serve --store sqlite:x.db", 2, "", "must be absolute"},
		{"backup x --store memory:", 2, "", "nothing to back up"},
		{"restore x --store memory:", 2, "", "nothing to restore"},
		{"check --store memory:", 2, "", "nothing to check"},
		{"config check --set log.levle=debug", 2, "", "log.levle: there is no such setting: write log.level"},
		{"backup x --store redis://host", 2, "", "for a store in a file, as in --store sqlite:/path/to/sojourn.db. To back up a database, use its own tools"},
		{"restore x --store postgres://user@host/db", 2, "", "To restore a database"},
		{"check --store rediss-cluster://a:1,b:2", 2, "", "To check a database"},
		{"backup x --store mysql://host", 2, "", "use --store sqlite:/path/to/sojourn.db\n"},
		{"demo --store postgres://user@host/db?search_path=shop", 2, "", "it has a parameter search_path of another driver: write schema=sojourn"},
		{"demo --store postgres://user@host/db?schema=Shop", 2, "", "a schema's name is 1 to 63 lower-case letters"},
		{"demo --store redis://host?prefix=a{b}", 2, "", "the prefix must consist of"},
		{"demo --store redis-sentinel://host", 2, "", "add ?master_set=mymaster"},
		{"demo --store redis-sentinel://host?master_set=m&sentinel_password=pass", 2, "", "shows in ps"},
		{"demo --store unix://run/redis.sock", 2, "", "as in unix:///run/redis/redis.sock"},
		{"backup - --store sqlite:/nowhere/s.db", 1, "", "to a file only"},
		{"backup /nowhere/x", 1, "", "make it first"},
		{"backup x", 1, "", "there is no store"}, // in the default place
		{"check", 1, "", "there is no store"},
		{"demo --listen 7080 --store memory:", 2, "", "127.0.0.1:7080"},
		{"demo --listen localhost:99999 --store memory:", 2, "", "from 0 to 65535"},
	} {
		var stdout, stderr bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // should one get as far as to serve
		defer cancel()
		if code := run(ctx, strings.Fields(c.args), output{&stdout, &stderr}); code != c.code {
			t.Errorf("%q: exit code %d, want %d", c.args, code, c.code)
		}
		if !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) || c.code != 0 && stderr.Len() == 0 {
			t.Errorf("%q printed %q and %q", c.args, &stdout, &stderr)
		}
		if c.code != 0 && stdout.Len() > 0 {
			t.Errorf("%q failed, and printed on stdout: %q", c.args, &stdout)
		}
	}
}

// Without a configuration the exit code is 2, as docs/running.md says.
func TestNoConfiguration(t *testing.T) {
	t.Setenv("SOJOURN_CONFIG", "") // has it back at the end
	if err := os.Unsetenv("SOJOURN_CONFIG"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"config", "check"}, {"serve"}} {
		if code, _, stderr := call(t, args...); code != 2 || !strings.HasPrefix(stderr, "sojournd: no configuration is named: sojournd config example") {
			t.Errorf("%v: %d, %q", args, code, stderr)
		}
	}
}
