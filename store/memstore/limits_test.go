package memstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

var ctx = context.Background()

func create(s *Store, rec *store.Record) error {
	_, err := s.Create(ctx, "shop", rec, store.CreateOptions{Now: rec.CreatedAt, Arrived: rec.CreatedAt, Limit: store.Limit{Max: 100}})
	return err
}

// TestSweepHoldsAtMost256 asserts how long Sweep holds a lock, in records, and that a table grows in small steps.
func TestSweepHoldsAtMost256(t *testing.T) {
	s := NewLimited(1 << 40)
	defer s.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	const n = 100_000 // about 400 in each shard
	var last store.Time
	for i := range n {
		rec := typical(rnd, i)
		if i%3 == 0 {
			rec.Subject = ""
		}
		if err := create(s, rec); err != nil {
			t.Fatal(err)
		}
		last = max(last, rec.ExpiresAt)
	}
	holds, largest, total := 0, 0, 0
	s.examined = func(records int) {
		holds++
		largest = max(largest, records)
		total += records
	}
	ended := 0
	for done := false; !done; {
		list, over, err := s.Sweep(ctx, "shop", last, 5000)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 5000+maxHold {
			t.Fatalf("a Sweep of 5000 ended %d", len(list))
		}
		ended += len(list)
		done = over
	}
	t.Logf("%d records in %d holds, at most %d in one", total, holds, largest)
	if ended != n || total < n {
		t.Errorf("%d of %d sessions ended, %d examined", ended, n, total)
	}
	if largest > 256 {
		t.Errorf("a lock was held for %d records", largest)
	}
	used := s.Bytes()
	for range 2 {
		for done := false; !done; {
			_, over, err := s.Sweep(ctx, "shop", last.Add(2*time.Hour), 5000)
			if err != nil {
				t.Fatal(err)
			}
			done = over
		}
	}
	if s.Bytes() > used/4 {
		t.Errorf("%d of %d bytes are left when all is gone", s.Bytes(), used)
	}
}

// unaccounted is what a single write may exceed the limit by: a handle, and the rounding of its block.
const unaccounted = 32

// TestI11Reserve: a flood of anonymous sessions is refused while logins still have room, and the limit holds.
func TestI11Reserve(t *testing.T) {
	const limit = 32 << 20
	s := NewLimited(limit)
	defer s.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	var visitors, users int
	var one *store.Record
	for ; ; visitors++ {
		rec := typical(rnd, visitors)
		rec.Subject = ""
		if err := create(s, rec); errors.Is(err, store.ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		one = rec
	}
	if s.Bytes() > limit*9/10+unaccounted {
		t.Errorf("%d bytes of anonymous sessions, the limit is %d", s.Bytes(), limit)
	}
	var before store.Record
	if err := s.Get(ctx, "shop", one.ID, true, &before); err != nil {
		t.Fatal(err)
	}
	grown := before
	grown.Values = append(store.Values(nil), before.Values...)
	grown.Values = grown.Values.AppendSet(nil, "more", []byte(`"`+strings.Repeat("x", 100_000)+`"`))
	if _, err := s.Update(ctx, "shop", &grown, store.UpdateOptions{Now: one.CreatedAt}); !errors.Is(err, store.ErrFull) {
		t.Errorf("an anonymous session grew into the reserve: %v", err)
	}
	var after store.Record
	if err := s.Get(ctx, "shop", one.ID, true, &after); err != nil || !after.Equal(&before) {
		t.Errorf("after ErrFull: %+v, %v", after, err)
	}
	login := before
	login.Subject = "alice"
	if _, err := s.Update(ctx, "shop", &login, store.UpdateOptions{Now: one.CreatedAt, Arrived: one.CreatedAt, Login: true}); err != nil {
		t.Errorf("a login at 90 %%: %v", err)
	}
	for ; ; users++ {
		if err := create(s, typical(rnd, visitors+users)); errors.Is(err, store.ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d visitors, then %d users in %d bytes", visitors, users, s.Bytes())
	if users < visitors/20 {
		t.Errorf("room for %d users beside %d visitors", users, visitors)
	}
	if s.Bytes() > limit+unaccounted {
		t.Errorf("%d bytes, the limit is %d", s.Bytes(), limit)
	}

	// Full, but what shrinks or ends goes through, and makes room.
	small := login
	small.Values = nil
	if _, err := s.Update(ctx, "shop", &small, store.UpdateOptions{Now: one.CreatedAt}); err != nil {
		t.Errorf("a shrinking update of a full store: %v", err)
	}
	if _, err := s.EndSubject(ctx, "shop", "alice", store.ID{}, store.ReasonRevoked, one.CreatedAt); err != nil {
		t.Errorf("EndSubject in a full store: %v", err)
	}
}

// A store without room notes that a session is in use and that its secret was
// presented: otherwise it would expire while it is used.
func TestFullStoreNotesActivity(t *testing.T) {
	s := NewLimited(4 << 20)
	defer s.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	var recs []*store.Record
	for i := range 100_000 {
		rec := typical(rnd, i)
		if i%2 == 0 {
			rec.Subject = ""
		}
		rec.Secret.FirstSeenAt, rec.Secret.ConfirmedAt = 0, 0
		rec.LastClient.IP = netip.MustParseAddr("192.0.2.1")
		rec.Good = []store.Secret{{Hash: store.Hash{9}, IssuedAt: rec.CreatedAt}}
		if err := create(s, rec); err == nil {
			recs = append(recs, rec)
		} else if !errors.Is(err, store.ErrFull) {
			t.Fatal(err)
		} else if i%2 != 0 {
			break
		}
	}
	var got store.Record
	for _, rec := range recs {
		at := rec.LastSeenAt.Add(time.Hour)
		client := store.Client{IP: netip.MustParseAddr("2001:db8::1"), UserAgent: strings.Repeat("another ", 200)}
		if err := s.Touch(ctx, "shop", rec.ID, at, at, client); err != nil {
			t.Fatalf("Touch: %v", err)
		}
		if err := s.Confirm(ctx, "shop", rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: at, ConfirmedAt: at, Until: at.Add(time.Hour)}); err != nil {
			t.Fatalf("Confirm: %v", err)
		}
		if err := s.Get(ctx, "shop", rec.ID, true, &got); err != nil || got.LastSeenAt != at || got.Secret.ConfirmedAt != at || got.Good[0].Until != at.Add(time.Hour) {
			t.Fatalf("seen at %d, %+v, %+v, %v", got.LastSeenAt, got.Secret, got.Good, err)
		}
		if got.LastClient != rec.LastClient && got.LastClient != client {
			t.Fatalf("last client %+v", got.LastClient)
		}
	}
	if most := int64(4<<20 + len(recs)*64); s.Bytes() > most {
		t.Errorf("%d bytes, wanted at most %d", s.Bytes(), most)
	}
}

// The key is counted when its session is in.
func TestFullKeys(t *testing.T) {
	s := NewLimited(1 << 20)
	defer s.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := 0; ; i++ {
		rec := typical(rnd, i)
		_, err := s.Create(ctx, "shop", rec, store.CreateOptions{Now: rec.CreatedAt, Arrived: rec.CreatedAt, Key: fmt.Sprint(i)})
		if errors.Is(err, store.ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if s.Bytes() > 1<<20+unaccounted+256 {
			t.Fatalf("%d bytes", s.Bytes())
		}
	}
}

// TestBarriersAreBounded: above a number, barriers become fewer and wider, and never lower.
func TestBarriersAreBounded(t *testing.T) {
	var b barriers
	a := &app{num: 1}
	other := &app{num: 2}
	for i := range 3 * maxBarriers {
		b.raise(a, fmt.Sprint(i), store.Time(i))
	}
	if b.len() > maxBarriers {
		t.Errorf("%d barriers", b.len())
	}
	for i := range 3 * maxBarriers {
		if !b.hold(a, fmt.Sprint(i), store.Time(i)) {
			t.Fatalf("the barrier of %d is gone", i)
		}
		if b.hold(a, fmt.Sprint(i), 3*maxBarriers) || b.hold(other, fmt.Sprint(i), 1) {
			t.Fatalf("the barrier of %d is too high or too wide", i)
		}
	}
	for range maxBarriers + 1 {
		b.raise(a, fmt.Sprint(rand.Uint64()), 1<<40) // all alike
	}
	if b.len() > maxBarriers {
		t.Errorf("%d barriers", b.len())
	}
}

// Lists take memory for what they return, not for what the sessions hold: 800
// of 256 KiB, six lists at once.
func TestI11ListMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 200 MiB")
	}
	s := New()
	defer s.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	big := store.Values(nil).AppendSet(nil, "big", []byte(`"`+strings.Repeat("x", 256<<10)+`"`))
	var now store.Time
	for i := range 800 {
		rec := typical(rnd, i)
		rec.Subject, rec.Values, now = "ada", big, rec.CreatedAt
		if _, err := s.Create(ctx, "shop", rec, store.CreateOptions{Now: now, Arrived: now}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		values bool
		most   uint64 // bytes
	}{{false, 24 << 20}, {true, 6 * 2 * store.MaxPageBytes}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var lists sync.WaitGroup
		for i := range 6 {
			lists.Go(func() {
				opt := store.ListOptions{Limit: 1000, Now: now, Values: c.values}
				if i%2 == 0 {
					opt.Subject = "ada"
				}
				list, cursor, err := s.List(ctx, "shop", opt)
				if err != nil || len(list) == 0 || (cursor == "") == c.values {
					t.Errorf("%d sessions, cursor %q, %v", len(list), cursor, err)
				}
			})
		}
		lists.Wait()
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > c.most {
			t.Errorf("six lists, with values %t, took %d MiB", c.values, took>>20)
		}
	}
}
