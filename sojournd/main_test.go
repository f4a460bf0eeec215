package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The program as people run it: build, start, look, Ctrl-C.
func TestDemoBinary(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no SIGINT there")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	binary := filepath.Join(t.TempDir(), "sojournd")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	command := exec.CommandContext(ctx, binary, "demo", "--listen", "127.0.0.1:0", "--events")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill() })

	var greeting strings.Builder
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.Contains(lines.Text(), "Ctrl-C") {
		greeting.WriteString(lines.Text() + "\n")
	}
	url := regexp.MustCompile(`http://localhost:[1-9]\d+`).FindString(greeting.String())
	account := regexp.MustCompile(`(\S+@\S+)\s+(\S+)`).FindStringSubmatch(greeting.String())
	if url == "" || account == nil {
		t.Fatalf("no address or no account in:\n%s%s", &greeting, &stderr)
	}

	res := fetch(t, ctx, "GET", url+"/", "", nil)
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 || !strings.Contains(string(body), "Wayfare") || len(res.Cookies()) > 0 {
		t.Errorf("/: %s, cookies %v\n%s", res.Status, res.Cookies(), body)
	}
	res = fetch(t, ctx, "POST", url+"/login", "email="+account[1]+"&password="+account[2], nil)
	if res.StatusCode != http.StatusSeeOther || len(res.Cookies()) == 0 {
		t.Fatalf("signing in as announced: %s", res.Status)
	}
	token := res.Cookies()[0]
	// An open stream doesn't keep it from stopping.
	if res = fetch(t, ctx, "GET", url+"/live", "", token); res.StatusCode != 200 {
		t.Errorf("/live: %s", res.Status)
	}

	asked := time.Now()
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(stdout)
	if err := command.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v\n%s", err, &stderr)
	}
	if took := time.Since(asked); took > 4*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	printed := greeting.String() + string(rest) + stderr.String()
	if !strings.Contains(printed, "session authenticated") {
		t.Errorf("--events logs none:\n%s", &stderr)
	}
	if strings.Contains(printed, token.Value) || strings.Contains(printed, token.Value[22:]) {
		t.Error("the token was printed")
	}
}

func fetch(t *testing.T, ctx context.Context, method, url, form string, cookie *http.Cookie) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(form))
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
		{"--help", 0, "demo", ""},
		{"demo --help", 0, "127.0.0.1:7080", ""},
		{"dmeo", 2, "", "demo"},
		{"demo --lisen x", 2, "", "--listen"},
		{"demo extra", 2, "", "extra"},
		{"demo --store redis://localhost", 1, "", "use --store memory:"},
		{"demo --listen 7080", 1, "", "127.0.0.1:7080"},
	} {
		var stdout, stderr bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // should one get as far as to serve
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
