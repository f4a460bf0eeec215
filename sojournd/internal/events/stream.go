package events

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

const (
	// MaxStreams is how many subscribers an application may have.
	MaxStreams = 16_384

	// pingEvery keeps proxies from closing an idle stream, and detects a
	// subscriber that is gone.
	pingEvery = 15 * time.Second

	// writeTimeout is how long a subscriber may take to accept a batch.
	writeTimeout = 30 * time.Second

	// pace is the least time between two batches for one subscriber. Without it
	// each event would wake all of them.
	pace = 100 * time.Millisecond

	batchSize = 64
)

// Stream answers a request with an application's events, as server-sent events.
// It ends when the request's context is done, when the subscriber does not
// read, or when the server shuts down. Without follow it also ends when there
// are no more events.
//
// The stream begins after the event with the ID lastID. It begins with a gap if
// later events are no longer kept, or if this hub did not issue the ID. Without
// lastID it begins with the last few events.
//
// The error is ErrNoApp, ErrTooManyStreams or ErrClosed. Then Stream has
// written nothing.
func (h *Hub) Stream(w http.ResponseWriter, r *http.Request, name, lastID string, last int, follow bool) error {
	a, err := h.app(name)
	if err != nil {
		return err
	}
	if err := a.ring.enter(); err != nil {
		return err
	}
	defer a.ring.leave()

	at := a.ring.last(last)
	if lastID != "" {
		at = a.ring.after(lastID)
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold the events back
	s := stream{w, http.NewResponseController(w), a.ring}
	_ = s.rc.SetReadDeadline(time.Time{}) // the server's deadline is for requests; not every server has one
	s.run(r.Context(), at, follow)
	return nil
}

// enter counts a new subscriber.
func (r *ring) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	if r.streams >= MaxStreams {
		return ErrTooManyStreams
	}
	r.streams++
	return nil
}

func (r *ring) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streams--
}

type stream struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	ring *ring
}

var ping = []byte(": ping\n\n")

// hello returns the first frame of a stream. It has no data, only the ID after
// which the stream begins, so a subscriber that loses the connection before the
// first event can resume. If a gap comes first, the frame has no ID: the
// subscriber keeps its own.
func (r *ring) hello(at uint64) []byte {
	const text = ": Sojourn's events\nretry: 2000\n"
	if at == 0 {
		return []byte(text + "\n")
	}
	return []byte(text + "id: " + r.id(at-1) + "\n\n")
}

func (s stream) run(ctx context.Context, at uint64, follow bool) {
	if !s.send(s.ring.hello(at)) {
		return
	}
	timer := time.NewTimer(pingEvery)
	defer timer.Stop()
	for {
		var batch [batchSize][]byte
		n, next, changed := s.ring.read(at, batch[:])
		at = next
		switch {
		case n > 0:
			if !s.send(batch[:n]...) {
				return
			}
			if n == batchSize || !follow {
				continue
			}
			timer.Reset(pace)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		case !follow || changed == nil:
			return
		default:
			timer.Reset(pingEvery)
			select {
			case <-changed:
			case <-timer.C:
				if !s.send(ping) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// send reports whether the subscriber is still there.
func (s stream) send(frames ...[]byte) bool {
	// A server without deadlines, as in tests, has no slow clients either.
	if err := s.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return false
	}
	for _, frame := range frames {
		if _, err := s.w.Write(frame); err != nil {
			return false
		}
	}
	return s.rc.Flush() == nil
}

// frame returns the event in the format of the EventSource standard. Neither
// the JSON nor the ID and the kind contain line ends.
func frame(e *v1.Event, encoded []byte) []byte {
	return fmt.Appendf(nil, "id: %s\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, encoded)
}
