package nearcache_test

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

func TestCachedTellsMemory(t *testing.T) {
	f := owner(t)
	rec := f.create("alice")
	f.fromMemory(rec.ID)
	for range 3 {
		var got store.Record
		reads := f.node.readCount()
		f.must(nil, f.Get(ctx, app, rec.ID, true, &got))
		if got.Cached || f.node.readCount() != reads+1 {
			t.Error("a strict Get was answered from memory")
		}
	}
	if s := f.Stats(); s.Hits != 1 || s.Misses != 0 || s.Entries != 1 || s.Bytes == 0 || !s.Live {
		t.Errorf("Stats = %+v", s)
	}
	f.must(f.End(ctx, app, rec.ID, store.ReasonLogout, t0))
	for range 3 {
		if got := f.fromStore(rec.ID, store.ErrEnded); got.End != store.ReasonLogout {
			t.Errorf("tombstone %+v", got)
		}
	}
}

func TestReadsFill(t *testing.T) {
	for _, strict := range []bool{true, false} {
		f := owner(t)
		rec := session("alice")
		f.must(f.node.Create(ctx, app, rec, created)) // not through the cache
		var got store.Record
		f.must(nil, f.Get(ctx, app, rec.ID, strict, &got))
		if got.Cached || !got.Equal(rec) {
			t.Errorf("the first Get: %+v", got)
		}
		f.fromMemory(rec.ID)
	}
}

func TestApplicationsAreApart(t *testing.T) {
	f := owner(t)
	rec := f.create("alice")
	other := *rec
	other.Subject = "bob"
	f.must(f.Create(ctx, "blog", &other, created))
	if got := f.fromMemory(rec.ID); got.Subject != "alice" {
		t.Error("the record of another application")
	}
	f.must(nil, f.EndAll(ctx, "blog", t0))
	f.fromMemory(rec.ID)
	var got store.Record
	if err := f.Get(ctx, "blog", rec.ID, false, &got); !errors.Is(err, store.ErrEnded) {
		t.Errorf("after EndAll: %v", err)
	}
	if err := f.Get(ctx, "wiki", rec.ID, false, &got); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("in an application without sessions: %v", err)
	}
}

// A block holds one call to the store, before or after the store has executed
// it.
type block struct {
	reached chan struct{}
	release chan struct{}
	err     error // the call returns it instead of nil
	panics  bool
}

// blockNext holds the next call with a name after the store has answered.
func (f *fixture) blockNext(call string) *block {
	b := &block{reached: make(chan struct{}), release: make(chan struct{})}
	var met sync.Once
	f.node.set(func(n *node) {
		n.after = func(name string, err error) error {
			first := false
			if name == call {
				met.Do(func() { first = true })
			}
			if !first {
				return err
			}
			close(b.reached)
			<-b.release
			if b.panics {
				panic("broken")
			}
			return cmp.Or(b.err, err)
		}
	})
	return b
}

// in starts a call that the block holds, and returns when it is held.
func (b *block) in(call func()) (wait func()) {
	var wg sync.WaitGroup
	wg.Go(call)
	<-b.reached
	return func() {
		close(b.release)
		wg.Wait()
	}
}

func TestReadsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := owner(t)
		rec := session("alice")
		f.must(f.node.Create(ctx, app, rec, created))
		var wg sync.WaitGroup
		finish := f.blockNext("Get").in(func() {
			if got, err := f.get(rec.ID); err != nil || got.Cached || !got.Equal(rec) {
				t.Errorf("the leader got %+v, %v", got, err)
			}
		})
		for range 9 {
			wg.Go(func() {
				if got, err := f.get(rec.ID); err != nil || !got.Cached || !got.Equal(rec) {
					t.Errorf("who joined got %+v, %v", got, err)
				}
			})
		}
		synctest.Wait()
		finish()
		wg.Wait()
		if n := f.node.readCount(); n != 1 {
			t.Errorf("%d reads", n)
		}
		if s := f.Stats(); s.Misses != 10 {
			t.Errorf("Stats = %+v", s)
		}
	})
}

func TestJoinedErrors(t *testing.T) {
	for _, want := range []error{store.ErrNotFound, store.ErrEnded, errDown} {
		synctest.Test(t, func(t *testing.T) {
			f := owner(t)
			rec := session("alice")
			if !errors.Is(want, store.ErrNotFound) {
				f.must(f.node.Create(ctx, app, rec, created))
			}
			if errors.Is(want, store.ErrEnded) {
				f.must(f.node.End(ctx, app, rec.ID, store.ReasonTheft, t0))
			}
			b := f.blockNext("Get")
			if errors.Is(want, errDown) {
				b.err = errDown
			}
			var wg sync.WaitGroup
			one := func() {
				if got, err := f.get(rec.ID); !errors.Is(err, want) || errors.Is(want, store.ErrEnded) && got.End != store.ReasonTheft {
					t.Errorf("Get = %+v, %v, want %v", got, err, want)
				}
			}
			finish := b.in(one)
			for range 5 {
				wg.Go(one)
			}
			synctest.Wait()
			finish()
			wg.Wait()
			if n := f.node.readCount(); n != 1 {
				t.Errorf("%d reads", n)
			}
		})
	}
}

// TestLeaderGivesUp checks that a request that joined a read continues it if
// the request that began the read goes away.
func TestLeaderGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := owner(t)
		rec := session("alice")
		f.must(f.node.Create(ctx, app, rec, created))
		leading, cancel := context.WithCancel(ctx)
		b := f.blockNext("Get")
		b.err = context.Canceled
		finish := b.in(func() {
			if err := f.Get(leading, app, rec.ID, false, new(store.Record)); !errors.Is(err, context.Canceled) {
				t.Errorf("the leader got %v", err)
			}
		})
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if got, err := f.get(rec.ID); err != nil || !got.Equal(rec) {
					t.Errorf("who joined got %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		finish()
		wg.Wait()
		if n := f.node.readCount(); n < 2 || n > 6 {
			t.Errorf("%d reads", n)
		}
	})
}

func TestFollowerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := owner(t)
		rec := session("alice")
		f.must(f.node.Create(ctx, app, rec, created))
		finish := f.blockNext("Get").in(func() { f.must(f.get(rec.ID)) })
		waiting, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		var got store.Record
		if err := f.Get(waiting, app, rec.ID, false, &got); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who joined got %v", err)
		}
		finish()
		f.fromMemory(rec.ID)
	})
}

// TestPanic checks that a panic of the store affects only the call that caused
// it.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := owner(t)
		rec := session("alice")
		f.must(f.node.Create(ctx, app, rec, created))
		b := f.blockNext("Get")
		b.panics = true
		finish := b.in(func() {
			defer func() { recover() }()
			f.get(rec.ID)
		})
		var wg sync.WaitGroup
		wg.Go(func() { f.must(f.get(rec.ID)) })
		synctest.Wait()
		finish()
		wg.Wait()
		f.fromMemory(rec.ID)
	})
}

// TestI4PanicOfAWrite checks that a write which panics after the store has
// executed it counts as one with an unknown outcome: what it ended or changed is
// not answered from memory.
func TestI4PanicOfAWrite(t *testing.T) {
	for name, write := range map[string]func(f *fixture, rec *store.Record){
		"Update": func(f *fixture, rec *store.Record) { f.Update(ctx, app, rec, updated) },
		"End":    func(f *fixture, rec *store.Record) { f.End(ctx, app, rec.ID, store.ReasonLogout, t0) },
		"EndSubject": func(f *fixture, rec *store.Record) {
			f.EndSubject(ctx, app, "alice", store.ID{}, store.ReasonRevoked, t0)
		},
		"EndAll": func(f *fixture, _ *store.Record) { f.EndAll(ctx, app, t0) },
		"Sweep":  func(f *fixture, rec *store.Record) { f.Sweep(ctx, app, rec.ExpiresAt, 1<<20) },
	} {
		for _, open := range []func(t *testing.T) *fixture{
			func(t *testing.T) *fixture { return owner(t) },
			func(t *testing.T) *fixture {
				n := newNode()
				n.pump = func(c store.Change) []store.Change { // the feed is late
					if c.Kind == store.Beat {
						return []store.Change{c}
					}
					return nil
				}
				return shared(t, n)
			},
		} {
			synctest.Test(t, func(t *testing.T) {
				f := open(t)
				time.Sleep(time.Second)
				rec := f.create("alice")
				f.fromMemory(rec.ID)
				f.node.set(func(n *node) {
					n.after = func(call string, err error) error {
						if call == name {
							panic("broken")
						}
						return err
					}
				})
				func() {
					defer func() {
						if recover() == nil {
							t.Errorf("%s: no panic", name)
						}
					}()
					write(f, rec)
				}()
				if got, err := f.get(rec.ID); got.Cached || err == nil && got.Revision == 1 {
					t.Errorf("after %s: revision %d, cached %t, %v", name, got.Revision, got.Cached, err)
				}
			})
		}
	}
}

func TestUnknownIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := owner(t)
		rec := session("alice")
		for _, strict := range []bool{true, false} {
			if err := f.Get(ctx, app, rec.ID, strict, new(store.Record)); !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
			reads := f.node.readCount()
			for range 3 {
				if _, err := f.get(rec.ID); !errors.Is(err, store.ErrNotFound) || f.node.readCount() != reads {
					t.Fatalf("%v, %d reads", err, f.node.readCount())
				}
			}
			time.Sleep(time.Second - 1)
			if f.get(rec.ID); f.node.readCount() != reads {
				t.Error("forgotten early")
			}
			time.Sleep(time.Nanosecond)
			f.fromStore(rec.ID, store.ErrNotFound)
			time.Sleep(time.Second)
		}
		if s := f.Stats(); s.NegativeHits != 8 {
			t.Errorf("Stats = %+v", s)
		}
		f.get(rec.ID)
		f.must(f.Create(ctx, app, rec, created))
		f.fromMemory(rec.ID)
	})
}

// TestUnknownOvertaken checks that the cache does not keep an ErrNotFound if
// the session was created during the read.
func TestUnknownOvertaken(t *testing.T) {
	f := owner(t)
	rec := session("alice")
	finish := f.blockNext("Get").in(func() { f.get(rec.ID) })
	f.must(f.Create(ctx, app, rec, created))
	finish()
	f.fromMemory(rec.ID)
}

// TestUnknownFlood checks that unknown IDs do not displace sessions.
func TestUnknownFlood(t *testing.T) {
	f := owner(t)
	list := make([]*store.Record, 100)
	for i := range list {
		list[i] = f.create("alice")
	}
	before := f.Stats()
	for range 100_000 {
		f.get(newID())
	}
	if after := f.Stats(); after.Bytes != before.Bytes || after.Evictions > 0 {
		t.Errorf("Stats = %+v", after)
	}
	for _, rec := range list {
		f.fromMemory(rec.ID)
	}
}

func TestClosed(t *testing.T) {
	f := owner(t)
	rec := f.create("alice")
	f.fromMemory(rec.ID)
	f.must(nil, f.node.Store.Close()) // not through the cache
	if err := f.Touch(ctx, app, rec.ID, t0, t0, phone); !errors.Is(err, store.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := f.get(rec.ID); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after the store said that it is closed: %v", err)
	}

	f = owner(t)
	rec = f.create("alice")
	f.must(nil, f.Close())
	f.must(nil, f.Close())
	if err := f.node.Store.Get(ctx, app, rec.ID, true, rec); !errors.Is(err, store.ErrClosed) {
		t.Error("the store beneath is open")
	}
	if _, err := f.get(rec.ID); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if s := f.Stats(); s.Bytes != 0 || s.Live {
		t.Errorf("Stats = %+v", s)
	}
}

// TestCloseDuringRead checks that a closed cache keeps no result of a read.
func TestCloseDuringRead(t *testing.T) {
	f := owner(t)
	rec := f.create("alice")
	finish := f.blockNext("Get").in(func() { f.Get(ctx, app, rec.ID, true, new(store.Record)) })
	f.must(nil, f.Close())
	finish()
	if s := f.Stats(); s.Bytes != 0 {
		t.Errorf("Stats = %+v", s)
	}
}
