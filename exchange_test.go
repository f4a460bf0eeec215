package sojourn_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// A way is one way for a handler to start its response.
type way struct {
	name   string
	status int    // as the client sees it
	first  string // what reaches the connection first
	do     func(t testing.TB, w http.ResponseWriter, r *http.Request)
}

func waysToRespond(t testing.TB) []way {
	path := filepath.Join(t.TempDir(), "page")
	if err := os.WriteFile(path, []byte(handlerText), 0o600); err != nil {
		t.Fatal(err)
	}
	header := func(status int) way {
		return way{fmt.Sprintf("WriteHeader %d", status), status, fmt.Sprintf("header %d", status), func(t testing.TB, w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			if status == 200 {
				io.WriteString(w, handlerText)
			}
		}}
	}
	return []way{
		header(200), header(201), header(204), header(304), header(302),
		{"Write", 200, "write", func(t testing.TB, w http.ResponseWriter, r *http.Request) { w.Write([]byte(handlerText)) }},
		{"Write nothing", 200, "write", func(t testing.TB, w http.ResponseWriter, r *http.Request) { w.Write(nil) }},
		{"WriteString", 200, "write string", func(t testing.TB, w http.ResponseWriter, r *http.Request) {
			if _, ok := w.(io.StringWriter); !ok {
				t.Error("not an io.StringWriter")
			}
			io.WriteString(w, handlerText)
		}},
		{"Fprintf", 200, "write", func(t testing.TB, w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s", handlerText) }},
		{"ReadFrom", 200, "write", func(t testing.TB, w http.ResponseWriter, r *http.Request) {
			f, err := os.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			io.Copy(w, struct{ io.Reader }{f}) // without the file's WriteTo, so by ReadFrom
		}},
		{"a file by io.Copy", 200, "write", func(t testing.TB, w http.ResponseWriter, r *http.Request) {
			f, err := os.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			io.Copy(w, f)
		}},
		{"ServeFile", 200, "header 200", func(t testing.TB, w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) }},
		{"Redirect", 303, "header 303", func(t testing.TB, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/next", http.StatusSeeOther)
		}},
		{"Flusher", 200, "flush", func(t testing.TB, w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush() }},
		{"ResponseController.Flush", 200, "flush", func(t testing.TB, w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).Flush()
		}},
		{"return", 200, "", func(t testing.TB, w http.ResponseWriter, r *http.Request) {}},
		{"103 then Write", 200, "write", func(t testing.TB, w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.Write([]byte(handlerText))
		}},
	}
}

// Each way to start a response commits before anything reaches the connection.
func TestWriterCommitsFirst(t *testing.T) {
	for _, way := range waysToRespond(t) {
		t.Run(way.name, func(t *testing.T) {
			w := newWebUnstarted(t, nil)
			tape := newTape()
			tape.notes(&w.calls)
			w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				color.Set(sojourn.From(r.Context()), "red")
				way.do(t, rw, r)
			})).ServeHTTP(tape, httptest.NewRequest("GET", "http://localhost/", nil))

			var want []string
			if strings.HasPrefix(way.name, "103") {
				want = append(want, "header 103") // and doesn't commit
			}
			want = append(want, "Create")
			if way.first != "" {
				want = append(want, way.first)
			}
			got := tape.list()
			equal(t, "order", got[:min(len(got), len(want))], want)
			if sent := tape.sent; way.first != "" && (len(sent["Set-Cookie"]) != 1 || sent.Get("Cache-Control") != "no-store") {
				t.Errorf("header at that moment: %v", sent)
			}
			if way.first == "" && len(tape.header["Set-Cookie"]) != 1 { // net/http sends it later
				t.Errorf("header: %v", tape.header)
			}
		})
	}
}

// On a real connection the cookie arrives, and its session is stored before the
// response.
func TestWriterWays(t *testing.T) {
	ways := waysToRespond(t)
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		i := slices.IndexFunc(ways, func(w way) bool { return w.name == r.Header.Get("Way") })
		rw.Header().Set("Location", "/next")
		count.Update(s, increment)
		ways[i].do(t, rw, r)
	})
	for _, way := range ways {
		for _, method := range []string{"GET", "HEAD"} {
			b := w.surfer()
			a := b.do(method, "/", "", "Way", way.name).wantStatus(t, way.status)
			if len(a.cookies) != 1 || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Vary") != "Cookie" {
				t.Errorf("%s %s: header: %v", method, way.name, a.Header)
			}
			if n := b.get("/count").body; n != "1" {
				t.Errorf("%s %s: stored: %s", method, way.name, n)
			}
		}
	}
	if text := w.log.String(); text != "" {
		t.Errorf("net/http logs: %s", text)
	}
}

// If the commit fails, nothing of the response is sent, whatever way the
// handler takes and whatever it does next.
func TestWriterWithholds(t *testing.T) {
	ways := waysToRespond(t)
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		i := slices.IndexFunc(ways, func(w way) bool { return w.name == r.Header.Get("Way") })
		h := rw.Header()
		for _, name := range []string{"Location", "Refresh", "Link", "Clear-Site-Data", "Etag", "Last-Modified", "Content-Disposition"} {
			h.Set(name, "x")
		}
		h.Set("Set-Cookie", "welcome=back")
		h.Set("Cache-Control", "public, max-age=60")
		h.Set("Content-Type", "application/pdf")
		h.Set("Content-Length", "20")
		count.Update(s, increment)
		if !strings.HasPrefix(ways[i].name, "103") {
			ways[i].do(t, rw, r)
		} else {
			h.Del("Set-Cookie") // an early hint is sent before the commit, with the header as it is
			rw.WriteHeader(http.StatusEarlyHints)
		}
		rw.WriteHeader(http.StatusOK)
		if _, err := io.WriteString(rw, handlerText); err == nil {
			t.Errorf("%s: Write into a withheld response: no error", ways[i].name)
		} else if !errors.Is(err, sojourn.ErrUnavailable) {
			t.Errorf("%s: Write into a withheld response: %v", ways[i].name, err)
		}
		if _, err := rw.(io.ReaderFrom).ReadFrom(strings.NewReader(handlerText)); !errors.Is(err, sojourn.ErrUnavailable) {
			t.Errorf("%s: ReadFrom into a withheld response: %v", ways[i].name, err)
		}
		if err := http.NewResponseController(rw).Flush(); !errors.Is(err, sojourn.ErrUnavailable) {
			t.Errorf("%s: Flush of a withheld response: %v", ways[i].name, err)
		}
		if conn, _, err := http.NewResponseController(rw).Hijack(); !errors.Is(err, sojourn.ErrUnavailable) {
			t.Errorf("%s: Hijack of a withheld response: %v", ways[i].name, err)
			if err == nil {
				conn.Close()
			}
		}
	})
	w.calls.fail(always(errors.New("disk on fire"), "Create"), nil)
	for _, way := range ways {
		if way.name == "return" {
			continue // see TestWriterWithholdsFromSilence
		}
		b := w.surfer()
		a := b.get("/", "Way", way.name)
		a.withheld(t, http.StatusServiceUnavailable)
		if strings.Contains(a.body, "disk") {
			t.Errorf("%s: the client sees the store's message: %s", way.name, a.body)
		}
		if ct := a.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") {
			t.Errorf("%s: Content-Type %q", way.name, ct)
		}
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", way.name)
		}
	}
}

func TestWriterWithholdsFromSilence(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		rw.Header().Set("Location", "/next")
		rw.Header().Set("Set-Cookie", "welcome=back")
		color.Set(s, "red")
	})
	w.calls.fail(always(errors.New("disk on fire"), "Create"), nil)
	w.surfer().get("/").withheld(t, http.StatusServiceUnavailable)
}

// A proxy in front must not send a withheld response either: nginx and others
// replace a response that has one of these headers.
func TestWriterWithholdsFromProxies(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		rw.Header().Set("X-Accel-Redirect", "/internal/secret.pdf")
		rw.Header().Set("X-Sendfile", "/srv/secret.pdf")
		rw.Header().Set("X-Request-Id", "7")
		color.Set(s, "red")
	})
	w.calls.fail(always(errors.New("disk on fire"), "Create"), nil)
	a := w.surfer().get("/")
	a.withheld(t, http.StatusServiceUnavailable)
	if a.Header["X-Accel-Redirect"] != nil || a.Header["X-Sendfile"] != nil {
		t.Errorf("header: %v", a.Header)
	}
	if a.Header.Get("X-Request-Id") != "7" {
		t.Error("a header that isn't about the response is gone")
	}
}

// An error response is sent even if the commit failed. It carries no cookie.
func TestWriterErrorsPass(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		color.Set(s, "red")
		http.Error(rw, handlerText, http.StatusTeapot)
	})
	w.calls.fail(always(errors.New("disk on fire"), "Create"), nil)
	a := w.surfer().get("/").wantStatus(t, http.StatusTeapot)
	if !strings.Contains(a.body, handlerText) || len(a.cookies) > 0 {
		t.Errorf("%v %q", a.Header, a.body)
	}
}

// An error response commits like any other.
func TestWriterErrorsCommit(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		count.Update(s, increment)
		http.Error(rw, "no", http.StatusForbidden)
	})
	b := w.surfer()
	b.get("/").wantStatus(t, http.StatusForbidden)
	w.want("stored", b.get("/count").body, "1")
}

// 1xx responses are sent at once and commit nothing: the handler may still
// change the session.
func TestWriterEarlyHints(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		count.Update(s, increment)
		rw.Header().Set("Link", "</style.css>; rel=preload")
		rw.WriteHeader(http.StatusEarlyHints)
		if err := count.Update(s, increment); err != nil {
			t.Errorf("after 103: %v", err)
		}
		io.WriteString(rw, "done")
	})
	var early []int
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		early = append(early, code)
		if h["Set-Cookie"] != nil {
			t.Error("a cookie in a 1xx response")
		}
		return nil
	}}
	b := w.surfer()
	r := b.request("GET", "/", "")
	res, err := w.server.Client().Do(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	b.keep(&reply{Response: res})
	equal(t, "1xx", early, []int{103})
	w.want("stored", b.get("/count").body, "2")
}

func TestWriterSuperfluousWriteHeader(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		color.Set(s, "red")
		rw.WriteHeader(http.StatusAccepted)
		rw.WriteHeader(http.StatusOK)
	})
	b := w.surfer()
	if a := b.get("/").wantStatus(t, http.StatusAccepted); len(a.cookies) != 1 {
		t.Errorf("cookies: %v", a.cookies)
	}
	if text := w.log.String(); !strings.Contains(text, "superfluous") {
		t.Errorf("net/http must log this as without this library: %q", text)
	}
}

// A WebSocket library takes the connection and writes its own header.
func TestWriterHijack(t *testing.T) {
	for _, by := range []string{"controller", "assertion"} {
		t.Run(by, func(t *testing.T) {
			w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
				if err := count.Update(s, increment); err != nil {
					t.Error(err)
				}
				hijack := http.NewResponseController(rw).Hijack
				if by == "assertion" {
					hijack = rw.(http.Hijacker).Hijack
				}
				conn, buf, err := hijack()
				if r.Header.Get("Upgrade") == "" {
					if !errors.Is(err, sojourn.ErrUnavailable) {
						t.Errorf("Hijack without a commit: %v", err)
						conn.Close()
					}
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				if err := count.Update(s, increment); !errors.Is(err, sojourn.ErrCommitted) {
					t.Errorf("after Hijack: %v", err)
				}
				buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
				buf.Flush()
				line, _ := buf.ReadString('\n')
				buf.WriteString("echo " + line)
				buf.Flush()
			})
			b := w.surfer()
			b.post("/count")
			w.calls.reset()
			if echo := b.upgrade(); echo != "echo hello\n" {
				t.Errorf("got %q", echo)
			}
			w.want("stored", b.get("/count").body, "2")
			if text := w.log.String(); text != "" {
				t.Errorf("net/http logs: %s", text)
			}

			w.calls.fail(always(errors.New("disk on fire"), "Update"), nil)
			b.get("/").withheld(t, http.StatusServiceUnavailable)
		})
	}
}

// upgrade opens a connection, says hello and returns the answer.
func (s *surfer) upgrade() string {
	s.Helper()
	res, err := s.server.Client().Do(s.request("GET", "/", "", "Connection", "Upgrade", "Upgrade", "echo"))
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols {
		s.Fatalf("handshake: %s", res.Status)
	}
	conn := res.Body.(io.ReadWriter)
	io.WriteString(conn, "hello\n")
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		s.Fatal(err)
	}
	return line
}

// The handler answers 101 by itself before it takes the connection.
func TestWriterSwitchingProtocols(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		count.Update(s, increment)
		rw.Header().Set("Connection", "Upgrade")
		rw.Header().Set("Upgrade", "echo")
		rw.WriteHeader(http.StatusSwitchingProtocols)
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		line, _ := buf.ReadString('\n')
		buf.WriteString("echo " + line)
		buf.Flush()
	})
	b := w.surfer()
	b.post("/count")
	if echo := b.upgrade(); echo != "echo hello\n" {
		t.Errorf("got %q", echo)
	}
	w.want("stored", b.get("/count").body, "2")
}

// A handshake doesn't rotate: the handler writes its own header, and the cookie
// would be lost.
func TestWriterHijackDoesNotRotate(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		s.Subject()
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		line := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
		buf.WriteString(line)
		buf.Flush()
		buf.ReadString('\n')
		buf.WriteString("bye\n")
		buf.Flush()
	})
	b := w.surfer().login("alice")
	w.pass(20 * time.Minute)
	b.upgrade()
	if n := len(w.happened(sojourn.EventRotated)); n != 0 {
		t.Errorf("%d rotations", n)
	}
	b.who()
	if n := len(w.happened(sojourn.EventRotated)); n != 1 {
		t.Errorf("%d rotations after a plain response, want 1", n)
	}
}

// http.ResponseController sets deadlines through the writer, and HTTP/2 works.
func TestWriterHTTP2(t *testing.T) {
	w := newWebUnstarted(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		if r.ProtoMajor != 2 {
			t.Errorf("%s", r.Proto)
		}
		c := http.NewResponseController(rw)
		if err := c.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Errorf("SetWriteDeadline: %v", err)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Errorf("SetReadDeadline: %v", err)
		}
		count.Update(s, increment)
		if _, _, err := c.Hijack(); err == nil {
			t.Error("Hijack on HTTP/2: no error")
		}
		io.WriteString(rw, handlerText)
		if err := c.Flush(); err != nil && r.Method == "GET" {
			t.Errorf("Flush: %v", err)
		}
		io.WriteString(rw, handlerText)
	})
	w.server.EnableHTTP2 = true
	w.server.StartTLS()
	b := w.surfer()
	a := b.get("/").wantStatus(t, 200)
	if a.ProtoMajor != 2 || a.body != handlerText+handlerText {
		t.Errorf("%s %q", a.Proto, a.body)
	}
	if len(a.cookies) != 1 || len(a.Header["Vary"]) != 1 {
		t.Errorf("after a Hijack that failed, header: %v", a.Header)
	}
	b.login("alice")
	w.want("who", b.who(), "alice")
	w.calls.fail(always(errors.New("disk on fire"), "Update"), nil)
	b.do("PUT", "/", "").withheld(t, http.StatusServiceUnavailable)
}

func TestWriterDeadlines(t *testing.T) {
	w := newWebUnstarted(t, nil)
	tape := newTape()
	w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(rw).SetWriteDeadline(time.Now()); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(rw).EnableFullDuplex(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("the tape has no EnableFullDuplex: %v", err)
		}
	})).ServeHTTP(tape, httptest.NewRequest("GET", "http://localhost/", nil))
	equal(t, "calls", tape.list(), []string{"deadline"})
}

// The writer supports no more than the one that it wraps, and returns errors
// for the rest.
func TestWriterOfNoFeatures(t *testing.T) {
	w := newWebUnstarted(t, nil)
	rec := struct{ http.ResponseWriter }{httptest.NewRecorder()}
	w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		color.Set(sojourn.From(r.Context()), "red")
		if err := http.NewResponseController(rw).Flush(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Flush: %v", err)
		}
		if _, _, err := http.NewResponseController(rw).Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Hijack: %v", err)
		}
		io.WriteString(rw, handlerText)
		io.Copy(rw, strings.NewReader(handlerText))
	})).ServeHTTP(rec, httptest.NewRequest("GET", "http://localhost/", nil))
	res := rec.ResponseWriter.(*httptest.ResponseRecorder).Result()
	if text, _ := io.ReadAll(res.Body); string(text) != handlerText+handlerText || len(res.Cookies()) != 1 {
		t.Errorf("%q %v", text, res.Header)
	}
}

// After the first byte, changes return an error.
func TestWriterChangeAfterFirstByte(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		count.Update(s, increment)
		io.WriteString(rw, "first")
		for what, err := range map[string]error{
			"Set": count.Set(s, 7), "Update": count.Update(s, increment), "Delete": count.Delete(s), "Login": s.Login("mallory"),
			"Logout": s.Logout(), "Elevate": s.Elevate(2, "otp"), "Rotate": s.Rotate(),
		} {
			if !errors.Is(err, sojourn.ErrCommitted) {
				t.Errorf("%s after the first byte: %v", what, err)
			}
		}
		if n, err := count.Get(s); n != 1 || err != nil {
			t.Errorf("Get after the first byte: %d, %v", n, err)
		}
		if err := s.Commit(r.Context()); err != nil {
			t.Errorf("Commit after the first byte: %v", err)
		}
	})
	b := w.surfer()
	b.get("/").wantStatus(t, 200)
	w.want("stored", b.get("/count").body, "1")
	w.want("who", b.who(), "nobody")
}

// If the client leaves, the changes of its request are still stored.
func TestWriterClientGoesAway(t *testing.T) {
	for _, when := range []string{"before the commit", "after the first byte"} {
		t.Run(when, func(t *testing.T) {
			begun, over := make(chan struct{}), make(chan struct{})
			w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
				defer close(over)
				if err := s.Load(r.Context()); err != nil {
					t.Error(err)
				}
				if err := count.Update(s, increment); err != nil {
					t.Error(err)
				}
				if when == "after the first byte" {
					io.WriteString(rw, "first")
					http.NewResponseController(rw).Flush()
				}
				close(begun)
				<-r.Context().Done()
				io.WriteString(rw, strings.Repeat(handlerText, 10_000))
			})
			b := w.surfer()
			b.post("/count")
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-begun
				cancel()
			}()
			res, err := w.server.Client().Do(b.request("GET", "/", "").WithContext(ctx))
			if err == nil {
				io.ReadAll(res.Body)
				res.Body.Close()
			}
			<-over
			w.want("stored", b.get("/count").body, "2")
		})
	}
}

// A client is told that the outcome is unknown (store.ErrUncertain).
func TestWriterUncertain(t *testing.T) {
	w := newWeb(t, nil)
	b := w.surfer()
	b.post("/count")
	w.calls.fail(nil, always(store.ErrUncertain, "Update"))
	a := b.post("/count")
	a.withheld(t, http.StatusServiceUnavailable)
	if !strings.Contains(a.body, "not known") || a.Header.Get("Retry-After") != "" {
		t.Errorf("the response must tell the client to look, not to retry: %v %s", a.Header, a.body)
	}
	w.calls.fail(nil, nil)
	w.want("the write that may have happened", b.get("/count").body, "2")
}

// A response of 500 or above stores nothing half-done, even if a middleware
// within Handler has recovered a panic.
func TestServerErrorsChangeNothing(t *testing.T) {
	for status, want := range map[int]int{200: 1, 404: 1, 500: 0, 503: 0} {
		w := newWorld(t)
		j := w.loggedIn("ann")
		h := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			defer func() {
				recover()
				rw.WriteHeader(status)
			}()
			count.Update(sojourn.From(r.Context()), increment)
			panic("half-way")
		}))
		r := httptest.NewRequest("GET", "https://localhost/", nil)
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: j.session})
		h.ServeHTTP(httptest.NewRecorder(), r)
		n, _ := count.Get(w.begin(j))
		w.want(http.StatusText(status), n, want)
	}
}

// A source that fails before its first byte begins no response: the handler answers
// with an error, and nothing is stored.
func TestWriterSourceFails(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		count.Update(s, increment)
		if _, err := io.Copy(rw, iotest.ErrReader(errors.New("no such object"))); err != nil {
			http.Error(rw, "no", http.StatusBadGateway)
		}
	})
	b := w.surfer()
	if a := b.get("/").wantStatus(t, http.StatusBadGateway); len(a.cookies) > 0 {
		t.Errorf("cookies: %v", a.cookies)
	}
	w.want("stored", b.get("/count").body, "0")
}

// What comes after the first bytes of a source goes through ReadFrom of the writer
// beneath, which may be sendfile.
func TestWriterLongSource(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat(handlerText, 100)
	for _, size := range []int{0, 511, 512, 513, len(long)} {
		rw := newTape()
		w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(rw, struct{ io.Reader }{strings.NewReader(long[:size])})
			if n != int64(size) || err != nil {
				t.Errorf("%d bytes: %d, %v", size, n, err)
			}
		})).ServeHTTP(rw, httptest.NewRequest("GET", "/", nil))
		w.want("body", rw.body.String(), long[:size])
		w.want("read from", slices.Contains(rw.list(), "read from"), size >= 512)
	}
}
