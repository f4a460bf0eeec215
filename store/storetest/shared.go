package storetest

import (
	"errors"
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

// RunShared tests stores that many nodes share. open returns several handles on one empty store, as so many nodes
// have them; otherwise it is as that of [Run]. Handles may be caches, whose Gets from memory may lag behind.
//
// All cases of Run are run with each call going to another handle, by chance. Those of this function are about
// what one node does while others look, or work too, and about what must make no difference (Metamorphic/…). Those of the change feed are skipped where the handles have
// none, those of heartbeats where they aren't each a store.Feeder.
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
			t.Cleanup(func() {
				if err := all.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			c.run(&cluster{&fixture{T: t, s: all, ctx: t.Context()}, nodes})
		})
	}
}

type sharedCase struct {
	name string
	run  func(c *cluster)
}

// A cluster is a fixture whose own calls go to any node.
type cluster struct {
	*fixture
	nodes []store.Store
}

// on returns a fixture whose calls go to the node of a number, counted around.
func (c *cluster) on(i int) *fixture {
	return &fixture{T: c.T, s: c.nodes[i%len(c.nodes)], ctx: c.ctx}
}

var sharedCases = []sharedCase{
	{"Shared/StrictGetsSeeEverything", func(c *cluster) {
		// What one node has acknowledged, a strict Get on any other sees, though that has read the session before.
		for i := range c.many(200) {
			rec := c.on(i).create(session("alice"))
			see := func() {
				c.Helper()
				for j := range c.nodes {
					c.on(j).wantRecord(rec)
					_ = c.nodes[j].Get(c.ctx, app, rec.ID, false, new(store.Record)) // has it in memory
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
			_, err := c.on(i).s.End(c.ctx, app, rec.ID, store.ReasonLogout, t0+2)
			c.must(err)
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
			_, err := c.on(i+1).s.End(c.ctx, app, rec.ID, store.ReasonLogout, t0)
			c.must(err)
			want(store.Change{Kind: store.Gone, App: app, ID: rec.ID})
		}
		_, err := c.on(1).s.EndSubject(c.ctx, app, "bob", store.ID{}, store.ReasonRevoked, t0)
		c.must(err)
		want(store.Change{Kind: store.Gone, App: app, ID: before.ID})
		c.must(c.on(2).s.EndAll(c.ctx, app, t0))
		want(store.Change{Kind: store.GoneAll, App: app})
	}},
	{"Shared/WatchInOrder", func(c *cluster) {
		// Updates of one session by all nodes at once: its revisions come in order, on every node.
		const each = 25
		rec := session("alice")
		rec.Values = values("n", "0")
		c.create(rec)
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
		_, err := c.s.End(c.ctx, app, rec.ID, store.ReasonLogout, t0)
		c.must(err)
		for _, w := range feeds {
			next := uint64(2)
			w.until("the end was not reported", func(change store.Change) bool {
				switch {
				case change.Kind == store.Gap:
					return true // and the end may be in it
				case change.Kind == store.Gone:
					if next != uint64(len(c.nodes)*each+2) {
						c.Fatalf("the end came where revision %d was due", next)
					}
					return true
				case change.Revision != next:
					c.Fatalf("revision %d came where %d was due", change.Revision, next)
				}
				next++
				return false
			})
		}
	}},
	{"I10/Shared/BeatAfterChanges", func(c *cluster) {
		// A heartbeat of any node comes after what was acknowledged, by whatever node, before it was sent.
		n := rand.Uint64()
		for i := range c.nodes {
			feeder := c.feeder(i)
			feeds := []*feed{c.on(i).watch(c.ctx), c.on(i).watch(c.ctx)}
			var known [2]int // rounds without a gap
			const rounds = 20
			for range rounds {
				due := map[store.Change]bool{}
				for j := range 2 * len(c.nodes) {
					rec := c.on(j).create(session([]string{"", "alice"}[j%2]))
					due[store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 1}] = true
					c.on(j+1).update(rec, plain(t0))
					due[store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 2}] = true
					_, err := c.on(j+2).s.End(c.ctx, app, rec.ID, store.ReasonLogout, t0)
					c.must(err)
					due[store.Change{Kind: store.Gone, App: app, ID: rec.ID}] = true
				}
				first, last := n+1, n
				for came := [2]bool{}; !came[0] || !came[1]; { // a heartbeat may get lost
					if last++; last-first > 40 {
						c.Fatal("no heartbeat comes back")
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
							c.Fatalf("a heartbeat came before %d of %d changes that were acknowledged before it", missing, len(due))
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
		// The same while all nodes write all the time.
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
					seen[change] = true // it was lost, and the node knows
				}
				continue
			}
			for _, change := range due {
				if !seen[change] {
					c.Fatalf("a heartbeat came before %+v, which was acknowledged before it", change)
				}
			}
			judged++
		}
	}},
	{"I11/Shared/LimitUnderParallelLogins", func(c *cluster) {
		// As many at once as nodes can send: exactly the limit is left, each time.
		const n, limit = 64, 3
		for i := range c.many(20) {
			refuse := i%2 == 1
			subject := fmt.Sprint("alice ", i)
			var calls []func()
			var made, refused, evicted atomic.Int32
			for j := range n {
				on := c.on(j)
				var visitor *store.Record
				if j%4 == 0 {
					visitor = c.create(session(""))
				}
				calls = append(calls, func() {
					bound := store.Limit{Max: limit, Refuse: refuse}
					var ended []store.Ended
					var err error
					if visitor != nil {
						rec := clone(visitor)
						rec.Subject = subject
						opt := login(t0)
						opt.Limit = bound
						ended, err = on.s.Update(c.ctx, app, rec, opt)
					} else {
						rec := session(subject)
						opt := created(rec)
						opt.Limit = bound
						ended, err = on.s.Create(c.ctx, app, rec, opt)
					}
					switch evicted.Add(int32(len(ended))); {
					case err == nil:
						made.Add(1)
					case refuse && errors.Is(err, store.ErrLimit):
						refused.Add(1)
					default:
						c.Errorf("a login: %v", err)
					}
				})
			}
			parallel(calls...)
			for j := range c.nodes {
				if left := len(c.on(j).list(app, subject, 1000, t0)); left != limit {
					c.Fatalf("%d sessions are left, want %d", left, limit)
				}
			}
			if m := made.Load(); m-evicted.Load() != limit || m+refused.Load() != n || refuse && m != limit {
				c.Fatalf("of %d logins %d were made, %d refused, and %d sessions evicted", n, m, refused.Load(), evicted.Load())
			}
		}
	}},
	{"I3/Shared/EndSubjectDuringLogins", func(c *cluster) {
		// One node ends a subject's sessions while the others log it in: who had arrived before is out, whatever the order.
		for i := range rounds {
			subject := fmt.Sprint("alice ", i)
			for j := range 4 {
				c.on(j).create(session(subject))
			}
			var calls []func()
			for j := range 8 * len(c.nodes) {
				on := c.on(j)
				rec, before := session(""), session(subject)
				c.create(rec)
				calls = append(calls, func() {
					if _, err := on.s.Create(c.ctx, app, before, limited(before, 20)); err != nil && !errors.Is(err, store.ErrBarrier) {
						c.Errorf("Create: %v", err)
					}
				}, func() {
					rec.Subject = subject
					if _, err := on.s.Update(c.ctx, app, rec, login(t0)); err != nil && !errors.Is(err, store.ErrBarrier) {
						c.Errorf("Update: %v", err)
					}
				})
			}
			calls = append(calls, func() {
				if _, err := c.on(i).s.EndSubject(c.ctx, app, subject, store.ID{}, store.ReasonRevoked, t0); err != nil {
					c.Errorf("EndSubject: %v", err)
				}
			})
			parallel(calls...)
			for j := range c.nodes {
				c.on(j).wantList(subject, t0)
			}
			after := sessionAt(subject, t0+1)
			c.on(i + 1).create(after)
			c.on(i+2).wantList(subject, t0+1, after)
		}
	}},
	{"Shared/IdempotencyKey", func(c *cluster) {
		for i := range rounds {
			ids := make([]store.ID, 4*len(c.nodes))
			var made atomic.Int32
			var calls []func()
			for j := range ids {
				on := c.on(j)
				rec := session([]string{"", "alice"}[i%2])
				opt := created(rec)
				opt.Key = fmt.Sprint("key ", i)
				calls = append(calls, func() {
					_, err := on.s.Create(c.ctx, app, rec, opt)
					if err == nil {
						made.Add(1)
					} else if !errors.Is(err, store.ErrRepeated) {
						c.Errorf("Create: %v", err)
					}
					ids[j] = rec.ID
				})
			}
			parallel(calls...)
			if n := made.Load(); n != 1 {
				c.Fatalf("%d sessions were created under one key", n)
			}
			for _, id := range ids {
				if id != ids[0] {
					c.Fatal("one key names two sessions")
				}
			}
		}
		c.wantCount(app, rounds, rounds/2)
	}},
	{"I7/Shared/SweepsShareTheWork", func(c *cluster) {
		// All nodes sweep at once: each expired session ends once, and no other does.
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
				c.Error("Sweep is never done")
			})
		}
		parallel(calls...)
		for _, e := range c.sweep(t0 + hour) { // what a node skipped since another had it in hand
			ended[e.ID]++
		}
		for id := range want {
			if ended[id] != 1 {
				c.Fatalf("an expired session was ended %d times", ended[id])
			}
		}
		for i, rec := range kept {
			c.on(i).wantRecord(rec)
		}
		c.wantCount(app, int64(len(kept)), int64(len(kept)))
	}},
	{"Shared/OneClosed", func(c *cluster) {
		// A node that leaves takes nothing with it.
		rec := c.on(0).create(session("alice"))
		c.must(c.nodes[0].Close())
		c.wantErr(c.nodes[0].Get(c.ctx, app, rec.ID, true, new(store.Record)), store.ErrClosed)
		c.on(1).wantRecord(rec)
		c.on(1).update(rec, login(t0))
		c.on(1).wantRecord(rec)
	}},
}

// feeder returns a node that sends heartbeats.
func (c *cluster) feeder(i int) store.Feeder {
	c.Helper()
	f, ok := c.nodes[i].(store.Feeder)
	if !ok {
		c.Skip("the store has no heartbeats")
	}
	return f
}

// untilBeat collects the changes up to a heartbeat from first to last, and tells whether there was a gap before it.
// It isn't ok if none comes soon: the heartbeat is lost, and the changes stay for the next call.
func (w *feed) untilBeat(first, last uint64) (seen map[store.Change]bool, gap, ok bool) {
	w.f.Helper()
	if w.seen == nil {
		w.seen = map[store.Change]bool{}
	}
	timeout := time.NewTimer(300 * time.Millisecond) // a heartbeat that takes longer comes before the next
	defer timeout.Stop()
	for {
		select {
		case c, open := <-w.ch:
			switch {
			case !open:
				w.f.Fatal("the feed is closed")
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
