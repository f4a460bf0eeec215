package memstore

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/sojourn-go/sojourn/store"
)

// watchBuffer is how many changes a receiver may lag behind.
const watchBuffer = 1024

// A hub hands changes to the watchers. Changes are published under the lock of the
// record's shard, so those of a session are in order.
type hub struct {
	count    atomic.Int32 // of watchers, so that publishing costs nothing without any
	mu       sync.Mutex
	closed   bool
	watchers map[*watcher]struct{}
}

type watcher struct {
	ch   chan store.Change
	lost bool // the last change in ch is a Gap, and nothing is sent until it was received
	stop func() bool
}

func (c *core) watch(ctx context.Context) (<-chan store.Change, error) {
	h := &c.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, store.ErrClosed
	}
	w := &watcher{ch: make(chan store.Change, watchBuffer)}
	if h.watchers == nil {
		h.watchers = map[*watcher]struct{}{}
	}
	h.watchers[w] = struct{}{}
	h.count.Add(1)
	w.stop = context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.remove(w)
	})
	return w.ch, nil
}

func (h *hub) remove(w *watcher) {
	if _, ok := h.watchers[w]; ok {
		delete(h.watchers, w)
		h.count.Add(-1)
		close(w.ch)
	}
}

// publish sends a change, or a gap: it never waits.
func (h *hub) publish(change store.Change) {
	if h.count.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		w.send(change)
	}
}

// send leaves the last place in the channel to a Gap. Nobody else sends, so the channel
// never blocks, and once a Gap was sent it is the last message: an empty channel means that it
// was received, after every change that was dropped.
func (w *watcher) send(change store.Change) {
	switch {
	case w.lost && len(w.ch) > 0:
		return
	case len(w.ch) == cap(w.ch)-1:
		w.lost = true
		change = store.Change{Kind: store.Gap}
	default:
		w.lost = false
	}
	w.ch <- change
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watchers {
		w.stop()
		h.remove(w)
	}
}
