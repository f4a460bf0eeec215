package mirror_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The script has at most 2 KB, compressed, with the keys of a usual site. It has
// nothing that a strict Content-Security-Policy forbids.
func TestScriptIsSmall(t *testing.T) {
	plain, gzipped := newWorld(t).mirror.Script()
	if len(gzipped) > 2048 {
		t.Errorf("the script has %d bytes, compressed", len(gzipped))
	}
	t.Logf("%d bytes, %d compressed", len(plain), len(gzipped))
	for _, bad := range []string{"eval", "Function(", "innerHTML", "document.write", "//", "setInterval", "DECLARED"} {
		if bytes.Contains(plain, []byte(bad)) {
			t.Errorf("the script has %s", bad)
		}
	}
}

// Both the source and what is served are JavaScript.
func TestScriptIsJavaScript(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("SOJOURN_REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip("needs node: on Debian, apt-get install nodejs")
	}
	plain, _ := newWorld(t).mirror.Script()
	served := filepath.Join(t.TempDir(), "served.js")
	if err := os.WriteFile(served, plain, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"mirror.js", served} {
		if out, err := exec.Command(node, "--check", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}

// compact knows only strings in double quotes, and joins what stands beside a
// blank.
func TestSourceIsOfTheFormThatCompactKnows(t *testing.T) {
	b, err := os.ReadFile("mirror.js")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(b), "\n") {
		code := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(code, "//"):
		case strings.ContainsAny(code, "'`\\") && !strings.Contains(code, `/^[\w.-]{1,64}$/`):
			t.Errorf("line %d has a quote or a backslash: %s", i+1, code)
		case strings.Count(code, `"`)%2 != 0:
			t.Errorf("line %d has half a string: %s", i+1, code)
		case strings.Contains(code, "//"), strings.Contains(code, "/*"):
			t.Errorf("line %d has a comment after code: %s", i+1, code)
		case regexp.MustCompile(`[+] [+]|- -|/ /`).MatchString(code):
			t.Errorf("line %d has operators that would be joined: %s", i+1, code)
		case code != "" && !strings.HasSuffix(code, ";") && !strings.HasSuffix(code, "{") && !strings.HasSuffix(code, "}") && !strings.HasSuffix(code, ","):
			t.Errorf("line %d ends within an expression: %s", i+1, code)
		}
	}
}

func TestScriptHeaders(t *testing.T) {
	w := newWorld(t)
	plain, gzipped := w.mirror.Script()
	get := func(target string, headers ...string) *http.Response {
		r := httptest.NewRequest("GET", target, nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		rw := httptest.NewRecorder()
		w.mirror.ServeHTTP(rw, r)
		return rw.Result()
	}
	body := func(r *http.Response) []byte { b, _ := io.ReadAll(r.Body); return b }

	r := get("/session/mirror.js")
	sum := sha512.Sum384(body(r))
	w.equal("the hash", "sha384-"+base64.StdEncoding.EncodeToString(sum[:]), w.mirror.Integrity())
	w.equal("the type", r.Header.Get("Content-Type"), "text/javascript; charset=utf-8")
	w.equal("the cache", r.Header.Get("Cache-Control"), "public, max-age=3600, stale-while-revalidate=604800")
	w.equal("the cookies", len(r.Header["Set-Cookie"]), 0)
	w.equal("another version's cache", get("/session/mirror.js?v=other").Header.Get("Cache-Control"), "no-store")
	again := get("/session/mirror.js", "If-None-Match", r.Header.Get("Etag"))
	w.equal("with its tag", again.StatusCode, http.StatusNotModified)

	for accept, compressed := range map[string]bool{
		"gzip": true, "br, gzip;q=0.5": true, "GZIP": true, "deflate , gzip": true, "gzip;q=1.0": true,
		"": false, "br": false, "gzip;q=0": false, "gzip; q=0.000": false, "x-gzip": false, "gzip;q=x": false,
	} {
		r := get("/session/mirror.js", "Accept-Encoding", accept)
		want := plain
		if compressed {
			want = gzipped
		}
		if (r.Header.Get("Content-Encoding") == "gzip") != compressed || !bytes.Equal(body(r), want) || r.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: %v", accept, r.Header)
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(gzipped))
	if err != nil {
		t.Fatal(err)
	}
	if unpacked, err := io.ReadAll(z); err != nil || !bytes.Equal(unpacked, plain) {
		t.Errorf("it unpacks to something else (%v)", err)
	}
}
