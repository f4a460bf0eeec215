package script_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/internal/script"
)

// sources are the scripts that are served this way.
var sources = []string{"../../mirror/mirror.js", "../../pages/static/bound.js"}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// No script has anything that a strict Content-Security-Policy forbids. Both the
// source and what is served are JavaScript.
func TestScripts(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("SOJOURN_REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip("needs node: on Debian, apt-get install nodejs")
	}
	for _, file := range sources {
		s, err := script.New(read(t, file), []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"eval", "Function(", "innerHTML", "document.write", "//", "setInterval", "DECLARED"} {
			if bytes.Contains(s.Plain, []byte(bad)) {
				t.Errorf("%s has %s", file, bad)
			}
		}
		served := filepath.Join(t.TempDir(), "served.js")
		if err := os.WriteFile(served, s.Plain, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{file, served} {
			if out, err := exec.Command(node, "--check", file).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", file, err, out)
			}
		}
	}
}

// New knows only strings in double quotes, and joins what stands beside a blank.
func TestSourcesAreOfTheFormThatNewKnows(t *testing.T) {
	for _, file := range sources {
		for i, line := range strings.Split(read(t, file), "\n") {
			code := strings.TrimSpace(line)
			switch {
			case strings.HasPrefix(code, "//"):
			case strings.ContainsAny(code, "'`\\") && !strings.Contains(code, `/^[\w.-]{1,64}$/`):
				t.Errorf("%s:%d has a quote or a backslash: %s", file, i+1, code)
			case strings.Count(code, `"`)%2 != 0:
				t.Errorf("%s:%d has half a string: %s", file, i+1, code)
			case strings.Contains(code, "//"), strings.Contains(code, "/*"):
				t.Errorf("%s:%d has a comment after code: %s", file, i+1, code)
			case regexp.MustCompile(`[+] [+]|- -|/ /`).MatchString(code):
				t.Errorf("%s:%d has operators that would be joined: %s", file, i+1, code)
			case code != "" && !strings.HasSuffix(code, ";") && !strings.HasSuffix(code, "{") && !strings.HasSuffix(code, "}") && !strings.HasSuffix(code, ","):
				t.Errorf("%s:%d ends within an expression: %s", file, i+1, code)
			}
		}
	}
}

func TestTooLarge(t *testing.T) {
	noise := make([]byte, 0, 4*script.Max)
	for i := range uint32(cap(noise)) {
		noise = append(noise, 'a'+byte(i*i*2654435761>>24)%26)
	}
	if s, err := script.New(string(noise)+";", nil); err == nil {
		t.Errorf("a script of %d bytes, compressed, is taken", len(s.Gzipped))
	}
}
