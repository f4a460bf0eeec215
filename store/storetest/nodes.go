package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A round is several handles on one store, as the nodes of a cluster have, that look like one: each call goes to
// another, by chance.
type round struct {
	t     testing.TB
	nodes []store.Store

	mu      sync.Mutex
	sweeper map[string]store.Store // by the application: in the middle of a round of sweeps, which is one handle's
}

// A watchedRound is a round of stores with a change feed.
type watchedRound struct{ *round }

func newRound(t testing.TB, nodes []store.Store) store.Store {
	r := &round{t: t, nodes: nodes, sweeper: map[string]store.Store{}}
	if _, ok := nodes[0].(store.Watcher); ok {
		return watchedRound{r}
	}
	return r
}

func (r *round) any() store.Store { return r.nodes[rand.IntN(len(r.nodes))] }

func (r *round) Create(ctx context.Context, app string, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	return r.any().Create(ctx, app, rec, opt)
}

// Get reads strictly. A Get that isn't strict is made besides: it may lag behind, but must catch up.
func (r *round) Get(ctx context.Context, app string, id store.ID, strict bool, rec *store.Record) error {
	s := r.any()
	if strict {
		return s.Get(ctx, app, id, true, rec)
	}
	for deadline := time.Now().Add(patience); ; {
		var cached store.Record
		cachedErr := s.Get(ctx, app, id, false, &cached)
		err := s.Get(ctx, app, id, true, rec)
		if caughtUp(&cached, cachedErr, rec, err) || ctx.Err() != nil {
			return err
		}
		if time.Now().After(deadline) {
			r.t.Errorf("a Get that isn't strict doesn't catch up:\n got %+v, %v\nwant %+v, %v", cached, cachedErr, *rec, err)
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// caughtUp reports whether what came from memory is what the store says, but for activity, which no feed reports.
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

func (r *round) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) ([]store.Ended, error) {
	return r.any().Update(ctx, app, rec, opt)
}

func (r *round) Touch(ctx context.Context, app string, id store.ID, at, now store.Time, client store.Client) error {
	return r.any().Touch(ctx, app, id, at, now, client)
}

func (r *round) Confirm(ctx context.Context, app string, id store.ID, secret store.Hash, c store.Confirmation) error {
	return r.any().Confirm(ctx, app, id, secret, c)
}

func (r *round) End(ctx context.Context, app string, id store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	return r.any().End(ctx, app, id, reason, at)
}

func (r *round) EndSubject(ctx context.Context, app, subject string, except store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	return r.any().EndSubject(ctx, app, subject, except, reason, at)
}

func (r *round) EndAll(ctx context.Context, app string, at store.Time) error {
	return r.any().EndAll(ctx, app, at)
}

func (r *round) List(ctx context.Context, app string, opt store.ListOptions) ([]store.Record, string, error) {
	return r.any().List(ctx, app, opt)
}

func (r *round) Count(ctx context.Context, app string) (store.Count, error) {
	return r.any().Count(ctx, app)
}

func (r *round) Sweep(ctx context.Context, app string, now store.Time, max int) ([]store.Ended, bool, error) {
	r.mu.Lock()
	s := r.sweeper[app]
	if s == nil {
		s = r.any()
		r.sweeper[app] = s
	}
	r.mu.Unlock()
	ended, done, err := s.Sweep(ctx, app, now, max)
	if done {
		r.mu.Lock()
		delete(r.sweeper, app)
		r.mu.Unlock()
	}
	return ended, done, err
}

func (r *round) Close() error {
	var errs []error
	for _, s := range r.nodes {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

func (r watchedRound) Watch(ctx context.Context) (<-chan store.Change, error) {
	return r.any().(store.Watcher).Watch(ctx)
}
