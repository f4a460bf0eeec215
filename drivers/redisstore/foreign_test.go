package redisstore

import (
	"errors"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

// What a sweep can't read, in whatever place, does not stop it from sweeping
// the rest.
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
			_, done, err := s.Sweep(t.Context(), app, t0+hour, 10)
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

// A foreign key in the place of the key compared is an error that names it.
// Nothing changes it, a restart neither.
func TestForeignCompared(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	rec := create(t, s, session("ada"))
	key := s.placeOf(app, rec.ID).compared()
	for _, command := range [][]string{{"HSET", key, "a", "b"}, {"SET", key, "precious"}, {"SET", key, "some text"}} {
		redis(t, s, "DEL", key)
		redis(t, s, command...)
		before := redis(t, s, "DUMP", key)
		for range 2 {
			var err error
			for done := false; !done && err == nil; {
				_, done, err = s.Sweep(t.Context(), app, t0+hour, 1000)
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
	ended, _, err := s.Sweep(t.Context(), app, t0+hour, 1000)
	if len(ended) != 1 || err != nil {
		t.Errorf("Sweep after that: %v, %v", ended, err)
	}
}

// An end that fails because a foreign key has the place of an index leaves the
// session unchanged.
func TestForeignIndexAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, subject := range []string{"ada", ""} {
		for _, kind := range []func(place) string{place.in, place.anon} {
			s := open(t, Options{})
			rec := create(t, s, session(subject))
			key := kind(s.placeOf(app, rec.ID))
			if own := (key == s.placeOf(app, rec.ID).in()) == (subject != ""); own {
				continue // the key's own content is lost
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

// A key of another type in the place of an application's mark hides EndAll from
// Get and from the usual update, as if the mark had been deleted, because MGET
// returns nothing for it. Every other call in that bucket fails, EndAll and the
// sweep too, so that somebody notices.
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
		"Sweep":  func() error { return sweepUntilError(t, s) },
	} {
		if err := call(); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A text that is not a time, in the place of an application's mark, makes every
// call fail that depends on the mark. Nothing changes it, because nobody knows
// whether EndAll was called.
func TestForeignTextAsMark(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"xx", "", "nan", "0x10", "1e3", " 1"} {
		s := open(t, Options{})
		rec, visitor := create(t, s, session("ada")), session("")
		rec.Revision = 1
		key := s.placeOf(app, rec.ID).mark()
		redis(t, s, "SET", key, text)
		next := session("ada")
		visitor.ID[15], next.ID[15] = rec.ID[15], rec.ID[15]
		later := t0 + 1
		for name, call := range map[string]func() error{
			"Get":                 func() error { return s.Get(t.Context(), app, rec.ID, true, new(store.Record)) },
			"Create":              func() error { _, err := s.Create(t.Context(), app, next, created(next)); return err },
			"Create of a visitor": func() error { _, err := s.Create(t.Context(), app, visitor, created(visitor)); return err },
			"Update":              func() error { return update1(t, s, rec, store.UpdateOptions{Arrived: later, Now: later}) },
			"a login":             func() error { return update1(t, s, rec, store.UpdateOptions{Login: true, Arrived: later, Now: later}) },
			"Touch":               func() error { return s.Touch(t.Context(), app, rec.ID, later, later, store.Client{}) },
			"End":                 func() error { _, err := s.End(t.Context(), app, rec.ID, store.ReasonLogout, later); return err },
			"EndAll":              func() error { return s.EndAll(t.Context(), app, later) },
			"List": func() error {
				_, _, err := s.List(t.Context(), app, store.ListOptions{Limit: 9, Now: later})
				return err
			},
			"List of a subject's": func() error {
				_, _, err := s.List(t.Context(), app, store.ListOptions{Subject: "ada", Limit: 9, Now: later})
				return err
			},
			"Search": func() error {
				_, err := s.Search(t.Context(), app, store.SearchOptions{Limit: 9, Scan: 9, Now: later})
				return err
			},
			"Count": func() error { _, err := s.Count(t.Context(), app); return err },
			"EndSubject": func() error {
				_, err := s.EndSubject(t.Context(), app, "ada", store.ID{}, store.ReasonRevoked, later)
				return err
			},
			"Sweep": func() error { return sweepUntilError(t, s) },
		} {
			if err := call(); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), key) {
				t.Errorf("%s with the mark %q: %v", name, text, err)
			}
		}
		if now := redis(t, s, "GET", key); now != text {
			t.Errorf("the mark %q is now %q", text, now)
		}
	}
}

// The same holds for a subject's barrier.
func TestForeignTextAsBarrier(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"xx", "", "12", `{"at":x}`} {
		s := open(t, Options{})
		rec, visitor := create(t, s, session("ada")), create(t, s, session(""))
		key := s.subjectPlace(app, "ada").barrier()
		redis(t, s, "SET", key, text)
		lose(t, s, "ada")
		next := session("ada")
		visitor.Subject = "ada"
		for name, call := range map[string]func() error{
			"Create":  func() error { _, err := s.Create(t.Context(), app, next, created(next)); return err },
			"a login": func() error { return update1(t, s, visitor, store.UpdateOptions{Login: true, Arrived: t0, Now: t0}) },
			"EndSubject": func() error {
				_, err := s.EndSubject(t.Context(), app, "ada", store.ID{}, store.ReasonRevoked, t0)
				return err
			},
			"Barrier": func() error { _, err := s.Barrier(t.Context(), app, "ada"); return err },
			"Sweep":   func() error { return sweepUntilError(t, s) },
		} {
			if err := call(); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), key) {
				t.Errorf("%s with the barrier %q: %v", name, text, err)
			}
		}
		if now := redis(t, s, "GET", key); now != text {
			t.Errorf("the barrier %q is now %q", text, now)
		}
		if err := s.Get(t.Context(), app, rec.ID, true, new(store.Record)); err != nil {
			t.Errorf("Get with the barrier %q: %v", text, err)
		}
	}
}

// A text that is not a touch, in the place of one, is an error that names it,
// until the session is written or touched again.
func TestForeignTextAsTouch(t *testing.T) {
	t.Parallel()
	for name, heal := range map[string]func(t *testing.T, s *Store, rec *store.Record) error{
		"the usual update": func(t *testing.T, s *Store, rec *store.Record) error {
			return update1(t, s, rec, store.UpdateOptions{Arrived: t0, Now: t0})
		},
		"an update that moves the deadline": func(t *testing.T, s *Store, rec *store.Record) error {
			rec.ExpiresAt += hour
			return update1(t, s, rec, store.UpdateOptions{Arrived: t0, Now: t0})
		},
		"a login": func(t *testing.T, s *Store, rec *store.Record) error {
			return update1(t, s, rec, store.UpdateOptions{Login: true, Arrived: t0, Now: t0})
		},
		"Touch": func(t *testing.T, s *Store, rec *store.Record) error {
			rec.LastSeenAt++
			return s.Touch(t.Context(), app, rec.ID, rec.LastSeenAt, rec.LastSeenAt, rec.LastClient)
		},
	} {
		s := open(t, Options{})
		other, rec := create(t, s, session("ada")), create(t, s, session("ada"))
		key := s.placeOf(app, rec.ID).seen(rec.ID)
		redis(t, s, "SET", key, "xx")
		if err := s.Get(t.Context(), app, rec.ID, true, new(store.Record)); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("Get: %v", err)
		}
		if list := live(t, s, "ada", t0); len(list) != 1 || list[0].ID != other.ID {
			t.Errorf("live are %+v, want the other one", list)
		}
		if err := heal(t, s, rec); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got store.Record
		if err := s.Get(t.Context(), app, rec.ID, true, &got); err != nil || got.LastSeenAt != rec.LastSeenAt {
			t.Errorf("Get after %s: %v, last seen at %d", name, err, got.LastSeenAt)
		}
	}
}

// update1 updates a copy, so that the record can be updated again.
func update1(t *testing.T, s *Store, rec *store.Record, opt store.UpdateOptions) error {
	t.Helper()
	_, err := s.Update(t.Context(), app, session0(rec), opt)
	return err
}

func sweepUntilError(t *testing.T, s *Store) error {
	t.Helper()
	for {
		if _, done, err := s.Sweep(t.Context(), app, t0, 1000); done || err != nil {
			return err
		}
	}
}
