package events

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

const (
	// MaxStreams is how many subscribers an application may have.
	MaxStreams = 16_384

	// pingEvery keeps proxies from closing a quiet stream, and finds out when the subscriber is gone.
	pingEvery = 15 * time.Second

	// writeTimeout is how long a subscriber may take to accept a batch before it is cut off.
	writeTimeout = 30 * time.Second

	// pace is the least time between two batches for one subscriber. Ten thousand of them would else be woken for each event.
	pace = 100 * time.Millisecond

	batchSize = 64
)

// Stream answers a request with an application's events as they happen, as server-sent events, until the request's context is done, the
// subscriber doesn't read, or the server shuts down. It begins after the event of the ID lastID, with a gap if later ones are no longer kept
// or this hub didn't issue the ID; without lastID with the last few events, none for 0. Without follow it ends when it
// has caught up. An error means that nothing was written: ErrNoApp, ErrTooManyStreams, ErrClosed.
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
	_ = s.rc.SetReadDeadline(time.Time{}) // the server's is for requests, and would end the stream; not all servers have one
	s.run(r.Context(), at, follow)
	return nil
}

// enter counts a subscriber in.
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

// hello returns the frame that a stream begins with. It has no data, but the ID after which the stream begins, so that who loses the
// connection before the first event misses nothing. Where a gap comes first, the subscriber's own ID is to be the last.
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
	// Servers that know no deadlines have no clients that stop reading, either.
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

// frame is the event as the EventSource standard has it. JSON has no line ends, nor have IDs and kinds.
func frame(e *v1.Event, encoded []byte) []byte {
	b := make([]byte, 0, len("id: \nevent: \ndata: \n\n")+len(e.ID)+len(e.Kind)+len(encoded))
	b = append(append(b, "id: "...), e.ID...)
	b = append(append(b, "\nevent: "...), e.Kind...)
	b = append(append(b, "\ndata: "...), encoded...)
	return append(b, "\n\n"...)
}
