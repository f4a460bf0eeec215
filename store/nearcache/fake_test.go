package nearcache_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
	"github.com/sojourn-go/sojourn/store/storetest"
)

const (
	app = "shop"
	t0  = store.Time(1_800_000_000_000)
)

var (
	ctx    = context.Background()
	phone  = store.Client{IP: netip.MustParseAddr("192.0.2.7"), UserAgent: "Phone/1.0"}
	laptop = store.Client{IP: netip.MustParseAddr("2001:db8::7"), UserAgent: "Laptop/2.0"}
)

func newID() store.ID {
	var id store.ID
	binary.BigEndian.PutUint64(id[:], uint64(t0)<<16|0x7000|rand.Uint64()&0xfff)
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	return id
}

func session(subject string) *store.Record {
	return &store.Record{
		ID: newID(), Subject: subject, Epoch: 1, Secret: store.Secret{Hash: store.Hash{1}, IssuedAt: t0},
		CreatedAt: t0, LastSeenAt: t0, Idle: time.Hour, ExpiresAt: t0.Add(24 * time.Hour),
		Client: phone, LastClient: phone, Values: store.Values(nil).AppendSet(nil, "cart", []byte(`{"sku":1}`)),
	}
}

var (
	created = store.CreateOptions{Arrived: t0, Now: t0}
	updated = store.UpdateOptions{Arrived: t0, Now: t0}
)

// A node is a process's handle on a memstore. Several nodes may share the
// memstore. A test can disturb a node's feed and its calls.
type node struct {
	storetest.Feeder
	Store *memstore.Store // undisturbed

	mu      sync.Mutex                         // guards the fields below
	instead func(call string) error            // if it returns an error, the call doesn't reach the store
	after   func(call string, err error) error // called with the store's answer, which it may change
	pump    func(store.Change) []store.Change  // what the feed reports instead of a change
	beat    func(context.Context) error        // called before a heartbeat, which it may fail
	reads   int
	deaf    bool // Watch fails
	feeds   []context.CancelFunc
}

func newNode() *node { return newNodeOn(memstore.New()) }

func newNodeOn(s *memstore.Store) *node {
	n := &node{Store: s}
	n.Feeder = storetest.Disturb(storetest.Beating(s, n.pumped), n.call)
	return n
}

func (n *node) set(f func(*node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

func (n *node) call(ctx context.Context, c driver.Call) driver.Result {
	n.mu.Lock()
	instead, after, beat, deaf := n.instead, n.after, n.beat, n.deaf
	if c.Op == driver.Get {
		n.reads++
	}
	n.mu.Unlock()
	switch c.Op {
	case driver.Confirm, driver.List, driver.Search, driver.Count, driver.Barrier, driver.Close:
		return c.Do(ctx)
	case driver.Beat:
		if beat != nil {
			if err := beat(ctx); err != nil {
				return driver.Result{Err: err}
			}
		}
		return c.Do(ctx)
	case driver.Watch:
		if deaf {
			return driver.Result{Err: errDown}
		}
		ctx, cancel := context.WithCancel(ctx)
		n.set(func(n *node) { n.feeds = append(n.feeds, cancel) })
		return c.Do(ctx)
	case driver.Get:
		if !c.Strict {
			panic("the store is read without strict")
		}
	}
	if instead != nil {
		if err := instead(c.Op.String()); err != nil {
			return driver.Result{Err: err}
		}
	}
	r := c.Do(ctx)
	if after != nil {
		r.Err = after(c.Op.String(), r.Err)
	}
	if c.Op == driver.EndSubject && r.Err != nil {
		r.Ended = nil
	}
	return r
}

func (n *node) pumped(c store.Change) []store.Change {
	n.mu.Lock()
	pump := n.pump
	n.mu.Unlock()
	if pump == nil {
		return []store.Change{c}
	}
	return pump(c)
}

// breakFeeds closes all channels of Watch.
func (n *node) breakFeeds() {
	n.set(func(n *node) {
		for _, cancel := range n.feeds {
			cancel()
		}
		n.feeds = nil
	})
}

func (n *node) readCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.reads
}

var errDown = errors.New("the store is down")

// A fixture is a cache on a node.
type fixture struct {
	testing.TB
	*nearcache.Cache
	node *node
}

func owner(t testing.TB) *fixture {
	n := newNode()
	c := nearcache.New(n, nearcache.Options{})
	t.Cleanup(func() { c.Close() })
	return &fixture{t, c, n}
}

func shared(t testing.TB, n *node) *fixture {
	c := nearcache.NewShared(n, nearcache.Options{})
	t.Cleanup(func() { c.Close() })
	return &fixture{t, c, n}
}

func (f *fixture) create(subject string) *store.Record {
	f.Helper()
	rec := session(subject)
	f.must(f.Create(ctx, app, rec, created))
	return rec
}

func (f *fixture) must(_ any, err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// get makes a Get that isn't strict.
func (f *fixture) get(id store.ID) (*store.Record, error) {
	rec := new(store.Record)
	err := f.Get(ctx, app, id, false, rec)
	return rec, err
}

// fromMemory checks that the cache answers from memory, and that the store
// would give the same answer.
func (f *fixture) fromMemory(id store.ID) *store.Record {
	f.Helper()
	got, err := f.get(id)
	if err != nil || !got.Cached {
		f.Fatalf("Get = cached %v, %v; want it from memory", got.Cached, err)
	}
	var want store.Record
	if err := f.node.Store.Get(ctx, app, id, true, &want); err != nil || !want.Equal(got) {
		f.Fatalf("in memory is\n%+v\nand in the store, %v,\n%+v", got, err, want)
	}
	return got
}

// fromStore checks that the cache reads the store.
func (f *fixture) fromStore(id store.ID, want error) *store.Record {
	f.Helper()
	reads := f.node.readCount()
	got, err := f.get(id)
	if !errors.Is(err, want) {
		f.Fatalf("Get: %v, want %v", err, want)
	}
	if f.node.readCount() == reads || got.Cached {
		f.Fatal("Get didn't read the store")
	}
	return got
}
