package pgstore

import (
	"testing"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/nearcache"
	"github.com/sojourn-go/sojourn/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t testing.TB) store.Store { return openNew(t) })
}

func TestShared(t *testing.T) {
	storetest.RunShared(t, func(t testing.TB) []store.Store {
		url := shared(t).URL()
		schema := schemaOf(t, url)
		var nodes []store.Store
		for range 3 {
			nodes = append(nodes, mustOpen(t, url, Options{Schema: schema, MaxConns: 8}))
		}
		return nodes
	})
}

// TestCached tests the store with a cache on each node, as many nodes run it.
func TestCached(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	storetest.RunShared(t, func(t testing.TB) []store.Store {
		url := shared(t).URL()
		schema := schemaOf(t, url)
		var nodes []store.Store
		for range 3 {
			nodes = append(nodes, nearcache.NewShared(mustOpen(t, url, Options{Schema: schema, MaxConns: 8}), nearcache.Options{}))
		}
		return nodes
	})
}

// TestThroughPgBouncer tests a pooler in transaction mode, with a direct
// connection for the feed.
func TestThroughPgBouncer(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	url := shared(t).URL()
	b, err := bouncer()
	servertest.Check(t, err)
	storetest.RunShared(t, func(t testing.TB) []store.Store {
		schema := schemaOf(t, url)
		var nodes []store.Store
		for range 2 {
			nodes = append(nodes, mustOpen(t, b.URL(), Options{Schema: schema, FeedURL: url, MaxConns: 8}))
		}
		return nodes
	})
}
