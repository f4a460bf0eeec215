package memstore

import (
	"context"
	"errors"
	"math/rand/v2"
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
