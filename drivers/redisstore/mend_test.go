package redisstore

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// lasting returns a session that outlives some turns.
func lasting(subject string) *store.Record {
	rec := session(subject)
	rec.Idle = 20 * time.Hour
	return rec
}

// lose removes members from a subject's index, all if none is named, without
// the store's knowledge.
func lose(t testing.TB, s *Store, subject string, recs ...*store.Record) {
	t.Helper()
	key := s.subjectPlace(app, subject).members()
	if len(recs) == 0 {
		redis(t, s, "DEL", key)
		return
	}
	for _, text := range redis(t, s, "ZRANGE", key, "0", "-1").([]any) {
		m, ok := parseMember(text.(string))
		if ok && slices.ContainsFunc(recs, func(rec *store.Record) bool { return rec.ID == m.id }) {
			redis(t, s, "ZREM", key, m.member)
		}
	}
}

// tick waits until Redis' clock, in milliseconds, has advanced.
func tick(t testing.TB, s *Store) {
	t.Helper()
	now := func() string {
		time := redis(t, s, "TIME").([]any)
		return fmt.Sprintf("%s.%03.3s", time[0], fmt.Sprintf("%06s", time[1]))
	}
	for before := now(); now() == before; {
	}
}

// Lost members come back in their order within a turn. Then the subject's list,
// limit and end find them.
func TestI11LostMembersComeBack(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string][]int{"all": nil, "the first": {0}, "the second and the last": {1, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, Options{})
			var its, missing []*store.Record
			for range 3 {
				its = append(its, create(t, s, lasting("ada")))
				tick(t, s)
			}
			create(t, s, lasting("bob"))
			create(t, s, lasting(""))
			sweepAll(t, s, t0)
			for _, i := range lost {
				missing = append(missing, its[i])
			}
			lose(t, s, "ada", missing...)
			if n := members(t, s, "ada"); n >= 3 {
				t.Fatalf("%d members are left", n)
			}
			sweepAll(t, s, t0+mendEvery)
			wantIndexed(t, s, "ada")
			if n := members(t, s, "ada"); n != 3 {
				t.Fatalf("the index has %d members", n)
			}
			want := uint64(len(lost))
			if lost == nil {
				want = 3
			}
			if n := s.Stats().Mended; n != want {
				t.Errorf("Mended = %d, want %d", n, want)
			}
			if ttl := redis(t, s, "PTTL", s.subjectPlace(app, "ada").members()).(int64); ttl < int64(its[0].ExpiresAt-t0-mendEvery) {
				t.Errorf("the index lasts for %d ms", ttl)
			}
			next := lasting("ada")
			opt := created(next)
			opt.Limit.Max = 3
			ended, err := s.Create(t.Context(), app, next, opt)
			oldest := store.Ended{App: app, ID: its[0].ID, Subject: "ada", Reason: store.ReasonEvicted, At: t0}
			if err != nil || !slices.Equal(ended, []store.Ended{oldest}) {
				t.Errorf("the login at the limit ended %+v, %v, want the first", ended, err)
			}
			ended, err = s.EndSubject(t.Context(), app, "ada", store.ID{}, store.ReasonRevoked, t0)
			if len(ended) != 3 || err != nil || members(t, s, "ada") != 0 {
				t.Errorf("EndSubject ended %+v, %v, and %d members are left", ended, err, members(t, s, "ada"))
			}
		})
	}
}

// An index whose life was shortened gets it back.
func TestIndexLastsAgain(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	rec := create(t, s, lasting("ada"))
	key := s.subjectPlace(app, "ada").members()
	redis(t, s, "PEXPIRE", key, "60000")
	sweepAll(t, s, t0)
	if ttl := redis(t, s, "PTTL", key).(int64); ttl < int64(rec.ExpiresAt-t0) {
		t.Errorf("the index lasts for %d ms", ttl)
	}
}

// The nodes together compare a bucket's sessions once in a turn, in as many
// steps as it takes.
func TestOneComparisonATurn(t *testing.T) {
	t.Parallel()
	nodes := openSeveral(t, shared(t, single).URL())
	compared := 0
	for _, s := range nodes {
		s.hook = func(step string) error {
			if step == "mend" {
				compared++
			}
			return nil
		}
	}
	for i := range 3 * sweepStep {
		rec := lasting(fmt.Sprint("ada", i))
		rec.ID[15] = 0
		if i%2 == 1 {
			rec.CreatedAt-- // not in the order of their IDs
		}
		create(t, nodes[0], rec)
	}
	begin := (t0/mendEvery + 1) * mendEvery // of a turn of the first bucket
	sweepAll(t, nodes[0], begin)
	if compared != 3 {
		t.Errorf("the sessions of one bucket were compared in %d steps, want 3", compared)
	}
	for i, s := range nodes {
		sweepAll(t, s, begin+store.Time(i)*mendEvery/3)
	}
	if compared != 3 {
		t.Errorf("in the same turn there were %d steps", compared)
	}
	sweepAll(t, nodes[1], begin+mendEvery)
	if compared != 6 {
		t.Errorf("in the second turn there were %d steps", compared)
	}
}

// A session ends, or logs in as another user, while its lost member comes back.
// Then no index has that member.
func TestI4EndedWhileItComesBack(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"mend", "look again"} {
		for what, change := range map[string]func(t *testing.T, s *Store, rec *store.Record) error{
			"End": func(t *testing.T, s *Store, rec *store.Record) error {
				_, err := s.End(t.Context(), app, rec.ID, store.ReasonLogout, t0)
				return err
			},
			"EndSubject": func(t *testing.T, s *Store, rec *store.Record) error {
				_, err := s.EndSubject(t.Context(), app, "ada", store.ID{}, store.ReasonRevoked, t0)
				return err
			},
			"EndSubject, and the tombstone goes": func(t *testing.T, s *Store, rec *store.Record) error {
				_, err := s.EndSubject(t.Context(), app, "ada", store.ID{}, store.ReasonRevoked, t0)
				redis(t, s, "DEL", s.placeOf(app, rec.ID).session(rec.ID))
				return err
			},
			"EndAll": func(t *testing.T, s *Store, rec *store.Record) error { return s.EndAll(t.Context(), app, t0) },
			"a login as another": func(t *testing.T, s *Store, rec *store.Record) error {
				rec.Subject = "eve"
				_, err := s.Update(t.Context(), app, rec, store.UpdateOptions{Login: true, Arrived: t0, Now: t0})
				return err
			},
			"no subject any more": func(t *testing.T, s *Store, rec *store.Record) error {
				rec.Subject = ""
				_, err := s.Update(t.Context(), app, rec, store.UpdateOptions{Arrived: t0, Now: t0})
				return err
			},
		} {
			t.Run(step+", "+what, func(t *testing.T) {
				t.Parallel()
				nodes := openSeveral(t, shared(t, single).URL())
				sweeper, other := nodes[0], nodes[1]
				rec := create(t, other, lasting("ada"))
				lose(t, other, "ada")
				goOn := pauseAt(sweeper, step, func() { sweepAll(t, sweeper, t0) })
				if err := change(t, other, rec); err != nil {
					t.Error(err)
				}
				goOn()
				if n := members(t, other, "ada"); n != 0 {
					t.Errorf("%d members are left", n)
				}
				if list := live(t, other, "ada", t0); len(list) != 0 {
					t.Errorf("ada has %+v", list)
				}
				wantIndexed(t, other, "eve")
				err := other.Get(t.Context(), app, rec.ID, true, new(store.Record))
				if stays := rec.Subject != "ada"; stays != (err == nil) {
					t.Errorf("Get: %v", err)
				}
			})
		}
	}
}

// EndSubject misses a session that has lost its member. The session ends in the
// next turn, but only if it joined before the EndSubject and was never spared.
func TestI3EndSubjectCatchesUp(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	lost, spared, twice := create(t, s, lasting("ada")), create(t, s, lasting("ada")), create(t, s, lasting("ada"))
	sweepAll(t, s, t0)
	end := func(except store.ID, at store.Time) {
		t.Helper()
		lose(t, s, "ada")
		if ended, err := s.EndSubject(t.Context(), app, "ada", except, store.ReasonRevoked, at); err != nil || len(ended) != 0 {
			t.Fatalf("EndSubject without an index: %+v, %v", ended, err)
		}
		tick(t, s)
	}
	end(twice.ID, t0+1)
	between := sessionAt("ada", t0+2)
	between.Idle = 20 * time.Hour
	create(t, s, between)
	tick(t, s)
	end(spared.ID, t0+3)
	end(spared.ID, t0+4)
	after := sessionAt("ada", t0+5)
	after.Idle = 20 * time.Hour
	create(t, s, after)
	shiftTicket(t, s, after, time.Minute)
	lose(t, s, "ada")
	var ended []store.Ended
	for done := false; !done; {
		list, over, err := s.Sweep(t.Context(), app, t0+mendEvery, 1000)
		if err != nil {
			t.Fatal(err)
		}
		ended, done = append(ended, list...), over
	}
	want := []store.Ended{}
	for _, rec := range []*store.Record{lost, spared, twice, between} { // the one that was spared last did not escape the first EndSubject
		want = append(want, store.Ended{App: app, ID: rec.ID, Subject: "ada", Reason: store.ReasonRevoked, At: t0 + mendEvery})
	}
	byID := func(a, b store.Ended) int { return a.ID.Compare(b.ID) }
	slices.SortFunc(ended, byID)
	slices.SortFunc(want, byID)
	if !slices.Equal(ended, want) {
		t.Errorf("the sweep ended %+v, want %+v", ended, want)
	}
	for _, rec := range []*store.Record{lost, spared, twice, between} {
		if err := s.Get(t.Context(), app, rec.ID, true, new(store.Record)); !errors.Is(err, store.ErrEnded) {
			t.Errorf("Get: %v", err)
		}
	}
	if list := live(t, s, "ada", t0+mendEvery); len(list) != 1 || list[0].ID != after.ID {
		t.Errorf("live are %+v, want the one that came after", list)
	}
}

// shiftTicket gives a session a ticket as if Redis' clock had been ahead when
// it joined.
func shiftTicket(t testing.TB, s *Store, rec *store.Record, by time.Duration) {
	t.Helper()
	key := s.placeOf(app, rec.ID).session(rec.ID)
	before, rest, _ := strings.Cut(redis(t, s, "GET", key).(string), `"ticket":"`)
	issued, after, _ := strings.Cut(rest, "-")
	at, err := strconv.ParseInt(issued, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	redis(t, s, "SET", key, fmt.Sprint(before, `"ticket":"`, at+by.Milliseconds(), "-", after), "KEEPTTL")
}

// The clock of a subject's new master may be behind the clock of the old one.
// EndSubject still ends a session that seems to have joined later.
func TestI3EndSubjectCatchesUpOnASlowerClock(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	rec, other := create(t, s, lasting("ada")), create(t, s, lasting("bob"))
	for _, rec := range []*store.Record{rec, other} {
		shiftTicket(t, s, rec, 3*time.Second)
		lose(t, s, rec.Subject)
	}
	if _, err := s.EndSubject(t.Context(), app, "ada", store.ID{}, store.ReasonRevoked, t0+1); err != nil {
		t.Fatal(err)
	}
	sweepAll(t, s, t0+mendEvery)
	if err := s.Get(t.Context(), app, rec.ID, true, new(store.Record)); !errors.Is(err, store.ErrEnded) || members(t, s, "ada") != 0 {
		t.Errorf("Get: %v, and %d members", err, members(t, s, "ada"))
	}
	if err := s.Get(t.Context(), app, other.ID, true, new(store.Record)); err != nil || members(t, s, "bob") != 1 {
		t.Errorf("Get of another subject's: %v, and %d members", err, members(t, s, "bob"))
	}
}

// A session that the only EndSubject has spared comes back.
func TestSparedComesBack(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	lost, spared := create(t, s, lasting("ada")), create(t, s, lasting("ada"))
	lose(t, s, "ada")
	for range 2 {
		if _, err := s.EndSubject(t.Context(), app, "ada", spared.ID, store.ReasonRevoked, t0+1); err != nil {
			t.Fatal(err)
		}
	}
	sweepAll(t, s, t0+mendEvery)
	if list := live(t, s, "ada", t0+mendEvery); len(list) != 1 || list[0].ID != spared.ID {
		t.Errorf("live are %+v, want the one that was spared", list)
	}
	if err := s.Get(t.Context(), app, lost.ID, true, new(store.Record)); !errors.Is(err, store.ErrEnded) {
		t.Errorf("Get: %v", err)
	}
}

// Several nodes mend at the same time, on a single Redis and on a cluster.
func TestMendOnThreeNodes(t *testing.T) {
	t.Parallel()
	for name, url := range urls(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := openSeveral(t, url)
			const subjects, each = 20, 10
			for i := range subjects * each {
				create(t, nodes[0], lasting(fmt.Sprint("ada", i%subjects)))
			}
			for i := range subjects {
				lose(t, nodes[0], fmt.Sprint("ada", i))
			}
			var wg sync.WaitGroup
			for _, s := range nodes {
				wg.Go(func() {
					for done := false; !done; {
						list, over, err := s.Sweep(t.Context(), app, t0, 50)
						if err != nil || len(list) > 0 {
							t.Errorf("Sweep: %+v, %v", list, err)
							return
						}
						done = over
					}
				})
			}
			wg.Wait()
			for i := range subjects {
				subject := fmt.Sprint("ada", i)
				if n := members(t, nodes[0], subject); n != each {
					t.Errorf("%s has %d members", subject, n)
				}
				wantIndexed(t, nodes[0], subject)
			}
		})
	}
}

// The next turn repairs what a sweeper left that died between two steps.
func TestI11CrashWhileMending(t *testing.T) {
	t.Parallel()
	for k := 1; ; k++ {
		nodes := openSeveral(t, shared(t, single).URL())
		dying, other := nodes[0], nodes[1]
		other.lapse = -time.Hour
		lost, gone, revoked := create(t, other, lasting("ada")), create(t, other, lasting("ada")), create(t, other, lasting("bob"))
		lose(t, other, "ada")
		lose(t, other, "bob")
		if _, err := other.EndSubject(t.Context(), app, "bob", store.ID{}, store.ReasonRevoked, t0-1); err != nil {
			t.Fatal(err)
		}
		crashed := crashAt(dying, k)
		_, _, err := dying.Sweep(t.Context(), app, t0, 1000)
		if !*crashed {
			if err != nil || k < 3 {
				t.Fatalf("after %d steps: %v", k-1, err)
			}
			return
		}
		if _, err := other.End(t.Context(), app, gone.ID, store.ReasonLogout, t0); err != nil {
			t.Fatal(err)
		}
		sweepAll(t, other, t0+mendEvery)
		if list := live(t, other, "ada", t0+mendEvery); len(list) != 1 || list[0].ID != lost.ID || members(t, other, "ada") != 1 {
			t.Errorf("crash before step %d: ada has %+v and %d members", k, list, members(t, other, "ada"))
		}
		if err := other.Get(t.Context(), app, revoked.ID, true, new(store.Record)); !errors.Is(err, store.ErrEnded) {
			t.Errorf("crash before step %d: what EndSubject missed: %v", k, err)
		}
	}
}

// A shard that restarts without its data, or with older data, has lost members
// whose sessions other shards have. So may a replica that takes over. The nodes
// notice that, and the next sweep mends without waiting for the turn.
func TestI11ShardRestarted(t *testing.T) {
	if testing.Short() {
		t.Skip("three clusters take their time")
	}
	t.Parallel()
	for _, how := range []string{"empty", "with older data", "failed over"} {
		t.Run(how, func(t *testing.T) {
			c := servertest.Cluster(t, servertest.RedisOptions{AppendOnly: how == "with older data"})
			s := openAt(t, c.URL(), Options{})
			var recs []*store.Record
			subjects := func(from, to int) {
				for i := range 10 * (to - from) {
					recs = append(recs, create(t, s, lasting(fmt.Sprint("ada", from+i%(to-from)))))
				}
			}
			subjects(0, 20)
			m := c.Masters()[0]
			replica, err := c.Replica(m)
			if err != nil {
				t.Fatal(err)
			}
			if how == "with older data" { // what comes next is not in the log
				for _, n := range []*servertest.RedisServer{m, replica} {
					if _, err := n.Do("CONFIG", "SET", "appendonly", "no"); err != nil {
						t.Fatal(err)
					}
				}
				for _, rec := range recs[:20] { // their members come back
					if _, err := s.End(t.Context(), app, rec.ID, store.ReasonLogout, t0); err != nil {
						t.Fatal(err)
					}
				}
				subjects(10, 30)
			}
			sweepAll(t, s, t0)
			if how == "failed over" {
				for i := range 20 {
					lose(t, s, fmt.Sprint("ada", i))
				}
				if err := c.Failover(m); err != nil {
					t.Fatal(err)
				}
			} else {
				restart(t, c, m, replica)
			}
			kept := map[string]int{}
			for _, rec := range recs {
				switch err := getSoonInto(t, s, rec.ID, new(store.Record)); {
				case err == nil:
					kept[rec.Subject]++
				case !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrEnded):
					t.Fatal(err)
				}
			}
			missing := func() (n int) {
				for subject, want := range kept {
					n += want - len(live(t, s, subject, t0))
				}
				return n
			}
			if missing() == 0 {
				t.Fatal("no index has lost anything")
			}
			for deadline := time.Now().Add(atMost); missing() > 0; time.Sleep(100 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d sessions are not in their index", missing())
				}
				_, _, _ = s.Sweep(t.Context(), app, t0, 1000)
			}
			for subject, n := range kept {
				ended, err := s.EndSubject(t.Context(), app, subject, store.ID{}, store.ReasonRevoked, t0)
				if len(ended) != n || err != nil || members(t, s, subject) != 0 {
					t.Errorf("EndSubject(%s) ended %d of %d, and left %d members: %v", subject, len(ended), n, members(t, s, subject), err)
				}
			}
		})
	}
}

// restart restarts a shard with the data on its disk. The replica stops first,
// so that it does not take over, and starts last.
func restart(t *testing.T, c *servertest.RedisCluster, m, replica *servertest.RedisServer) {
	t.Helper()
	for _, step := range []func() error{replica.Kill, m.Kill, m.Start, replica.Start, c.WaitHealthy} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}
