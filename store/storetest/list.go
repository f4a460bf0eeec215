package storetest

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/sojourn-go/sojourn/store"
)

var listCases = []testCase{
	{"List/Empty", func(f *fixture) {
		for _, subject := range []string{"", "alice"} {
			if got := f.list(subject, 10, t0); len(got) != 0 {
				f.Errorf("List of %q returned %+v", subject, got)
			}
		}
	}},
	{"List/Pages", func(f *fixture) {
		var ids []store.ID
		byID := map[store.ID]*store.Record{}
		for i := range 60 {
			rec := full("alice")
			rec.CreatedAt += store.Time((i * 37) % 60) // not in the order of creation
			rec.ID = newID(rec.CreatedAt)
			f.create(rec)
			ids, byID[rec.ID] = append(ids, rec.ID), rec
			f.create(sessionAt([]string{"", "bob"}[i%2], t0))
		}
		slices.SortFunc(ids, store.ID.Compare)
		for _, page := range []int{1, 7, 59, 60, 61, 1000} {
			got := f.list("alice", page, t0+60)
			if len(got) != len(ids) {
				f.Fatalf("%d sessions in pages of %d, want %d", len(got), page, len(ids))
			}
			for i := range got {
				if got[i].ID != ids[i] || !got[i].Equal(byID[ids[i]]) {
					f.Fatalf("pages of %d: the sessions are not in the order of their IDs, or differ", page)
				}
			}
			seen := map[store.ID]bool{}
			for _, rec := range f.list("", page, t0+60) {
				seen[rec.ID] = true
			}
			if len(seen) != 120 {
				f.Fatalf("%d sessions in pages of %d, want 120", len(seen), page)
			}
		}
	}},
	{"List/WithoutValues", func(f *fixture) {
		want := map[store.ID]*store.Record{}
		for _, v := range []store.Values{nil, values("n", "1"), values("a", `"\",\"values\":{}"`, "b", `{"values":[{}]}`), values("binary", "\"\xff\""), values("big", strconv.Quote(strings.Repeat("x", 256<<10)))} {
			for _, agent := range []string{"", `","values":{"a":1}`, `,"values`, "\xff"} {
				rec := full("alice")
				rec.Values, rec.Client.UserAgent, rec.LastClient.UserAgent = v, agent, agent
				f.create(rec)
				bare := clone(rec)
				bare.Values = nil
				want[rec.ID] = bare
			}
		}
		for _, subject := range []string{"", "alice"} {
			list, cursor, err := f.s.List(f.ctx, app, store.ListOptions{Subject: subject, Limit: 100, Now: t0})
			f.must(err)
			if len(list) != len(want) || cursor != "" {
				f.Fatalf("List of %q: %d sessions, cursor %q", subject, len(list), cursor)
			}
			for i := range list {
				if !list[i].Equal(want[list[i].ID]) {
					f.Errorf("List of %q without values: %+v, want %+v", subject, list[i], *want[list[i].ID])
				}
			}
		}
	}},
	{"I11/PagesAreBoundedByBytes", func(f *fixture) {
		want := map[store.ID]*store.Record{}
		for i := range 24 { // 12 MiB
			rec := session("alice")
			n := 1<<20 - 100
			if i%2 == 0 {
				n = 10
			}
			rec.Values = values("big", strconv.Quote(strings.Repeat("x", n)))
			want[f.create(rec).ID] = rec
		}
		for _, subject := range []string{"", "alice"} {
			opt := store.ListOptions{Subject: subject, Limit: 1000, Now: t0, Values: true}
			seen, pages := 0, 0
			for range 100 {
				list, cursor, err := f.s.List(f.ctx, app, opt)
				f.must(err)
				bytes := 0
				for i := range list {
					bytes += len(list[i].Subject) + len(list[i].Values)
					if w := want[list[i].ID]; w == nil || !list[i].Equal(w) {
						f.Fatalf("List of %q: a session differs from what was created", subject)
					}
				}
				if len(list) == 0 || bytes > store.MaxPageBytes {
					f.Fatalf("a page of %d sessions has %d bytes", len(list), bytes)
				}
				seen += len(list)
				pages++
				if opt.Cursor = cursor; cursor == "" {
					break
				}
			}
			if seen != len(want) || pages > 6 {
				f.Errorf("List of %q: %d sessions in %d pages, want %d", subject, seen, pages, len(want))
			}
		}
	}},
	{"List/OnlyTheLive", func(f *fixture) {
		ended, idle, absolute, live := session("alice"), session("alice"), session("alice"), sessionAt("alice", t0+1)
		absolute.Idle, absolute.ExpiresAt = 1e15, t0+hour
		for _, rec := range []*store.Record{ended, idle, absolute, live} {
			f.create(rec)
		}
		f.end(ended, store.ReasonLogout, t0)
		f.wantList("alice", t0+hour-1, idle, absolute, live)
		f.wantList("alice", t0+hour, live)
		if got := f.list("", 10, t0+hour); len(got) != 1 || !got[0].Equal(live) {
			f.Errorf("List of all returned %+v", got)
		}
		f.wantCount(3, 3) // List has not ended the expired sessions
	}},
	{"List/BadOptions", func(f *fixture) {
		for range 5 {
			f.create(session("alice"))
		}
		for _, subject := range []string{"", "alice"} {
			for _, cursor := range []string{"x", "nonsense", "\x00", strings.Repeat("9", 1000)} {
				_, _, err := f.s.List(f.ctx, app, store.ListOptions{Subject: subject, Limit: 10, Now: t0, Cursor: cursor})
				if !errors.Is(err, store.ErrCursor) {
					f.Errorf("List with the cursor %q: %v", cursor, err)
				}
			}
			for _, limit := range []int{0, -1, 1001} {
				if _, _, err := f.s.List(f.ctx, app, store.ListOptions{Subject: subject, Limit: limit, Now: t0}); !errors.Is(err, store.ErrCursor) {
					f.Errorf("List with the limit %d: %v", limit, err)
				}
			}
		}
	}},
	{"List/DuringChanges", func(f *fixture) {
		// A session that is live during the whole listing appears exactly once,
		// whatever happens to other sessions.
		for _, subject := range []string{"", "alice"} {
			var kept, others []*store.Record
			for range 40 {
				kept = append(kept, f.create(session("alice")))
				others = append(others, f.create(session("alice")))
			}
			opt := store.ListOptions{Subject: subject, Limit: 3, Now: t0}
			f.wantEachOnce("listing", kept, others, "alice", func() ([]store.Record, bool) {
				list, cursor, err := f.s.List(f.ctx, app, opt)
				f.must(err)
				opt.Cursor = cursor
				return list, cursor != ""
			})
			f.endSubject("alice", 0)
		}
	}},
	{"List/Aliasing", func(f *fixture) {
		rec := f.create(full("alice"))
		for _, subject := range []string{"", "alice"} {
			list := f.list(subject, 10, t0)
			scribble(&list[0])
		}
		f.wantRecord(rec)
		f.wantList("alice", t0, rec)
	}},
	{"Count", func(f *fixture) {
		f.wantCount(0, 0)
		a, v := f.create(session("alice")), f.create(session(""))
		f.wantCount(2, 1)
		f.must(f.s.Touch(f.ctx, app, a.ID, t0+1, t0+1, laptop))
		f.update(a, plain(t0))
		f.wantCount(2, 1)
		f.end(v, store.ReasonLogout, t0)
		f.wantCount(1, 1)
		f.sweep(t0 + 2)
		f.wantCount(1, 1)
		f.sweep(t0 + 10*day)
		f.wantCount(0, 0)
	}},
}

var sweepCases = []testCase{
	{"I7/SweepAtTheDeadline", func(f *fixture) {
		idle, absolute, both := session("alice"), session(""), session("alice")
		absolute.Idle, absolute.ExpiresAt = 1e15, t0+hour
		both.ExpiresAt = t0 + hour
		live := f.create(sessionAt("alice", t0+1))
		for _, rec := range []*store.Record{idle, absolute, both} {
			f.create(rec)
		}
		f.wantEnded(f.sweep(t0+hour-1), nil)
		f.wantRecord(idle)
		// If both deadlines are equal, the reason is the absolute one.
		f.wantEnded(f.sweep(t0+hour), nil, endedOf(idle, store.ReasonIdle, t0+hour),
			endedOf(absolute, store.ReasonAbsolute, t0+hour), endedOf(both, store.ReasonAbsolute, t0+hour))
		f.wantGone(idle, store.ReasonIdle, t0+hour)
		f.wantGone(absolute, store.ReasonAbsolute, t0+hour)
		f.wantGone(both, store.ReasonAbsolute, t0+hour)
		f.wantRecord(live)
		f.wantList("alice", t0+hour, live)
		f.wantEnded(f.sweep(t0+hour), nil)
		f.wantCount(1, 1)
	}},
	{"Sweep/TimeOfTheEnd", func(f *fixture) {
		rec := f.create(session("alice"))
		// The end has the time of the deadline, not of the sweep.
		f.wantEnded(f.sweep(t0+hour+minute), nil, endedOf(rec, store.ReasonIdle, t0+hour))
		f.wantGone(rec, store.ReasonIdle, t0+hour)
	}},
	{"Sweep/BackInTime", func(f *fixture) {
		rec := f.create(session("alice"))
		f.wantEnded(f.sweep(t0-day), nil)
		f.wantEnded(f.sweep(0), nil)
		f.wantRecord(rec)
		f.end(rec, store.ReasonLogout, t0)
		f.sweep(t0 - 10*day)
		f.wantGone(rec, store.ReasonLogout, t0)
	}},
	{"Sweep/Tombstones", func(f *fixture) {
		const life = hour
		if store.TombstoneLife.Milliseconds() != int64(life) {
			f.Fatal("the case needs a TombstoneLife of one hour")
		}
		for _, subject := range []string{"", "alice"} {
			rec := session(subject)
			f.create(rec)
			f.end(rec, store.ReasonLogout, t0)
			f.wantEnded(f.sweep(t0+life-1), nil)
			f.wantGone(rec, store.ReasonLogout, t0)
			f.wantEnded(f.sweep(t0+life+1), nil)
			f.wantErr(f.getErr(rec.ID), store.ErrNotFound)
			f.wantErr(f.tryUpdate(rec, plain(t0)), store.ErrNotFound)
		}
		old := f.create(session("alice")) // expired long ago: two rounds remove it
		f.wantEnded(f.sweep(t0+10*day), nil, endedOf(old, store.ReasonIdle, t0+hour))
		f.wantEnded(f.sweep(t0+10*day), nil)
		f.wantErr(f.getErr(old.ID), store.ErrNotFound)
	}},
	{"Sweep/UnderTheWatermark", func(f *fixture) {
		a, v := f.create(session("alice")), f.create(session(""))
		f.must(f.s.EndAll(f.ctx, app, t0))
		f.wantEnded(f.sweep(t0+hour), nil) // EndAll has ended them already
		f.wantGone(a, store.ReasonRevoked, t0)
		f.wantGone(v, store.ReasonRevoked, t0)
		f.sweep(t0 + 2*hour)
		f.sweep(t0 + 2*hour)
		f.wantErr(f.getErr(a.ID), store.ErrNotFound)
		f.wantErr(f.getErr(v.ID), store.ErrNotFound)
	}},
	{"Sweep/InSteps", func(f *fixture) {
		want := map[store.ID]bool{}
		for i := range 900 {
			rec := f.create(sessionAt([]string{"", "alice", "bob"}[i%3], t0))
			want[rec.ID] = true
		}
		live := f.create(sessionAt("alice", t0+hour))
		rounds := 0
		for steps := 0; rounds < 2 && steps < 1_000_000; steps++ {
			ended, done, err := f.s.Sweep(f.ctx, app, t0+hour, 50)
			f.must(err)
			if len(ended) > 306 { // Sweep may exceed its limit by one batch
				f.Fatalf("one Sweep of 50 ended %d sessions", len(ended))
			}
			for _, e := range ended {
				if !want[e.ID] {
					f.Fatalf("Sweep ended %+v, which is unexpected or repeated", e)
				}
				delete(want, e.ID)
			}
			if done {
				if rounds++; len(want) > 0 {
					f.Fatalf("a whole round left %d expired sessions", len(want))
				}
			}
		}
		f.wantRecord(live)
		f.wantCount(1, 1)
	}},
}

// wantEachOnce reads all pages, and changes sessions between them: others end,
// sessions of the newcomer begin, and those that are kept get new values. Each of
// these must be on exactly one page.
func (f *fixture) wantEachOnce(what string, kept, others []*store.Record, newcomer string, next func() (page []store.Record, more bool)) {
	f.Helper()
	seen := map[store.ID]int{}
	for i := 0; ; i++ {
		page, more := next()
		for _, rec := range page {
			seen[rec.ID]++
		}
		if !more {
			break
		}
		if len(others) > 0 {
			f.end(others[0], store.ReasonLogout, t0)
			others = others[1:]
		}
		if i < 100 {
			f.create(session(newcomer))
			k := kept[i%len(kept)]
			k.Values = values("n", strings.Repeat("7", i*10))
			f.update(k, plain(t0))
		}
	}
	for _, rec := range kept {
		if seen[rec.ID] != 1 {
			f.Fatalf("a session that was live during the whole %s appears %d times", what, seen[rec.ID])
		}
	}
}
