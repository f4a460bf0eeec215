package redisstore

import (
	"testing"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t testing.TB) store.Store { return open(t, Options{}) })
}

func TestStoreOnCluster(t *testing.T) {
	storetest.Run(t, func(t testing.TB) store.Store { return openAt(t, shared(t, cluster).URL(), Options{}) })
}
