package nearcache_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
	"github.com/sojourn-go/sojourn/store/storetest"
)

// TestStore checks that the contract holds through the cache.
func TestStore(t *testing.T) {
	t.Run("owner", func(t *testing.T) {
		long(t)
		storetest.Run(t, func(testing.TB) store.Store { return nearcache.New(memstore.New(), nearcache.Options{}) })
	})
	// If all writes go through the cache, reads from memory are as good as
	// strict ones.
	t.Run("from memory", func(t *testing.T) {
		storetest.Run(t, func(testing.TB) store.Store {
			c := nearcache.New(memstore.New(), nearcache.Options{})
			return driver.Intercept(c, func(ctx context.Context, c driver.Call) driver.Result {
				c.Strict = false
				r := c.Do(ctx)
				if c.Op == driver.Get {
					c.Record.Cached = false
				}
				return r
			})
		})
	})
	t.Run("small", func(t *testing.T) { // evicts soon, and holds no large records
		long(t)
		storetest.Run(t, func(testing.TB) store.Store {
			return nearcache.New(memstore.New(), nearcache.Options{MaxBytes: 600 << 10})
		})
	})
	t.Run("shared", func(t *testing.T) {
		storetest.Run(t, func(t testing.TB) store.Store {
			c := nearcache.NewShared(newNode(), nearcache.Options{})
			for deadline := time.Now().Add(10 * time.Second); !c.Stats().Live; {
				if time.Now().After(deadline) {
					t.Fatal("the cache never gets live")
				}
			}
			return c
		})
	})
	t.Run("not live", func(t *testing.T) {
		long(t)
		storetest.Run(t, func(testing.TB) store.Store {
			n := newNode()
			n.beat = func(context.Context) error { return errDown }
			return nearcache.NewShared(n, nearcache.Options{})
		})
	})
}

// TestSharedStore checks that the contract of many nodes holds through their
// caches.
func TestSharedStore(t *testing.T) {
	storetest.RunShared(t, func(testing.TB) (nodes []store.Store) {
		shared, open := memstore.New(), new(atomic.Int32)
		for range 3 {
			open.Add(1)
			nodes = append(nodes, nearcache.NewShared(&lodger{node: newNodeOn(shared), open: open}, nearcache.Options{}))
		}
		return nodes
	})
}

// A lodger is a node whose memstore closes when the last of its nodes closes.
type lodger struct {
	*node
	open *atomic.Int32
	once sync.Once
}

func (l *lodger) Close() (err error) {
	l.once.Do(func() {
		l.set(func(n *node) { n.instead = func(string) error { return store.ErrClosed } })
		l.breakFeeds()
		if l.open.Add(-1) == 0 {
			err = l.Store.Close()
		}
	})
	return err
}

func long(t *testing.T) {
	if testing.Short() {
		t.Skip("the others find most of it")
	}
}
