package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// httpSite is a site on net/http: a handler for each op, each already behind the contender's middleware.
type httpSite struct {
	handlers [ops]http.Handler
	doors    *gate
	close    func() error
	server   *http.Server

	// copies tells that the contender changes the request it is given (gorilla keeps the session in it), so that each call must have a
	// new one, as a server would make.
	copies bool
}

func newHTTPSite() *httpSite { return &httpSite{doors: newGate(), close: func() error { return nil }} }

func (s *httpSite) supports(o op) bool { return s.handlers[o] != nil }
func (s *httpSite) visitor() visitor   { return &httpVisitor{site: s, cookies: map[string]string{}} }
func (s *httpSite) gate() *gate        { return s.doors }

func (s *httpSite) Close() error {
	if s.server != nil {
		_ = s.server.Close()
	}
	return s.close()
}

func (s *httpSite) listen(ctx context.Context) (string, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	for o, h := range s.handlers {
		if h != nil {
			mux.Handle(op(o).path(), h)
		}
	}
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.server.Serve(ln) }()
	return "http://" + ln.Addr().String(), nil
}

// httpVisitor calls the handlers without a connection, with a light ResponseWriter.
type httpVisitor struct {
	site    *httpSite
	cookies map[string]string
}

// request returns what a browser sends over HTTPS for a page of the site's own.
func (v *httpVisitor) request(o op) *http.Request {
	r, err := http.NewRequestWithContext(context.Background(), o.method(), "https://shop.example"+o.path(), http.NoBody)
	if err != nil {
		panic(err)
	}
	r.RequestURI = o.path()
	r.RemoteAddr = "192.0.2.7:49152"
	r.TLS = &tls.ConnectionState{}
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	r.Header.Set("Accept-Language", "en-GB,en;q=0.8")
	r.Header.Set("Accept-Encoding", "gzip, deflate, br")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	if c := cookieHeader(v.cookies); c != "" {
		r.Header.Set("Cookie", c)
	}
	return r
}

const userAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

func (v *httpVisitor) send(o op) error {
	w := &lightWriter{header: http.Header{}}
	v.site.handlers[o].ServeHTTP(w, v.request(o))
	keepCookies(v.cookies, w.header["Set-Cookie"])
	if w.status != http.StatusOK {
		return fmt.Errorf("%s: status %d: %s", opNames[o], w.status, w.body)
	}
	return nil
}

func (v *httpVisitor) prepare(o op) func() int {
	h, r := v.site.handlers[o], v.request(o)
	w := &lightWriter{header: http.Header{}}
	if !v.site.copies {
		return func() int {
			w.reset()
			h.ServeHTTP(w, r)
			return w.status
		}
	}
	fresh := new(http.Request)
	return func() int {
		w.reset()
		*fresh = *r
		h.ServeHTTP(w, fresh)
		return w.status
	}
}

// lightWriter is a ResponseWriter that costs next to nothing.
type lightWriter struct {
	header http.Header
	status int
	body   []byte
}

func (w *lightWriter) reset() {
	clear(w.header)
	w.status, w.body = 0, w.body[:0]
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

func (w *lightWriter) WriteString(s string) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, s...)
	return len(s), nil
}

// cookieHeader returns the Cookie header of a browser that holds these.
func cookieHeader(cookies map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(cookies)) {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(name + "=" + cookies[name])
	}
	return b.String()
}

// keepCookies does with the Set-Cookie lines of a response what a browser does.
func keepCookies(cookies map[string]string, lines []string) {
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		switch {
		case err != nil:
		case c.MaxAge < 0, c.MaxAge == 0 && !c.Expires.IsZero() && c.Expires.Before(time.Now()):
			delete(cookies, c.Name)
		default:
			cookies[c.Name] = c.Value
		}
	}
}

// answer ends every measured handler: 200 if what was read is right.
func answer(w http.ResponseWriter, right bool) {
	if !right {
		http.Error(w, "read something else", http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(ok)
}

// fail ends a handler of a library whose errors have no status.
func fail(w http.ResponseWriter, err error) bool {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
	return err != nil
}

// think is what a handler does besides its session: 5 ms.
func think() { time.Sleep(5 * time.Millisecond) }

var _ io.StringWriter = (*lightWriter)(nil)
