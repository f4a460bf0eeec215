package redisstore

import (
	"errors"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

// What a sweep can't read, in whatever place, keeps it from nothing else.
func TestForeignKeyInTheSweep(t *testing.T) {
	t.Parallel()
	for _, of := range []func(p place, id store.ID) string{
		place.session, place.seen,
		func(p place, _ store.ID) string { return p.mark() },
		func(p place, _ store.ID) string { return p.in() },
		func(p place, _ store.ID) string { return p.anon() },
		func(p place, _ store.ID) string { return p.due() },
		func(p place, _ store.ID) string { return p.compared() },
	} {
		s := open(t, Options{})
		inTheWay, other, last := session("ada"), session("bob"), session("bob")
		for i, rec := range []*store.Record{inTheWay, other, last} {
			rec.ID[15] = byte(i) // buckets that are swept together, and one that comes later
		}
		last.ID[15] = 100
		for _, rec := range []*store.Record{inTheWay, other, last} {
			create(t, s, rec)
		}
		key := of(s.placeOf(app, inTheWay.ID), inTheWay.ID)
		redis(t, s, "DEL", key)
		redis(t, s, "HSET", key, "a", "b")
		for range 2 * buckets {
			_, done, err := s.Sweep(t.Context(), t0+hour, 10)
			if done {
				break
			}
			if err != nil && !errors.Is(err, ErrForeign) {
				t.Fatalf("Sweep with %s in the way: %v", key, err)
			}
		}
		for _, rec := range []*store.Record{other, last} {
			if err := s.Get(t.Context(), app, rec.ID, true, new(store.Record)); !errors.Is(err, store.ErrEnded) {
				t.Errorf("with %s in the way a session that expired elsewhere is: %v", key, err)
			}
		}
	}
}

// An end that a foreign key in the place of an index prevents, leaves the session as it was.
func TestForeignIndexAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, subject := range []string{"ada", ""} {
		for _, kind := range []func(place) string{place.in, place.anon} {
			s := open(t, Options{})
			rec := create(t, s, session(subject))
			key := kind(s.placeOf(app, rec.ID))
			if own := (key == s.placeOf(app, rec.ID).in()) == (subject != ""); own {
				continue // what was there is lost
			}
			redis(t, s, "HSET", key, "a", "b")
			if _, err := s.End(t.Context(), app, rec.ID, store.ReasonLogout, t0); !errors.Is(err, ErrForeign) {
				t.Errorf("End with %s in the way: %v", key, err)
			}
			redis(t, s, "DEL", key)
			if list, _, err := s.List(t.Context(), app, store.ListOptions{Limit: 10, Now: t0}); len(list) != 1 || err != nil {
				t.Errorf("after %s was in the way there are %d sessions: %v", key, len(list), err)
			}
			if ended, err := s.End(t.Context(), app, rec.ID, store.ReasonLogout, t0); len(ended) != 1 || err != nil {
				t.Errorf("End after %s was in the way: %v, %v", key, ended, err)
			}
		}
	}
}
