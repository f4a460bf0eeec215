package storetest

import (
	"context"
	"slices"
	"strings"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

var getCases = []testCase{
	{"I2/GetUnknown", func(f *fixture) {
		var rec store.Record
		for _, id := range []store.ID{newID(t0), {}, {15: 1}} {
			for _, strict := range []bool{true, false} {
				f.wantErr(f.s.Get(f.ctx, app, id, strict, &rec), store.ErrNotFound)
			}
		}
		known := f.create(session("alice"))
		id := known.ID
		id[15]++
		f.wantErr(f.s.Get(f.ctx, app, id, true, &rec), store.ErrNotFound)
	}},
	{"Get/StrictIsNotCached", func(f *fixture) {
		rec := session("alice")
		rec.Cached = true // the store must not keep it
		f.create(rec)
		for range 3 {
			if f.get(rec.ID).Cached {
				f.Error("a strict Get sets Cached")
			}
		}
	}},
	{"Get/NotStrict", func(f *fixture) {
		rec := f.create(full("alice"))
		for range 3 {
			var got store.Record
			f.must(f.s.Get(f.ctx, app, rec.ID, false, &got))
			f.wantEqual("Get", &got, rec)
		}
	}},
	{"Get/StrictSeesEveryWrite", func(f *fixture) {
		rec := f.create(session("alice"))
		for i := range 20 {
			var old store.Record
			f.must(f.s.Get(f.ctx, app, rec.ID, false, &old)) // a cache may keep it
			rec.Values = values("n", strings.Repeat("1", i+1))
			f.update(rec, plain(t0))
			f.wantRecord(rec)
		}
	}},
	{"Get/ReusesARecord", func(f *fixture) {
		big, small := f.create(full("alice")), f.create(&store.Record{
			ID: newID(t0), CreatedAt: t0, LastSeenAt: t0, ExpiresAt: t0 + 1, Idle: 1e6})
		var rec store.Record
		for range 2 {
			f.must(f.s.Get(f.ctx, app, big.ID, true, &rec))
			f.wantEqual("Get", &rec, big)
			f.must(f.s.Get(f.ctx, app, small.ID, true, &rec))
			f.wantEqual("Get into a used record", &rec, small)
			f.end(small, store.ReasonLogout, t0)
			small = f.create(&store.Record{ID: newID(t0), CreatedAt: t0, LastSeenAt: t0, ExpiresAt: t0 + 1, Idle: 1e6})
		}
		f.wantErr(f.s.Get(f.ctx, app, newID(t0), true, &rec), store.ErrNotFound)
	}},
	{"Get/ReusesTheCapacity", func(f *fixture) {
		rec := f.create(full("alice"))
		var got store.Record
		f.must(f.s.Get(f.ctx, app, rec.ID, true, &got))
		good, spent, epochs, halves, vals, binding := &got.Good[0], &got.Spent[0], &got.Epochs[0], &got.Halves[0], &got.Values[0], &got.Binding[0]
		f.must(f.s.Get(f.ctx, app, rec.ID, true, &got))
		if good != &got.Good[0] || spent != &got.Spent[0] || epochs != &got.Epochs[0] || halves != &got.Halves[0] || vals != &got.Values[0] || binding != &got.Binding[0] {
			f.Error("Get allocated slices though the record had room")
		}
	}},
	{"Get/SlicesBelongToTheCaller", func(f *fixture) {
		rec := f.create(full("alice"))
		for _, strict := range []bool{true, false, false} {
			var got store.Record
			f.must(f.s.Get(f.ctx, app, rec.ID, strict, &got))
			scribble(&got)
		}
		var got store.Record
		f.must(f.s.Get(f.ctx, app, rec.ID, false, &got))
		f.wantEqual("after the caller overwrote the results of Get", &got, rec)
		f.wantRecord(rec)
		held := f.get(rec.ID)
		rec.Values, rec.Binding, rec.Good, rec.Spent, rec.Epochs, rec.Halves = values("x", "1"), []byte("y"), nil, nil, nil, nil
		want := clone(held)
		f.update(rec, plain(t0+5))
		f.must(f.getErr(rec.ID))
		if !held.Equal(want) {
			f.Error("a later call changed the result of an earlier Get")
		}
	}},
	{"Get/StringsAreNeverOverwritten", func(f *fixture) {
		var got store.Record
		var kept []string
		var want []string
		for i := range 50 {
			name := strings.Repeat(string(rune('a'+i%26)), 12)
			rec := session(name)
			rec.AMR, rec.Client.UserAgent = name+"1", name+"2"
			f.create(rec)
			f.must(f.s.Get(f.ctx, app, rec.ID, true, &got))
			kept = append(kept, got.Subject, got.AMR, got.Client.UserAgent, got.LastClient.UserAgent)
			want = append(want, name, name+"1", name+"2", phone.UserAgent)
			f.end(rec, store.ReasonLogout, t0)
		}
		if !slices.Equal(kept, want) {
			f.Errorf("a later Get overwrote strings of an earlier one: %q", kept)
		}
	}},
	{"Get/Tombstone", func(f *fixture) {
		rec := f.create(full("alice"))
		f.end(rec, store.ReasonTheft, t0+100)
		f.wantGone(rec, store.ReasonTheft, t0+100)
		var got store.Record
		f.wantErr(f.s.Get(f.ctx, app, rec.ID, false, &got), store.ErrEnded)
		if got.End != store.ReasonTheft || got.Subject != "" || len(got.Values) > 0 || len(got.Binding) > 0 || got.Client != (store.Client{}) {
			f.Errorf("tombstone %+v", got)
		}
	}},
	{"I7/GetReturnsTheExpired", func(f *fixture) {
		// The engine checks the deadlines, because the store has no clock.
		rec := f.create(sessionAt("alice", 1000))
		f.wantRecord(rec)
		zero := session("")
		zero.ExpiresAt, zero.Idle = 0, 0
		f.create(zero)
		f.wantRecord(zero)
	}},
	{"Closed", func(f *fixture) {
		rec := f.create(session("alice"))
		f.must(f.s.Close())
		f.wantEachFails(f.ctx, rec, store.ErrClosed)
		f.must(f.s.Close())
	}},
	{"Cancelled", func(f *fixture) {
		rec := f.create(session("alice"))
		anonymous := f.create(session(""))
		ctx, cancel := context.WithCancel(f.ctx)
		cancel()
		f.wantEachFails(ctx, rec, context.Canceled)
		f.wantRecord(rec)
		f.wantRecord(anonymous)
		f.wantCount(2, 1)
		late := session("alice") // no barrier exists
		late.CreatedAt -= 100
		f.create(late)
	}},
}

// wantEachFails makes a call of each method on the session rec, and checks that
// it fails with target.
func (f *fixture) wantEachFails(ctx context.Context, rec *store.Record, target error) {
	f.Helper()
	fresh, next, got := clone(rec), clone(rec), new(store.Record)
	fresh.ID = newID(t0)
	next.Values = values("changed", "1")
	create, update := created(fresh), plain(t0)
	calls := []driver.Call{
		{Op: driver.Create, Record: fresh, Create: &create},
		{Op: driver.Get, ID: rec.ID, Record: got},
		{Op: driver.Get, ID: rec.ID, Record: got, Strict: true},
		{Op: driver.Update, Record: next, Update: &update},
		{Op: driver.Touch, ID: rec.ID, At: t0 + 9, Now: t0 + 9, Client: &laptop},
		{Op: driver.Confirm, ID: rec.ID, Secret: &rec.Secret.Hash, Confirmation: &store.Confirmation{FirstSeenAt: t0 + 9}},
		{Op: driver.End, ID: rec.ID, Reason: store.ReasonLogout, At: t0},
		{Op: driver.EndSubject, Subject: "alice", Reason: store.ReasonRevoked, At: t0},
		{Op: driver.EndAll, At: t0},
		{Op: driver.Barrier, Subject: "alice"},
		{Op: driver.List, List: &store.ListOptions{Limit: 10, Now: t0}},
		{Op: driver.Search, Search: &store.SearchOptions{Limit: 10, Scan: 10, Now: t0}},
		{Op: driver.Search, Search: &store.SearchOptions{Limit: 10, Scan: 10, Now: t0, Filter: store.Filter{SubjectPrefix: "a"}}},
		{Op: driver.Count},
		{Op: driver.Sweep, Now: t0 + 100*day, Max: 100},
	}
	if _, ok := f.s.(store.Watcher); ok {
		calls = append(calls, driver.Call{Op: driver.Watch})
	}
	for _, call := range calls {
		call.App = app
		if err := call.On(ctx, f.s).Err; err == nil {
			f.Errorf("%s succeeded, want %v", call.Op, target)
		} else {
			f.wantErr(err, target)
		}
	}
}
