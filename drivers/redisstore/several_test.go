package redisstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// several are stores on the same Redis, as the nodes of an application have.
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

// 64 parallel logins over 3 nodes at a limit of 3 leave exactly 3 sessions,
// each time, on a single Redis and on a cluster.
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

// urls returns the URL of each kind of Redis.
func urls(t testing.TB) map[string]string {
	t.Helper()
	return map[string]string{"single": shared(t, single).URL(), "cluster": shared(t, cluster).URL()}
}

// members returns the number of members of a subject's index.
func members(t testing.TB, s *Store, subject string) int64 {
	t.Helper()
	n, err := s.client.Do(t.Context(), s.client.B().Zcard().Key(s.subjectPlace(app, subject).members()).Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Several nodes share the sweep: each session ends once.
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
				list, over, err := s.Sweep(t.Context(), app, t0+hour, 50)
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

// Sweep removes what EndAll has ended after an hour, however far its deadline
// is. Sessions created later stay.
func TestSweepRemovesWhatEndAllEnded(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	for i := range 600 {
		rec := session([]string{"", "ada"}[i%2])
		rec.Idle, rec.ExpiresAt = 1000*time.Hour, t0+1000*hour
		create(t, s, rec)
	}
	if err := s.EndAll(t.Context(), app, t0); err != nil {
		t.Fatal(err)
	}
	later := sessionAt("ada", t0+1)
	later.Idle = 100 * time.Hour
	create(t, s, later)
	keys := func() int { return len(redis(t, s, "KEYS", s.prefix+":s:*").([]any)) }
	sweepAll(t, s, t0+hour-1)
	if n := keys(); n != 601 {
		t.Errorf("%d sessions are kept, want 601", n)
	}
	sweepAll(t, s, t0+hour+1)
	if n := keys(); n != 1 {
		t.Errorf("%d sessions are kept, want 1", n)
	}
	if n := members(t, s, "ada"); n != 1 {
		t.Errorf("%d members are left, want 1", n)
	}
	if err := s.Get(t.Context(), app, later.ID, true, new(store.Record)); err != nil {
		t.Errorf("Get: %v", err)
	}
}

func sweepAll(t testing.TB, s *Store, now store.Time) {
	t.Helper()
	for done := false; !done; {
		var err error
		if _, done, err = s.Sweep(t.Context(), app, now, 1000); err != nil {
			t.Fatal(err)
		}
	}
}

// An update that changes the subject meets the new subject's barrier, even if a
// value looks like the field of that subject.
func TestI3SubjectInValues(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	rec := session("ada")
	rec.Values = store.Values(nil).AppendSet(nil, "cart", []byte(`{"sku":1,"subject":"bob","authenticated_at":5}`))
	create(t, s, rec)
	if _, err := s.EndSubject(t.Context(), app, "bob", store.ID{}, store.ReasonRevoked, t0+10); err != nil {
		t.Fatal(err)
	}
	rec.Subject = "bob"
	if _, err := s.Update(t.Context(), app, rec, store.UpdateOptions{Arrived: t0 + 5, Now: t0 + 20}); !errors.Is(err, store.ErrBarrier) {
		t.Errorf("Update: %v, want the barrier", err)
	}
}
