package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// watchCases are for stores that have a change feed; without one they are skipped.
var watchCases = []testCase{
	{"Watch/Reports", func(f *fixture) {
		before := f.create(session("alice"))
		w := f.watch(f.ctx)
		rec := f.create(full("alice"))
		w.want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 1})
		f.must(f.s.Touch(f.ctx, app, rec.ID, t0+50, t0+50, phone)) // reports nothing
		f.update(rec, plain(t0))
		w.want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 2})
		rec.Secret = store.Secret{Hash: newHash(), IssuedAt: t0}
		rec.Subject = "bob"
		f.update(rec, login(t0))
		w.want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 3})
		f.must(f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0}))
		w.want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 4})
		f.must(f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0})) // changes nothing

		_, err := f.s.End(f.ctx, app, rec.ID, store.ReasonLogout, t0)
		f.must(err)
		w.want(store.Change{Kind: store.Gone, App: app, ID: rec.ID})
		_, err = f.s.End(f.ctx, app, rec.ID, store.ReasonLogout, t0) // changes nothing
		f.must(err)

		other := session("alice")
		f.createIn("blog", other)
		w.want(store.Change{Kind: store.Changed, App: "blog", ID: other.ID, Revision: 1})
		_, err = f.s.EndSubject(f.ctx, app, "alice", store.ID{}, store.ReasonRevoked, t0)
		f.must(err)
		w.want(store.Change{Kind: store.Gone, App: app, ID: before.ID})
		f.sweepIn("blog", t0+hour)
		w.want(store.Change{Kind: store.Gone, App: "blog", ID: other.ID})
		f.must(f.s.EndAll(f.ctx, app, t0))
		w.want(store.Change{Kind: store.GoneAll, App: app})
	}},
	{"Watch/Eviction", func(f *fixture) {
		a := f.create(session("alice"))
		w := f.watch(f.ctx)
		b := session("alice")
		_, err := f.s.Create(f.ctx, app, b, limited(b, 1))
		f.must(err)
		got := map[store.Change]bool{w.next(): true, w.next(): true}
		if !got[store.Change{Kind: store.Gone, App: app, ID: a.ID}] || !got[store.Change{Kind: store.Changed, App: app, ID: b.ID, Revision: 1}] {
			f.Errorf("changes %v", got)
		}
	}},
	{"Watch/FailuresReportNothing", func(f *fixture) {
		rec := f.create(session("alice"))
		w := f.watch(f.ctx)
		_, err := f.s.Create(f.ctx, app, clone(rec), created(rec))
		f.wantErr(err, store.ErrExists)
		stale := clone(rec)
		stale.Revision = 9
		_, err = f.s.Update(f.ctx, app, stale, plain(t0))
		f.wantErr(err, store.ErrConflict)
		f.update(rec, plain(t0))
		w.want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 2})
	}},
	{"Watch/EachHearsAll", func(f *fixture) {
		a, b := f.watch(f.ctx), f.watch(f.ctx)
		for range 10 {
			rec := f.create(session(""))
			a.want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 1})
			b.want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 1})
		}
	}},
	{"Watch/InOrder", func(f *fixture) {
		// Parallel writers; the revisions of each session arrive in order, unless a gap says otherwise.
		w := f.watch(f.ctx)
		var wg sync.WaitGroup
		list := make([]*store.Record, 8)
		for i := range list {
			list[i] = f.create(session("alice"))
			wg.Go(func() {
				for range 20 {
					if _, err := f.s.Update(f.ctx, app, list[i], plain(t0)); err != nil {
						f.Error(err)
					}
				}
				if _, err := f.s.End(f.ctx, app, list[i].ID, store.ReasonLogout, t0); err != nil {
					f.Error(err)
				}
			})
		}
		wg.Wait()
		last := map[store.ID]uint64{}
		for gone := 0; gone < len(list); {
			c := w.next()
			switch c.Kind {
			case store.Gap:
				return // allowed, and then nothing is known
			case store.Gone:
				if last[c.ID] != 21 {
					f.Fatalf("the end came after revision %d", last[c.ID])
				}
				gone++
			case store.Changed:
				if c.Revision != last[c.ID]+1 {
					f.Fatalf("revision %d came after %d", c.Revision, last[c.ID])
				}
				last[c.ID] = c.Revision
			}
		}
	}},
	{"Watch/SlowReceiver", func(f *fixture) {
		w := f.watch(f.ctx)
		rec := f.create(session("alice"))
		for range 5000 { // nobody receives, and no write waits
			f.update(rec, plain(t0))
		}
		gap, last := false, uint64(0)
		for last < rec.Revision {
			c := w.nextOr(func() { f.Fatal("the receiver got neither the last change nor a gap") })
			switch {
			case c.Kind == store.Gap:
				gap, last = true, rec.Revision // what happened before is unknown
			case c.Revision != last+1 && !gap:
				f.Fatalf("revision %d came after %d without a gap", c.Revision, last)
			default:
				last = c.Revision
			}
		}
		next := f.create(session("bob")) // the feed goes on
		for c := w.next(); c.ID != next.ID; c = w.next() {
		}
	}},
	{"Watch/EndsWithItsContext", func(f *fixture) {
		ctx, cancel := context.WithCancel(f.ctx)
		w := f.watch(ctx)
		cancel()
		w.wantClosed()
		f.create(session("alice"))
	}},
	{"Watch/EndsWithTheStore", func(f *fixture) {
		w := f.watch(f.ctx)
		f.must(f.s.Close())
		w.wantClosed()
	}},
}

// A feed is a receiver that is not patient for ever.
type feed struct {
	f  *fixture
	ch <-chan store.Change

	seen map[store.Change]bool // by untilBeat, and a gap
	gap  bool
}

func (f *fixture) watch(ctx context.Context) *feed {
	f.Helper()
	w, ok := f.s.(store.Watcher)
	if !ok {
		f.Skip("the store has no change feed")
	}
	ch, err := w.Watch(ctx)
	f.must(err)
	return &feed{f: f, ch: ch}
}

// patience is the time after which a feed counts as dead; nothing waits for so long when all is well.
const patience = 10 * time.Second

func (w *feed) next() store.Change {
	w.f.Helper()
	return w.nextOr(func() { w.f.Helper(); w.f.Fatal("no change was reported") })
}

func (w *feed) nextOr(fail func()) store.Change {
	w.f.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case c, ok := <-w.ch:
		if !ok {
			w.f.Fatal("the feed is closed")
		}
		return c
	case <-timeout.C:
		fail()
	}
	return store.Change{}
}

func (w *feed) want(want store.Change) {
	w.f.Helper()
	if got := w.next(); got != want {
		w.f.Fatalf("change %+v, want %+v", got, want)
	}
}

func (w *feed) wantClosed() {
	w.f.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case _, ok := <-w.ch:
			if !ok {
				return
			}
		case <-timeout.C:
			w.f.Fatal("the feed is not closed")
		}
	}
}
