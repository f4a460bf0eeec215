package sojourn_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/driver"
)

// Writing the activity of one session doesn't wait for another session's. Flush
// waits for all.
func TestActivityIsWrittenSideBySide(t *testing.T) {
	var both sync.WaitGroup
	both.Add(2)
	var touched atomic.Int32
	w := newWorld(t, onCalls(func(ctx context.Context, c driver.Call) driver.Result {
		if c.Op == driver.Touch {
			both.Done()
			both.Wait() // for the other one
			defer touched.Add(1)
		}
		return c.Do(ctx)
	}))
	ann, ben := w.loggedIn("ann"), w.loggedIn("ben")
	w.pass(2 * time.Minute) // no rotation is due
	w.look(ann)
	w.look(ben)
	w.flush()
	w.want("touches written", touched.Load(), int32(2))
}

// A handler that starts its page before it reads the session counts as activity
// too.
func TestReadingAfterTheHeaderIsActivity(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	h := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(200)
		w.want("subject", sojourn.From(r.Context()).Subject(), "ann")
	}))
	for range 24 {
		w.pass(2 * time.Hour)
		r := httptest.NewRequest("GET", "https://localhost/", nil)
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: j.session})
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
}

func TestPassiveRequestsAreNoActivity(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	for range 24 {
		w.pass(time.Hour)
		s := w.begin(j)
		s.Passive()
		s.Subject()
		w.answer(j, s)
	}
	w.want("ann", w.look(j), "")
}

// A request without a client keeps the session alive, and keeps the recorded
// client.
func TestActivityWithoutClient(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	w.pass(10 * time.Minute)
	s := w.Begin(t.Context(), sojourn.Request{Token: j.session})
	w.want("subject", s.Subject(), "ann")
	w.answered(s)
	w.flush()
	snap, err := w.Get(t.Context(), s.ID())
	if err != nil || !snap.LastSeenAt.Equal(w.time()) || snap.LastSeen != home {
		t.Errorf("last seen at %v by %v, %v", snap.LastSeenAt, snap.LastSeen, err)
	}
	w.want("changes of client", len(w.happened(sojourn.EventClientChanged)), 0)
}
