package redisstore

import (
	"errors"
	"testing"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// With "appendfsync always" Redis has on its disk what it acknowledges. Killed
// and restarted, it knows all of it.
func TestI6KilledRedis(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{AppendOnly: true})
	s := openAt(t, r.URL(), Options{})
	var kept, ended []*store.Record
	for i := range 200 {
		rec := create(t, s, session([]string{"", "ada"}[i%2]))
		if i%4 == 0 {
			if _, err := s.End(t.Context(), app, rec.ID, store.ReasonLogout, t0); err != nil {
				t.Fatal(err)
			}
			ended = append(ended, rec)
			continue
		}
		rec.LastSeenAt++
		if _, err := s.Update(t.Context(), app, rec, store.UpdateOptions{Arrived: t0, Now: t0}); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, rec)
	}
	if _, err := s.EndSubject(t.Context(), app, "eve", store.ID{}, store.ReasonRevoked, t0); err != nil {
		t.Fatal(err)
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	for _, rec := range kept {
		var got store.Record
		if err := getSoonInto(t, s, rec.ID, &got); err != nil || !got.Equal(rec) {
			t.Fatalf("Get: %v, %+v", err, got)
		}
	}
	for _, rec := range ended {
		if err := s.Get(t.Context(), app, rec.ID, true, new(store.Record)); !errors.Is(err, store.ErrEnded) {
			t.Fatalf("Get of an ended session: %v", err)
		}
	}
	wantIndexed(t, s, "ada")
	eve := session("eve")
	if _, err := s.Create(t.Context(), app, eve, created(eve)); !errors.Is(err, store.ErrBarrier) {
		t.Errorf("a login behind the barrier: %v", err)
	}
}
