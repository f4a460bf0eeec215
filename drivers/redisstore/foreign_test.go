package redisstore

import (
	"errors"
	"strings"
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

// A key that isn't the store's, in the place of the one that says how far a bucket has come, is an error that names it, and stays what it
// is, after a restart too.
func TestForeignCompared(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	rec := create(t, s, session("ada"))
	key := s.placeOf(app, rec.ID).compared()
	for _, command := range [][]string{{"HSET", key, "a", "b"}, {"SET", key, "precious"}} {
		redis(t, s, "DEL", key)
		redis(t, s, command...)
		before := redis(t, s, "DUMP", key)
		for range 2 {
			var err error
			for done := false; !done && err == nil; {
				_, done, err = s.Sweep(t.Context(), t0+hour, 1000)
			}
			if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), key) {
				t.Errorf("Sweep with %v in the way: %v", command, err)
			}
			if redis(t, s, "DUMP", key) != before {
				t.Errorf("Sweep changed what was in the way, %v", command)
			}
			s.owed[key] = true
		}
	}
	redis(t, s, "DEL", key)
	ended, _, err := s.Sweep(t.Context(), t0+hour, 1000)
	if len(ended) != 1 || err != nil {
		t.Errorf("Sweep after that: %v, %v", ended, err)
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

// A key of another type in the place of an application's mark hides from Get and from the usual update that EndAll was called, as the mark's
// removal would: MGET shows it as none. All else in its bucket refuses, EndAll and the sweep too, so that it doesn't stay unknown.
func TestForeignMark(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	rec := create(t, s, session("ada"))
	key := s.placeOf(app, rec.ID).mark()
	redis(t, s, "HSET", key, "a", "b")
	next := session("ada")
	next.ID[15] = rec.ID[15]
	for name, call := range map[string]func() error{
		"Create": func() error { _, err := s.Create(t.Context(), app, next, created(next)); return err },
		"a login": func() error {
			_, err := s.Update(t.Context(), app, rec, store.UpdateOptions{Login: true, Arrived: t0, Now: t0})
			return err
		},
		"Touch":  func() error { return s.Touch(t.Context(), app, rec.ID, t0+1, t0+1, store.Client{}) },
		"EndAll": func() error { return s.EndAll(t.Context(), app, t0) },
		"List":   func() error { _, _, err := s.List(t.Context(), app, store.ListOptions{Limit: 1, Now: t0}); return err },
		"Count":  func() error { _, err := s.Count(t.Context(), app); return err },
		"Sweep": func() error {
			for {
				if _, done, err := s.Sweep(t.Context(), t0, 1000); done || err != nil {
					return err
				}
			}
		},
	} {
		if err := call(); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
