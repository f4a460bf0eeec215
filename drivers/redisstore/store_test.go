package redisstore

import (
	"testing"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/nearcache"
	"github.com/sojourn-go/sojourn/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t testing.TB) store.Store { return open(t, Options{}) })
}

func TestShared(t *testing.T) {
	for name, url := range urls(t) {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name == "cluster" {
				t.Skip("the single Redis is enough for a short look")
			}
			storetest.RunShared(t, func(t testing.TB) (nodes []store.Store) {
				for _, s := range openSeveral(t, url) {
					nodes = append(nodes, s)
				}
				return nodes
			})
		})
	}
}

func TestSharedBehindCaches(t *testing.T) {
	storetest.RunShared(t, func(t testing.TB) (nodes []store.Store) {
		for _, s := range openSeveral(t, shared(t, single).URL()) {
			nodes = append(nodes, nearcache.NewShared(s, nearcache.Options{}))
		}
		return nodes
	})
}
