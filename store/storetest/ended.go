package storetest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sojourn-go/sojourn/store"
)

// The cases of List with ListOptions.Ended.
var endedCases = []testCase{
	{"Ended/EveryEnd", func(f *fixture) {
		const now = t0 + 10*hour
		var want []store.Record
		ends := func(rec *store.Record, reason store.Reason, at store.Time) {
			want = append(want, rec.Obituary(reason, at))
		}
		logout := f.create(full("alice"))
		logout.LastSeenAt, logout.LastClient = t0+10, store.Client{UserAgent: "\"\\,\"client\":{\x80ü"}
		f.must(f.s.Touch(f.ctx, app, logout.ID, logout.LastSeenAt, t0, logout.LastClient))
		f.end(logout, store.ReasonLogout, now-3)
		ends(logout, store.ReasonLogout, now-3)

		idle := f.create(sessionAt("alice", now-hour-2))
		f.wantEnded(f.sweep(now-1), nil, endedOf(idle, store.ReasonIdle, now-2))
		ends(idle, store.ReasonIdle, now-2)

		oldest := f.create(sessionAt("alice", now-2))
		f.createEvicting(sessionAt("alice", now-1), 1, oldest)
		ends(oldest, store.ReasonEvicted, now-1)

		late := f.create(sessionAt("alice", now-2)) // expires while two others sign in
		late.ExpiresAt, late.LastSeenAt, late.LastClient = now, now-1, laptop
		f.update(late, plain(now-1))
		f.endSubject("alice", now)
		for _, rec := range f.lately("alice", 3, now) {
			if rec.EndAt != now && rec.EndAt != now-1 || rec.Subject != "alice" {
				f.Errorf("EndSubject, and the list has %+v", rec)
			}
		}

		anonymous, other := f.create(session("")), f.create(session("bob"))
		f.end(anonymous, store.ReasonLogout, now)
		f.end(other, store.ReasonTheft, now)
		f.wantLately("bob", now, other.Obituary(store.ReasonTheft, now))

		theirs := f.in("blog").create(session("alice"))
		f.in("blog").wantLately("alice", now)
		f.in("blog").end(theirs, store.ReasonTheft, now)
		f.in("blog").wantLately("alice", now, theirs.Obituary(store.ReasonTheft, now))
		got := f.lately("alice", 100, now)
		if len(got) != 5 {
			f.Fatalf("%d sessions of alice have ended, want 5: %+v", len(got), got)
		}
		slices.Reverse(want)
		if !sameRecords(got[2:], want) {
			f.Errorf("the list has\n%+v\nwant\n%+v", got[2:], want)
		}
		f.wantLately("Alice", now)
		f.wantList("alice", now) // the others are gone
	}},
	{"Ended/SubjectAtTheEnd", func(f *fixture) {
		rec := f.create(session(""))
		rec.Subject = "alice"
		f.update(rec, login(t0))
		rec.Subject = "bob"
		f.update(rec, login(t0+1))
		f.end(rec, store.ReasonLogout, t0+2)
		f.wantLately("alice", t0+2)
		f.wantLately("bob", t0+2, rec.Obituary(store.ReasonLogout, t0+2))
	}},
	{"Ended/Life", func(f *fixture) {
		life := store.Time(store.TombstoneLife.Milliseconds())
		rec := f.create(session("alice"))
		f.end(rec, store.ReasonLogout, t0)
		f.sweep(t0 + life - 1)
		f.wantLately("alice", t0+life, rec.Obituary(store.ReasonLogout, t0))
		f.wantLately("alice", t0+life+1)
		f.sweep(t0 + life + 1)
		f.wantLately("alice", t0+life+1)
		again := f.create(sessionAt("alice", t0+2*hour))
		f.end(again, store.ReasonTheft, t0+2*hour)
		f.wantLately("alice", t0+2*hour, again.Obituary(store.ReasonTheft, t0+2*hour))
	}},
	{"Ended/NotByEndAll", func(f *fixture) {
		before, after := f.create(session("alice")), f.create(session("alice"))
		f.end(before, store.ReasonLogout, t0)
		f.must(f.s.EndAll(f.ctx, app, t0+1))
		if _, err := f.s.End(f.ctx, app, after.ID, store.ReasonLogout, t0+2); err != nil {
			f.Fatal(err)
		}
		f.sweep(t0 + 3)
		f.wantLately("alice", t0+3, before.Obituary(store.ReasonLogout, t0))
	}},
	{"I11/EndedOfOneSubject", func(f *fixture) {
		var want []store.Record
		for i := range store.MaxEnded + 30 {
			rec := f.create(session("alice"))
			at := t0 + store.Time(i*7%40) // neither in order nor at distinct times
			f.end(rec, store.ReasonLogout, at)
			want = append(want, rec.Obituary(store.ReasonLogout, at))
		}
		f.create(session("alice"))
		want = lately(want)[:store.MaxEnded]
		for _, limit := range []int{1, 7, store.MaxEnded, store.MaxPage} {
			if got := f.lately("alice", limit, t0+hour); !sameRecords(got, want[:min(limit, len(want))]) {
				f.Errorf("the list of the last %d has\n%+v\nwant\n%+v", limit, got, want)
			}
		}
	}},
	{"Ended/BadOptions", func(f *fixture) {
		f.end(f.create(session("alice")), store.ReasonLogout, t0)
		for _, opt := range []store.ListOptions{
			{Limit: 10}, {Subject: "alice"}, {Subject: "alice", Limit: store.MaxPage + 1}, {Subject: "alice", Limit: -1},
			{Subject: "alice", Limit: 10, Cursor: "x"}, {Subject: "alice", Limit: 10, Cursor: "s01234567890123456789012345678901"},
		} {
			opt.Ended = true
			if list, _, err := f.s.List(f.ctx, app, opt); !errors.Is(err, store.ErrCursor) {
				f.Errorf("%+v: %v, %v", opt, list, err)
			}
		}
	}},
	{"Ended/Aliasing", func(f *fixture) {
		rec := f.create(full("alice"))
		f.end(rec, store.ReasonLogout, t0)
		list := f.lately("alice", 10, t0)
		scribble(&list[0])
		f.wantLately("alice", t0, rec.Obituary(store.ReasonLogout, t0))
	}},
}

// lately puts ended sessions into the order of a list.
func lately(list []store.Record) []store.Record {
	slices.SortFunc(list, func(a, b store.Record) int {
		if a.EndAt != b.EndAt {
			return int(b.EndAt - a.EndAt)
		}
		return b.ID.Compare(a.ID)
	})
	return list
}

// lately lists a subject's ended sessions.
func (f *fixture) lately(subject string, limit int, now store.Time) []store.Record {
	f.Helper()
	list, cursor, err := f.s.List(f.ctx, f.app, store.ListOptions{Subject: subject, Limit: limit, Now: now, Ended: true, Values: limit%2 == 0})
	if err != nil || cursor != "" {
		f.Fatalf("List of ended sessions: cursor %q, %v", cursor, err)
	}
	return list
}

func (f *fixture) wantLately(subject string, now store.Time, want ...store.Record) {
	f.Helper()
	if got := f.lately(subject, 100, now); !sameRecords(got, want) {
		f.Errorf("ended sessions of %q in %q:\n got %s\nwant %s", subject, f.app, fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want))
	}
}

func sameRecords(a, b []store.Record) bool {
	return slices.EqualFunc(a, b, func(a, b store.Record) bool { return a.Equal(&b) })
}
