package memstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

// The line of memstore in docs/stores.md: what it acknowledged is gone with it.
func TestNothingSurvivesClose(t *testing.T) {
	ctx := context.Background()
	s := New()
	rec := typical(rand.New(rand.NewPCG(1, 2)), 1)
	if _, err := s.Create(ctx, "shop", rec, store.CreateOptions{Now: rec.CreatedAt, Arrived: rec.CreatedAt}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	var got store.Record
	if err := s.Get(ctx, "shop", rec.ID, true, &got); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	again := New()
	defer again.Close()
	if err := again.Get(ctx, "shop", rec.ID, true, &got); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("in another store: %v", err)
	}
}

// Close waits for the calls in flight. Each of them has its result or returns
// ErrClosed, and never misses a session because its memory was freed.
func TestCloseDuringCalls(t *testing.T) {
	for round := range 20 {
		s := New()
		rnd := rand.New(rand.NewPCG(1, uint64(round)))
		var ids []store.ID
		at := typical(rnd, 0).CreatedAt
		for i := range 200 {
			rec := typical(rnd, i)
			rec.Subject = []string{"", "ann", "bob"}[i%3]
			ids = append(ids, rec.ID)
			if err := create(s, rec); err != nil {
				t.Fatal(err)
			}
		}
		var calls sync.WaitGroup
		started := make(chan struct{}, 8)
		for n := range 8 {
			rnd := rand.New(rand.NewPCG(2, uint64(n)))
			calls.Go(func() {
				for i := 0; ; i++ {
					if i == 100 {
						started <- struct{}{}
					}
					var rec store.Record
					err := s.Get(ctx, "shop", ids[rnd.IntN(len(ids))], true, &rec)
					switch {
					case err != nil:
					case i%4 == 0:
						_, err = s.Update(ctx, "shop", &rec, store.UpdateOptions{Now: at, Arrived: at, Login: true, Limit: store.Limit{Max: 1000}})
					case i%4 == 1:
						_, _, err = s.List(ctx, "shop", store.ListOptions{Subject: "ann", Limit: 9, Now: at})
					case i%4 == 2:
						_, err = s.Count(ctx, "shop")
					default:
						fresh := typical(rnd, 1000+i)
						fresh.ID[15] = byte(n)
						fresh.Subject = "bob"
						err = create(s, fresh)
					}
					if errors.Is(err, store.ErrClosed) {
						return
					}
					if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrEnded) && !errors.Is(err, store.ErrExists) {
						t.Errorf("during Close: %v", err)
						return
					}
				}
			})
		}
		for range 8 {
			<-started
		}
		s.Close()
		calls.Wait()
		if s.Bytes() != 0 {
			t.Errorf("%d bytes after Close", s.Bytes())
		}
		if err := s.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
	}
}
