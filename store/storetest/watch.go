package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// watchCases test the change feed. A store without one skips them.
var watchCases = []testCase{
	{"Watch/Reports", func(f *fixture) {
		before := f.create(session("alice"))
		w := f.watch(f.ctx)
		rec := f.create(full("alice"))
		w.want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 1})
		f.must(f.s.Touch(f.ctx, app, rec.ID, t0+50, t0+50, phone)) // not reported
		f.update(rec, plain(t0))
		w.want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 2})
		rec.Secret = store.Secret{Hash: newHash(), IssuedAt: t0}
		rec.Subject = "bob"
		f.update(rec, login(t0))
		w.want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 3})
		f.must(f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0}))
		w.want(store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 4})
		f.must(f.s.Confirm(f.ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0})) // changes nothing, so it is not reported

		f.end(rec, store.ReasonLogout, t0)
		w.want(store.Change{Kind: store.Gone, App: app, ID: rec.ID})
		f.wantEnded(f.s.End(f.ctx, app, rec.ID, store.ReasonLogout, t0)) // changes nothing, so it is not reported

		other := session("alice")
		f.in("blog").create(other)
		w.want(store.Change{Kind: store.Changed, App: "blog", ID: other.ID, Revision: 1})
		f.endSubject("alice", t0)
		w.want(store.Change{Kind: store.Gone, App: app, ID: before.ID})
		f.in("blog").sweep(t0 + hour)
		w.want(store.Change{Kind: store.Gone, App: "blog", ID: other.ID})
		f.must(f.s.EndAll(f.ctx, app, t0))
		w.want(store.Change{Kind: store.GoneAll, App: app})
	}},
	{"Watch/Eviction", func(f *fixture) {
		a := f.create(session("alice"))
		w := f.watch(f.ctx)
		b := session("alice")
		f.must(f.tryCreate(b, limited(b, 1)))
		missing := map[store.Change]bool{
			{Kind: store.Gone, App: app, ID: a.ID}:                 true,
			{Kind: store.Changed, App: app, ID: b.ID, Revision: 1}: true,
		}
		w.until("not all changes were reported", func(c store.Change) bool {
			if c.Kind == store.Gap {
				return true
			}
			if !missing[c] {
				f.Fatalf("change %+v, want one of %v", c, missing)
			}
			delete(missing, c)
			return len(missing) == 0
		})
	}},
	{"Watch/FailuresReportNothing", func(f *fixture) {
		rec := f.create(session("alice"))
		w := f.watch(f.ctx)
		f.wantErr(f.tryCreate(clone(rec), created(rec)), store.ErrExists)
		stale := clone(rec)
		stale.Revision = 9
		f.wantErr(f.tryUpdate(stale, plain(t0)), store.ErrConflict)
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
		// Parallel writers change the sessions. The revisions of each session
		// arrive in order, unless a gap comes.
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
		last, gone := map[store.ID]uint64{}, 0
		w.until("not all ends were reported", func(c store.Change) bool {
			switch c.Kind {
			case store.Gap:
				return true // allowed; the rest may be lost
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
			return gone == len(list)
		})
	}},
	{"Watch/SlowReceiver", func(f *fixture) {
		w := f.watch(f.ctx)
		rec := f.create(session("alice"))
		for range 5000 { // no write may wait for the receiver
			f.update(rec, plain(t0))
		}
		last := uint64(0)
		w.until("the receiver got neither the last change nor a gap", func(c store.Change) bool {
			if c.Kind == store.Gap {
				return true // earlier changes may be lost
			}
			if c.Revision != last+1 {
				f.Fatalf("revision %d came after %d without a gap", c.Revision, last)
			}
			last = c.Revision
			return last == rec.Revision
		})
		next := f.create(session("bob")) // the feed continues
		w.until("the receiver got neither the next change nor a gap", func(c store.Change) bool {
			return c.ID == next.ID || c.Kind == store.Gap // the change may be lost in a second gap
		})
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

// A feed receives changes with a time limit.
type feed struct {
	f  *fixture
	ch <-chan store.Change

	lost bool // a gap came, so want waits for nothing more

	// What untilBeat has received since the last heartbeat.
	seen map[store.Change]bool
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

// patience is how long a case waits for an event. A correct store needs far
// less.
const patience = 30 * time.Second

// until receives changes, except heartbeats, until done returns true. It ends
// the case with the text when patience is over, even if other changes keep
// coming.
func (w *feed) until(text string, done func(store.Change) bool) {
	w.f.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case c, ok := <-w.ch:
			if !ok {
				w.f.Fatal("the feed has closed")
			}
			if c.Kind != store.Beat && done(c) {
				return
			}
		case <-timeout.C:
			w.f.Fatal(text)
		}
	}
}

// want receives one change and compares it. A gap counts as an answer. After a
// gap, later calls of want receive nothing, because their changes may be lost.
func (w *feed) want(want store.Change) {
	w.f.Helper()
	if w.lost {
		return
	}
	w.until("no change was reported", func(got store.Change) bool {
		w.f.Helper()
		if w.lost = got.Kind == store.Gap; !w.lost && got != want {
			w.f.Fatalf("change %+v, want %+v", got, want)
		}
		return true
	})
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
			w.f.Fatal("the feed did not close")
		}
	}
}
