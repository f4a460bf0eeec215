package memstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

func TestCreateGetEnd(t *testing.T) {
	s := New()
	defer s.Close()
	ctx := context.Background()
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		rec := typical(rnd, i)
		opt := store.CreateOptions{Arrived: rec.CreatedAt, Now: rec.CreatedAt, Limit: store.Limit{Max: 3}}
		rec.Subject = "u"
		if _, err := s.Create(ctx, "shop", rec, opt); err != nil {
			t.Fatal(err)
		}
		var got store.Record
		if err := s.Get(ctx, "shop", rec.ID, true, &got); err != nil || !got.Equal(rec) {
			t.Fatalf("Get = %v, %v", got, err)
		}
		list, _, err := s.List(ctx, "shop", store.ListOptions{Subject: "u", Limit: 10, Now: rec.LastSeenAt})
		if n, _ := s.Count(ctx, "shop"); err != nil || len(list) != min(i+1, 3) || n.Sessions != int64(len(list)) || n.LoggedIn != n.Sessions {
			t.Fatalf("%d sessions, %+v, %v", len(list), n, err)
		}
		if i%10 == 0 {
			if _, err := s.End(ctx, "shop", rec.ID, store.ReasonLogout, rec.CreatedAt); err != nil {
				t.Fatal(err)
			}
			if err := s.Get(ctx, "shop", rec.ID, true, &got); !errors.Is(err, store.ErrEnded) || got.End != store.ReasonLogout {
				t.Fatalf("Get = %v, %v", got, err)
			}
			rec2 := typical(rnd, i)
			rec2.Subject = "u"
			if _, err := s.Create(ctx, "shop", rec2, opt); err != nil {
				t.Fatal(err)
			}
		}
	}
}
