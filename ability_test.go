package sojourn_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

// Writers with one optional method each, to be combined. The test only looks
// for the methods, and never calls them.
type (
	bare      struct{}
	flushes   struct{}
	hijacks   struct{}
	notifies  struct{ closed chan bool }
	pushes    struct{ pushed *string }
	wrapped   struct{ http.ResponseWriter }
	flushErrs struct{ http.ResponseWriter }
)

func (bare) Header() http.Header                             { return http.Header{} }
func (bare) Write(p []byte) (int, error)                     { return len(p), nil }
func (bare) WriteHeader(int)                                 {}
func (flushes) Flush()                                       {}
func (flushErrs) FlushError() error                          { return nil }
func (hijacks) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, errInside }
func (n notifies) CloseNotify() <-chan bool                  { return n.closed }
func (p pushes) Push(target string, _ *http.PushOptions) error {
	*p.pushed = target
	return nil
}
func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func can(w http.ResponseWriter) string {
	var can []string
	if _, ok := w.(http.Flusher); ok {
		can = append(can, "flush")
	}
	if _, ok := w.(interface{ FlushError() error }); ok {
		can = append(can, "flush with an error")
	}
	if _, ok := w.(http.Hijacker); ok {
		can = append(can, "hijack")
	}
	if _, ok := w.(interface{ CloseNotify() <-chan bool }); ok {
		can = append(can, "notify")
	}
	if _, ok := w.(http.Pusher); ok {
		can = append(can, "push")
	}
	return strings.Join(can, ", ")
}

// The handler's writer has exactly the optional methods of the writer beneath
// it, in all combinations, also if the writer is wrapped.
func TestWriterAbilities(t *testing.T) {
	w := newWebUnstarted(t, nil)
	closed, pushed := make(chan bool), ""
	F, H, C, P := flushes{}, hijacks{}, notifies{closed}, pushes{&pushed}
	for i, beneath := range []http.ResponseWriter{ // bits: flush 1, hijack 2, notify 4, push 8
		bare{},
		struct {
			bare
			flushes
		}{bare{}, F},
		struct {
			bare
			hijacks
		}{bare{}, H},
		struct {
			bare
			flushes
			hijacks
		}{bare{}, F, H},
		struct {
			bare
			notifies
		}{bare{}, C},
		struct {
			bare
			flushes
			notifies
		}{bare{}, F, C},
		struct {
			bare
			hijacks
			notifies
		}{bare{}, H, C},
		struct {
			bare
			flushes
			hijacks
			notifies
		}{bare{}, F, H, C},
		struct {
			bare
			pushes
		}{bare{}, P},
		struct {
			bare
			flushes
			pushes
		}{bare{}, F, P},
		struct {
			bare
			hijacks
			pushes
		}{bare{}, H, P},
		struct {
			bare
			flushes
			hijacks
			pushes
		}{bare{}, F, H, P},
		struct {
			bare
			notifies
			pushes
		}{bare{}, C, P},
		struct {
			bare
			flushes
			notifies
			pushes
		}{bare{}, F, C, P},
		struct {
			bare
			hijacks
			notifies
			pushes
		}{bare{}, H, C, P},
		struct {
			bare
			flushes
			hijacks
			notifies
			pushes
		}{bare{}, F, H, C, P},
	} {
		var want []string
		for bit, name := range []string{"flush, flush with an error", "hijack", "notify", "push"} {
			if i&(1<<bit) != 0 {
				want = append(want, name)
			}
		}
		for _, around := range []func(http.ResponseWriter) http.ResponseWriter{
			func(w http.ResponseWriter) http.ResponseWriter { return w },
			func(w http.ResponseWriter) http.ResponseWriter { return wrapped{wrapped{w}} },
		} {
			w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if got := can(rw); got != strings.Join(want, ", ") {
					t.Errorf("over one that can %v: the handler's can %s", want, got)
				}
				if n, ok := rw.(interface{ CloseNotify() <-chan bool }); ok && n.CloseNotify() != (<-chan bool)(closed) {
					t.Error("CloseNotify: another's channel")
				}
				if p, ok := rw.(http.Pusher); ok && (p.Push("/style.css", nil) != nil || pushed != "/style.css") {
					t.Error("Push isn't passed on")
				}
				rc := http.NewResponseController(rw)
				if _, _, err := rc.Hijack(); errors.Is(err, http.ErrNotSupported) == (i&2 != 0) {
					t.Errorf("over one that can %v: Hijack: %v", want, err)
				}
				if err := rc.Flush(); errors.Is(err, http.ErrNotSupported) == (i&1 != 0) {
					t.Errorf("over one that can %v: Flush: %v", want, err)
				}
				if err := rc.SetReadDeadline(time.Time{}); !errors.Is(err, http.ErrNotSupported) {
					t.Errorf("SetReadDeadline: %v", err)
				}
			})).ServeHTTP(around(beneath), httptest.NewRequest("GET", "http://localhost/", nil))
		}
	}

	// A wrapper that only has FlushError, around a writer that has Hijack.
	w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.want("can", can(rw), "flush, flush with an error")
	})).ServeHTTP(flushErrs{httptest.NewRecorder()}, httptest.NewRequest("GET", "http://localhost/", nil))
}

// The test combines net/http's own writers with the standard library's
// wrappers.
func TestWriterAbilitiesOfNetHTTP(t *testing.T) {
	w := newWebUnstarted(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) { io.WriteString(rw, can(rw)) })
	sessions := w.server.Config.Handler
	var bareAnswer string
	for _, server := range []struct {
		name  string
		http2 bool
		wrap  middleware
	}{
		{"HTTP/1.1", false, func(h http.Handler) http.Handler { return h }},
		{"HTTP/2", true, func(h http.Handler) http.Handler { return h }},
		{"HTTP/1.1, http.TimeoutHandler", false, timeout},
		{"HTTP/1.1, http.MaxBytesHandler", false, func(h http.Handler) http.Handler { return http.MaxBytesHandler(h, 10) }},
	} {
		ask := func(h http.Handler) string {
			s := httptest.NewUnstartedServer(server.wrap(h))
			defer s.Close()
			if s.EnableHTTP2 = server.http2; server.http2 {
				s.StartTLS()
			} else {
				s.Start()
			}
			res, err := s.Client().Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			text, _ := io.ReadAll(res.Body)
			return fmt.Sprint(res.Proto, " ", string(text))
		}
		bareAnswer = ask(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, can(rw)) }))
		if got := ask(sessions); got != bareAnswer {
			t.Errorf("%s: %q, want %q", server.name, got, bareAnswer)
		}
	}
}
