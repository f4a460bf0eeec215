package storetest

import (
	"context"
	"slices"
	"strings"

	"github.com/sojourn-go/sojourn/store"
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
		rec.Cached = true // never stored
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
			if !got.Equal(rec) {
				f.Errorf("Get:\n got %+v\nwant %+v", got, *rec)
			}
		}
	}},
	{"Get/StrictSeesEveryWrite", func(f *fixture) {
		rec := f.create(session("alice"))
		for i := range 20 {
			var old store.Record
			f.must(f.s.Get(f.ctx, app, rec.ID, false, &old)) // whatever this may have cached
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
			if !rec.Equal(big) {
				f.Errorf("Get:\n got %+v\nwant %+v", rec, *big)
			}
			f.must(f.s.Get(f.ctx, app, small.ID, true, &rec))
			if !rec.Equal(small) {
				f.Errorf("Get into a used record:\n got %+v\nwant %+v", rec, *small)
			}
			f.end(small, store.ReasonLogout, t0)
			small = f.create(&store.Record{ID: newID(t0), CreatedAt: t0, LastSeenAt: t0, ExpiresAt: t0 + 1, Idle: 1e6})
		}
		f.wantErr(f.s.Get(f.ctx, app, newID(t0), true, &rec), store.ErrNotFound)
	}},
	{"Get/ReusesTheCapacity", func(f *fixture) {
		rec := f.create(full("alice"))
		var got store.Record
		f.must(f.s.Get(f.ctx, app, rec.ID, true, &got))
		good, spent, epochs, halves, vals := &got.Good[0], &got.Spent[0], &got.Epochs[0], &got.Halves[0], &got.Values[0]
		f.must(f.s.Get(f.ctx, app, rec.ID, true, &got))
		if good != &got.Good[0] || spent != &got.Spent[0] || epochs != &got.Epochs[0] || halves != &got.Halves[0] || vals != &got.Values[0] {
			f.Error("Get allocated slices though there was room")
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
		if !got.Equal(rec) {
			f.Errorf("after the results of Get were overwritten:\n got %+v\nwant %+v", got, *rec)
		}
		f.wantRecord(rec)
		held := f.get(rec.ID)
		rec.Values, rec.Good, rec.Spent, rec.Epochs, rec.Halves = values("x", "1"), nil, nil, nil, nil
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
			f.Errorf("strings were overwritten: %q", kept)
		}
	}},
	{"Get/Tombstone", func(f *fixture) {
		rec := f.create(full("alice"))
		f.end(rec, store.ReasonTheft, t0+100)
		f.wantGone(rec, store.ReasonTheft, t0+100)
		var got store.Record
		f.wantErr(f.s.Get(f.ctx, app, rec.ID, false, &got), store.ErrEnded)
		if got.End != store.ReasonTheft || got.Subject != "" || len(got.Values) > 0 || got.Client != (store.Client{}) {
			f.Errorf("tombstone %+v", got)
		}
	}},
	{"I7/GetReturnsTheExpired", func(f *fixture) {
		// The deadlines are the engine's to judge, with the clock that the store doesn't have.
		rec := f.create(sessionAt("alice", 1000))
		f.wantRecord(rec)
		zero := session("")
		zero.ExpiresAt, zero.Idle = 0, 0
		f.create(zero)
		f.wantRecord(zero)
	}},
	{"Closed", func(f *fixture) {
		rec := f.create(session("alice"))
		watcher, _ := f.s.(store.Watcher)
		f.must(f.s.Close())
		for name, call := range calls(f.s, watcher) {
			if err := call(f.ctx, app, clone(rec)); err == nil {
				f.Errorf("%s works after Close", name)
			} else {
				f.wantErr(err, store.ErrClosed)
			}
		}
		f.must(f.s.Close())
	}},
	{"Cancelled", func(f *fixture) {
		rec := f.create(session("alice"))
		anonymous := f.create(session(""))
		ctx, cancel := context.WithCancel(f.ctx)
		cancel()
		watcher, _ := f.s.(store.Watcher)
		for name, call := range calls(f.s, watcher) {
			r := clone(rec)
			r.Values = values("changed", "1")
			err := call(ctx, app, r)
			if err == nil {
				f.Errorf("%s works with a cancelled context", name)
				continue
			}
			f.wantErr(err, context.Canceled)
		}
		f.wantRecord(rec)
		f.wantRecord(anonymous)
		f.wantCount(app, 2, 1)
		late := session("alice") // no barrier was raised
		late.CreatedAt -= 100
		f.create(late)
	}},
}

// calls is one call of each method.
func calls(s store.Store, w store.Watcher) map[string]func(ctx context.Context, app string, rec *store.Record) error {
	m := map[string]func(ctx context.Context, app string, rec *store.Record) error{
		"Create": func(ctx context.Context, app string, rec *store.Record) error {
			rec.ID = newID(t0)
			_, err := s.Create(ctx, app, rec, created(rec))
			return err
		},
		"Get": func(ctx context.Context, app string, rec *store.Record) error {
			return s.Get(ctx, app, rec.ID, false, rec)
		},
		"Get strict": func(ctx context.Context, app string, rec *store.Record) error {
			return s.Get(ctx, app, rec.ID, true, rec)
		},
		"Update": func(ctx context.Context, app string, rec *store.Record) error {
			_, err := s.Update(ctx, app, rec, plain(t0))
			return err
		},
		"Touch": func(ctx context.Context, app string, rec *store.Record) error {
			return s.Touch(ctx, app, rec.ID, t0+9, t0+9, laptop)
		},
		"Confirm": func(ctx context.Context, app string, rec *store.Record) error {
			return s.Confirm(ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0 + 9})
		},
		"End": func(ctx context.Context, app string, rec *store.Record) error {
			_, err := s.End(ctx, app, rec.ID, store.ReasonLogout, t0)
			return err
		},
		"EndSubject": func(ctx context.Context, app string, rec *store.Record) error {
			_, err := s.EndSubject(ctx, app, "alice", store.ID{}, store.ReasonRevoked, t0)
			return err
		},
		"EndAll": func(ctx context.Context, app string, rec *store.Record) error {
			return s.EndAll(ctx, app, t0)
		},
		"List": func(ctx context.Context, app string, rec *store.Record) error {
			_, _, err := s.List(ctx, app, store.ListOptions{Limit: 10, Now: t0})
			return err
		},
		"Count": func(ctx context.Context, app string, rec *store.Record) error {
			_, err := s.Count(ctx, app)
			return err
		},
		"Sweep": func(ctx context.Context, app string, rec *store.Record) error {
			_, _, err := s.Sweep(ctx, app, t0+100*day, 100)
			return err
		},
	}
	if w != nil {
		m["Watch"] = func(ctx context.Context, app string, rec *store.Record) error {
			_, err := w.Watch(ctx)
			return err
		}
	}
	return m
}
