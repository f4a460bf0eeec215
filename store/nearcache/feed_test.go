package nearcache_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// elsewhere runs a test with a cache and the store beneath it, to which another
// process writes. It uses the fake clock of testing/synctest.
func elsewhere(t *testing.T, test func(t *testing.T, f *fixture, other *memstore.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		f := shared(t, n)
		synctest.Wait() // the first heartbeat comes back at once
		test(t, f, n.Store)
	})
}

// hold stops the feed, including its heartbeats, until the returned function is
// called.
func (n *node) hold() (release func()) {
	var kept []store.Change
	n.set(func(n *node) {
		n.pump = func(c store.Change) []store.Change {
			kept = append(kept, c)
			return nil
		}
	})
	return func() {
		n.set(func(n *node) {
			n.pump = func(c store.Change) []store.Change {
				list := append(kept, c)
				kept = nil
				return list
			}
		})
	}
}

func TestI10FeedDrops(t *testing.T) {
	elsewhere(t, func(t *testing.T, f *fixture, other *memstore.Store) {
		rec, kept := f.create("alice"), f.create("bob")
		f.fromMemory(rec.ID)
		theirs := *rec
		f.must(other.Update(ctx, app, &theirs, updated))
		synctest.Wait()
		if got := f.fromStore(rec.ID, nil); got.Revision != 2 {
			t.Errorf("revision %d", got.Revision)
		}
		f.fromMemory(rec.ID)
		f.must(other.End(ctx, app, rec.ID, store.ReasonLogout, t0))
		synctest.Wait()
		f.fromStore(rec.ID, store.ErrEnded)
		f.fromMemory(kept.ID)

		elsewhere := session("carol")
		f.must(f.Create(ctx, "blog", elsewhere, created))
		f.must(nil, other.EndAll(ctx, app, t0))
		f.must(nil, other.EndAll(ctx, "wiki", t0)) // an application that the cache does not know
		synctest.Wait()
		f.fromStore(kept.ID, store.ErrEnded)
		var got store.Record
		if err := f.Get(ctx, "blog", elsewhere.ID, false, &got); err != nil || !got.Cached {
			t.Errorf("the end of another application's sessions: cached %v, %v", got.Cached, err)
		}
	})
}

// TestEchoKeeps checks that the feed's report of the cache's own write does not
// drop the session.
func TestEchoKeeps(t *testing.T) {
	elsewhere(t, func(t *testing.T, f *fixture, _ *memstore.Store) {
		rec := f.create("alice")
		synctest.Wait()
		f.fromMemory(rec.ID)
		f.must(f.Update(ctx, app, rec, updated))
		synctest.Wait()
		f.fromMemory(rec.ID)

		// The echo comes first.
		finish := f.blockNext("Update").in(func() { f.must(f.Update(ctx, app, rec, updated)) })
		synctest.Wait()
		finish()
		if got := f.fromMemory(rec.ID); got.Revision != 3 {
			t.Errorf("revision %d", got.Revision)
		}
		made := session("bob")
		finish = f.blockNext("Create").in(func() { f.must(f.Create(ctx, app, made, created)) })
		synctest.Wait()
		finish()
		f.fromMemory(made.ID)
	})
}

// TestI10ReadOvertakenByFeed checks that the cache does not keep the result of
// a read or a write if the feed reports a change meanwhile.
func TestI10ReadOvertakenByFeed(t *testing.T) {
	news := map[string]struct {
		do   func(f *fixture, other *memstore.Store, rec *store.Record)
		want error
	}{
		"Changed": {func(f *fixture, other *memstore.Store, rec *store.Record) {
			theirs := *rec
			if err := other.Get(ctx, app, rec.ID, true, &theirs); err != nil {
				f.Fatal(err)
			}
			f.must(other.Update(ctx, app, &theirs, updated))
		}, nil},
		"Gone": {func(f *fixture, other *memstore.Store, rec *store.Record) {
			f.must(other.End(ctx, app, rec.ID, store.ReasonLogout, t0))
		}, store.ErrEnded},
		"GoneAll": {func(f *fixture, other *memstore.Store, rec *store.Record) {
			f.must(nil, other.EndAll(ctx, app, t0))
		}, store.ErrEnded},
		"Gap": {func(f *fixture, other *memstore.Store, rec *store.Record) {
			f.node.set(func(n *node) {
				n.pump = func(c store.Change) []store.Change {
					if c.Kind == store.Gone {
						c = store.Change{Kind: store.Gap}
					}
					return []store.Change{c}
				}
			})
			f.must(other.End(ctx, app, rec.ID, store.ReasonLogout, t0))
		}, store.ErrEnded},
		"Break": {func(f *fixture, other *memstore.Store, rec *store.Record) {
			f.node.breakFeeds()
			synctest.Wait()
			f.must(other.End(ctx, app, rec.ID, store.ReasonLogout, t0))
			time.Sleep(time.Second) // until the feed is open again and live
			if !f.Stats().Live {
				f.Fatal("not live")
			}
		}, store.ErrEnded},
	}
	for name, c := range news {
		for _, call := range []string{"Get", "Update", "Create"} {
			t.Run(name+call, func(t *testing.T) {
				elsewhere(t, func(t *testing.T, f *fixture, other *memstore.Store) {
					rec := session("alice")
					do := func() { f.must(f.Create(ctx, app, rec, created)) }
					switch call {
					case "Get":
						f.must(other.Create(ctx, app, rec, created))
						do = func() { f.must(f.get(rec.ID)) }
					case "Update":
						do()
						ours := *rec
						do = func() { f.must(f.Update(ctx, app, &ours, updated)) }
					}
					known := *rec
					finish := f.blockNext(call).in(do)
					c.do(f, other, &known)
					synctest.Wait()
					if call == "Get" {
						f.fromStore(rec.ID, c.want) // not joined
					}
					finish()
					if c.want != nil {
						f.fromStore(rec.ID, c.want)
						return
					}
					f.get(rec.ID)
					f.fromMemory(rec.ID)
				})
			})
		}
	}
}

// TestI10GapDrops checks that the cache uses nothing after a gap that it held
// before.
func TestI10GapDrops(t *testing.T) {
	elsewhere(t, func(t *testing.T, f *fixture, other *memstore.Store) {
		rec := f.create("alice")
		f.get(newID())
		f.node.set(func(n *node) {
			n.pump = func(c store.Change) []store.Change {
				switch c.Kind {
				case store.Gone:
					return nil // lost, but no gap is reported yet
				case store.Beat:
					return []store.Change{{Kind: store.Gap}, c}
				}
				return []store.Change{c}
			}
		})
		f.must(other.End(ctx, app, rec.ID, store.ReasonLogout, t0))
		time.Sleep(300 * time.Millisecond)
		f.fromStore(rec.ID, store.ErrEnded)
	})
}

// TestI10NotLiveReadsThrough checks that the cache answers nothing from memory
// without a heartbeat within the last second.
func TestI10NotLiveReadsThrough(t *testing.T) {
	failures := map[string]func(n *node) (heal func()){
		"Fails": func(n *node) func() {
			n.set(func(n *node) { n.beat = func(context.Context) error { return errDown } })
			return n.healBeat
		},
		"Hangs": func(n *node) func() {
			n.set(func(n *node) { n.beat = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() } })
			return n.healBeat
		},
		"IsSlow": func(n *node) func() {
			n.set(func(n *node) {
				n.beat = func(context.Context) error { time.Sleep(1100 * time.Millisecond); return nil }
			})
			return n.healBeat
		},
		"FeedIsBlocked": func(n *node) func() { return n.hold() },
	}
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			elsewhere(t, func(t *testing.T, f *fixture, other *memstore.Store) {
				rec := f.create("alice")
				time.Sleep(10 * time.Millisecond)
				heal := fail(f.node)
				time.Sleep(900 * time.Millisecond)
				f.fromMemory(rec.ID)
				time.Sleep(350 * time.Millisecond) // a heartbeat was sent up to 250 ms after the failure began
				for range 6 {
					for range 2 { // reads are not kept either
						f.fromStore(rec.ID, nil)
						f.fromStore(newID(), store.ErrNotFound)
					}
					time.Sleep(500 * time.Millisecond)
				}
				if f.Stats().Live {
					t.Error("live")
				}
				heal()
				time.Sleep(3 * time.Second)
				f.get(rec.ID)
				f.fromMemory(rec.ID)
			})
		})
	}
}

func (n *node) healBeat() { n.set(func(n *node) { n.beat = nil }) }

// TestI10LateHeartbeat checks that the time at which a heartbeat was sent
// counts, not the time at which it came back.
func TestI10LateHeartbeat(t *testing.T) {
	elsewhere(t, func(t *testing.T, f *fixture, other *memstore.Store) {
		rec := f.create("alice")
		release := f.node.hold()
		time.Sleep(1100 * time.Millisecond)
		f.node.set(func(n *node) { n.beat = func(context.Context) error { return errDown } })
		time.Sleep(650 * time.Millisecond) // the last heartbeat was sent 650 to 900 ms ago
		release()
		f.must(nil, other.EndAll(ctx, "wiki", t0)) // moves the feed
		synctest.Wait()
		f.fromMemory(rec.ID)
		time.Sleep(350 * time.Millisecond)
		f.fromStore(rec.ID, nil)
	})
}

// TestReaderGoesOn checks that the cache reads the feed while a heartbeat
// hangs.
func TestReaderGoesOn(t *testing.T) {
	elsewhere(t, func(t *testing.T, f *fixture, other *memstore.Store) {
		rec := f.create("alice")
		hanging := make(chan struct{})
		f.node.set(func(n *node) { n.beat = func(context.Context) error { <-hanging; return errDown } })
		defer close(hanging)
		time.Sleep(500 * time.Millisecond)
		f.must(other.End(ctx, app, rec.ID, store.ReasonLogout, t0))
		synctest.Wait()
		f.fromStore(rec.ID, store.ErrEnded)
	})
}

// TestI10BrokenFeed checks that the cache stops using memory at once when the
// channel closes. It starts again with an empty memory.
func TestI10BrokenFeed(t *testing.T) {
	elsewhere(t, func(t *testing.T, f *fixture, other *memstore.Store) {
		rec := f.create("alice")
		f.fromMemory(rec.ID)
		f.node.breakFeeds()
		synctest.Wait()
		f.fromStore(rec.ID, nil)
		f.must(other.End(ctx, app, rec.ID, store.ReasonLogout, t0)) // the feed does not report it
		f.fromStore(rec.ID, store.ErrEnded)
		made := f.create("bob")
		time.Sleep(time.Second)
		if !f.Stats().Live {
			t.Fatal("the feed isn't opened again")
		}
		f.fromStore(rec.ID, store.ErrEnded)
		f.fromStore(made.ID, nil)
		f.fromMemory(made.ID)
	})
}

// TestBackoff checks that the cache waits between attempts to open a feed that
// can't be opened.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &noFeed{node: newNode()}
		c := nearcache.NewShared(n, nearcache.Options{})
		time.Sleep(time.Minute)
		if tries := n.tries.Load(); tries < 10 || tries > 20 || c.Stats().Live {
			t.Errorf("%d tries, live: %v", tries, c.Stats().Live)
		}
		c.Close()
	})
}

type noFeed struct {
	*node
	tries atomic.Int64
}

func (n *noFeed) Watch(context.Context) (<-chan store.Change, error) {
	n.tries.Add(1)
	return nil, errDown
}

// TestStoreClosesFirst checks that the feed and the use of memory end if the
// store closes before the cache.
func TestStoreClosesFirst(t *testing.T) {
	elsewhere(t, func(t *testing.T, f *fixture, other *memstore.Store) {
		rec := f.create("alice")
		f.must(nil, other.Close())
		time.Sleep(time.Second)
		f.fromStore(rec.ID, store.ErrClosed)
		time.Sleep(time.Hour) // no goroutine may ask the store any more
		f.must(nil, f.Close())
	})
}

// TestOthersHeartbeats checks that each of several caches on one store counts
// only its own heartbeats.
func TestOthersHeartbeats(t *testing.T) {
	elsewhere(t, func(t *testing.T, f *fixture, other *memstore.Store) {
		n := newNodeOn(other)
		n.beat = func(context.Context) error { return errDown }
		second := shared(t, n)
		rec := second.create("alice")
		time.Sleep(time.Second)
		second.fromStore(rec.ID, nil)
		if second.Stats().Live || !f.Stats().Live {
			t.Error("a heartbeat of the other cache was taken for its own")
		}
	})
}

// TestWatchPassesOn checks that the engine receives the changes but no
// heartbeats.
func TestWatchPassesOn(t *testing.T) {
	elsewhere(t, func(t *testing.T, f *fixture, other *memstore.Store) {
		watching, cancel := context.WithCancel(ctx)
		changes, err := f.Watch(watching)
		f.must(nil, err)
		time.Sleep(10 * time.Second)
		rec := session("alice")
		f.must(other.Create(ctx, app, rec, created))
		if c := <-changes; c != (store.Change{Kind: store.Changed, App: app, ID: rec.ID, Revision: 1}) {
			t.Errorf("change %+v", c)
		}
		f.must(other.End(ctx, app, rec.ID, store.ReasonLogout, t0))
		synctest.Wait()
		cancel()
		synctest.Wait()
		for c := range changes {
			if c.Kind != store.Gone {
				t.Errorf("change %+v", c)
			}
		}
		changes, err = f.Watch(ctx)
		f.must(nil, err)
		f.must(nil, f.Close())
		for range changes {
		}
		if _, err := f.Watch(ctx); !errors.Is(err, store.ErrClosed) {
			t.Errorf("Watch after Close: %v", err)
		}
	})
}

// TestI10SilentFeedIsReported checks that the cache reports a feed that is open
// but silent.
func TestI10SilentFeedIsReported(t *testing.T) {
	elsewhere(t, func(t *testing.T, f *fixture, other *memstore.Store) {
		watching, cancel := context.WithCancel(ctx)
		changes, err := f.Watch(watching)
		f.must(nil, err)
		time.Sleep(10 * time.Second)
		f.node.set(func(n *node) { n.pump = func(store.Change) []store.Change { return nil } })
		f.must(other.EndSubject(ctx, app, "alice", store.ID{}, store.ReasonRevoked, t0)) // the feed does not report it
		for range 3 {
			began := time.Now()
			if c := <-changes; c.Kind != store.Gap || time.Since(began) > 3*time.Second {
				t.Fatalf("change %+v after %v", c, time.Since(began))
			}
		}
		f.node.set(func(n *node) { n.pump = nil })
		time.Sleep(3 * time.Second)
		for len(changes) > 0 {
			<-changes
		}
		rec := session("alice")
		f.must(other.Create(ctx, app, rec, store.CreateOptions{Arrived: t0 + 1, Now: t0 + 1}))
		for c := range changes {
			if c.Kind == store.Changed {
				break
			}
		}
		cancel()
		for range changes {
		}
	})
}

// TestI10UnclearWrites checks that a write of unknown outcome drops the
// sessions that it may have changed, if a feed reports later effects.
func TestI10UnclearWrites(t *testing.T) {
	elsewhere(t, func(t *testing.T, f *fixture, other *memstore.Store) {
		rec, bob := f.create("alice"), f.create("bob")
		f.node.set(func(n *node) { n.instead = func(string) error { return store.ErrUncertain } })
		ours := *rec
		f.Update(ctx, app, &ours, updated)
		f.node.set(func(n *node) { n.instead = nil })
		f.fromMemory(bob.ID)
		f.fromStore(rec.ID, nil)
		f.fromMemory(rec.ID)
		f.must(other.Update(ctx, app, &ours, updated)) // it takes effect
		synctest.Wait()
		f.fromStore(rec.ID, nil)

		f.node.set(func(n *node) { n.instead = func(string) error { return store.ErrUncertain } })
		login := updated
		login.Login = true
		f.Update(ctx, app, &ours, login) // might have evicted any session
		f.node.set(func(n *node) { n.instead = nil })
		f.fromStore(bob.ID, nil)
		f.fromStore(rec.ID, nil)
		f.fromMemory(rec.ID)
	})
}
