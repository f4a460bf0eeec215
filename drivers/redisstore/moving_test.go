package redisstore

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// TestMovingSlot makes each call while one master has some keys of its slot and
// another master has the rest. Once Redis has refused the call for that, the
// slot moves completely, and the call must succeed.
func TestMovingSlot(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a cluster takes its time")
	}
	c := servertest.Cluster(t, servertest.RedisOptions{})
	s := openAt(t, c.URL(), Options{})
	waits := openAt(t, c.URL(), Options{Prefix: s.prefix, WaitReplicas: 1})
	ctx := t.Context()
	limit := store.Limit{Max: 1}
	subject := func(rec *store.Record) string { return s.subjectPlace(app, rec.Subject).members() }
	for i, test := range []struct {
		name string
		call func(rec *store.Record) error
		key  func(rec *store.Record) string // in the slot that moves; nil: that of the session
	}{
		{"Get", func(rec *store.Record) error { return s.Get(ctx, app, rec.ID, true, new(store.Record)) }, nil},
		{"Update", func(rec *store.Record) error {
			_, err := s.Update(ctx, app, rec, store.UpdateOptions{Arrived: t0, Now: t0})
			return err
		}, nil},
		{"Touch", func(rec *store.Record) error { return s.Touch(ctx, app, rec.ID, t0+5, t0, store.Client{}) }, nil},
		{"Create at the limit, where the oldest moves", func(rec *store.Record) error {
			_, err := s.Create(ctx, app, session(rec.Subject), store.CreateOptions{Arrived: t0, Now: t0, Limit: limit})
			return err
		}, nil},
		{"Create of a subject that moves", func(rec *store.Record) error {
			_, err := s.Create(ctx, app, session(rec.Subject), store.CreateOptions{Arrived: t0, Now: t0, Limit: limit})
			return err
		}, subject},
		{"List of a subject", func(rec *store.Record) error {
			list, _, err := s.List(ctx, app, store.ListOptions{Subject: rec.Subject, Limit: 10, Now: t0})
			if err == nil && len(list) != 1 {
				err = fmt.Errorf("%d sessions", len(list))
			}
			return err
		}, nil},
		{"List", func(rec *store.Record) error {
			_, _, err := s.List(ctx, app, store.ListOptions{Limit: 1000, Now: t0})
			return err
		}, nil},
		{"Count", func(rec *store.Record) error {
			_, err := s.Count(ctx, app)
			return err
		}, nil},
		{"End", func(rec *store.Record) error {
			_, err := s.End(ctx, app, rec.ID, store.ReasonLogout, t0)
			return err
		}, nil},
		{"End that waits for a replica", func(rec *store.Record) error {
			_, err := waits.End(ctx, app, rec.ID, store.ReasonLogout, t0)
			return err
		}, nil},
		{"EndSubject", func(rec *store.Record) error {
			ended, err := s.EndSubject(ctx, app, rec.Subject, store.ID{}, store.ReasonLogout, t0)
			if err == nil && len(ended) != 1 {
				err = fmt.Errorf("%d sessions ended", len(ended))
			}
			return err
		}, nil},
		{"EndSubject of one that moves", func(rec *store.Record) error {
			_, err := s.EndSubject(ctx, app, rec.Subject, store.ID{}, store.ReasonLogout, t0)
			return err
		}, subject},
		{"EndAll", func(rec *store.Record) error { return s.EndAll(ctx, app, t0-hour) }, nil},
	} {
		who := fmt.Sprint("user ", i)
		// With a barrier, the subject's slot has two keys and can move by half.
		if _, err := s.EndSubject(ctx, app, who, store.ID{}, store.ReasonLogout, t0-hour); err != nil {
			t.Fatal(err)
		}
		rec := create(t, s, session(who))
		key := s.placeOf(app, rec.ID).session(rec.ID)
		if test.key != nil {
			key = test.key(rec)
		}
		slot, from, to := whereIs(t, c, key)
		before := refusals(t, c)
		done := make(chan error, 1)
		step := 0
		if err := c.MoveSlot(slot, from, to, func() {
			if step++; step != 2 {
				return
			}
			if _, err := from.Do("MIGRATE", "127.0.0.1", strconv.Itoa(to.Port()), key, "0", "5000"); err != nil {
				t.Fatal(err)
			}
			go func() { done <- test.call(rec) }()
			for deadline := time.Now().Add(10 * time.Second); refusals(t, c) == before; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) || len(done) > 0 {
					t.Errorf("%s met nothing that moves", test.name)
					return
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestI6EndSubjectInPart: one session can't be reached for longer than a call
// waits. Others have ended, and the barrier stands, so the error must not say
// that nothing has happened.
func TestI6EndSubjectInPart(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a cluster takes its time")
	}
	c := servertest.Cluster(t, servertest.RedisOptions{})
	s := openAt(t, c.URL(), Options{})
	rec := create(t, s, session("ada"))
	slot, from, to := whereIs(t, c, s.placeOf(app, rec.ID).session(rec.ID))
	step := 0
	if err := c.MoveSlot(slot, from, to, func() {
		if step++; step != 2 {
			return
		}
		if ended, err := s.EndSubject(t.Context(), app, "ada", store.ID{}, store.ReasonLogout, t0); !errors.Is(err, store.ErrUncertain) {
			t.Errorf("EndSubject: %v, %v", ended, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if ended, err := s.EndSubject(t.Context(), app, "ada", store.ID{}, store.ReasonLogout, t0); err != nil || len(ended) != 1 {
		t.Errorf("EndSubject: %v, %v", ended, err)
	}
}

// whereIs returns the slot of an existing key, the master that has it, and
// another master.
func whereIs(t *testing.T, c *servertest.RedisCluster, key string) (slot int, from, to *servertest.RedisServer) {
	t.Helper()
	masters := c.Masters()
	n, err := masters[0].Do("CLUSTER", "KEYSLOT", key)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range masters {
		if found, err := m.Do("EXISTS", key); err == nil && found == int64(1) {
			return int(n.(int64)), m, masters[(i+1)%len(masters)]
		}
	}
	t.Fatalf("there is no key %s", key)
	return 0, nil, nil
}

// refusals counts the commands that the masters have refused because a slot was
// moving.
func refusals(t *testing.T, c *servertest.RedisCluster) (n int) {
	t.Helper()
	for _, m := range c.Masters() {
		text, _ := m.Info("errorstat_TRYAGAIN") // missing as long as there was none
		count, _ := strconv.Atoi(strings.TrimPrefix(text, "count="))
		n += count
	}
	return n
}
