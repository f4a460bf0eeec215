package events

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

func TestStreamFollows(t *testing.T) {
	h := newHub(t, Options{}, App{Name: "shop"}, App{Name: "blog"})
	server := serveHub(t, h)
	observe(h, "shop", 0, 3)
	s := subscribe(t, server, "/shop", "")
	observe(h, "blog", 100, 103) // another application's never show
	observe(h, "shop", 3, 5)
	s.want(3, 5)
	observe(h, "shop", 5, 400) // several batches
	s.want(5, 400)
	subscribe(t, server, "/blog?last=10", "").want(100, 103)
	subscribe(t, server, "/shop?last=2", "").want(398, 400)
}

// The sweep of one application's engine ends sessions of other applications.
func TestEventGoesToItsApplication(t *testing.T) {
	h := newHub(t, Options{}, App{Name: "shop"}, App{Name: "blog"})
	server := serveHub(t, h)
	h.Observer("shop")(created("blog", 1))
	h.Observer("shop")(created("elsewhere", 2)) // of another server on the same store
	h.Observer("shop")(created("shop", 3))
	s := subscribe(t, server, "/blog?last=9&follow=false", "")
	s.want(1, 2)
	s.wantEnd()
	s = subscribe(t, server, "/shop?last=9&follow=false", "")
	s.want(3, 4)
	s.wantEnd()
}

func TestStreamWithoutFollowEnds(t *testing.T) {
	h := newHub(t, Options{}, App{Name: "shop"})
	server := serveHub(t, h)
	subscribe(t, server, "/shop?follow=false&last=5", "").wantEnd()
	observe(h, "shop", 0, 200)
	s := subscribe(t, server, "/shop?follow=false&last=100000", "")
	s.want(0, 200)
	s.wantEnd()
}

// A subscriber that resumes with the last ID gets every event once.
func TestStreamResumes(t *testing.T) {
	h := newHub(t, Options{}, App{Name: "shop"})
	server := serveHub(t, h)
	s := subscribe(t, server, "/shop", "")
	observe(h, "shop", 0, 10)
	last := s.want(0, 4)
	s.stop()
	observe(h, "shop", 10, 20)
	s = subscribe(t, server, "/shop?last=3", last.id) // the ID goes before
	last = s.want(4, 20)
	s = subscribe(t, server, "/shop", last.id) // of the newest: nothing yet
	observe(h, "shop", 20, 21)
	s.want(20, 21)
}

// So does one that loses the connection before the first event.
func TestStreamResumesBeforeItsFirstEvent(t *testing.T) {
	h := newHub(t, Options{}, App{Name: "shop"})
	server := serveHub(t, h)
	before := subscribe(t, server, "/shop", "").from // nothing has happened yet
	if before == "" {
		t.Fatal("the stream doesn't say where it begins")
	}
	observe(h, "shop", 0, 3)
	subscribe(t, server, "/shop", before).want(0, 3)
	two := subscribe(t, server, "/shop?last=2", "").from
	now := subscribe(t, server, "/shop", "").from
	observe(h, "shop", 3, 4)
	subscribe(t, server, "/shop", two).want(1, 4)
	s := subscribe(t, server, "/shop", now)
	s.want(3, 4)
	if s.from != now {
		t.Errorf("after %s it begins with %s", now, s.from)
	}
	s = subscribe(t, server, "/shop?follow=false", "another-run")
	if s.from != "" { // or who lost the connection here would not learn of the gap
		t.Errorf("a gap is due, and the stream begins with %s", s.from)
	}
	s.wantGap(0)
	observe(h, "shop", 4, Keep+1)
	subscribe(t, server, "/shop?follow=false", before).wantGap(1)
}

func TestStreamGap(t *testing.T) {
	h := newHub(t, Options{}, App{Name: "shop"}, App{Name: "blog"})
	server := serveHub(t, h)
	observe(h, "shop", 0, 1)
	first := subscribe(t, server, "/shop?last=1", "").want(0, 1)
	observe(h, "shop", 1, Keep+1)
	subscribe(t, server, "/shop?follow=false", first.id).want(1, Keep+1) // the oldest is the one after it: nothing is missing

	observe(h, "shop", Keep+1, Keep+6)
	s := subscribe(t, server, "/shop", first.id)
	gap := s.wantGap(5)
	s.want(6, Keep+6)
	s = subscribe(t, server, "/shop", gap.id) // resumed right after the gap: no second one
	s.want(6, 7)

	observe(h, "blog", 0, 3)
	other := subscribe(t, server, "/blog?last=1", "").want(2, 3)
	run := strings.TrimSuffix(other.id, "-3")
	for _, id := range []string{other.id, "x", "-", run, run + "-", run + "--1", run + "-99999999", run + "-1x", "abcdefghij-5", strings.Repeat("9", 5000), "\xff-1"} {
		s := subscribe(t, server, "/blog?follow=false", id)
		if id == other.id {
			s.wantEnd()
			continue
		}
		gap := s.wantGap(0)
		s.want(0, 3)
		s.wantEnd()
		s = subscribe(t, server, "/blog?follow=false", gap.id) // again no second one
		s.want(0, 3)
		s.wantEnd()
	}
}

// Events that an engine had to drop appear as a gap.
func TestLostEventsAreAGap(t *testing.T) {
	h := newHub(t, Options{}, App{Name: "shop"}, App{Name: "blog"})
	server := serveHub(t, h)
	e := created("blog", 1)
	e.Lost = 7
	h.Observer("blog")(e)
	s := subscribe(t, server, "/blog?last=9&follow=false", "")
	s.wantGap(7)
	if e := s.want(1, 2); e.Lost != 0 {
		t.Errorf("lost twice: %+v", e)
	}
	s.wantEnd()
	s = subscribe(t, server, "/shop?last=9&follow=false", "") // another engine's loss is none of its
	s.wantEnd()
}

func TestStreamsEnd(t *testing.T) {
	h := newHub(t, Options{}, App{Name: "shop"}, App{Name: "blog"})
	server := serveHub(t, h)
	shop, blog := subscribe(t, server, "/shop", ""), subscribe(t, server, "/blog", "")
	observe(h, "blog", 0, 1)
	blog.want(0, 1)
	waitUntil(t, h, "blog", func(r *ring) bool { return r.changed != nil })
	if err := h.Configure([]App{{Name: "shop"}}); err != nil {
		t.Fatal(err)
	}
	blog.wantEnd() // its application is gone
	observe(h, "shop", 0, 1)
	shop.want(0, 1) // and this one is as it was
	waitUntil(t, h, "shop", func(r *ring) bool { return r.changed != nil })
	try := func(name string) error {
		w := httptest.NewRecorder()
		err := h.Stream(w, httptest.NewRequest("GET", "/", nil), name, "", 0, false)
		if w.Body.Len() > 0 != (err == nil) {
			t.Errorf("%v, and wrote %q", err, w.Body)
		}
		return err
	}
	if err := try("blog"); !errors.Is(err, ErrNoApp) {
		t.Errorf("no such application: %v", err)
	}
	h.EndStreams()
	shop.wantEnd()
	if err := try("shop"); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// A lockedRecorder can be read while it is written to.
type lockedRecorder struct {
	*httptest.ResponseRecorder
	mu sync.Mutex
}

func (l *lockedRecorder) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ResponseRecorder.Write(b)
}

func (l *lockedRecorder) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Body.String()
}

// The stream begins at once, not with the next ping. An event is sent at once,
// unless there are many.
func TestStreamsLoseNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{})
		if err := h.Configure([]App{{Name: "shop"}}); err != nil {
			t.Fatal(err)
		}
		w := &lockedRecorder{ResponseRecorder: httptest.NewRecorder()}
		var err error
		over := false
		go func() {
			err = h.Stream(w, httptest.NewRequest(http.MethodGet, "/", nil), "shop", "", 0, true)
			over = true
		}()
		synctest.Wait()
		began := time.Now()
		events := func() int { return strings.Count(w.text(), "event: created") }
		observe(h, "shop", 0, 1)
		if synctest.Wait(); events() != 1 {
			t.Error("the first event is not there")
		}
		observe(h, "shop", 1, 1000) // all in one go, a little later
		time.Sleep(pace)
		if synctest.Wait(); events() != 1000 {
			t.Errorf("%d events are there", events())
		}
		time.Sleep(time.Minute + 2*pace)
		if n := strings.Count(w.text(), ": ping\n\n"); n != 4 {
			t.Errorf("%d pings a minute", n)
		}
		h.EndStreams()
		if synctest.Wait(); !over || err != nil {
			t.Errorf("the stream goes on, %v", err)
		}
		if took := time.Since(began); took != time.Minute+3*pace {
			t.Errorf("it took %v", took)
		}
	})
}

func TestStreamsAreLimited(t *testing.T) {
	h := newHub(t, Options{}, App{Name: "shop"}, App{Name: "blog"})
	a, err := h.app("shop")
	if err != nil {
		t.Fatal(err)
	}
	for range MaxStreams {
		if err := a.ring.enter(); err != nil {
			t.Fatal(err)
		}
	}
	stream := func(name string) error {
		return h.Stream(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), name, "", 0, false)
	}
	if err := stream("shop"); !errors.Is(err, ErrTooManyStreams) {
		t.Errorf("one more: %v", err)
	}
	if err := stream("blog"); err != nil {
		t.Errorf("another application's: %v", err)
	}
	a.ring.leave()
	if err := stream("shop"); err != nil {
		t.Errorf("after one has left: %v", err)
	}
	if err := stream("shop"); err != nil {
		t.Errorf("a stream that has ended still counts: %v", err)
	}
}

// A subscriber that does not read delays nobody, and gets a gap.
func TestSlowSubscriberDelaysNobody(t *testing.T) {
	h := newHub(t, Options{}, App{Name: "shop"})
	server := serveHub(t, h)
	fast := subscribe(t, server, "/shop", "")
	slow := subscribe(t, server, "/shop", "")
	const events = 2 * Keep // of 200 bytes: more than the connection's buffers and the ring together
	for n := 0; n < events; n += 2000 {
		observe(h, "shop", n, n+2000)
		fast.want(n, n+2000) // this one keeps up, and the test with it
	}
	missed := 0
	for last := -1; last < events-1; {
		e, ok := slow.next()
		switch {
		case !ok:
			t.Fatal("the stream ended")
		case e.Kind == v1.KindGap:
			missed += e.Lost
			last += e.Lost
		case e.number() != last+1:
			t.Fatalf("event %d after %d", e.number(), last)
		default:
			last++
		}
	}
	if missed == 0 {
		t.Error("the slow one was not slow: the test shows nothing")
	}
}

// With many writers and many readers that reconnect, each reader gets each
// event once, in the order of the IDs.
func TestStreamRaces(t *testing.T) {
	h := newHub(t, Options{}, App{Name: "shop"})
	server := serveHub(t, h)
	observe(h, "shop", 0, 1)
	const writers, each = 4, 300
	var wg sync.WaitGroup
	for r := range 6 {
		s := subscribe(t, server, "/shop?last=1", "")
		wg.Go(func() {
			seen, lastID := map[string]bool{}, ""
			for n := 0; len(seen) < writers*each+1; n++ {
				e, ok := s.next()
				if !ok || e.Kind != "created" || seen[e.id] {
					t.Errorf("reader %d: after %s: %+v %v", r, lastID, e, ok)
					return
				}
				seen[e.id], lastID = true, e.id
				if n%(50+20*r) == 0 {
					s.stop()
					s = subscribe(t, server, "/shop", lastID)
				}
			}
		})
	}
	for w := range writers {
		wg.Go(func() { observe(h, "shop", w*each, (w+1)*each) })
	}
	wg.Wait()
}

// A stream ends with its request, also between two batches.
func TestStreamEndsWithItsRequest(t *testing.T) {
	h := newHub(t, Options{}, App{Name: "shop"})
	server := serveHub(t, h)
	s := subscribe(t, server, "/shop", "")
	observe(h, "shop", 0, 1)
	s.want(0, 1)
	s.stop()
	waitUntil(t, h, "shop", func(r *ring) bool { return r.streams == 0 })
}

// waitUntil waits for other goroutines to change a ring.
func waitUntil(t *testing.T, h *Hub, app string, done func(*ring) bool) {
	t.Helper()
	a, err := h.app(app)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		a.ring.mu.Lock()
		is := done(a.ring)
		a.ring.mu.Unlock()
		if is {
			return
		}
	}
	t.Fatal("it doesn't come to pass")
}

// Streams work without deadlines, as with a recorder, and data from a client
// cannot forge a frame.
func TestFrameInjection(t *testing.T) {
	const evil = "x\n\nevent: ended\ndata: {}\r\n\r\u2028id: 1\x00"
	h := newHub(t, Options{}, App{Name: "shop"})
	h.Observer("shop")(sojourn.Event{Kind: sojourn.EventRefused, App: "shop", Subject: evil, Client: sojourn.Client{UserAgent: evil}, Detail: evil, AMR: []string{evil}})
	w := httptest.NewRecorder()
	if err := h.Stream(w, httptest.NewRequest(http.MethodGet, "/", nil), "shop", "", 1, false); err != nil {
		t.Fatal(err)
	}
	_, frame, _ := strings.Cut(w.Body.String(), "\n\n")
	if lines := strings.Split(frame, "\n"); len(lines) != 5 || !strings.HasPrefix(lines[2], "data: {") || lines[3] != "" || strings.ContainsAny(frame, "\r\x00\u2028") {
		t.Errorf("%q", frame)
	}
}
