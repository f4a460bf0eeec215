package storetest

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// rounds is how often a race is run.
const rounds = 15

// raceCases let calls run in parallel. The outcome is one of few; which, is up to chance.
var raceCases = []testCase{
	{"I4/EndDuringUpdate", func(f *fixture) {
		duringUpdates(f, "alice", func(rec *store.Record) error {
			_, err := f.s.End(f.ctx, app, rec.ID, store.ReasonLogout, t0+1)
			return err
		})
		duringUpdates(f, "", func(rec *store.Record) error {
			_, err := f.s.End(f.ctx, app, rec.ID, store.ReasonLogout, t0+1)
			return err
		})
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
			_, err := f.s.Create(f.ctx, app, next, limited(next, 1))
			return err
		})
	}},
	{"I7/SweepDuringTouch", func(f *fixture) {
		// The touch comes first and keeps the session, or the sweep does and the touch fails.
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
			rec := session(subject)
			rec.Values = values("n", "0")
			f.create(rec)
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() { f.increment(rec.ID, plain(t0)) })
			}
			wg.Wait()
			got := f.get(rec.ID)
			if v, _ := got.Values.Get("n"); string(v) != strconv.Itoa(n) || got.Revision != n+1 {
				f.Fatalf("%d increments gave %s at revision %d", n, v, got.Revision)
			}
		}
	}},
	{"I5/OneWinsEachRevision", func(f *fixture) {
		// As parallel rotations do: everybody comes with the same revision, and one may write.
		for _, opt := range []store.UpdateOptions{plain(t0), login(t0)} {
			rec := f.create(session("alice"))
			for range rounds {
				hashes := make([]store.Hash, 16)
				errs := make([]error, len(hashes))
				var wg sync.WaitGroup
				for i := range hashes {
					next := clone(rec)
					next.Good = []store.Secret{rec.Secret}
					hashes[i] = newHash()
					next.Secret = store.Secret{Hash: hashes[i], IssuedAt: t0}
					wg.Go(func() { _, errs[i] = f.s.Update(f.ctx, app, next, opt) })
				}
				wg.Wait()
				winner := -1
				for i, err := range errs {
					switch {
					case err == nil && winner < 0:
						winner = i
					case err == nil:
						f.Fatalf("two updates of revision %d succeeded", rec.Revision)
					default:
						f.wantErr(err, store.ErrConflict)
					}
				}
				if winner < 0 {
					f.Fatal("no update succeeded")
				}
				got := f.get(rec.ID)
				if got.Secret.Hash != hashes[winner] || got.Revision != rec.Revision+1 {
					f.Fatalf("the winner's record is not the one that is kept")
				}
				rec = got
			}
		}
	}},
	{"I5/ConfirmDuringUpdates", func(f *fixture) {
		for range rounds {
			rec := session("alice")
			rec.Values = values("n", "0")
			rec.Good = []store.Secret{{Hash: newHash(), IssuedAt: t0 - 1}}
			f.create(rec)
			var confirmed error
			parallel(func() {
				confirmed = f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0 + 1, ConfirmedAt: t0 + 2, Until: t0 + 3})
			}, func() { f.increment(rec.ID, plain(t0)) }, func() { f.increment(rec.ID, login(t0)) })
			f.must(confirmed)
			got := f.get(rec.ID)
			if v, _ := got.Values.Get("n"); string(v) != "2" || got.Secret.ConfirmedAt != t0+2 || got.Good[0].Until != t0+3 || got.Revision != 4 {
				f.Fatalf("something is lost: n = %s in %+v", v, got)
			}
		}
	}},
	{"I12/ConfirmDuringRotation", func(f *fixture) {
		// A late confirmation must not confirm the secret that came meanwhile.
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
				f.Fatal("the confirmation of the former secret confirmed its successor")
			}
			if rotated != nil {
				f.wantErr(rotated, store.ErrConflict)
			} else if got.Secret.Hash != next.Secret.Hash {
				f.Fatal("the rotation is lost")
			}
		}
	}},
	{"I5/TouchDuringUpdates", func(f *fixture) {
		for range rounds {
			rec := session("alice")
			rec.Values = values("n", "0")
			f.create(rec)
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
				f.Fatalf("something is lost: n = %s in %+v", v, got)
			}
		}
	}},
	{"I11/LimitUnderParallelLogins", func(f *fixture) {
		for _, refuse := range []bool{false, true} {
			const n, limit = 64, 3
			subject := "alice" + strconv.FormatBool(refuse)
			var visitors []*store.Record
			for range n {
				visitors = append(visitors, f.create(session("")))
			}
			var wg sync.WaitGroup
			var mu sync.Mutex
			ended, made, refused := map[store.ID]int{}, 0, 0
			note := func(list []store.Ended, err error) {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					made++
				case refuse && errors.Is(err, store.ErrLimit):
					refused++
				default:
					f.Errorf("a login: %v", err)
				}
				for _, e := range list {
					if ended[e.ID]++; e.Reason != store.ReasonEvicted || e.Subject != subject {
						f.Errorf("ended %+v", e)
					}
				}
			}
			bound := store.Limit{Max: limit, Refuse: refuse}
			var over atomic.Bool
			for i := range n {
				wg.Go(func() {
					rec := session(subject)
					opt := created(rec)
					opt.Limit = bound
					note(f.s.Create(f.ctx, app, rec, opt))
				})
				wg.Go(func() {
					rec := clone(visitors[i])
					rec.Subject = subject
					opt := login(t0)
					opt.Limit = bound
					note(f.s.Update(f.ctx, app, rec, opt))
				})
				if i%8 == 0 {
					wg.Go(func() {
						list, _, err := f.s.List(f.ctx, app, store.ListOptions{Subject: subject, Limit: 100, Now: t0})
						if err != nil {
							f.Errorf("List: %v", err)
						}
						if len(list) > limit {
							over.Store(true)
						}
					})
				}
			}
			wg.Wait()
			if f.Failed() {
				f.FailNow()
			}
			if over.Load() {
				f.Fatalf("a list had more than %d sessions meanwhile", limit)
			}
			left := f.list(app, subject, 1000, t0)
			if len(left) != limit {
				f.Fatalf("%d sessions are left, want %d", len(left), limit)
			}
			if made != limit+len(ended) || made+refused != 2*n || refuse && len(ended) > 0 {
				f.Fatalf("%d made, %d refused, %d evicted", made, refused, len(ended))
			}
			for id, times := range ended {
				if times != 1 {
					f.Fatalf("a session was evicted %d times", times)
				}
				f.wantErr(f.getErr(id), store.ErrEnded)
			}
			n2, err := f.s.Count(f.ctx, app)
			if f.must(err); !refuse && n2.LoggedIn != limit {
				f.Fatalf("Count = %+v", n2)
			}
			f.endSubject(subject, t0)
		}
	}},
	{"I11/TwoSubjectsSwap", func(f *fixture) {
		// Sessions that go from one subject to the other and back, both ways at once, with a limit: no deadlock, none lost.
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
			alice, bob := f.list(app, "alice", 10, t0), f.list(app, "bob", 10, t0)
			if len(alice) != 1 || len(bob) != 1 || alice[0].ID != a.ID || bob[0].ID != b.ID {
				f.Fatalf("alice has %d sessions, bob %d", len(alice), len(bob))
			}
			for _, rec := range []*store.Record{a, b} {
				f.end(rec, store.ReasonLogout, t0)
			}
		}
	}},
	{"I3/EndSubjectDuringLogins", func(f *fixture) {
		// A login whose request arrived before EndSubject fails, or made a session that EndSubject ended.
		for i := range rounds {
			subject := "alice" + strconv.Itoa(i)
			var calls []func()
			for range 8 {
				visitor := f.create(session(""))
				calls = append(calls, func() {
					rec := session(subject)
					if _, err := f.s.Create(f.ctx, app, rec, limited(rec, 4)); err != nil && !errors.Is(err, store.ErrBarrier) {
						f.Errorf("Create: %v", err)
					}
				}, func() {
					rec := clone(visitor)
					rec.Subject = subject
					if _, err := f.s.Update(f.ctx, app, rec, login(t0)); err != nil && !errors.Is(err, store.ErrBarrier) {
						f.Errorf("Update: %v", err)
					}
				})
			}
			calls = append(calls, func() {
				if _, err := f.s.EndSubject(f.ctx, app, subject, store.ID{}, store.ReasonRevoked, t0); err != nil {
					f.Errorf("EndSubject: %v", err)
				}
			})
			parallel(calls...)
			f.wantList(subject, t0)
		}
	}},
	{"I3/EndAllDuringCreates", func(f *fixture) {
		for i := range store.Time(rounds) {
			var calls []func()
			for j := range 16 {
				calls = append(calls, func() {
					rec := sessionAt([]string{"", "alice"}[j%2], t0+i)
					if _, err := f.s.Create(f.ctx, app, rec, created(rec)); err != nil && !errors.Is(err, store.ErrBarrier) {
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
			f.wantCount(app, 0, 0)
			if got := f.list(app, "", 100, t0+i); len(got) != 0 {
				f.Fatalf("%d sessions survived EndAll", len(got))
			}
		}
	}},
	{"End/OnceInParallel", func(f *fixture) {
		for i := range rounds {
			rec := f.create(session([]string{"", "alice"}[i%2]))
			var ended atomic.Int32
			var calls []func()
			for range 8 {
				calls = append(calls, func() {
					list, err := f.s.End(f.ctx, app, rec.ID, store.ReasonLogout, t0)
					if err != nil {
						f.Errorf("End: %v", err)
					}
					ended.Add(int32(len(list)))
				})
			}
			calls = append(calls, func() {
				list, err := f.s.EndSubject(f.ctx, app, "alice", store.ID{}, store.ReasonRevoked, 0)
				if err != nil {
					f.Errorf("EndSubject: %v", err)
				}
				ended.Add(int32(len(list)))
			})
			parallel(calls...)
			if n := ended.Load(); n != 1 {
				f.Fatalf("the session was ended %d times", n)
			}
			f.wantCount(app, 0, 0)
		}
	}},
	{"Create/OnceInParallel", func(f *fixture) {
		for i := range rounds {
			rec := session([]string{"", "alice"}[i%2])
			var made atomic.Int32
			var calls []func()
			for range 8 {
				r := clone(rec)
				calls = append(calls, func() {
					_, err := f.s.Create(f.ctx, app, r, created(r))
					if err == nil {
						made.Add(1)
					} else if !errors.Is(err, store.ErrExists) {
						f.Errorf("Create: %v", err)
					}
				})
			}
			parallel(calls...)
			if n := made.Load(); n != 1 {
				f.Fatalf("one ID was created %d times", n)
			}
		}
		f.wantCount(app, rounds, rounds/2)
	}},
	{"Create/IdempotencyKeyInParallel", func(f *fixture) {
		for i := range rounds {
			ids := make([]store.ID, 12)
			var made atomic.Int32
			var calls []func()
			for j := range ids {
				rec := session([]string{"", "alice"}[i%2])
				opt := created(rec)
				opt.Key = "key" + strconv.Itoa(i)
				calls = append(calls, func() {
					_, err := f.s.Create(f.ctx, app, rec, opt)
					if err == nil {
						made.Add(1)
					} else if !errors.Is(err, store.ErrRepeated) {
						f.Errorf("Create: %v", err)
					}
					ids[j] = rec.ID
				})
			}
			parallel(calls...)
			if n := made.Load(); n != 1 {
				f.Fatalf("%d sessions were created under one key", n)
			}
			for _, id := range ids {
				if id != ids[0] {
					f.Fatal("one key names two sessions")
				}
			}
		}
		f.wantCount(app, rounds, rounds/2)
	}},
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

// parallel runs calls at once.
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

// duringUpdates ends a session while others update, touch and confirm it. Once the end is acknowledged no such
// call may succeed any more, and the session stays ended (I4).
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
						f.Errorf("%s after the end was acknowledged: error %v", what, err)
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
				_, err := f.s.Update(f.ctx, app, &r, opt)
				return err
			}
		}
		blind := clone(rec)
		now := rec.CreatedAt
		var ended error
		parallel(
			until("Update", update(plain(now))),
			until("a login", update(login(now))),
			until("an Update at a stale revision", func() error {
				r := clone(blind)
				_, err := f.s.Update(f.ctx, app, r, plain(now))
				return err
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
		for _, r := range f.list(app, "", 1000, now) {
			if r.ID == rec.ID {
				f.Fatal("the ended session is in the list")
			}
		}
	}
}
