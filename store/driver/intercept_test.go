package driver_test

import (
	"context"
	"errors"
	"testing"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/storetest"
)

func through(s store.Store) store.Store {
	return driver.Intercept(s, func(ctx context.Context, c driver.Call) driver.Result { return c.Do(ctx) })
}

// TestIntercept checks that an intercepted store still fulfils the contract.
func TestIntercept(t *testing.T) {
	storetest.Run(t, func(testing.TB) store.Store { return through(memstore.New()) })
}

// TestInterceptAbilities checks that an intercepted store implements the same
// interfaces as the store.
func TestInterceptAbilities(t *testing.T) {
	type feeder interface {
		store.Store
		store.Feeder
	}
	for name, test := range map[string]struct {
		store                 store.Store
		watches, feeds, warns bool
	}{
		"plain":   {struct{ store.Store }{}, false, false, false},
		"watcher": {memstore.New(), true, false, false},
		"feeder":  {struct{ feeder }{}, true, true, false},
		"warner": {struct {
			feeder
			store.Warner
		}{}, true, true, true},
		"warner without a feed": {struct {
			store.Store
			store.Warner
		}{}, false, false, true},
		"watching warner": {struct {
			*memstore.Store
			store.Warner
		}{}, true, false, true},
	} {
		s := through(test.store)
		if _, ok := s.(store.Watcher); ok != test.watches {
			t.Errorf("%s: Watcher %v", name, ok)
		}
		if _, ok := s.(store.Feeder); ok != test.feeds {
			t.Errorf("%s: Feeder %v", name, ok)
		}
		if _, ok := s.(store.Warner); ok != test.warns {
			t.Errorf("%s: Warner %v", name, ok)
		}
	}
}

// TestInterceptReplaces checks that around may answer instead of the store.
func TestInterceptReplaces(t *testing.T) {
	down := errors.New("down")
	s := driver.Intercept(memstore.New(), func(ctx context.Context, c driver.Call) driver.Result {
		if c.Op == driver.Count {
			return driver.Result{Err: down}
		}
		return c.Do(ctx)
	})
	if _, err := s.Count(t.Context(), "shop"); !errors.Is(err, down) {
		t.Errorf("Count: %v", err)
	}
	if _, _, err := s.List(t.Context(), "shop", store.ListOptions{Limit: 1}); err != nil {
		t.Errorf("List: %v", err)
	}
}

// TestInterceptedGetAllocates checks that an intercepted read costs no
// allocation.
func TestInterceptedGetAllocates(t *testing.T) {
	s := through(memstore.New())
	rec := new(store.Record)
	if n := testing.AllocsPerRun(100, func() { _ = s.Get(t.Context(), "shop", store.ID{1}, true, rec) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkInterceptedGet(b *testing.B) {
	for name, s := range map[string]store.Store{"plain": memstore.New(), "intercepted": through(memstore.New())} {
		b.Run(name, func(b *testing.B) {
			var rec store.Record
			for b.Loop() {
				_ = s.Get(b.Context(), "shop", store.ID{1}, true, &rec)
			}
		})
	}
}
