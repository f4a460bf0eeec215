package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// RunShared tests stores that several nodes share. open returns several handles
// on one empty store, one for each node; otherwise the rules of [Run] apply. A
// handle may be a cache. Its Gets that are not strict may lag behind.
//
// RunShared runs all cases of Run, and sends each call to a random handle. Its
// own cases check what other nodes observe, parallel work on several nodes, and
// circumstances that must make no difference (Metamorphic/…). It skips the
// cases of the change feed if the handles are no store.Watcher, and those of
// heartbeats if they are no store.Feeder.
func RunShared(t *testing.T, open func(t testing.TB) []store.Store) {
	t.Run("Any", func(t *testing.T) {
		Run(t, func(t testing.TB) store.Store { return newRound(t, open(t)) })
	})
	for _, c := range slices.Concat(sharedCases, metamorphicCases) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			nodes := open(t)
			if len(nodes) < 2 {
				t.Fatal("the cases need at least two handles")
			}
			all := newRound(t, nodes)
			closeAtEnd(t, all.Close)
			c.run(&cluster{newFixture(t, all), nodes})
		})
	}
}

type sharedCase struct {
	name string
	run  func(c *cluster)
}

// A cluster is a fixture whose own calls go to a random node.
type cluster struct {
	*fixture
	nodes []store.Store
}

// on returns a fixture whose calls go to node i, modulo the number of nodes.
func (c *cluster) on(i int) *fixture {
	return newFixture(c.T, c.nodes[i%len(c.nodes)])
}

// alone returns a cluster of one node.
func (f *fixture) alone() *cluster { return &cluster{f, []store.Store{f.s}} }

var sharedCases = []sharedCase{
	{"Shared/StrictGetsSeeEverything", func(c *cluster) {
		// A strict Get on any node returns what another node has acknowledged,
		// even if it has the session in memory.
		for i := range c.many(200) {
			rec := c.on(i).create(session("alice"))
			see := func() {
				c.Helper()
				for j := range c.nodes {
					c.on(j).wantRecord(rec)
					_ = c.nodes[j].Get(c.ctx, app, rec.ID, false, new(store.Record)) // a cache keeps it
				}
			}
			see()
			rec.Values = values("n", strconv.Itoa(i))
			c.on(i+1).update(rec, plain(t0))
			see()
			c.must(c.on(i+2).s.Confirm(c.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0 + 1}))
			rec.Secret.FirstSeenAt = t0 + 1
			rec.Revision++
			see()
			c.on(i).end(rec, store.ReasonLogout, t0+2)
			for j := range c.nodes {
				c.on(j).wantGone(rec, store.ReasonLogout, t0+2)
			}
		}
	}},
	{"Shared/WatchOfTheOthers", func(c *cluster) {
		before := c.on(0).create(session("bob"))
		var feeds []*feed
		for i := range c.nodes {
			feeds = append(feeds, c.on(i).watch(c.ctx))
		}
		want := func(change store.Change) {
			c.Helper()
			for _, w := range feeds {
				w.want(change)
			}
		}
		for i := range 3 * len(c.nodes) {
			rec := c.on(i).create(session("alice"))
			want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 1})
			c.on(i+1).update(rec, plain(t0))
			want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 2})
			c.on(i+2).update(rec, login(t0))
			want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 3})
			c.must(c.on(i).s.Confirm(c.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0}))
			want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 4})
			c.on(i+1).end(rec, store.ReasonLogout, t0)
			want(store.Change{Kind: store.Gone, App: app, ID: rec.ID})
		}
		c.on(1).endSubject("bob", t0)
		want(store.Change{Kind: store.Gone, App: app, ID: before.ID})
		c.must(c.on(2).s.EndAll(c.ctx, app, t0))
		want(store.Change{Kind: store.GoneAll, App: app})
	}},
	{"Shared/WatchInOrder", func(c *cluster) {
		// All nodes update one session in parallel. Each node reports its
		// revisions in order.
		const each = 25
		rec := c.create(counting("alice"))
		var feeds []*feed
		for i := range c.nodes {
			feeds = append(feeds, c.on(i).watch(c.ctx))
		}
		var calls []func()
		for i := range c.nodes {
			calls = append(calls, func() {
				for range each {
					c.on(i).increment(rec.ID, plain(t0))
				}
			})
		}
		parallel(calls...)
		c.end(rec, store.ReasonLogout, t0)
		for _, w := range feeds {
			next := uint64(2)
			w.until("the end was not reported", func(change store.Change) bool {
				switch {
				case change.Kind == store.Gap:
					return true // the end may be lost in it
				case change.Kind == store.Gone:
					if next != uint64(len(c.nodes)*each+2) {
						c.Fatalf("the end came instead of revision %d", next)
					}
					return true
				case change.Revision != next:
					c.Fatalf("revision %d came instead of %d", change.Revision, next)
				}
				next++
				return false
			})
		}
	}},
	{"I10/Shared/BeatAfterChanges", func(c *cluster) {
		// A heartbeat arrives after all changes that any node had acknowledged
		// before the heartbeat was sent.
		n := rand.Uint64()
		for i := range c.nodes {
			feeder := c.feeder(i)
			feeds := []*feed{c.on(i).watch(c.ctx), c.on(i).watch(c.ctx)}
			var known [2]int // rounds without a gap, for each feed
			const rounds = 20
			for range rounds {
				due := map[store.Change]bool{}
				for j := range 2 * len(c.nodes) {
					rec := c.on(j).create(session([]string{"", "alice"}[j%2]))
					due[store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 1}] = true
					c.on(j+1).update(rec, plain(t0))
					due[store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 2}] = true
					c.on(j+2).end(rec, store.ReasonLogout, t0)
					due[store.Change{Kind: store.Gone, App: app, ID: rec.ID}] = true
				}
				first, last := n+1, n
				for came := [2]bool{}; !came[0] || !came[1]; { // a heartbeat may get lost
					if last++; last-first > 40 {
						c.Fatal("no heartbeat arrived")
					}
					c.must(feeder.Beat(c.ctx, last))
					for k, w := range feeds {
						if came[k] {
							continue
						}
						seen, gap, ok := w.untilBeat(first, last)
						if came[k] = ok; !ok {
							continue
						}
						missing := 0
						for change := range due {
							if !seen[change] {
								missing++
							}
						}
						if missing > 0 && !gap {
							c.Fatalf("a heartbeat overtook %d of %d changes that were acknowledged before it was sent", missing, len(due))
						}
						if !gap {
							known[k]++
						}
					}
				}
				n = last
			}
			for _, k := range known {
				if k < rounds/2 {
					c.Errorf("node %d: %d of %d rounds had a gap", i, rounds-k, rounds)
				}
			}
		}
	}},
	{"I10/Shared/BeatDuringChanges", func(c *cluster) {
		// The same holds while all nodes keep writing.
		feeder := c.feeder(0)
		w := c.on(0).watch(c.ctx)
		var mu sync.Mutex
		var acknowledged []store.Change
		var stop atomic.Bool
		var writers sync.WaitGroup
		defer writers.Wait()
		defer stop.Store(true)
		for i := range 2 * len(c.nodes) {
			on := c.on(i)
			writers.Go(func() {
				note := func(change store.Change, err error) bool {
					if err != nil {
						c.Errorf("a write: %v", err)
						return false
					}
					mu.Lock()
					defer mu.Unlock()
					acknowledged = append(acknowledged, change)
					return true
				}
				for !stop.Load() {
					rec := session("subject " + strconv.Itoa(i))
					_, err := on.s.Create(c.ctx, app, rec, created(rec))
					if !note(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 1}, err) {
						return
					}
					_, err = on.s.End(c.ctx, app, rec.ID, store.ReasonLogout, t0)
					if !note(store.Change{Kind: store.Gone, App: app, ID: rec.ID}, err) {
						return
					}
				}
			})
		}
		seen, judged, lost := map[store.Change]bool{}, 0, 0
		n := rand.Uint64()
		for judged < 40 {
			mu.Lock()
			due := slices.Clone(acknowledged)
			mu.Unlock()
			n++
			c.must(feeder.Beat(c.ctx, n))
			more, gap, ok := w.untilBeat(n, n)
			for change := range more {
				seen[change] = true
			}
			if gap || !ok {
				if lost++; lost > 200 {
					c.Fatalf("%d heartbeats were lost or came after a gap", lost)
				}
				for _, change := range due {
					seen[change] = true // the gap reported the loss
				}
				continue
			}
			for _, change := range due {
				if !seen[change] {
					c.Fatalf("a heartbeat overtook %+v, which was acknowledged before it was sent", change)
				}
			}
			judged++
		}
	}},
	{"I11/Shared/LimitUnderParallelLogins", func(c *cluster) {
		for i := range c.many(20) {
			limitUnderParallelLogins(c, fmt.Sprint("alice ", i), i%2 == 1, 32)
		}
	}},
	{"I3/Shared/EndSubjectDuringLogins", endSubjectDuringLogins},
	{"Shared/IdempotencyKey", idempotencyKeyInParallel},
	{"I7/Shared/SweepsShareTheWork", func(c *cluster) {
		// All nodes sweep in parallel. Each expired session ends once, and no
		// other session ends.
		const n = 600
		want := map[store.ID]bool{}
		for i := range n {
			want[c.on(i).create(session([]string{"", "alice", "bob"}[i%3])).ID] = true
		}
		var kept []*store.Record
		for i := range 30 {
			kept = append(kept, c.on(i).create(sessionAt("alice", t0+minute)))
		}
		var mu sync.Mutex
		ended := map[store.ID]int{}
		var calls []func()
		for _, s := range c.nodes {
			calls = append(calls, func() {
				for range 10_000 {
					list, done, err := s.Sweep(c.ctx, app, t0+hour, 50)
					if err != nil {
						c.Errorf("Sweep: %v", err)
						return
					}
					mu.Lock()
					for _, e := range list {
						if ended[e.ID]++; !want[e.ID] || e.Reason != store.ReasonIdle || e.At != t0+hour {
							c.Errorf("ended %+v", e)
						}
					}
					mu.Unlock()
					if done {
						return
					}
				}
				c.Error("Sweep did not finish a round")
			})
		}
		parallel(calls...)
		for _, e := range c.sweep(t0 + hour) { // sessions that a node skipped while another held them
			ended[e.ID]++
		}
		for id := range want {
			if ended[id] != 1 {
				c.Fatalf("an expired session ended %d times", ended[id])
			}
		}
		for i, rec := range kept {
			c.on(i).wantRecord(rec)
		}
		c.wantCount(int64(len(kept)), int64(len(kept)))
	}},
	{"Shared/OneClosed", func(c *cluster) {
		// Closing one node does not affect the others.
		rec := c.on(0).create(session("alice"))
		c.must(c.nodes[0].Close())
		c.wantErr(c.nodes[0].Get(c.ctx, app, rec.ID, true, new(store.Record)), store.ErrClosed)
		c.on(1).wantRecord(rec)
		c.on(1).update(rec, login(t0))
		c.on(1).wantRecord(rec)
	}},
}

// feeder returns node i as a sender of heartbeats.
func (c *cluster) feeder(i int) store.Feeder {
	c.Helper()
	f, ok := c.nodes[i].(store.Feeder)
	if !ok {
		c.Skip("the store has no heartbeats")
	}
	return f
}

// untilBeat collects the changes up to a heartbeat between first and last, and
// reports whether a gap came before it. If no heartbeat arrives soon, it counts
// as lost: ok is false, and the next call returns the changes.
func (w *feed) untilBeat(first, last uint64) (seen map[store.Change]bool, gap, ok bool) {
	w.f.Helper()
	if w.seen == nil {
		w.seen = map[store.Change]bool{}
	}
	timeout := time.NewTimer(300 * time.Millisecond) // a later heartbeat counts in the next call
	defer timeout.Stop()
	for {
		select {
		case c, open := <-w.ch:
			switch {
			case !open:
				w.f.Fatal("the feed has closed")
			case c.Kind == store.Gap:
				w.gap = true
			case c.Kind != store.Beat:
				w.seen[c] = true
			case c.Revision-first <= last-first:
				seen, gap = w.seen, w.gap
				w.seen, w.gap = nil, false
				return seen, gap, true
			}
		case <-timeout.C:
			return nil, false, false
		}
	}
}
