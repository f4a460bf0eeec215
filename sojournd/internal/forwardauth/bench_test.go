package forwardauth_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// BenchmarkCheck measures a check of a live session, without the network.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b, nil)
	r := httptest.NewRequest("GET", "/check/shop/status/login", nil)
	r.RemoteAddr = proxyIP + ":4711"
	r.Header = http.Header{
		"Cookie": {w.login("ann")}, "X-Forwarded-For": {userIP}, "X-Forwarded-Method": {"GET"}, "X-Forwarded-Uri": {"/cart"},
		"User-Agent": {"Mozilla/5.0"}, "Accept": {"text/html"},
	}
	w.pass(time.Second)
	w.ServeHTTP(&tape{http.Header{}, 0}, r) // the first request of a client is noted
	w.pass(0)
	b.ReportAllocs()
	for b.Loop() {
		out := tape{http.Header{}, 0}
		w.ServeHTTP(&out, r)
		if out.status != http.StatusOK {
			b.Fatal(out.status)
		}
	}
}

// A tape is a cheap ResponseWriter.
type tape struct {
	header http.Header
	status int
}

func (t *tape) Header() http.Header         { return t.header }
func (t *tape) Write(p []byte) (int, error) { return len(p), nil }
func (t *tape) WriteHeader(status int)      { t.status = status }
