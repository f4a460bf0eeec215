package nearcache_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
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

// A node is one process's store of a cluster: a memstore that several nodes may share, whose feed and calls the
// test can disturb.
type node struct {
	*memstore.Store

	mu      sync.Mutex
	instead func(call string) error            // an error of it keeps a call from the store
	after   func(call string, err error) error // runs when the store has answered, and may change the error
	pump    func(store.Change) []store.Change  // what the feed reports instead of a change
	beat    func(context.Context) error        // instead of a heartbeat
	reads   int
	deaf    bool // Watch fails
	feeds   map[*pump]bool
}

type pump struct{ broken chan struct{} }

func newNode() *node { return &node{Store: memstore.New()} }

func (n *node) set(f func(*node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

func (n *node) call(name string, f func() error) error {
	n.mu.Lock()
	instead, after := n.instead, n.after
	if name == "Get" {
		n.reads++
	}
	n.mu.Unlock()
	if instead != nil {
		if err := instead(name); err != nil {
			return err
		}
	}
	err := f()
	if after != nil {
		err = after(name, err)
	}
	return err
}

func (n *node) Get(ctx context.Context, app string, id store.ID, strict bool, rec *store.Record) error {
	if !strict {
		panic("the store is read without strict")
	}
	return n.call("Get", func() error { return n.Store.Get(ctx, app, id, strict, rec) })
}

func (n *node) Create(ctx context.Context, app string, rec *store.Record, opt store.CreateOptions) (ended []store.Ended, err error) {
	err = n.call("Create", func() (err error) { ended, err = n.Store.Create(ctx, app, rec, opt); return err })
	return ended, err
}

func (n *node) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) (ended []store.Ended, err error) {
	err = n.call("Update", func() (err error) { ended, err = n.Store.Update(ctx, app, rec, opt); return err })
	return ended, err
}

func (n *node) Touch(ctx context.Context, app string, id store.ID, at, now store.Time, client store.Client) error {
	return n.call("Touch", func() error { return n.Store.Touch(ctx, app, id, at, now, client) })
}

func (n *node) End(ctx context.Context, app string, id store.ID, reason store.Reason, at store.Time) (ended []store.Ended, err error) {
	err = n.call("End", func() (err error) { ended, err = n.Store.End(ctx, app, id, reason, at); return err })
	return ended, err
}

func (n *node) EndSubject(ctx context.Context, app, subject string, except store.ID, reason store.Reason, at store.Time) (ended []store.Ended, err error) {
	err = n.call("EndSubject", func() (err error) {
		ended, err = n.Store.EndSubject(ctx, app, subject, except, reason, at)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ended, nil
}

func (n *node) EndAll(ctx context.Context, app string, at store.Time) error {
	return n.call("EndAll", func() error { return n.Store.EndAll(ctx, app, at) })
}

func (n *node) Sweep(ctx context.Context, app string, now store.Time, max int) (ended []store.Ended, over bool, err error) {
	err = n.call("Sweep", func() (err error) { ended, over, err = n.Store.Sweep(ctx, app, now, max); return err })
	return ended, over, err
}

// A heartbeat travels through the memstore as the EndAll of an application of its own, so that it has its place
// among the changes, and is lost with them.
const beatApp = "heartbeat "

func (n *node) Beat(ctx context.Context, number uint64) error {
	n.mu.Lock()
	beat := n.beat
	n.mu.Unlock()
	if beat != nil {
		if err := beat(ctx); err != nil {
			return err
		}
	}
	return n.Store.EndAll(ctx, beatApp+strconv.FormatUint(number, 10), 1)
}

func (n *node) Watch(ctx context.Context) (<-chan store.Change, error) {
	n.mu.Lock()
	deaf := n.deaf
	n.mu.Unlock()
	if deaf {
		return nil, errDown
	}
	in, err := n.Store.Watch(ctx)
	if err != nil {
		return nil, err
	}
	p := &pump{broken: make(chan struct{})}
	n.set(func(n *node) {
		if n.feeds == nil {
			n.feeds = map[*pump]bool{}
		}
		n.feeds[p] = true
	})
	out := make(chan store.Change)
	go func() {
		defer close(out)
		for {
			select {
			case c, ok := <-in:
				if !ok {
					return
				}
				for _, c := range n.pumped(c) {
					select {
					case out <- c:
					case <-p.broken:
						return
					case <-ctx.Done():
						return
					}
				}
			case <-p.broken:
				return
			}
		}
	}()
	return out, nil
}

func (n *node) pumped(c store.Change) []store.Change {
	if number, ok := strings.CutPrefix(c.App, beatApp); ok {
		c = store.Change{Kind: store.Beat}
		c.Revision, _ = strconv.ParseUint(number, 10, 64)
	}
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
		for p := range n.feeds {
			close(p.broken)
			delete(n.feeds, p)
		}
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

// get is a Get that isn't strict.
func (f *fixture) get(id store.ID) (*store.Record, error) {
	rec := new(store.Record)
	err := f.Get(ctx, app, id, false, rec)
	return rec, err
}

// fromMemory checks that a session is answered from memory, and that the store would say the same.
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

// fromStore checks that the store is read.
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
