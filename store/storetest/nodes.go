package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// A round makes several handles on one store look like one store. It sends each
// call to a random handle.
type round struct {
	t     testing.TB
	nodes []store.Store

	mu      sync.Mutex
	sweeper map[string]store.Store // guarded by mu: by application, the handle in the middle of a sweep
}

func newRound(t testing.TB, nodes []store.Store) store.Store {
	r := &round{t: t, nodes: nodes, sweeper: map[string]store.Store{}}
	return driver.Intercept(nodes[0], r.call)
}

func (r *round) any() store.Store { return r.nodes[rand.IntN(len(r.nodes))] }

func (r *round) call(ctx context.Context, c driver.Call) driver.Result {
	switch c.Op {
	case driver.Get:
		return driver.Result{Err: r.get(ctx, r.any(), c)}
	case driver.Sweep:
		return r.sweep(ctx, c)
	case driver.Close:
		var errs []error
		for _, s := range r.nodes {
			errs = append(errs, s.Close())
		}
		return driver.Result{Err: errors.Join(errs...)}
	}
	return c.On(ctx, r.any())
}

// get reads strictly. If c isn't strict, get also makes a read that isn't
// strict. That read may lag behind, but must catch up.
func (r *round) get(ctx context.Context, s store.Store, c driver.Call) error {
	if c.Strict {
		return s.Get(ctx, c.App, c.ID, true, c.Record)
	}
	for deadline := time.Now().Add(patience); ; {
		var cached store.Record
		cachedErr := s.Get(ctx, c.App, c.ID, false, &cached)
		err := s.Get(ctx, c.App, c.ID, true, c.Record)
		if caughtUp(&cached, cachedErr, c.Record, err) || ctx.Err() != nil {
			return err
		}
		if time.Now().After(deadline) {
			r.t.Errorf("a Get that isn't strict did not catch up:\n got %+v, %v\nwant %+v, %v", cached, cachedErr, *c.Record, err)
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// caughtUp reports whether a cached result equals that of the store, apart from
// activity, which no feed reports.
func caughtUp(cached *store.Record, cachedErr error, rec *store.Record, err error) bool {
	if err != nil || cachedErr != nil {
		return errors.Is(cachedErr, err)
	}
	if cached.LastSeenAt > rec.LastSeenAt {
		return false
	}
	c := clone(cached)
	c.LastSeenAt, c.LastClient = rec.LastSeenAt, rec.LastClient
	return c.Equal(rec)
}

// sweep uses the same handle until its sweep has finished a round.
func (r *round) sweep(ctx context.Context, c driver.Call) driver.Result {
	r.mu.Lock()
	s := r.sweeper[c.App]
	if s == nil {
		s = r.any()
		r.sweeper[c.App] = s
	}
	r.mu.Unlock()
	result := c.On(ctx, s)
	if result.Done {
		r.mu.Lock()
		delete(r.sweeper, c.App)
		r.mu.Unlock()
	}
	return result
}
