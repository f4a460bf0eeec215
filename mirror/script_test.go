package mirror_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// The script has at most 2 KB, compressed, with the keys of a usual site.
func TestScriptIsSmall(t *testing.T) {
	plain, gzipped := newWorld(t).mirror.Script()
	if len(gzipped) > 2048 || bytes.Contains(plain, []byte("DECLARED")) {
		t.Errorf("the script has %d bytes, compressed: %s", len(gzipped), plain)
	}
	t.Logf("%d bytes, %d compressed", len(plain), len(gzipped))
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
