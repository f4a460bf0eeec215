package redisstore

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

const atMost = 20 * time.Second

func watch(t testing.TB, s *Store) <-chan store.Change {
	t.Helper()
	changes, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

func next(t testing.TB, changes <-chan store.Change) store.Change {
	t.Helper()
	select {
	case c, ok := <-changes:
		if !ok {
			t.Fatal("the feed is closed")
		}
		return c
	case <-time.After(atMost):
		t.Fatal("the feed reports nothing")
	}
	return store.Change{}
}

// beatUntil sends heartbeats until one comes back. It returns the changes
// before it.
func beatUntil(t testing.TB, s *Store, changes <-chan store.Change, n uint64) (before []store.Change) {
	t.Helper()
	deadline := time.Now().Add(atMost)
	for ; time.Now().Before(deadline); n++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := s.Beat(ctx, n)
		cancel()
		if err != nil {
			time.Sleep(20 * time.Millisecond) // a server that is coming back
			continue
		}
		wait := time.After(time.Second)
	drain:
		for {
			select {
			case c := <-changes:
				if c.Kind == store.Beat {
					return before
				}
				before = append(before, c)
			case <-wait:
				break drain
			}
		}
	}
	t.Fatal("no heartbeat comes back")
	return nil
}

// A heartbeat comes back after everything that other nodes changed before it.
func TestI10BeatComesLast(t *testing.T) {
	t.Parallel()
	for name, url := range urls(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := openSeveral(t, url)
			changes := watch(t, nodes[0])
			rec := create(t, nodes[1], session("ada"))
			if got := next(t, changes); got.ID != rec.ID || got.Kind != store.Changed {
				t.Fatalf("change %+v", got)
			}
			for n := range uint64(200) {
				other := create(t, nodes[1], session(""))
				if err := nodes[0].Beat(t.Context(), n); err != nil {
					t.Fatal(err)
				}
				if got, want := next(t, changes), (store.Change{Kind: store.Changed, App: app, ID: other.ID, Revision: 1}); got != want {
					t.Fatalf("change %+v, want %+v", got, want)
				}
				if got, want := next(t, changes), (store.Change{Kind: store.Beat, Revision: n}); got != want {
					t.Fatalf("change %+v, want %+v", got, want)
				}
			}
			if stats := nodes[0].Stats(); stats.Beats != 200 || stats.Gaps > 2 {
				t.Errorf("Stats = %+v", stats)
			}
		})
	}
}

// killFeeds closes the connections of the feeds of a store's prefix, as a
// broken network would.
func killFeeds(t testing.TB, r *servertest.RedisServer) {
	t.Helper()
	list, err := r.Do("CLIENT", "LIST")
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for line := range strings.Lines(list.(string)) {
		var id string
		tracking := false
		for _, field := range strings.Fields(line) {
			name, value, _ := strings.Cut(field, "=")
			switch name {
			case "id":
				id = value
			case "flags":
				tracking = strings.Contains(value, "t") || strings.Contains(value, "B")
			}
		}
		if tracking {
			if _, err := r.Do("CLIENT", "KILL", "ID", id); err != nil {
				t.Fatal(err)
			}
			killed++
		}
	}
	if killed == 0 {
		t.Fatal("no connection follows the feed")
	}
}

// A lost connection is a gap. The feed reports it before the next heartbeat,
// even if it reported one before the connection was made again.
func TestI10LostConnectionIsAGap(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{})
	nodes := several{openAt(t, r.URL(), Options{Prefix: "p"}), openAt(t, r.URL(), Options{Prefix: "p"})}
	changes := watch(t, nodes[0])
	beatUntil(t, nodes[0], changes, 1)
	for n := range uint64(20) {
		killFeeds(t, r)
		create(t, nodes[1], session("")) // may be missed
		before := beatUntil(t, nodes[0], changes, 100*(n+1))
		if !slices.ContainsFunc(before, func(c store.Change) bool { return c.Kind == store.Gap }) {
			t.Fatalf("the connection was lost, and the heartbeat came after %+v", before)
		}
	}
}

// The feed also reports a loss if nobody sends heartbeats.
func TestI10GapWithoutBeats(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{})
	nodes := several{openAt(t, r.URL(), Options{Prefix: "p"}), openAt(t, r.URL(), Options{Prefix: "p"})}
	changes := watch(t, nodes[0])
	killFeeds(t, r)
	for gaps := 0; gaps < 2; { // one when it is lost, one when it is back
		if next(t, changes).Kind == store.Gap {
			gaps++
		}
	}
	rec := create(t, nodes[1], session(""))
	for c := next(t, changes); c.ID != rec.ID; c = next(t, changes) {
	}
}

// FLUSHALL is a gap.
func TestI10FlushIsAGap(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{})
	s := openAt(t, r.URL(), Options{})
	changes := watch(t, s)
	if _, err := r.Do("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	for next(t, changes).Kind != store.Gap {
	}
	create(t, s, session("ada")) // scripts are sent again
	if list, _, err := s.Sweep(t.Context(), app, t0+hour, 1000); err != nil || len(list) != 1 {
		t.Errorf("Sweep ended %+v: %v", list, err)
	}
}

// Redis that was killed and started without data is a gap. Then everything
// works again.
func TestI10RestartedEmpty(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{})
	s := openAt(t, r.URL(), Options{})
	changes := watch(t, s)
	beatUntil(t, s, changes, 1)
	rec := create(t, s, session("ada"))
	if err := r.RestartEmpty(); err != nil {
		t.Fatal(err)
	}
	before := beatUntil(t, s, changes, 100)
	if !slices.ContainsFunc(before, func(c store.Change) bool { return c.Kind == store.Gap }) {
		t.Errorf("Redis lost everything, and the heartbeat came after %+v", before)
	}
	if err := getSoon(t, s, rec.ID); err == nil {
		t.Error("the session is there") // Redis has forgotten it
	}
	create(t, s, session("ada"))
}

// getSoon reads a session once the store has noticed its broken connections.
func getSoon(t testing.TB, s *Store, id store.ID) error {
	t.Helper()
	return getSoonInto(t, s, id, new(store.Record))
}

func getSoonInto(t testing.TB, s *Store, id store.ID, rec *store.Record) (err error) {
	t.Helper()
	for deadline := time.Now().Add(atMost); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err = s.Count(t.Context(), app); err == nil {
			return s.Get(t.Context(), app, id, true, rec)
		}
	}
	t.Fatalf("service doesn't resume: %v", err)
	return err
}

// A replica that takes over is a gap: the master's latest acknowledged changes
// may be lost, and what it had sent to the feed too.
func TestI10Failover(t *testing.T) {
	t.Parallel()
	c := servertest.Cluster(t, servertest.RedisOptions{})
	s := openAt(t, c.URL(), Options{})
	changes := watch(t, s)
	beatUntil(t, s, changes, 1)
	if err := c.Failover(c.Masters()[0]); err != nil {
		t.Fatal(err)
	}
	before := beatUntil(t, s, changes, 100)
	if !slices.ContainsFunc(before, func(c store.Change) bool { return c.Kind == store.Gap }) {
		t.Errorf("a master was replaced, and the heartbeat came after %+v", before)
	}
	for range 20 { // in all parts of the cluster
		deadline := time.Now().Add(atMost)
		for {
			rec := session("ada")
			if _, err := s.Create(t.Context(), app, rec, created(rec)); err == nil {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("service doesn't resume: %v", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// Buckets that move from one living master to another, without a broken
// connection, are a gap. So they are if they have come back before the next
// heartbeat is sent.
func TestI10MovedBucketsAreAGap(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]bool{"moved": false, "moved and come back": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := servertest.Cluster(t, servertest.RedisOptions{})
			s := openAt(t, c.URL(), Options{})
			changes := watch(t, s)
			beatUntil(t, s, changes, 1)
			masters := c.Masters()
			slot := lastSlotOf(t, masters[0])
			move(t, slot, masters[0], masters[1], back)
			if back {
				move(t, slot, masters[1], masters[0], true)
			}
			before := beatUntil(t, s, changes, 100)
			if !slices.ContainsFunc(before, func(c store.Change) bool { return c.Kind == store.Gap }) {
				t.Errorf("the heartbeat came after %+v", before)
			}
		})
	}
}

// lastSlotOf returns the slot of a master's last bucket.
func lastSlotOf(t testing.TB, master *servertest.RedisServer) string {
	t.Helper()
	answer, err := master.Do("CLUSTER", "SLOTS")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range answer.([]any) {
		parts := r.([]any)
		if parts[2].([]any)[1].(int64) != int64(master.Port()) {
			continue
		}
		for i := buckets - 1; i >= 0; i-- {
			if slot := int64(slotOf(tags[i])); parts[0].(int64) <= slot && slot <= parts[1].(int64) {
				return itoa(store.Time(slot))
			}
		}
	}
	t.Fatal("the master has no bucket")
	return ""
}

// move moves an empty slot. With an announcement the cluster's epoch grows, as
// it does when data is moved.
func move(t testing.TB, slot string, from, to *servertest.RedisServer, announced bool) {
	t.Helper()
	id := func(r *servertest.RedisServer) string {
		answer, err := r.Do("CLUSTER", "MYID")
		if err != nil {
			t.Fatal(err)
		}
		return answer.(string)
	}
	do := func(r *servertest.RedisServer, args ...string) {
		t.Helper()
		if _, err := r.Do(append([]string{"CLUSTER", "SETSLOT", slot}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	if announced {
		do(to, "IMPORTING", id(from))
		do(from, "MIGRATING", id(to))
	}
	do(to, "NODE", id(to))
	do(from, "NODE", id(to))
}

// On a cluster with TLS only, the feed's own connections use TLS too.
func TestTLSCluster(t *testing.T) {
	c := servertest.Cluster(t, servertest.RedisOptions{Password: "secret", TLS: true})
	s := openAt(t, c.URL(), Options{TLSConfig: c.Nodes[0].Certificates.Config()})
	changes := watch(t, s)
	rec := session("alice")
	create(t, s, rec)
	for change := next(t, changes); change.ID != rec.ID; change = next(t, changes) {
	}
	beatUntil(t, s, changes, 1)
}
