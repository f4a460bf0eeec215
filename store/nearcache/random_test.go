package nearcache_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// TestI10Random runs several nodes on one store. Calls are slow, and feeds
// delay, reorder, lose and break. Each answer must include what had been
// acknowledged when the read began: by the same node until then, and by others
// until a second before.
func TestI10Random(t *testing.T) {
	for range seeds() {
		seed := rand.Uint64()
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runCluster(t, seed, 3, true) })
		})
	}
}

// TestI4Random is TestI10Random with one node, no other writers and no feed.
func TestI4Random(t *testing.T) {
	for range seeds() {
		seed := rand.Uint64()
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runCluster(t, seed, 1, false) })
		})
	}
}

func seeds() int {
	if testing.Short() {
		return 1
	}
	return 5
}

type cluster struct {
	testing.TB

	mu       sync.Mutex
	rnd      *rand.Rand
	sessions []*known
	answers  map[string]int // how often each kind of answer came, to prove that the test covers them
}

// known holds what has been acknowledged about a session.
type known struct {
	id      store.ID
	subject string
	created store.Time
	acks    []ack
}

type ack struct {
	node     int
	at       time.Time
	revision uint64 // 0: it ended
}

func (c *cluster) chance(percent int) bool { return c.intN(100) < percent }

func (c *cluster) intN(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rnd.IntN(n)
}

// pause lets other goroutines work for a few milliseconds at most.
func (c *cluster) pause(ms int) { time.Sleep(time.Duration(c.intN(ms*1000)) * time.Microsecond) }

func (c *cluster) count(answer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[answer]++
}

func (c *cluster) now() store.Time { return store.TimeOf(time.Now()) }

func runCluster(t *testing.T, seed uint64, nodes int, sharing bool) {
	c := &cluster{TB: t, rnd: rand.New(rand.NewPCG(seed, 0)), answers: map[string]int{}}
	mem := memstore.New()
	var caches []*nearcache.Cache
	var wg sync.WaitGroup
	stop, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := range nodes {
		n := newNodeOn(mem)
		n.instead = func(string) error { c.pause(4); return nil }
		n.after = func(call string, err error) error {
			c.pause(4)
			if sharing && call != "Get" && c.chance(2) {
				return store.ErrUncertain
			}
			return err
		}
		var cache *nearcache.Cache
		if sharing {
			c.disturb(n)
			cache = nearcache.NewShared(n, nearcache.Options{MaxBytes: 1 << 20})
			wg.Go(func() {
				for stop.Err() == nil {
					c.pause(15_000)
					n.set(func(n *node) { n.deaf = c.chance(50) })
					n.breakFeeds()
					c.pause(3000)
					n.set(func(n *node) { n.deaf = false })
				}
			})
		} else {
			cache = nearcache.New(n, nearcache.Options{MaxBytes: 1 << 20})
		}
		caches = append(caches, cache)
		for range 12 {
			wg.Go(func() {
				for stop.Err() == nil {
					c.step(i, cache)
					if c.chance(30) {
						c.pause(40)
					}
				}
			})
		}
	}
	wg.Wait()
	for _, cache := range caches {
		cache.Close()
	}
	t.Logf("%v", c.answers)
	for _, answer := range []string{"live from memory", "live", "ended", "created", "updated", "end"} {
		if c.answers[answer] < 50 {
			t.Errorf("%q came %d times only", answer, c.answers[answer])
		}
	}
}

// disturb makes the node's feed as bad as the contract allows.
func (c *cluster) disturb(n *node) {
	var mu sync.Mutex
	var late []store.Change
	lost := false
	n.pump = func(change store.Change) (out []store.Change) {
		mu.Lock()
		defer mu.Unlock()
		switch p := c.intN(1000); {
		case p < 10:
			c.pause(400)
		case p < 12:
			c.pause(3000)
		}
		switch {
		case change.Kind == store.Beat:
			c.mu.Lock()
			c.rnd.Shuffle(len(late), func(i, k int) { late[i], late[k] = late[k], late[i] })
			c.mu.Unlock()
			out, late = late, nil
			if lost {
				out = slices.Insert(out, c.intN(len(out)+1), store.Change{Kind: store.Gap})
			}
			lost = false
			return append(out, change)
		case c.chance(2):
			lost = true
			return nil
		case c.chance(50):
			late = append(late, change)
			return nil
		}
		return []store.Change{change}
	}
	n.beat = func(ctx context.Context) error {
		switch p := c.intN(100); {
		case p < 10:
			return errDown
		case p < 13:
			<-ctx.Done()
			return ctx.Err()
		case p < 20:
			c.pause(800)
		}
		return nil
	}
}

// pick returns a session, mostly a recent one.
func (c *cluster) pick() *known {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sessions) == 0 {
		return nil
	}
	return c.sessions[max(0, len(c.sessions)-1-c.rnd.IntN(40))]
}

func (c *cluster) step(i int, s *nearcache.Cache) {
	k := c.pick()
	p := c.intN(10_000)
	switch {
	case k == nil || p < 40:
		c.create(i, s)
	case p < 9500:
		c.get(i, s, k, false)
	case p < 9600:
		c.get(i, s, k, true)
	case p < 9720:
		c.update(i, s, k)
	case p < 9940:
		s.Touch(ctx, app, k.id, c.now(), c.now(), phone)
	case p < 9970:
		s.Confirm(ctx, app, k.id, store.Hash{1}, store.Confirmation{FirstSeenAt: c.now()})
	case p < 9992:
		if _, err := s.End(ctx, app, k.id, store.ReasonLogout, c.now()); err == nil {
			c.ended(i, func(o *known) bool { return o == k })
		}
	case p < 9995:
		were := c.acknowledged(func(o *known) bool { return o.subject == k.subject })
		if _, err := s.EndSubject(ctx, app, k.subject, store.ID{}, store.ReasonRevoked, c.now()); err == nil {
			c.ended(i, func(o *known) bool { return were[o.id] })
		}
	case p < 9996:
		if c.chance(30) {
			at := c.now()
			were := c.acknowledged(func(o *known) bool { return o.created <= at })
			if s.EndAll(ctx, app, at) == nil {
				c.ended(i, func(o *known) bool { return were[o.id] })
			}
		}
	}
}

func (c *cluster) create(i int, s *nearcache.Cache) {
	now := c.now()
	rec := session("user" + strconv.Itoa(c.intN(5)))
	rec.CreatedAt, rec.LastSeenAt, rec.ExpiresAt = now, now, now.Add(time.Hour)
	k := &known{id: rec.ID, subject: rec.Subject, created: now}
	c.mu.Lock()
	c.sessions = append(c.sessions, k) // others may read it before it exists
	c.mu.Unlock()
	c.pause(10)
	ended, err := s.Create(ctx, app, rec, store.CreateOptions{Arrived: c.now(), Now: c.now(), Limit: store.Limit{Max: 8}})
	if err == nil {
		c.ack(k, ack{i, time.Now(), 1})
		c.count("created")
	}
	c.evicted(i, ended)
}

func (c *cluster) update(i int, s *nearcache.Cache, k *known) {
	var rec store.Record
	if s.Get(ctx, app, k.id, c.chance(50), &rec) != nil {
		return
	}
	ended, err := s.Update(ctx, app, &rec, store.UpdateOptions{Login: c.chance(20), Limit: store.Limit{Max: 8}, Arrived: c.now(), Now: c.now()})
	if err == nil {
		c.ack(k, ack{i, time.Now(), rec.Revision})
		c.count("updated")
	}
	c.evicted(i, ended)
}

func (c *cluster) ack(k *known, a ack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.acks = append(k.acks, a)
}

// acknowledged returns the sessions whose creation was acknowledged.
func (c *cluster) acknowledged(of func(*known) bool) map[store.ID]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	set := map[store.ID]bool{}
	for _, k := range c.sessions {
		set[k.id] = len(k.acks) > 0 && of(k)
	}
	return set
}

func (c *cluster) ended(i int, which func(*known) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers["end"]++
	for _, k := range c.sessions {
		if which(k) {
			k.acks = append(k.acks, ack{i, time.Now(), 0})
		}
	}
}

func (c *cluster) evicted(i int, list []store.Ended) {
	for _, e := range list {
		c.ended(i, func(k *known) bool { return k.id == e.ID })
	}
}

// get reads a session and checks the answer.
func (c *cluster) get(i int, s *nearcache.Cache, k *known, strict bool) {
	begun := time.Now()
	c.mu.Lock()
	acks := slices.Clone(k.acks)
	c.mu.Unlock()
	var rec store.Record
	err := s.Get(ctx, app, k.id, strict, &rec)
	switch {
	case err == nil && rec.Cached:
		c.count("live from memory")
	case err == nil:
		c.count("live")
	case errors.Is(err, store.ErrEnded):
		c.count("ended")
		return
	case !errors.Is(err, store.ErrNotFound):
		c.Errorf("Get: %v", err)
		return
	}
	for _, a := range acks {
		fresh := err == nil && !rec.Cached
		if a.node != i && !fresh && a.at.After(begun.Add(-time.Second)) {
			continue // this node may not know it yet
		}
		switch {
		case err != nil && a.revision == 0: // equal to an end
		case err != nil:
			c.Errorf("node %d doesn't know a session that node %d knew %v before", i, a.node, begun.Sub(a.at))
		case a.revision == 0:
			c.Errorf("node %d: live (cached %v), %v after node %d acknowledged the end", i, rec.Cached, begun.Sub(a.at), a.node)
		case rec.Revision < a.revision:
			c.Errorf("node %d: revision %d (cached %v), %v after node %d acknowledged %d", i, rec.Revision, rec.Cached, begun.Sub(a.at), a.node, a.revision)
		}
	}
}
