package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// BenchmarkResolve measures what the server adds to net/http for the most
// frequent request, without the network.
func BenchmarkResolve(b *testing.B) {
	a, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	st := memstore.New()
	defer st.Close()
	e, err := sojourn.New(st, sojourn.Options{App: "shop"})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close(b.Context())
	key, _ := NewKey()
	a.Set([]App{{Name: "shop", Sessions: e, Keys: []Key{{"bench", HashKey(key)}}}})
	post := func(path, body string) []byte {
		r := httptest.NewRequest("POST", path, bytes.NewReader([]byte(body)))
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if w.Code >= 300 {
			b.Fatal(w.Body)
		}
		return w.Body.Bytes()
	}
	var made struct{ Token string }
	if err := json.Unmarshal(post("/v1/sessions", `{"subject":"u-1815","values":{"cart":{"tent":1}}}`), &made); err != nil {
		b.Fatal(err)
	}
	body := []byte(`{"token":"` + made.Token + `","client":{"ip":"203.0.113.7","user_agent":"` + exampleAgent + `"}}`)
	reader := bytes.NewReader(body)
	r := httptest.NewRequest("POST", "/v1/sessions/resolve", nil)
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = int64(len(body))
	w := &nowhere{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(body)
		r.Body = io.NopCloser(reader)
		a.ServeHTTP(w, r)
	}
	if w.status != 200 {
		b.Fatal(w.status)
	}
}

type nowhere struct {
	header http.Header
	status int
}

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) WriteHeader(status int)      { n.status = status }
