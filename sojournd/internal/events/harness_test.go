package events

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

func newHub(t *testing.T, o Options, apps ...App) *Hub {
	t.Helper()
	h := New(o)
	if err := h.Configure(apps); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		h.Close(ctx)
	})
	return h
}

// created returns the nth event of an application. Its subject is the number.
func created(app string, n int) sojourn.Event {
	return sojourn.Event{Kind: sojourn.EventCreated, Time: time.UnixMilli(1_800_000_000_000), App: app, Subject: strconv.Itoa(n)}
}

func observe(h *Hub, app string, from, to int) {
	o := h.Observer(app)
	for n := from; n < to; n++ {
		o(created(app, n))
	}
}

// serveHub serves /{app}?last=&follow= over a real connection with small
// buffers.
func serveHub(t *testing.T, h *Hub) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last, _ := strconv.Atoi(r.FormValue("last"))
		err := h.Stream(w, r, r.URL.Path[1:], r.Header.Get("Last-Event-ID"), last, r.FormValue("follow") != "false")
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	}))
	server.Config.ReadTimeout = time.Minute
	server.Config.ConnState = func(c net.Conn, s http.ConnState) {
		if s == http.StateNew {
			_ = c.(*net.TCPConn).SetWriteBuffer(4096)
		}
	}
	server.Start()
	t.Cleanup(func() {
		h.EndStreams()
		server.Close()
	})
	return server
}

type received struct {
	id, kind string
	v1.Event
}

func (r received) number() int {
	n, err := strconv.Atoi(r.Subject)
	if err != nil {
		return -1
	}
	return n
}

// A subscriber reads a stream.
type subscriber struct {
	t    *testing.T
	res  *http.Response
	scan *bufio.Scanner
	stop context.CancelFunc
	from string // the ID that the stream began with: it is where to go on before the first event has come
}

// subscribe returns when the stream has begun.
func subscribe(t *testing.T, server *httptest.Server, path, lastID string) *subscriber {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); _ = res.Body.Close() })
	if res.StatusCode != 200 {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("%s: %s", res.Status, body)
	}
	for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	s := &subscriber{t: t, res: res, scan: bufio.NewScanner(res.Body), stop: stop}
	if s.line() != ": Sojourn's events" || s.line() != "retry: 2000" {
		t.Fatal("the stream begins in another way")
	}
	line, found := s.line(), false
	if s.from, found = strings.CutPrefix(line, "id: "); found {
		line = s.line()
	}
	if line != "" {
		t.Fatalf("the stream begins with %q", line)
	}
	return s
}

func (s *subscriber) line() string {
	s.t.Helper()
	if !s.scan.Scan() {
		s.t.Fatalf("the stream ended: %v", s.scan.Err())
	}
	return s.scan.Text()
}

// next returns the next event, or false at the end of the stream.
func (s *subscriber) next() (e received, ok bool) {
	s.t.Helper()
	for s.scan.Scan() {
		name, value, _ := strings.Cut(s.scan.Text(), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.Event); err != nil {
				s.t.Fatalf("%q: %v", value, err)
			}
		case "":
			if e.id == "" { // a comment's end
				continue
			}
			if e.ID != e.id || e.Kind != e.kind {
				s.t.Errorf("the frame says %s %s, and its data %s %s", e.id, e.kind, e.ID, e.Kind)
			}
			return e, true
		default:
			s.t.Fatalf("not a line of an event stream: %q", s.scan.Text())
		}
	}
	return e, false
}

// want reads the events with the numbers from to to-1, and returns the last
// one.
func (s *subscriber) want(from, to int) (e received) {
	s.t.Helper()
	for n := from; n < to; n++ {
		var ok bool
		if e, ok = s.next(); !ok {
			s.t.Fatalf("the stream ended before event %d", n)
		}
		if e.number() != n {
			s.t.Fatalf("got %+v, want event %d", e, n)
		}
	}
	return e
}

func (s *subscriber) wantGap(lost int) received {
	s.t.Helper()
	e, ok := s.next()
	if !ok || e.Kind != v1.KindGap || e.Lost != lost {
		s.t.Fatalf("got %+v, want a gap of %d", e, lost)
	}
	return e
}

func (s *subscriber) wantEnd() {
	s.t.Helper()
	if e, ok := s.next(); ok {
		s.t.Fatalf("got %+v, want the end", e)
	}
	if err := s.scan.Err(); err != nil {
		s.t.Fatalf("the stream broke: %v", err)
	}
}
