package store

import (
	"context"
	"sync"
	"sync/atomic"
)

// watchBuffer is how many changes a receiver may lag behind.
const watchBuffer = 1024

// A Feed hands changes to watchers of this process: the whole of Watch for a store that has no other writers. The
// zero Feed is ready. All methods may be called concurrently.
type Feed struct {
	count    atomic.Int32 // of watchers, so that publishing costs nothing without any
	mu       sync.Mutex
	closed   bool
	watchers map[*watcher]struct{}
}

type watcher struct {
	ch   chan Change
	lost bool // the last change in ch is a Gap, and nothing is sent until it was received
	stop func() bool
}

// Watch is as of [Watcher].
func (f *Feed) Watch(ctx context.Context) (<-chan Change, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	w := &watcher{ch: make(chan Change, watchBuffer)}
	if f.watchers == nil {
		f.watchers = map[*watcher]struct{}{}
	}
	f.watchers[w] = struct{}{}
	f.count.Add(1)
	w.stop = context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.remove(w)
	})
	return w.ch, nil
}

func (f *Feed) remove(w *watcher) {
	if _, ok := f.watchers[w]; ok {
		delete(f.watchers, w)
		f.count.Add(-1)
		close(w.ch)
	}
}

// Publish sends a change to every watcher, or a Gap to one that lags too far behind: it never waits. Changes of
// one session must be published in their order.
func (f *Feed) Publish(change Change) {
	if f.count.Load() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		w.send(change)
	}
}

// send leaves the last place in the channel to a Gap. Nobody else sends, so the channel
// never blocks, and once a Gap was sent it is the last message: an empty channel means that it
// was received, after every change that was dropped.
func (w *watcher) send(change Change) {
	switch {
	case w.lost && len(w.ch) > 0:
		return
	case len(w.ch) == cap(w.ch)-1:
		w.lost = true
		change = Change{Kind: Gap}
	default:
		w.lost = false
	}
	w.ch <- change
}

// Close closes the channels of all watchers. Later calls of Watch return ErrClosed.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for w := range f.watchers {
		w.stop()
		f.remove(w)
	}
}
