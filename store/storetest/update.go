package storetest

import (
	"slices"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

var updateCases = []testCase{
	{"Update/EveryField", func(f *fixture) {
		rec := f.create(session("alice"))
		next := full("alice")
		next.ID, next.Revision = rec.ID, 1
		next.Idle, next.ExpiresAt = 3*time.Hour, t0+7*day
		next.Client = laptop
		f.update(next, plain(t0))
		if next.Revision != 2 {
			f.Fatalf("Revision = %d after Update, want 2", next.Revision)
		}
		f.wantRecord(next)
		next.Good, next.Spent, next.Epochs, next.Halves, next.Values, next.Binding = nil, nil, nil, nil, nil, nil
		next.Remembered, next.Bearer, next.Stale, next.UntilBrowserCloses = false, false, false, false
		f.update(next, plain(t0))
		f.wantRecord(next)
		f.wantCount(1, 1)
	}},
	{"Update/WhatNeverChanges", func(f *fixture) {
		rec := f.create(session("alice"))
		next := clone(rec)
		next.CreatedAt += 5
		f.update(next, plain(t0))
		next.CreatedAt -= 5
		f.wantRecord(next)
	}},
	{"I4/UpdateNeverCreates", func(f *fixture) {
		for _, subject := range []string{"", "alice"} {
			for _, opt := range []store.UpdateOptions{plain(t0), login(t0)} {
				rec := session(subject)
				for rec.Revision = range uint64(3) {
					f.wantErr(f.tryUpdate(rec, opt), store.ErrNotFound)
					f.wantErr(f.getErr(rec.ID), store.ErrNotFound)
				}
			}
		}
		f.wantCount(0, 0)
	}},
	{"I4/UpdateOfTheEnded", func(f *fixture) {
		for _, subject := range []string{"", "alice"} {
			rec := f.create(session(subject))
			before := clone(rec)
			f.end(rec, store.ReasonLogout, t0)
			for rec.Revision = range uint64(4) { // ErrEnded at each revision
				f.wantErr(f.tryUpdate(rec, plain(t0)), store.ErrEnded)
				next := clone(rec)
				next.Subject = "bob"
				f.wantErr(f.tryUpdate(next, login(t0)), store.ErrEnded)
			}
			f.wantGone(before, store.ReasonLogout, t0)
			f.wantList("bob", t0)
		}
	}},
	{"I4/UpdateUnderTheWatermark", func(f *fixture) {
		rec := f.create(session("alice"))
		before := clone(rec)
		f.must(f.s.EndAll(f.ctx, app, t0))
		for range 2 {
			f.wantErr(f.tryUpdate(rec, plain(t0+1)), store.ErrEnded)
			f.wantGone(before, store.ReasonRevoked, t0)
			rec.CreatedAt += 100 // Update ignores CreatedAt
		}
	}},
	{"I7/UpdateOfTheExpired", func(f *fixture) {
		for _, subject := range []string{"", "alice"} {
			idle := f.create(session(subject))
			absolute := session(subject)
			absolute.Idle, absolute.ExpiresAt = 1e15, t0+hour
			f.create(absolute)
			for _, rec := range []*store.Record{idle, absolute} {
				next := clone(rec)
				next.LastSeenAt = t0 + hour
				f.wantErr(f.tryUpdate(clone(next), plain(t0+hour)), store.ErrEnded)
				next.Idle, next.ExpiresAt = 1e15, t0+100*day // Update checks the stored deadlines
				f.wantErr(f.tryUpdate(clone(next), plain(t0+hour)), store.ErrEnded)
				f.wantErr(f.tryUpdate(clone(next), login(t0+hour+1)), store.ErrEnded)
				f.update(next, plain(t0+hour-1))
				f.wantRecord(next)
			}
		}
	}},
	{"Update/Conflict", func(f *fixture) {
		rec := f.create(session("alice"))
		rec.Values = values("n", "2")
		f.update(rec, plain(t0))
		for _, revision := range []uint64{0, 1, 3, 1 << 40} {
			for _, opt := range []store.UpdateOptions{plain(t0), login(t0)} {
				for _, subject := range []string{"alice", "bob", ""} {
					next := clone(rec)
					next.Revision, next.Values, next.Subject = revision, values("n", "3"), subject
					f.wantErr(f.tryUpdate(next, opt), store.ErrConflict)
				}
			}
		}
		f.wantRecord(rec)
		f.wantList("alice", t0, rec)
		f.wantList("bob", t0)
	}},
	{"I5/ConflictEndsNobody", func(f *fixture) {
		old, rec := f.create(session("alice")), f.create(session(""))
		next := clone(rec)
		next.Revision, next.Subject = 9, "alice"
		opt := login(t0)
		opt.Limit.Max = 1
		f.wantErr(f.tryUpdate(next, opt), store.ErrConflict)
		f.wantRecord(old)
		f.wantRecord(rec)
	}},
	{"Update/LastSeenNeverGoesBack", func(f *fixture) {
		rec := f.create(session("alice"))
		f.must(f.s.Touch(f.ctx, app, rec.ID, t0+50, t0+50, laptop))
		rec.LastSeenAt, rec.LastClient = t0+20, store.Client{UserAgent: "older"}
		rec.Values = values("n", "2")
		f.update(rec, plain(t0+50))
		want := clone(rec)
		want.LastSeenAt, want.LastClient = t0+50, laptop
		f.wantRecord(want)
		want.LastSeenAt, want.LastClient = t0+60, phone
		f.update(want, plain(t0+60))
		f.wantRecord(want)
		want.LastSeenAt = t0 - 10*day
		want.Subject = "bob" // a store may write a new subject in another way
		f.update(want, login(t0+60))
		want.LastSeenAt = t0 + 60
		f.wantRecord(want)
	}},
	{"Update/Login", func(f *fixture) {
		rec := f.create(session(""))
		f.wantCount(1, 0)
		next := clone(rec)
		next.Subject, next.Epoch, next.Secret.Hash, next.EpochHash = "alice", 2, newHash(), newHash()
		f.update(next, login(t0))
		f.wantRecord(next)
		f.wantList("alice", t0, next)
		f.wantCount(1, 1)
		next.Subject = "bob"
		f.update(next, login(t0))
		f.wantList("alice", t0)
		f.wantList("bob", t0, next)
		f.wantCount(1, 1)
		next.Subject = ""
		f.update(next, plain(t0))
		f.wantList("bob", t0)
		f.wantRecord(next)
		f.wantCount(1, 0)
	}},
	{"I3/LoginBehindTheBarrier", func(f *fixture) {
		f.endSubject("alice", t0)
		for _, before := range []string{"", "bob", "alice"} {
			rec := sessionAt(before, t0+1)
			f.create(rec)
			next := clone(rec)
			next.Subject = "alice"
			opt := login(t0 + 1)
			opt.Arrived = t0
			f.wantErr(f.tryUpdate(next, opt), store.ErrBarrier)
			if before != "alice" { // a change of the subject is a login even without Login
				opt.Login = false
				f.wantErr(f.tryUpdate(next, opt), store.ErrBarrier)
			}
			f.wantRecord(rec)
			opt.Login, opt.Arrived = true, t0+1
			f.update(next, opt)
			f.wantRecord(next)
		}
	}},
	{"I3/LoginBehindTheWatermark", func(f *fixture) {
		f.must(f.s.EndAll(f.ctx, app, t0))
		rec := f.create(sessionAt("", t0+1))
		next := clone(rec)
		next.Subject = "alice"
		opt := login(t0 + 1)
		opt.Arrived = t0
		f.wantErr(f.tryUpdate(next, opt), store.ErrBarrier)
		f.wantRecord(rec)
	}},
	{"Update/ValuesIgnoreTheBarrier", func(f *fixture) {
		rec := f.create(session("alice"))
		_, err := f.s.EndSubject(f.ctx, app, "alice", rec.ID, store.ReasonRevoked, t0+1)
		f.must(err)
		rec.Values = values("n", "2")
		f.update(rec, plain(t0))
		f.wantRecord(rec)
	}},
	{"I11/LoginAtTheLimit", func(f *fixture) {
		for _, before := range []string{"", "bob"} {
			subject := "alice" + before
			a, b := f.create(sessionAt(subject, t0+9)), f.create(session(subject))
			rec := f.create(session(before))
			next := clone(rec)
			next.Subject = subject
			opt := login(t0 + 9)
			opt.Limit = store.Limit{Max: 2, Refuse: true}
			f.wantErr(f.tryUpdate(next, opt), store.ErrLimit)
			f.wantRecord(rec)
			f.wantList(subject, t0+9, a, b)
			opt.Limit.Refuse = false
			ended, err := f.s.Update(f.ctx, app, next, opt)
			f.wantEnded(ended, err, endedOf(a, store.ReasonEvicted, t0+9))
			f.wantGone(a, store.ReasonEvicted, t0+9)
			f.wantList(subject, t0+9, b, next)
			f.wantList(before+"x", t0)
		}
	}},
	{"I11/LoginOfItsOwnSession", func(f *fixture) {
		// The session itself counts once and is never evicted. A repeated login
		// does not change its place in the order.
		a, b, c := f.create(session("alice")), f.create(session("alice")), f.create(session("alice"))
		opt := login(t0)
		opt.Limit = store.Limit{Max: 3, Refuse: true}
		f.update(a, opt)
		f.wantList("alice", t0, a, b, c)
		opt.Limit = store.Limit{Max: 2}
		ended, err := f.s.Update(f.ctx, app, a, opt)
		f.wantEnded(ended, err, endedOf(b, store.ReasonEvicted, t0))
		f.wantList("alice", t0, a, c)
		d := session("alice")
		f.createEvicting(d, 2, a)
		f.wantList("alice", t0, c, d)
	}},
	{"I11/OrderOfBecomingTheSubjects", func(f *fixture) {
		visitor := f.create(session("")) // the oldest session, but the last to join alice
		a, b := f.create(sessionAt("alice", t0+1)), f.create(sessionAt("alice", t0+2))
		visitor.Subject = "alice"
		f.update(visitor, login(t0+3))
		a.Values = values("n", "2") // does not change the order
		f.update(a, plain(t0+4))
		f.must(f.s.Touch(f.ctx, app, a.ID, t0+5, t0+5, phone))
		a.LastSeenAt = t0 + 5
		for _, oldest := range []*store.Record{a, b, visitor} {
			f.createEvicting(sessionAt("alice", t0+6), 3, oldest)
		}
	}},
	{"Update/NoLimitWithoutLogin", func(f *fixture) {
		a, b := f.create(session("alice")), f.create(session("alice"))
		a.Values = values("n", "2")
		opt := plain(t0)
		opt.Limit.Max = 1
		f.update(a, opt)
		f.wantList("alice", t0, a, b)
	}},
	{"Update/Aliasing", func(f *fixture) {
		rec := f.create(session("alice"))
		next := full("alice")
		next.ID, next.Revision = rec.ID, 1
		f.update(next, plain(t0))
		want := clone(next)
		scribble(next)
		f.wantRecord(want)
	}},
	{"Update/Sizes", func(f *fixture) {
		// A session that grows and shrinks does not affect its neighbours.
		a, rec, b := f.create(full("alice")), f.create(session("alice")), f.create(full("alice"))
		for _, n := range []int{0, 1, 200, 3, 5000, 100, 70_000, 8, 1000, 999, 1001, 300_000, 0} {
			rec.Values = values("k", `"`+strings.Repeat("x", n)+`"`)
			f.update(rec, plain(t0))
			f.wantRecord(rec)
			rec.Spent = append(rec.Spent, store.Spent{Print: newHash().Print(), Until: t0})
			f.update(rec, plain(t0))
			f.wantRecord(rec)
		}
		f.wantRecord(a)
		f.wantRecord(b)
		f.wantList("alice", t0, a, rec, b)
	}},
}

var touchCases = []testCase{
	{"Touch/LaterWins", func(f *fixture) {
		for _, subject := range []string{"", "alice"} {
			rec := f.create(session(subject))
			for _, step := range []struct {
				at     store.Time
				client store.Client
			}{{t0 + 10, phone}, {t0 + 5, laptop}, {t0 + 10, laptop}, {t0 + 11, laptop}, {t0 - day, phone},
				{t0 + minute, store.Client{UserAgent: "third"}}, {t0 + minute + 1, store.Client{}}, {t0 + 2*minute, laptop}, {0, phone}} {
				f.must(f.s.Touch(f.ctx, app, rec.ID, step.at, t0, step.client))
				if step.at > rec.LastSeenAt {
					rec.LastSeenAt, rec.LastClient = step.at, step.client
				}
				f.wantRecord(rec) // also compares the revision
			}
		}
	}},
	{"Touch/FarTimes", func(f *fixture) {
		rec := f.create(session("alice"))
		for _, at := range []store.Time{t0 + 1<<40, 1 << 45, 1 << 50, 1 << 52} {
			f.must(f.s.Touch(f.ctx, app, rec.ID, at, t0, phone))
			rec.LastSeenAt = at
			f.wantRecord(rec)
		}
	}},
	{"I4/TouchNeverCreates", func(f *fixture) {
		id := newID(t0)
		f.wantErr(f.s.Touch(f.ctx, app, id, t0, t0, phone), store.ErrNotFound)
		f.wantErr(f.getErr(id), store.ErrNotFound)
		f.wantCount(0, 0)
	}},
	{"I4/TouchOfTheEnded", func(f *fixture) {
		rec := f.create(session("alice"))
		f.end(rec, store.ReasonLogout, t0)
		f.wantErr(f.s.Touch(f.ctx, app, rec.ID, t0+1, t0+1, phone), store.ErrEnded)
		f.wantGone(rec, store.ReasonLogout, t0)
		rec = f.create(session("alice"))
		f.must(f.s.EndAll(f.ctx, app, t0))
		f.wantErr(f.s.Touch(f.ctx, app, rec.ID, t0+1, t0+1, phone), store.ErrEnded)
		f.wantGone(rec, store.ReasonRevoked, t0)
	}},
	{"I7/TouchAtTheDeadline", func(f *fixture) {
		idle, absolute := f.create(session("alice")), session("alice")
		absolute.Idle, absolute.ExpiresAt = 1e15, t0+hour
		f.create(absolute)
		for _, rec := range []*store.Record{idle, absolute} {
			f.wantErr(f.s.Touch(f.ctx, app, rec.ID, t0+hour, t0+hour, phone), store.ErrEnded)
			f.wantErr(f.s.Touch(f.ctx, app, rec.ID, t0+1, t0+hour, phone), store.ErrEnded) // now decides, not at
			f.wantRecord(rec)
			f.must(f.s.Touch(f.ctx, app, rec.ID, t0+hour-1, t0+hour-1, phone))
			rec.LastSeenAt = t0 + hour - 1
			f.wantRecord(rec)
		}
		f.must(f.s.Touch(f.ctx, app, idle.ID, t0+hour, t0+hour, phone)) // the earlier touch moved the deadline
		f.wantErr(f.s.Touch(f.ctx, app, absolute.ID, t0+hour, t0+hour, phone), store.ErrEnded)
	}},
	{"Confirm/Notes", func(f *fixture) {
		for _, subject := range []string{"", "alice"} {
			rec := session(subject)
			rec.Good = []store.Secret{{Hash: newHash(), IssuedAt: t0 - 9, Until: t0 + 77}, {Hash: newHash(), IssuedAt: t0 - 8}, {Hash: newHash(), IssuedAt: t0 - 7, FirstSeenAt: t0}}
			f.create(rec)
			f.must(f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0 + 1, Until: t0 + 500}))
			rec.Secret.FirstSeenAt = t0 + 1
			rec.Revision = 2
			f.wantRecord(rec)
			f.must(f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0 + 2, ConfirmedAt: t0 + 3, Until: t0 + 600}))
			rec.Secret.ConfirmedAt = t0 + 3
			rec.Good[1].Until, rec.Good[2].Until = t0+600, t0+600
			rec.Revision = 3
			f.wantRecord(rec)
			f.must(f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0 + 4, ConfirmedAt: t0 + 5, Until: t0 + 700}))
			f.must(f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{}))
			f.wantRecord(rec) // unchanged
		}
	}},
	{"Confirm/BothAtOnce", func(f *fixture) {
		rec := session("alice")
		rec.Good = []store.Secret{{Hash: newHash(), IssuedAt: t0 - 8}}
		f.create(rec)
		f.must(f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0 + 1, ConfirmedAt: t0 + 2, Until: t0 + 3}))
		rec.Secret.FirstSeenAt, rec.Secret.ConfirmedAt, rec.Good[0].Until, rec.Revision = t0+1, t0+2, t0+3, 2
		f.wantRecord(rec)
	}},
	{"I12/ConfirmOfAnotherSecret", func(f *fixture) {
		rec := full("alice")
		rec.Secret.FirstSeenAt, rec.Secret.ConfirmedAt = 0, 0
		f.create(rec)
		for _, h := range []store.Hash{newHash(), {}, rec.Good[0].Hash, rec.EpochHash} {
			f.must(f.s.Confirm(f.ctx, app, rec.ID, h, store.Confirmation{FirstSeenAt: t0 + 1, ConfirmedAt: t0 + 2, Until: t0 + 3}))
			f.wantRecord(rec)
		}
	}},
	{"I4/ConfirmNeverCreates", func(f *fixture) {
		c := store.Confirmation{FirstSeenAt: t0, ConfirmedAt: t0}
		id := newID(t0)
		f.wantErr(f.s.Confirm(f.ctx, app, id, newHash(), c), store.ErrNotFound)
		f.wantErr(f.getErr(id), store.ErrNotFound)
		rec := f.create(session("alice"))
		f.end(rec, store.ReasonLogout, t0)
		f.wantErr(f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, c), store.ErrEnded)
		f.wantErr(f.s.Confirm(f.ctx, app, rec.ID, newHash(), c), store.ErrEnded)
		f.wantGone(rec, store.ReasonLogout, t0)
		rec = f.create(session(""))
		f.must(f.s.EndAll(f.ctx, app, t0))
		f.wantErr(f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, c), store.ErrEnded)
		f.wantGone(rec, store.ReasonRevoked, t0)
	}},
	{"I5/ConfirmMovesTheRevision", func(f *fixture) {
		rec := f.create(session("alice"))
		f.must(f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0}))
		f.wantErr(f.tryUpdate(rec, plain(t0)), store.ErrConflict)
		if got := f.get(rec.ID); got.Secret.FirstSeenAt != t0 {
			f.Error("the confirmation was lost")
		}
	}},
}

var endCases = []testCase{
	{"End/Idempotent", func(f *fixture) {
		for _, subject := range []string{"", "alice"} {
			rec := f.create(session(subject))
			f.end(rec, store.ReasonTheft, t0+1)
			f.wantEnded(f.s.End(f.ctx, app, rec.ID, store.ReasonLogout, t0+2))
			f.wantGone(rec, store.ReasonTheft, t0+1)
			f.wantCount(0, 0)
			f.wantList("alice", t0)
		}
	}},
	{"End/Unknown", func(f *fixture) {
		_, err := f.s.End(f.ctx, app, newID(t0), store.ReasonLogout, t0)
		f.wantErr(err, store.ErrNotFound)
		f.create(session("alice"))
		_, err = f.s.End(f.ctx, app, newID(t0), store.ReasonLogout, t0)
		f.wantErr(err, store.ErrNotFound)
	}},
	{"End/TheExpired", func(f *fixture) {
		rec := f.create(session("alice"))
		f.end(rec, store.ReasonLogout, t0+10*day)
		f.wantGone(rec, store.ReasonLogout, t0+10*day)
	}},
	{"End/UnderTheWatermark", func(f *fixture) {
		rec := f.create(session("alice"))
		f.must(f.s.EndAll(f.ctx, app, t0))
		f.wantEnded(f.s.End(f.ctx, app, rec.ID, store.ReasonLogout, t0+1))
		f.wantGone(rec, store.ReasonRevoked, t0)
	}},
	{"End/FromTheMiddle", func(f *fixture) {
		// The order in which a subject's sessions end does not change the order
		// of the others.
		for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 2, 0, 3}, {2, 0, 3, 1}} {
			var list []*store.Record
			for range order {
				list = append(list, f.create(session("alice")))
			}
			left := slices.Clone(list)
			for _, i := range order {
				f.end(list[i], store.ReasonLogout, t0)
				left = slices.DeleteFunc(left, func(r *store.Record) bool { return r.ID == list[i].ID })
				f.wantList("alice", t0, slices.Clone(left)...)
			}
		}
	}},
	{"EndSubject/AllOfIt", func(f *fixture) {
		a, b, bob, visitor := f.create(session("alice")), f.create(session("alice")), f.create(session("bob")), f.create(session(""))
		ended, err := f.s.EndSubject(f.ctx, app, "alice", store.ID{}, store.ReasonRevoked, t0+1)
		f.wantEnded(ended, err, endedOf(a, store.ReasonRevoked, t0+1), endedOf(b, store.ReasonRevoked, t0+1))
		f.wantGone(a, store.ReasonRevoked, t0+1)
		f.wantGone(b, store.ReasonRevoked, t0+1)
		f.wantRecord(bob)
		f.wantRecord(visitor)
		f.wantList("alice", t0)
		f.wantCount(2, 1)
		f.wantEnded(f.s.EndSubject(f.ctx, app, "alice", store.ID{}, store.ReasonRevoked, t0+2))
	}},
	{"EndSubject/ButOne", func(f *fixture) {
		var list []*store.Record
		for range 5 {
			list = append(list, f.create(session("alice")))
		}
		kept := list[2]
		ended, err := f.s.EndSubject(f.ctx, app, "alice", kept.ID, store.ReasonRevoked, t0)
		var want []store.Ended
		for _, rec := range list {
			if rec != kept {
				want = append(want, endedOf(rec, store.ReasonRevoked, t0))
			}
		}
		f.wantEnded(ended, err, want...)
		f.wantRecord(kept)
		f.wantList("alice", t0, kept)
		bob := f.create(session("bob")) // a session of another subject does not count as one to keep
		ended, err = f.s.EndSubject(f.ctx, app, "alice", bob.ID, store.ReasonRevoked, t0)
		f.wantEnded(ended, err, endedOf(kept, store.ReasonRevoked, t0))
	}},
	{"EndSubject/Expired", func(f *fixture) {
		rec := f.create(session("alice"))
		ended, err := f.s.EndSubject(f.ctx, app, "alice", store.ID{}, store.ReasonRevoked, t0+10*day)
		f.must(err)
		if len(ended) != 1 || ended[0].ID != rec.ID {
			f.Fatalf("EndSubject ended %+v, want the expired session", ended)
		}
		f.wantGone(rec, ended[0].Reason, ended[0].At)
	}},
	{"EndSubject/UnderTheWatermark", func(f *fixture) {
		rec := f.create(session("alice"))
		f.must(f.s.EndAll(f.ctx, app, t0))
		f.wantEnded(f.s.EndSubject(f.ctx, app, "alice", store.ID{}, store.ReasonLogout, t0+5))
		f.wantGone(rec, store.ReasonRevoked, t0)
	}},
	{"EndSubject/Empty", func(f *fixture) {
		rec := f.create(session(""))
		if _, err := f.s.EndSubject(f.ctx, app, "", store.ID{}, store.ReasonRevoked, t0); err == nil {
			f.Error("EndSubject accepted an empty subject")
		}
		f.wantRecord(rec)
	}},
	{"I3/BarrierOnlyRises", func(f *fixture) {
		for _, at := range []store.Time{t0, t0 - 50, t0 + 50, t0 + 10} {
			f.endSubject("alice", at)
		}
		rec := sessionAt("alice", t0+50)
		f.wantErr(f.tryCreate(rec, created(rec)), store.ErrBarrier)
		f.create(sessionAt("alice", t0+51))
	}},
	{"I3/BarrierLasts", func(f *fixture) {
		f.endSubject("alice", t0)
		f.sweep(t0 + store.Time(store.BarrierLife.Milliseconds()) - 1)
		rec := session("alice")
		f.wantErr(f.tryCreate(rec, created(rec)), store.ErrBarrier)
	}},
	// What Barrier returns is what refuses a login.
	{"Barrier", func(f *fixture) {
		want := func(subject string, at store.Time) {
			f.Helper()
			f.wantBarrier(subject, at)
			if at == 0 {
				return
			}
			rec := sessionAt(subject, at+1)
			opt := created(rec)
			opt.Arrived = at
			f.wantErr(f.tryCreate(rec, opt), store.ErrBarrier)
			opt.Arrived++
			f.must(f.tryCreate(rec, opt))
		}
		want("alice", 0)
		f.create(session("alice"))
		want("alice", 0)
		for _, at := range []store.Time{t0, t0 + 50, t0 + 10} { // it only rises
			f.endSubject("alice", at)
		}
		want("alice", t0+50)
		want("bob", 0)
		want("Alice", 0)
		f.in("blog").wantBarrier("alice", 0)
		f.sweep(t0 + 50 + store.Time(store.BarrierLife.Milliseconds()) - 1)
		want("alice", t0+50)
		f.must(f.s.EndAll(f.ctx, app, t0+20))
		want("alice", t0+50)
		want("bob", t0+20)
		f.must(f.s.EndAll(f.ctx, app, t0+90))
		want("alice", t0+90)
		f.in("blog").wantBarrier("alice", 0)
	}},
	{"EndAll/Watermark", func(f *fixture) {
		before, at, after := f.create(sessionAt("alice", t0-1)), f.create(sessionAt("", t0)), f.create(sessionAt("alice", t0+1))
		visitor := f.create(sessionAt("", t0+2))
		f.must(f.s.EndAll(f.ctx, app, t0))
		f.wantGone(before, store.ReasonRevoked, t0)
		f.wantGone(at, store.ReasonRevoked, t0)
		f.wantRecord(after)
		f.wantRecord(visitor)
		f.wantList("alice", t0+2, after)
		f.wantCount(2, 1)
		if got := f.list("", 10, t0+2); len(got) != 2 {
			f.Errorf("List returned %d sessions, want 2", len(got))
		}
		f.end(after, store.ReasonLogout, t0+3)
		f.create(sessionAt("bob", t0+4))
		f.wantCount(2, 1)
		f.sweep(t0 + 5)
		f.wantCount(2, 1)
		f.wantGone(before, store.ReasonRevoked, t0)
	}},
	{"EndAll/NeverGoesBack", func(f *fixture) {
		f.must(f.s.EndAll(f.ctx, app, t0))
		f.must(f.s.EndAll(f.ctx, app, t0-day))
		rec := sessionAt("", t0-1)
		f.wantErr(f.tryCreate(rec, created(rec)), store.ErrBarrier)
		next := f.create(sessionAt("", t0+1))
		f.must(f.s.EndAll(f.ctx, app, t0-day))
		f.wantRecord(next)
		f.wantCount(1, 0)
		f.must(f.s.EndAll(f.ctx, app, t0+1))
		f.wantGone(next, store.ReasonRevoked, t0+1)
		f.wantCount(0, 0)
	}},
	{"EndAll/Tombstones", func(f *fixture) {
		rec := f.create(session("alice")) // ends before EndAll and keeps its reason
		f.end(rec, store.ReasonLogout, t0)
		f.must(f.s.EndAll(f.ctx, app, t0+1))
		f.wantGone(rec, store.ReasonLogout, t0)
		again := sessionAt("alice", t0+2)
		again.ID = rec.ID
		f.wantErr(f.tryCreate(again, created(again)), store.ErrExists)
	}},
	{"EndAll/Many", func(f *fixture) {
		for i := range 600 {
			f.create(sessionAt([]string{"", "alice", "bob"}[i%3], t0+store.Time(i)))
		}
		f.must(f.s.EndAll(f.ctx, app, t0+299))
		f.wantCount(300, 200)
		if got := f.list("", 77, t0+600); len(got) != 300 {
			f.Errorf("List returned %d sessions, want 300", len(got))
		}
		f.create(sessionAt("alice", t0+1000))
		f.wantCount(301, 201)
		f.must(f.s.EndAll(f.ctx, app, t0+2000))
		f.wantCount(0, 0)
	}},
}
