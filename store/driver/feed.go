package driver

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/sojourn-go/sojourn/store"
)

// watchBuffer is the capacity of a watcher's channel, in changes.
const watchBuffer = 1024

// A Feed passes changes to the watchers in this process. It implements Watch
// for a store that no other process writes to. The zero Feed is ready for use.
// All methods may be called concurrently.
type Feed struct {
	count atomic.Int32 // of watchers: without any, Publish takes no lock

	mu       sync.Mutex // guards the fields below
	closed   bool
	watchers map[*watcher]struct{}
}

type watcher struct {
	ch   chan store.Change
	lost bool // the last change in ch is a Gap; nothing is sent until it has been received
	stop func() bool
}

// Watch implements [store.Watcher].
func (f *Feed) Watch(ctx context.Context) (<-chan store.Change, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, store.ErrClosed
	}
	w := &watcher{ch: make(chan store.Change, watchBuffer)}
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

// Publish sends a change to every watcher, or a Gap to a watcher that lags
// behind by more than its buffer. It never waits. The caller must publish the
// changes of one session in their order.
func (f *Feed) Publish(change store.Change) {
	if f.count.Load() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		w.send(change)
	}
}

// send keeps the last place in the channel for a Gap, so it never blocks: the
// feed's mutex excludes other senders. A Gap stays the last message until the
// channel is empty. Then the receiver has the Gap, and send resumes.
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

// Close closes the channels of all watchers. Later calls of Watch return
// [store.ErrClosed].
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for w := range f.watchers {
		w.stop()
		f.remove(w)
	}
}
