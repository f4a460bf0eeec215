package events

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// Keep is how many past events of an application subscribers can get.
const Keep = 10_000

// A ring keeps the last events of one application. Each subscriber reads it at
// its own pace. There are no queues, so a slow subscriber costs nothing; it
// misses the events that the ring has dropped.
type ring struct {
	app string
	run string // distinguishes this ring's IDs from those of other applications and runs

	mu      sync.Mutex    // guards all below
	frames  [][]byte      // number n is at (n-1) % Keep
	next    uint64        // the next event's number; the first one's is 1
	changed chan struct{} // closed when there is something new to read, or the ring closes; nil while nobody waits
	closed  bool
	streams int
	gaps    int64
}

func newRing(app string) *ring {
	return &ring{app: app, run: strings.ToLower(rand.Text()[:10]), next: 1}
}

// add gives the event its ID, keeps it, and returns its JSON.
func (r *ring) add(e *v1.Event) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.ID = r.id(r.next)
	encoded := encode(e)
	if frame := frame(e, encoded); len(r.frames) < Keep {
		r.frames = append(r.frames, frame)
	} else {
		r.frames[(r.next-1)%Keep] = frame
	}
	r.next++
	r.wake()
	return encoded
}

func (r *ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.wake()
}

func (r *ring) wake() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

func (r *ring) id(n uint64) string { return r.run + "-" + strconv.FormatUint(n, 10) }

// oldest returns the number of the oldest event kept, or of the next event if
// there is none. The mutex must be held.
func (r *ring) oldest() uint64 { return r.next - uint64(len(r.frames)) }

// after returns the number of the event that follows the one with this ID. It
// returns 0, which no event has, if the ring did not issue the ID.
func (r *ring) after(id string) uint64 {
	run, number, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || run != r.run || n >= r.next {
		return 0
	}
	return n + 1
}

// last returns the number of the first of the last n events.
func (r *ring) last(n int) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next - uint64(min(max(n, 0), len(r.frames)))
}

// read fills the batch with frames, beginning with event number at. It returns
// the number of frames and the number of the event after them. The first frame
// is a gap if events are missing. If there are no frames, changed is closed
// when there is something to read, or nil if the ring is closed.
func (r *ring) read(at uint64, batch [][]byte) (n int, next uint64, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if oldest := r.oldest(); at < oldest {
		batch[0] = r.gap(at, oldest)
		r.gaps++
		n, at = 1, oldest
	}
	for ; n < len(batch) && at < r.next; n, at = n+1, at+1 {
		batch[n] = r.frames[(at-1)%Keep]
	}
	if n > 0 {
		return n, at, nil
	}
	if r.closed {
		return 0, at, nil
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return 0, at, r.changed
}

// gap returns the frame in place of the missing events from number at to
// oldest. It has the ID of the last of them, so a subscriber that resumes after
// it gets no second gap.
func (r *ring) gap(at, oldest uint64) []byte {
	e := v1.Event{ID: r.id(oldest - 1), Kind: v1.KindGap, Time: time.Now().UTC(), App: r.app, Detail: "older events are no longer kept"}
	if at == 0 {
		e.Detail = "events were lost, or the ID is from an earlier run of this server"
	} else {
		e.Lost = int(oldest - at)
	}
	return frame(&e, encode(&e))
}

// find returns the last events whose JSON contains the text, the newest first, and
// the ID of the newest event among which it looked.
func (r *ring) find(text string, limit int) (list []v1.Event, newest string) {
	wanted := []byte(text)
	r.mu.Lock()
	frames := make([][]byte, 0, len(r.frames)) // a frame never changes
	for at := r.oldest(); at < r.next; at++ {
		frames = append(frames, r.frames[(at-1)%Keep])
	}
	if r.next > 1 {
		newest = r.id(r.next - 1)
	}
	r.mu.Unlock()
	for _, frame := range slices.Backward(frames) {
		if len(list) == limit {
			break
		}
		_, data, _ := bytes.Cut(frame, []byte("\ndata: "))
		var e v1.Event
		if bytes.Contains(data, wanted) && json.Unmarshal(data, &e) == nil {
			list = append(list, e)
		}
	}
	return list, newest
}
