package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// rounds is the number of repetitions of each race.
const rounds = 15

// raceCases make calls in parallel. Each case allows a few outcomes.
var raceCases = []testCase{
	{"I4/EndDuringUpdate", func(f *fixture) {
		for _, subject := range []string{"alice", ""} {
			duringUpdates(f, subject, func(rec *store.Record) error {
				_, err := f.s.End(f.ctx, app, rec.ID, store.ReasonLogout, t0+1)
				return err
			})
		}
	}},
	{"I4/EndSubjectDuringUpdate", func(f *fixture) {
		duringUpdates(f, "alice", func(rec *store.Record) error {
			_, err := f.s.EndSubject(f.ctx, app, "alice", store.ID{}, store.ReasonLogout, t0-1)
			return err
		})
	}},
	{"I4/EndAllDuringUpdate", func(f *fixture) {
		duringUpdates(f, "alice", func(rec *store.Record) error {
			return f.s.EndAll(f.ctx, app, rec.CreatedAt)
		})
	}},
	{"I4/EvictionDuringUpdate", func(f *fixture) {
		duringUpdates(f, "alice", func(rec *store.Record) error {
			next := sessionAt("alice", t0+1000)
			return f.tryCreate(next, limited(next, 1))
		})
	}},
	{"I7/SweepDuringTouch", func(f *fixture) {
		// Either the touch comes first and keeps the session, or the sweep ends
		// it and the touch fails.
		for i := range 4 * rounds {
			rec := f.create(session([]string{"", "alice"}[i%2]))
			var touched error
			var ended []store.Ended
			parallel(func() {
				touched = f.s.Touch(f.ctx, app, rec.ID, t0+hour-1, t0+hour-1, phone)
			}, func() { ended = f.sweep(t0 + hour) })
			err := f.getErr(rec.ID)
			switch {
			case touched == nil && len(ended) == 0 && err == nil:
			case errors.Is(touched, store.ErrEnded) && len(ended) == 1 && errors.Is(err, store.ErrEnded):
			default:
				f.Fatalf("Touch: %v; Sweep ended %+v; Get: %v", touched, ended, err)
			}
			f.sweep(t0 + day)
		}
	}},
	{"I5/ParallelUpdates", func(f *fixture) {
		const n = 64
		for _, subject := range []string{"", "alice"} {
			rec := f.create(counting(subject))
			parallel(slices.Repeat([]func(){func() { f.increment(rec.ID, plain(t0)) }}, n)...)
			got := f.get(rec.ID)
			if v, _ := got.Values.Get("n"); string(v) != strconv.Itoa(n) || got.Revision != n+1 {
				f.Fatalf("%d increments gave %s at revision %d", n, v, got.Revision)
			}
		}
	}},
	{"I5/OneWinsEachRevision", func(f *fixture) {
		// Parallel rotations write the same revision. One of them succeeds.
		for _, opt := range []store.UpdateOptions{plain(t0), login(t0)} {
			rec := f.create(session("alice"))
			for range rounds {
				hashes := make([]store.Hash, 16)
				winner := f.race(len(hashes), store.ErrConflict, func(i int) error {
					next := clone(rec)
					next.Good = []store.Secret{rec.Secret}
					hashes[i] = newHash()
					next.Secret = store.Secret{Hash: hashes[i], IssuedAt: t0}
					return f.tryUpdate(next, opt)
				})
				got := f.get(rec.ID)
				if got.Secret.Hash != hashes[winner] || got.Revision != rec.Revision+1 {
					f.Fatal("the store does not hold the record of the update that succeeded")
				}
				rec = got
			}
		}
	}},
	{"I5/ConfirmDuringUpdates", func(f *fixture) {
		for range rounds {
			rec := counting("alice")
			rec.Good = []store.Secret{{Hash: newHash(), IssuedAt: t0 - 1}}
			f.create(rec)
			var confirmed error
			parallel(func() {
				confirmed = f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0 + 1, ConfirmedAt: t0 + 2, Until: t0 + 3})
			}, func() { f.increment(rec.ID, plain(t0)) }, func() { f.increment(rec.ID, login(t0)) })
			f.must(confirmed)
			got := f.get(rec.ID)
			if v, _ := got.Values.Get("n"); string(v) != "2" || got.Secret.ConfirmedAt != t0+2 || got.Good[0].Until != t0+3 || got.Revision != 4 {
				f.Fatalf("an update, touch or confirmation was lost: n = %s in %+v", v, got)
			}
		}
	}},
	{"I12/ConfirmDuringRotation", func(f *fixture) {
		// A late confirmation must not confirm the secret of a later rotation.
		for range rounds {
			rec := f.create(session("alice"))
			next := clone(rec)
			next.Secret = store.Secret{Hash: newHash(), IssuedAt: t0 + 5}
			next.Good = []store.Secret{rec.Secret}
			var confirmed, rotated error
			parallel(func() {
				confirmed = f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0 + 1, ConfirmedAt: t0 + 2})
			}, func() { _, rotated = f.s.Update(f.ctx, app, next, plain(t0)) })
			f.must(confirmed)
			got := f.get(rec.ID)
			if got.Secret.Hash == next.Secret.Hash && got.Secret.ConfirmedAt != 0 {
				f.Fatal("a confirmation of the old secret confirmed the new one")
			}
			if rotated != nil {
				f.wantErr(rotated, store.ErrConflict)
			} else if got.Secret.Hash != next.Secret.Hash {
				f.Fatal("the rotation was lost")
			}
		}
	}},
	{"I5/TouchDuringUpdates", func(f *fixture) {
		for range rounds {
			rec := f.create(counting("alice"))
			var calls []func()
			for i := range 8 {
				calls = append(calls, func() { f.increment(rec.ID, plain(t0)) }, func() {
					if err := f.s.Touch(f.ctx, app, rec.ID, t0+store.Time(i), t0, store.Client{UserAgent: strconv.Itoa(i)}); err != nil {
						f.Errorf("Touch: %v", err)
					}
				})
			}
			parallel(calls...)
			got := f.get(rec.ID)
			if v, _ := got.Values.Get("n"); string(v) != "8" || got.LastSeenAt != t0+7 || got.LastClient.UserAgent != "7" {
				f.Fatalf("an update, touch or confirmation was lost: n = %s in %+v", v, got)
			}
		}
	}},
	{"I11/LimitUnderParallelLogins", func(f *fixture) {
		limitUnderParallelLogins(f.alone(), "alice evicting", false, 64)
		limitUnderParallelLogins(f.alone(), "alice refusing", true, 64)
	}},
	{"I11/TwoSubjectsSwap", func(f *fixture) {
		// Two sessions change between two subjects, in opposite directions and
		// under a limit. No deadlock occurs, and no session is lost.
		for range rounds {
			a, b := f.create(session("alice")), f.create(session("bob"))
			var calls []func()
			for _, rec := range []*store.Record{a, b} {
				calls = append(calls, func() {
					r := clone(rec)
					for range 10 {
						if r.Subject == "alice" {
							r.Subject = "bob"
						} else {
							r.Subject = "alice"
						}
						opt := login(t0)
						opt.Limit.Max = 2
						if ended, err := f.s.Update(f.ctx, app, r, opt); err != nil || len(ended) > 0 {
							f.Errorf("Update ended %+v: %v", ended, err)
							return
						}
					}
				})
			}
			parallel(calls...)
			if f.Failed() {
				f.FailNow()
			}
			alice, bob := f.list("alice", 10, t0), f.list("bob", 10, t0)
			if len(alice) != 1 || len(bob) != 1 || alice[0].ID != a.ID || bob[0].ID != b.ID {
				f.Fatalf("alice has %d sessions, bob %d", len(alice), len(bob))
			}
			for _, rec := range []*store.Record{a, b} {
				f.end(rec, store.ReasonLogout, t0)
			}
		}
	}},
	{"I3/EndSubjectDuringLogins", func(f *fixture) { endSubjectDuringLogins(f.alone()) }},
	{"I3/EndAllDuringCreates", func(f *fixture) {
		for i := range store.Time(rounds) {
			var calls []func()
			for j := range 16 {
				calls = append(calls, func() {
					rec := sessionAt([]string{"", "alice"}[j%2], t0+i)
					if err := f.tryCreate(rec, created(rec)); err != nil && !errors.Is(err, store.ErrBarrier) {
						f.Errorf("Create: %v", err)
					}
				})
			}
			calls = append(calls, func() {
				if err := f.s.EndAll(f.ctx, app, t0+i); err != nil {
					f.Errorf("EndAll: %v", err)
				}
			})
			parallel(calls...)
			f.wantCount(0, 0)
			if got := f.list("", 100, t0+i); len(got) != 0 {
				f.Fatalf("%d sessions survived EndAll", len(got))
			}
		}
	}},
	{"End/OnceInParallel", func(f *fixture) {
		for i := range rounds {
			rec := f.create(session([]string{"", "alice"}[i%2]))
			var ended atomic.Int32
			note := func(list []store.Ended, err error) {
				if err != nil {
					f.Errorf("an end: %v", err)
				}
				ended.Add(int32(len(list)))
			}
			calls := slices.Repeat([]func(){func() { note(f.s.End(f.ctx, app, rec.ID, store.ReasonLogout, t0)) }}, 8)
			parallel(append(calls, func() { note(f.s.EndSubject(f.ctx, app, "alice", store.ID{}, store.ReasonRevoked, 0)) })...)
			if n := ended.Load(); n != 1 {
				f.Fatalf("the session was ended %d times", n)
			}
			f.wantCount(0, 0)
		}
	}},
	{"Create/OnceInParallel", func(f *fixture) {
		for i := range rounds {
			rec := session([]string{"", "alice"}[i%2])
			f.race(8, store.ErrExists, func(int) error { return f.tryCreate(clone(rec), created(rec)) })
		}
		f.wantCount(rounds, rounds/2)
	}},
	{"Create/IdempotencyKeyInParallel", func(f *fixture) { idempotencyKeyInParallel(f.alone()) }},
	{"Close/DuringCalls", func(f *fixture) {
		recs := make([]*store.Record, 16)
		for i := range recs {
			recs[i] = f.create(session([]string{"", "alice"}[i%2]))
		}
		var calls []func()
		for _, rec := range recs {
			calls = append(calls, func() {
				r := clone(rec)
				for {
					if err := f.s.Get(f.ctx, app, rec.ID, true, r); err != nil {
						return
					}
					if _, err := f.s.Update(f.ctx, app, r, login(t0)); err != nil {
						return
					}
					if _, _, err := f.s.List(f.ctx, app, store.ListOptions{Limit: 5, Subject: "alice", Now: t0}); err != nil {
						return
					}
				}
			})
		}
		calls = append(calls, func() {
			for range 50 {
				_, _ = f.s.Count(f.ctx, app)
			}
			if err := f.s.Close(); err != nil {
				f.Errorf("Close: %v", err)
			}
		})
		parallel(calls...)
		f.wantErr(f.getErr(recs[0].ID), store.ErrClosed)
	}},
}

// parallel runs the calls at the same time and waits for all of them.
func parallel(calls ...func()) {
	start := make(chan struct{})
	var wg sync.WaitGroup
	for _, call := range calls {
		wg.Go(func() {
			<-start
			call()
		})
	}
	close(start)
	wg.Wait()
}

// race makes n calls at once. One must succeed, and the others must fail with
// target. It returns the number of the call that succeeded.
func (f *fixture) race(n int, target error, call func(i int) error) int {
	f.Helper()
	errs := make([]error, n)
	var calls []func()
	for i := range errs {
		calls = append(calls, func() { errs[i] = call(i) })
	}
	parallel(calls...)
	winner := slices.Index(errs, nil)
	if winner < 0 {
		f.Fatalf("no call succeeded: %v", errs)
	}
	for i, err := range errs {
		if i != winner {
			f.wantErr(err, target)
		}
	}
	return winner
}

// counting returns a session whose value n is 0, for increment.
func counting(subject string) *store.Record {
	rec := session(subject)
	rec.Values = values("n", "0")
	return rec
}

// increment adds one to the value n of a session. It tries again after a conflict.
func (f *fixture) increment(id store.ID, opt store.UpdateOptions) {
	var rec store.Record
	for deadline := time.Now().Add(patience); ; {
		if err := f.s.Get(f.ctx, app, id, true, &rec); err != nil {
			f.Errorf("Get: %v", err)
			return
		}
		v, _ := rec.Values.Get("n")
		n, _ := strconv.Atoi(string(v))
		rec.Values = rec.Values.AppendSet(nil, "n", strconv.AppendInt(nil, int64(n+1), 10))
		_, err := f.s.Update(f.ctx, app, &rec, opt)
		if err == nil {
			return
		}
		if !errors.Is(err, store.ErrConflict) || time.Now().After(deadline) {
			f.Errorf("Update: %v", err)
			return
		}
	}
}

// logins returns 2n calls that log a subject in at t0, half of them by Create
// and half by an Update of an anonymous session. The nodes take turns.
func (c *cluster) logins(n int, subject string, limit store.Limit, note func([]store.Ended, error)) (calls []func()) {
	for i := range n {
		on, visitor, rec := c.on(i), c.create(session("")), session(subject)
		visitor.Subject = subject
		create, update := created(rec), login(t0)
		create.Limit, update.Limit = limit, limit
		calls = append(calls,
			func() { note(on.s.Create(c.ctx, app, rec, create)) },
			func() { note(on.s.Update(c.ctx, app, visitor, update)) })
	}
	return calls
}

// limitUnderParallelLogins checks that 2n parallel logins leave as many
// sessions as the limit allows, and that no list shows more meanwhile.
func limitUnderParallelLogins(c *cluster, subject string, refuse bool, n int) {
	const limit = 3
	var mu sync.Mutex
	ended, made, refused := map[store.ID]int{}, 0, 0
	calls := c.logins(n, subject, store.Limit{Max: limit, Refuse: refuse}, func(list []store.Ended, err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			made++
		case refuse && errors.Is(err, store.ErrLimit):
			refused++
		default:
			c.Errorf("a login: %v", err)
		}
		for _, e := range list {
			if ended[e.ID]++; e.Reason != store.ReasonEvicted || e.Subject != subject {
				c.Errorf("ended %+v", e)
			}
		}
	})
	for i := range n / 8 {
		calls = append(calls, func() {
			list, _, err := c.on(i).s.List(c.ctx, app, store.ListOptions{Subject: subject, Limit: 100, Now: t0})
			if err != nil || len(list) > limit {
				c.Errorf("List returned %d sessions, above the limit of %d, or failed: %v", len(list), limit, err)
			}
		})
	}
	rand.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
	parallel(calls...)
	if c.Failed() {
		c.FailNow()
	}
	for i := range c.nodes {
		if left := len(c.on(i).list(subject, 1000, t0)); left != limit {
			c.Fatalf("%d sessions are left, want %d", left, limit)
		}
	}
	if made != limit+len(ended) || made+refused != 2*n || refuse && len(ended) > 0 {
		c.Fatalf("%d made, %d refused, %d evicted", made, refused, len(ended))
	}
	for id, times := range ended {
		if times != 1 {
			c.Fatalf("a session was evicted %d times", times)
		}
		c.wantErr(c.getErr(id), store.ErrEnded)
	}
	if got := c.count(app); got.LoggedIn != limit {
		c.Fatalf("Count = %+v", got)
	}
	c.endSubject(subject, t0)
}

// endSubjectDuringLogins checks that no login whose request arrived before an
// EndSubject outlives it: the login fails, or EndSubject ends its session.
func endSubjectDuringLogins(c *cluster) {
	for i := range rounds {
		subject := fmt.Sprint("alice ", i)
		for j := range 4 {
			c.on(j).create(session(subject))
		}
		n := 8 * len(c.nodes)
		calls := c.logins(n, subject, store.Limit{Max: n}, func(_ []store.Ended, err error) {
			if err != nil && !errors.Is(err, store.ErrBarrier) {
				c.Errorf("a login: %v", err)
			}
		})
		parallel(append(calls, func() {
			if _, err := c.on(i).s.EndSubject(c.ctx, app, subject, store.ID{}, store.ReasonRevoked, t0); err != nil {
				c.Errorf("EndSubject: %v", err)
			}
		})...)
		for j := range c.nodes {
			c.on(j).wantList(subject, t0)
		}
		after := sessionAt(subject, t0+1)
		c.on(i + 1).create(after)
		c.on(i+2).wantList(subject, t0+1, after)
	}
}

// idempotencyKeyInParallel checks that parallel Creates under one key make one
// session and return its ID.
func idempotencyKeyInParallel(c *cluster) {
	for i := range rounds {
		ids := make([]store.ID, max(12, 4*len(c.nodes)))
		c.race(len(ids), store.ErrRepeated, func(j int) error {
			rec := session([]string{"", "alice"}[i%2])
			opt := created(rec)
			opt.Key = fmt.Sprint("key ", i)
			err := c.on(j).tryCreate(rec, opt)
			ids[j] = rec.ID
			return err
		})
		if len(slices.Compact(ids)) != 1 {
			c.Fatal("Creates with one key returned two IDs")
		}
	}
	c.wantCount(rounds, rounds/2)
}

// duringUpdates ends a session while parallel calls update, touch and confirm
// it. No such call may succeed after the end was acknowledged, and the session
// stays ended (I4).
func duringUpdates(f *fixture, subject string, end func(*store.Record) error) {
	for i := range rounds {
		rec := f.create(sessionAt(subject, t0+store.Time(i)))
		var acknowledged atomic.Bool
		until := func(what string, call func() error) func() {
			return func() {
				for {
					late := acknowledged.Load()
					err := call()
					switch {
					case errors.Is(err, store.ErrEnded), errors.Is(err, store.ErrBarrier):
						return
					case late:
						f.Errorf("%s, though the end was acknowledged before: error %v", what, err)
						return
					case err != nil && !errors.Is(err, store.ErrConflict):
						f.Errorf("%s: %v", what, err)
						return
					}
				}
			}
		}
		update := func(opt store.UpdateOptions) func() error {
			var r store.Record
			return func() error {
				if err := f.s.Get(f.ctx, app, rec.ID, true, &r); err != nil {
					return err
				}
				return f.tryUpdate(&r, opt)
			}
		}
		blind := clone(rec)
		now := rec.CreatedAt
		var ended error
		parallel(
			until("Update", update(plain(now))),
			until("a login", update(login(now))),
			until("an Update at a stale revision", func() error {
				return f.tryUpdate(clone(blind), plain(now))
			}),
			until("Touch", func() error { return f.s.Touch(f.ctx, app, rec.ID, now+1, now, phone) }),
			until("Confirm", func() error {
				return f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: now})
			}),
			func() {
				ended = end(rec)
				acknowledged.Store(true)
				if err := f.getErr(rec.ID); !errors.Is(err, store.ErrEnded) {
					f.Errorf("Get after the end was acknowledged: %v", err)
				}
			},
		)
		f.must(ended)
		if f.Failed() {
			f.FailNow()
		}
		f.wantErr(f.getErr(rec.ID), store.ErrEnded)
		for _, r := range f.list("", 1000, now) {
			if r.ID == rec.ID {
				f.Fatal("List returned the ended session")
			}
		}
	}
}
