package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/storetest"
)

// several are stores on the same Redis, like the nodes of an application: each call goes to one of them, at random.
type several []*Store

func openSeveral(t testing.TB, url string) several {
	t.Helper()
	prefix := "test-" + newNonce()
	var list several
	for range 3 {
		list = append(list, openAt(t, url, Options{Prefix: prefix}))
	}
	return list
}

func (l several) any() *Store { return l[rand.IntN(len(l))] }

func (l several) Create(ctx context.Context, app string, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	return l.any().Create(ctx, app, rec, opt)
}

func (l several) Get(ctx context.Context, app string, id store.ID, strict bool, rec *store.Record) error {
	return l.any().Get(ctx, app, id, strict, rec)
}

func (l several) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) ([]store.Ended, error) {
	return l.any().Update(ctx, app, rec, opt)
}

func (l several) Touch(ctx context.Context, app string, id store.ID, at, now store.Time, client store.Client) error {
	return l.any().Touch(ctx, app, id, at, now, client)
}

func (l several) Confirm(ctx context.Context, app string, id store.ID, secret store.Hash, c store.Confirmation) error {
	return l.any().Confirm(ctx, app, id, secret, c)
}

func (l several) End(ctx context.Context, app string, id store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	return l.any().End(ctx, app, id, reason, at)
}

func (l several) EndSubject(ctx context.Context, app, subject string, except store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	return l.any().EndSubject(ctx, app, subject, except, reason, at)
}

func (l several) EndAll(ctx context.Context, app string, at store.Time) error {
	return l.any().EndAll(ctx, app, at)
}

func (l several) List(ctx context.Context, app string, opt store.ListOptions) ([]store.Record, string, error) {
	return l.any().List(ctx, app, opt)
}

func (l several) Count(ctx context.Context, app string) (store.Count, error) {
	return l.any().Count(ctx, app)
}

// Sweep goes to one of them always: a round is each one's own.
func (l several) Sweep(ctx context.Context, now store.Time, max int) ([]store.Ended, bool, error) {
	return l[0].Sweep(ctx, now, max)
}

func (l several) Watch(ctx context.Context) (<-chan store.Change, error) { return l.any().Watch(ctx) }

func (l several) Close() error {
	var err error
	for _, s := range l {
		err = errors.Join(err, s.Close())
	}
	return err
}

func TestStoreFromSeveralNodes(t *testing.T) {
	storetest.Run(t, func(t testing.TB) store.Store { return openSeveral(t, shared(t, single).URL()) })
}

const (
	t0   = store.Time(1_800_000_000_000)
	hour = store.Time(3_600_000)
	app  = "shop"
)

func session(subject string) *store.Record { return sessionAt(subject, t0) }

func sessionAt(subject string, at store.Time) *store.Record {
	rec := &store.Record{Subject: subject, CreatedAt: at, LastSeenAt: at, Idle: time.Hour, ExpiresAt: at + 24*hour}
	for i := range rec.ID {
		rec.ID[i] = byte(rand.Uint32())
	}
	rec.Values = store.Values(nil).AppendSet(nil, "cart", []byte(`{"sku":1}`))
	return rec
}

func created(rec *store.Record) store.CreateOptions {
	return store.CreateOptions{Arrived: rec.CreatedAt, Now: rec.CreatedAt}
}

func create(t testing.TB, s *Store, rec *store.Record) *store.Record {
	t.Helper()
	if _, err := s.Create(t.Context(), app, rec, created(rec)); err != nil {
		t.Fatal(err)
	}
	return rec
}

func live(t testing.TB, s *Store, subject string, now store.Time) []store.Record {
	t.Helper()
	list, _, err := s.List(t.Context(), app, store.ListOptions{Subject: subject, Limit: 1000, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A limit of 3 under 64 parallel logins over 3 nodes leaves exactly 3, each time, on a single Redis and on a cluster.
func TestI11LimitOnThreeNodes(t *testing.T) {
	t.Parallel()
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	for name, url := range urls(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := openSeveral(t, url)
			for round := range rounds {
				subject := fmt.Sprint("ada", round)
				visitors := make([]*store.Record, 32)
				for i := range visitors {
					visitors[i] = create(t, nodes[0], session(""))
				}
				var wg sync.WaitGroup
				login := func(i int, call func(*Store) error) {
					wg.Go(func() {
						if err := call(nodes[i%len(nodes)]); err != nil {
							t.Error(err)
						}
					})
				}
				limit := store.Limit{Max: 3}
				for i, visitor := range visitors {
					login(i, func(s *Store) error {
						rec := session(subject)
						opt := created(rec)
						opt.Limit = limit
						_, err := s.Create(t.Context(), app, rec, opt)
						return err
					})
					login(i+1, func(s *Store) error {
						visitor.Subject = subject
						_, err := s.Update(t.Context(), app, visitor, store.UpdateOptions{Login: true, Limit: limit, Arrived: t0, Now: t0})
						return err
					})
				}
				wg.Wait()
				if n := len(live(t, nodes[0], subject, t0)); n != 3 {
					t.Fatalf("round %d: %d sessions are live, want 3", round, n)
				}
				if n := members(t, nodes[0], subject); n != 3 {
					t.Fatalf("round %d: %d are in the index, want 3", round, n)
				}
			}
		})
	}
}

// urls are the kinds of Redis.
func urls(t testing.TB) map[string]string {
	t.Helper()
	return map[string]string{"single": shared(t, single).URL(), "cluster": shared(t, cluster).URL()}
}

// members returns the number of entries of a subject's index.
func members(t testing.TB, s *Store, subject string) int64 {
	t.Helper()
	n, err := s.client.Do(t.Context(), s.client.B().Zcard().Key(s.subjectPlace(app, subject).members()).Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Several nodes share the sweep: each session is ended once.
func TestSweepOnThreeNodes(t *testing.T) {
	t.Parallel()
	nodes := openSeveral(t, shared(t, single).URL())
	const n = 300
	for i := range n {
		create(t, nodes[0], session([]string{"", "ada"}[i%2]))
	}
	var mu sync.Mutex
	ended := map[store.ID]int{}
	var wg sync.WaitGroup
	for _, s := range nodes {
		wg.Go(func() {
			for done := false; !done; {
				list, over, err := s.Sweep(t.Context(), t0+hour, 50)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, e := range list {
					ended[e.ID]++
				}
				mu.Unlock()
				done = over
			}
		})
	}
	wg.Wait()
	for id, times := range ended {
		if times != 1 {
			t.Errorf("%v was ended %d times", id, times)
		}
	}
	if len(ended) != n {
		t.Errorf("%d of %d were ended", len(ended), n)
	}
	if n := members(t, nodes[0], "ada"); n != 0 {
		t.Errorf("%d members are left", n)
	}
}
