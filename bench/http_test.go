package bench

import (
	"crypto/tls"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"
)

// An httpSite is a site on net/http. Its handlers include the middleware.
type httpSite struct {
	handlers map[op]http.Handler
	doors    *gate
	close    func() error
	server   *httptest.Server

	// copies says that the library changes the request that it is given
	// (gorilla keeps the session in it), so each call needs a new one.
	copies bool
}

func newHTTPSite() *httpSite {
	return &httpSite{handlers: map[op]http.Handler{}, doors: newGate(), close: func() error { return nil }}
}

func (s *httpSite) supports(o op) bool { return s.handlers[o] != nil }
func (s *httpSite) gate() *gate        { return s.doors }

func (s *httpSite) Close() error {
	if s.server != nil {
		s.server.Close()
	}
	return s.close()
}

func (s *httpSite) listen() string {
	mux := http.NewServeMux()
	for o, h := range s.handlers {
		mux.Handle(o.path(), h)
	}
	s.server = httptest.NewServer(mux)
	return s.server.URL
}

// browserHeaders are what a browser sends with a request for a page.
var browserHeaders = [][2]string{
	{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
	{"Accept", "text/html,application/xhtml+xml"},
	{"Accept-Language", "en-GB,en;q=0.8"},
	{"Accept-Encoding", "gzip, deflate, br"},
	{"Sec-Fetch-Site", "same-origin"},
	{"Sec-Fetch-Mode", "navigate"},
}

// newRequest returns a browser's request over HTTPS.
func newRequest(o op, query string, cookies jar) *http.Request {
	r := httptest.NewRequest(o.method(), "https://shop.example"+o.path()+query, http.NoBody)
	r.RemoteAddr, r.TLS = "192.0.2.7:49152", &tls.ConnectionState{}
	for _, h := range browserHeaders {
		r.Header.Set(h[0], h[1])
	}
	if c := cookies.header(); c != "" {
		r.Header.Set("Cookie", c)
	}
	return r
}

// prepare calls the handler without a connection.
func (s *httpSite) prepare(o op, query string, cookies jar) (send func() int, answer func() response) {
	h, r := s.handlers[o], newRequest(o, query, cookies)
	w := &lightWriter{header: http.Header{}}
	fresh := new(http.Request)
	send = func() int {
		clear(w.header)
		w.status, w.body = 0, w.body[:0]
		if s.copies {
			*fresh = *r
			h.ServeHTTP(w, fresh)
		} else {
			h.ServeHTTP(w, r)
		}
		return w.status
	}
	return send, func() response { return response{w.status, w.body, w.header["Set-Cookie"]} }
}

// A lightWriter is a ResponseWriter that costs next to nothing.
type lightWriter struct {
	header http.Header
	status int
	body   []byte
}

func (w *lightWriter) Header() http.Header { return w.header }

func (w *lightWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

func (w *lightWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, b...)
	return len(b), nil
}

// A jar holds a browser's cookies by name.
type jar map[string]string

func (j jar) copy() jar { return maps.Clone(j) }

func (j jar) header() string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(j)) {
		pairs = append(pairs, name+"="+j[name])
	}
	return strings.Join(pairs, "; ")
}

// keep applies the Set-Cookie lines of a response.
func (j jar) keep(lines []string) {
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		switch {
		case err != nil:
		case c.MaxAge < 0, c.MaxAge == 0 && !c.Expires.IsZero() && c.Expires.Before(time.Now()):
			delete(j, c.Name)
		default:
			j[c.Name] = c.Value
		}
	}
}

// answer ends a measured handler.
func answer(w http.ResponseWriter, right bool) {
	if !right {
		http.Error(w, "read something else", http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(ok)
}
