package nearcache

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

const (
	beatEvery = 250 * time.Millisecond
	beatLife  = time.Second // how long memory may be used after a heartbeat was sent

	firstWait = 100 * time.Millisecond // before a broken feed is opened again; doubled each time
	lastWait  = 5 * time.Second
)

// A feed follows the changes that other processes make to the store, and knows
// how recent it is.
type feed struct {
	store   store.Feeder
	ctx     context.Context
	cancel  context.CancelFunc
	stopped sync.WaitGroup
	opened  chan struct{} // the feed was opened: a heartbeat is due at once

	// The feed is recent until both times: a time.Duration on the cache's clock,
	// which stands still while the machine sleeps, and nanoseconds on the wall
	// clock.
	until, untilWall atomic.Int64

	mu   sync.Mutex   // guards the fields below
	last uint64       // the number of the last heartbeat
	sent [8]heartbeat // by number; there are fewer in beatLife
}

// A heartbeat that comes back makes the feed recent until a time that was fixed
// before it was sent.
type heartbeat struct {
	n     uint64
	until time.Duration
	wall  int64
}

func newFeed(s store.Feeder) *feed {
	f := &feed{store: s, last: rand.Uint64(), opened: make(chan struct{}, 1)} // other caches may beat on the same store
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

func (f *feed) isRecent(c *Cache) bool {
	now := time.Now()
	return f.recentAt(now.Sub(c.began), now.UnixNano())
}

func (f *feed) recentAt(now time.Duration, wall int64) bool {
	return int64(now) < f.until.Load() && wall < f.untilWall.Load()
}

// start starts two goroutines: one reads the feed, the other sends the
// heartbeats, which may hang.
func (f *feed) start(c *Cache) {
	f.stopped.Go(func() { f.follow(c) })
	f.stopped.Go(func() {
		every := time.NewTicker(beatEvery)
		defer every.Stop()
		for {
			select {
			case <-f.opened:
			case <-every.C:
			case <-f.ctx.Done():
				return
			}
			f.beat(c)
		}
	})
}

// beat sends a heartbeat. It ignores an error, as if the heartbeat were lost.
func (f *feed) beat(c *Cache) {
	f.mu.Lock()
	f.last++
	n := f.last
	f.sent[n%uint64(len(f.sent))] = heartbeat{n, c.now() + beatLife, time.Now().Add(beatLife).UnixNano()}
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(f.ctx, beatLife)
	defer cancel()
	_ = f.store.Beat(ctx, n)
}

// came notes that a heartbeat came back, if this cache sent it.
func (f *feed) came(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sent[n%uint64(len(f.sent))]; s.n == n && int64(s.until) > f.until.Load() {
		f.untilWall.Store(s.wall)
		f.until.Store(int64(s.until))
	}
}

// reset notes that the feed is not recent. Heartbeats sent earlier no longer
// count.
func (f *feed) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = [8]heartbeat{}
	f.until.Store(0)
}

// follow reads the feed, and opens it again when it breaks.
func (f *feed) follow(c *Cache) {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		changes, err := f.store.Watch(f.ctx)
		if errors.Is(err, store.ErrClosed) {
			c.shut()
			f.cancel()
			return
		}
		if err == nil {
			f.reset()   // a heartbeat that was sent before now may have missed a change
			c.dropAll() // and so may what was read
			select {
			case f.opened <- struct{}{}:
			default:
			}
			for change := range changes {
				c.apply(change)
				if change.Kind == store.Beat {
					wait = firstWait
				}
			}
			f.reset()
		}
		select {
		case <-time.After(wait):
		case <-f.ctx.Done():
			return
		}
	}
}

// apply brings memory up to date with a change.
func (c *Cache) apply(change store.Change) {
	switch change.Kind {
	case store.Gap:
		c.dropAll()
		return
	case store.Beat:
		c.feed.came(change.Revision)
		return
	}
	a := c.apps.Find(change.App)
	if a == nil {
		return // the cache has no session of it
	}
	switch change.Kind {
	case store.Changed:
		p := c.placeIn(a, change.ID)
		p.sh.mu.Lock()
		defer p.sh.mu.Unlock()
		c.changed(&p, change.Revision)
	case store.Gone:
		p := c.placeIn(a, change.ID)
		c.invalidate(&p)
	case store.GoneAll:
		a.generation.Add(1)
	}
}

// withoutBeats passes changes on without heartbeats. While the feed is not
// recent it adds a Gap every second, so that receivers ask the store.
func (f *feed) withoutBeats(ctx context.Context, c *Cache, changes <-chan store.Change) <-chan store.Change {
	out := make(chan store.Change)
	go func() {
		defer close(out)
		look := time.NewTicker(beatLife)
		defer look.Stop()
		for {
			var change store.Change
			var ok bool
			select {
			case change, ok = <-changes:
				if !ok {
					return
				}
				if change.Kind == store.Beat {
					continue
				}
			case <-look.C:
				if f.isRecent(c) {
					continue
				}
				change.Kind = store.Gap
			}
			select {
			case out <- change:
			case <-ctx.Done():
				return
			case <-f.ctx.Done():
				return
			}
		}
	}()
	return out
}
