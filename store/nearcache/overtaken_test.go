package nearcache_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/sojourn-go/sojourn/store"
)

// endings are all ways in which a session of alice ends.
var endings = map[string]func(f *fixture, rec *store.Record){
	"End": func(f *fixture, rec *store.Record) {
		f.must(f.End(ctx, app, rec.ID, store.ReasonLogout, t0))
	},
	"EndSubject": func(f *fixture, rec *store.Record) {
		f.must(f.EndSubject(ctx, app, "alice", store.ID{}, store.ReasonRevoked, t0))
	},
	"EndAll": func(f *fixture, rec *store.Record) {
		f.must(nil, f.EndAll(ctx, app, t0))
	},
	"EvictedByCreate": func(f *fixture, rec *store.Record) {
		opt := created
		opt.Limit.Max = 1
		f.must(f.Create(ctx, app, session("alice"), opt))
	},
	"EvictedByLogin": func(f *fixture, rec *store.Record) {
		other := f.create("")
		other.Subject = "alice"
		opt := updated
		opt.Login, opt.Limit.Max = true, 1
		f.must(f.Update(ctx, app, other, opt))
	},
	"Sweep": func(f *fixture, rec *store.Record) {
		for over := false; !over; {
			var err error
			_, over, err = f.Sweep(ctx, app, rec.ExpiresAt, 1000)
			f.must(nil, err)
		}
	},
}

// TestI4EndLeavesMemory checks that no read returns the live session after an
// end was acknowledged.
func TestI4EndLeavesMemory(t *testing.T) {
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			f := owner(t)
			rec := f.create("alice")
			f.fromMemory(rec.ID)
			end(f, rec)
			f.fromStore(rec.ID, store.ErrEnded)
		})
	}
}

// TestI4ReadOvertakenByEnd checks that the cache neither keeps nor joins a read
// that began before the end.
func TestI4ReadOvertakenByEnd(t *testing.T) {
	for name, end := range endings {
		for _, strict := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := owner(t)
					rec := session("alice")
					f.must(f.node.Create(ctx, app, rec, created))
					finish := f.blockNext("Get").in(func() { f.must(nil, f.Get(ctx, app, rec.ID, strict, new(store.Record))) })
					end(f, rec)
					f.fromStore(rec.ID, store.ErrEnded) // though an older read is in flight
					finish()
					f.fromStore(rec.ID, store.ErrEnded)
				})
			})
		}
	}
}

// TestI4WriteOvertakenByEnd: the store acknowledges a write and then an end,
// but the cache hears of the end first.
func TestI4WriteOvertakenByEnd(t *testing.T) {
	writes := map[string]func(f *fixture, rec *store.Record){
		"Update": func(f *fixture, rec *store.Record) { f.must(f.Update(ctx, app, rec, updated)) },
		"Touch":  func(f *fixture, rec *store.Record) { f.must(nil, f.Touch(ctx, app, rec.ID, t0+9, t0+9, laptop)) },
	}
	for name, end := range endings {
		for call, write := range writes {
			t.Run(call+name, func(t *testing.T) {
				f := owner(t)
				rec := f.create("alice")
				cached := *rec
				finish := f.blockNext(call).in(func() { write(f, &cached) })
				end(f, rec)
				finish()
				f.fromStore(rec.ID, store.ErrEnded)
			})
		}
		if name == "EvictedByCreate" {
			continue // it is the blocked call
		}
		t.Run("Create"+name, func(t *testing.T) {
			f := owner(t)
			rec := session("alice")
			finish := f.blockNext("Create").in(func() { f.must(f.Create(ctx, app, rec, created)) })
			end(f, &store.Record{ID: rec.ID, ExpiresAt: rec.ExpiresAt})
			finish()
			f.fromStore(rec.ID, store.ErrEnded)
		})
	}
}

// TestI10OlderRevisionStaysOut checks that no call puts a revision into memory
// that is older than the known one.
func TestI10OlderRevisionStaysOut(t *testing.T) {
	t.Run("Read", func(t *testing.T) {
		f := owner(t)
		rec := f.create("alice")
		finish := f.blockNext("Get").in(func() { f.must(nil, f.Get(ctx, app, rec.ID, true, new(store.Record))) })
		f.must(f.Update(ctx, app, rec, updated))
		finish()
		if got := f.fromMemory(rec.ID); got.Revision != 2 {
			t.Errorf("revision %d", got.Revision)
		}
	})
	t.Run("ReadOfWhatWasNotInMemory", func(t *testing.T) {
		f := owner(t)
		rec := session("alice")
		f.must(f.node.Create(ctx, app, rec, created))
		finish := f.blockNext("Get").in(func() { f.must(f.get(rec.ID)) })
		f.must(f.Update(ctx, app, rec, updated))
		finish()
		if got := f.fromStore(rec.ID, nil); got.Revision != 2 {
			t.Errorf("revision %d", got.Revision)
		}
	})
	t.Run("ReadThatALaterOneOvertook", func(t *testing.T) {
		f := owner(t)
		rec := session("alice")
		f.must(f.node.Create(ctx, app, rec, created))
		finish := f.blockNext("Get").in(func() { f.must(f.get(rec.ID)) })
		f.must(f.node.Store.Update(ctx, app, rec, updated)) // not yet reported to the cache
		f.must(nil, f.Get(ctx, app, rec.ID, true, new(store.Record)))
		finish()
		if got := f.fromMemory(rec.ID); got.Revision != 2 {
			t.Errorf("revision %d", got.Revision)
		}
	})
	t.Run("Update", func(t *testing.T) {
		f := owner(t)
		rec := f.create("alice")
		first := *rec
		finish := f.blockNext("Update").in(func() { f.must(f.Update(ctx, app, &first, updated)) })
		var second store.Record
		f.must(nil, f.Get(ctx, app, rec.ID, true, &second))
		f.must(f.Update(ctx, app, &second, updated))
		finish()
		if got, err := f.get(rec.ID); err != nil || got.Revision != 3 {
			t.Errorf("revision %d, %v", got.Revision, err)
		}
	})
	t.Run("Confirm", func(t *testing.T) {
		f := owner(t)
		rec := f.create("alice")
		finish := f.blockNext("Get").in(func() { f.must(nil, f.Get(ctx, app, rec.ID, true, new(store.Record))) })
		f.must(nil, f.Confirm(ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0 + 1}))
		finish()
		if got := f.fromStore(rec.ID, nil); got.Revision != 2 {
			t.Errorf("revision %d", got.Revision)
		}
	})
}

// TestReadsAfterAWriteDontJoin checks that a read after an acknowledged write
// does not join a read that began before it.
func TestReadsAfterAWriteDontJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := owner(t)
		rec := session("alice")
		f.must(f.node.Create(ctx, app, rec, created))
		finish := f.blockNext("Get").in(func() { f.must(f.get(rec.ID)) })
		f.must(f.Update(ctx, app, rec, updated))
		if got := f.fromStore(rec.ID, nil); got.Revision != 2 {
			t.Errorf("revision %d", got.Revision)
		}
		finish()
	})
}

func TestWritesThrough(t *testing.T) {
	f := owner(t)
	rec := f.create("alice")
	f.must(nil, f.Touch(ctx, app, rec.ID, t0+9, t0+9, phone))
	if got := f.fromMemory(rec.ID); got.LastSeenAt != t0+9 {
		t.Errorf("after a touch: %+v", got)
	}
	f.must(nil, f.Touch(ctx, app, rec.ID, t0+5, t0+9, laptop)) // earlier
	f.fromMemory(rec.ID)

	rec.CreatedAt++ // never changes
	rec.LastSeenAt, rec.LastClient = t0+4, laptop
	rec.Cached, rec.End, rec.EndAt = true, store.ReasonTheft, 1 // the caller does not set these
	f.must(f.Update(ctx, app, rec, updated))
	if got := f.fromMemory(rec.ID); got.LastSeenAt != t0+9 || got.LastClient != phone || got.CreatedAt != t0 {
		t.Errorf("after an update with an earlier activity: %+v", got)
	}
	rec.LastSeenAt = t0 + 20
	f.must(f.Update(ctx, app, rec, updated))
	f.fromMemory(rec.ID)

	f.must(nil, f.Touch(ctx, app, rec.ID, t0+30, t0+30, phone)) // another client
	f.fromStore(rec.ID, nil)
	f.fromMemory(rec.ID)

	f.must(nil, f.Confirm(ctx, app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: t0 + 1}))
	f.fromStore(rec.ID, nil)
	f.fromMemory(rec.ID)

	var got store.Record
	f.must(nil, f.Get(ctx, app, rec.ID, true, &got))
	stale := got
	stale.Revision--
	if _, err := f.Update(ctx, app, &stale, updated); !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	f.fromStore(rec.ID, nil) // the result of a write counts
	f.fromMemory(rec.ID)
	if _, err := f.Create(ctx, app, session("alice"), store.CreateOptions{Arrived: t0, Now: t0, Limit: store.Limit{Max: 1, Refuse: true}}); !errors.Is(err, store.ErrLimit) {
		t.Fatal(err)
	}
	f.fromMemory(rec.ID) // a refusal changes nothing
}

// TestCancelledWrites checks that clients that go away do not empty the memory.
func TestCancelledWrites(t *testing.T) {
	f := owner(t)
	rec, other := f.create("alice"), f.create("bob")
	f.node.set(func(n *node) { n.instead = func(string) error { return context.Canceled } })
	if _, err := f.End(ctx, app, rec.ID, store.ReasonIdle, t0); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	f.node.set(func(n *node) { n.instead = nil })
	f.fromMemory(other.ID)
	f.fromStore(rec.ID, nil)
	f.fromMemory(rec.ID)
}

// TestTouchDuringUpdate checks that the cache keeps the later activity, in
// whatever order the results arrive.
func TestTouchDuringUpdate(t *testing.T) {
	f := owner(t)
	rec := f.create("alice")
	finish := f.blockNext("Update").in(func() { f.must(f.Update(ctx, app, rec, updated)) })
	f.must(nil, f.Touch(ctx, app, rec.ID, t0+9, t0+9, laptop))
	finish()
	if got := f.fromMemory(rec.ID); got.LastSeenAt != t0+9 || got.LastClient != laptop {
		t.Errorf("%+v", got)
	}
}

// TestI4UnclearWrites checks that a write of unknown outcome stops answers from
// memory for all sessions that it may have changed, even if it takes effect
// later.
func TestI4UnclearWrites(t *testing.T) {
	writes := map[string]func(f *fixture, rec *store.Record) error{
		"Create": func(f *fixture, rec *store.Record) error {
			_, err := f.Create(ctx, app, session("alice"), created)
			return err
		},
		"Update": func(f *fixture, rec *store.Record) error {
			copied := *rec
			_, err := f.Update(ctx, app, &copied, updated)
			return err
		},
		"End": func(f *fixture, rec *store.Record) error {
			_, err := f.End(ctx, app, rec.ID, store.ReasonLogout, t0)
			return err
		},
		"EndSubject": func(f *fixture, rec *store.Record) error {
			_, err := f.EndSubject(ctx, app, "alice", store.ID{}, store.ReasonRevoked, t0)
			return err
		},
		"EndAll": func(f *fixture, rec *store.Record) error { return f.EndAll(ctx, app, t0) },
		"Sweep": func(f *fixture, rec *store.Record) error {
			_, _, err := f.Sweep(ctx, app, t0, 100)
			return err
		},
	}
	for name, write := range writes {
		for _, unclear := range []error{store.ErrUncertain, errDown} {
			t.Run(name, func(t *testing.T) {
				f := owner(t)
				rec := f.create("alice")
				f.fromMemory(rec.ID)
				// The store does not answer, and executes the write later.
				f.node.set(func(n *node) {
					n.instead = func(call string) error {
						if call == name {
							return unclear
						}
						return nil
					}
				})
				if err := write(f, rec); !errors.Is(err, unclear) {
					t.Fatal(err)
				}
				f.node.set(func(n *node) { n.instead = nil })
				f.fromStore(rec.ID, nil)
				f.fromStore(rec.ID, nil) // not kept either

				f.must(f.node.Store.EndSubject(ctx, app, "alice", store.ID{}, store.ReasonRevoked, t0)) // it takes effect
				f.fromStore(rec.ID, store.ErrEnded)
				ended, err := f.EndSubject(ctx, app, "alice", store.ID{}, store.ReasonRevoked, t0)
				if err != nil || len(ended) > 0 {
					t.Fatal(ended, err)
				}
				f.fromStore(rec.ID, store.ErrEnded)
				f.fromMemory(f.create("bob").ID) // the cache works normally again
			})
		}
	}
}

// TestUnclearTouch checks that a touch of unknown outcome affects only the
// session's last activity.
func TestUnclearTouch(t *testing.T) {
	f := owner(t)
	rec, other := f.create("alice"), f.create("bob")
	f.node.set(func(n *node) { n.after = func(string, error) error { return store.ErrUncertain } })
	if err := f.Touch(ctx, app, rec.ID, t0+9, t0+9, phone); !errors.Is(err, store.ErrUncertain) {
		t.Fatal(err)
	}
	f.node.set(func(n *node) { n.after = nil })
	f.fromMemory(other.ID)
	f.fromStore(rec.ID, nil)
	f.fromMemory(rec.ID)
}

// TestDoubtOutlastsEarlierWrites checks that a write does not settle the
// unknown outcome of a write that began after it.
func TestDoubtOutlastsEarlierWrites(t *testing.T) {
	f := owner(t)
	rec := f.create("alice")
	finish := f.blockNext("Create").in(func() { f.create("bob") })
	f.node.set(func(n *node) { n.instead = func(string) error { return store.ErrUncertain } })
	f.End(ctx, app, rec.ID, store.ReasonLogout, t0)
	f.node.set(func(n *node) { n.instead = nil })
	finish()
	f.fromStore(rec.ID, nil)
	f.fromStore(rec.ID, nil)
	f.must(nil, f.Touch(ctx, app, rec.ID, t0, t0, phone))
	f.fromStore(rec.ID, nil)
	f.fromMemory(rec.ID)
}

// TestI4EndSubjectKnowsAll checks that EndSubject removes a session from memory
// that it does not list, because a call that has not returned yet has ended it.
func TestI4EndSubjectKnowsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := owner(t)
		rec, other := f.create("alice"), f.create("bob")
		unread := session("alice")
		f.must(f.node.Create(ctx, app, unread, created))
		finishGet := f.blockNext("Get").in(func() { f.must(f.get(unread.ID)) })
		for _, id := range []store.ID{rec.ID, unread.ID} { // the store has executed the call, but it has not returned
			f.must(f.node.Store.End(ctx, app, id, store.ReasonEvicted, t0))
		}
		ended, err := f.EndSubject(ctx, app, "alice", store.ID{}, store.ReasonRevoked, t0)
		if err != nil || len(ended) > 0 {
			t.Fatal(ended, err)
		}
		f.fromStore(rec.ID, store.ErrEnded)
		f.fromStore(unread.ID, store.ErrEnded)
		finishGet()
		f.fromStore(unread.ID, store.ErrEnded)
		f.fromMemory(other.ID)
	})
}
