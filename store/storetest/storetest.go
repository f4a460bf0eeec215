// Package storetest is the conformance suite of stores. It is all that a driver
// needs to test the contract:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t testing.TB) store.Store { return open(t) })
//	}
//
// Each sentence of the comments in package store has a case here. Cases that
// prove an invariant of the design start with its number (I4/EndDuringUpdate).
// Run the tests with -race. The tests pass times to the store and do not depend
// on the clock.
package storetest

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// Run runs the whole suite. It calls open once for each case, from parallel
// tests. open returns an empty store of its own for the case, which closes it
// at the end. open registers any other cleanup with t.
func Run(t *testing.T, open func(t testing.TB) store.Store) {
	for _, c := range slices.Concat(createCases, getCases, updateCases, touchCases, endCases, listCases, endedCases, searchCases,
		sweepCases, watchCases, scopeCases, hostileCases, raceCases, randomCases) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			closeAtEnd(t, s.Close)
			c.run(newFixture(t, s))
		})
	}
}

func closeAtEnd(t *testing.T, closeStore func() error) {
	t.Cleanup(func() {
		if err := closeStore(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

type testCase struct {
	name string
	run  func(f *fixture)
}

// t0 is the present in most cases.
const t0 = store.Time(1_800_000_000_000)

const (
	second = store.Time(1000)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
)

// app is the application of a fixture, unless in sets another one.
const app = "shop"

// A fixture is a new store with helpers for the cases. A helper ends the case
// if a call fails that must succeed.
type fixture struct {
	*testing.T
	s   store.Store
	ctx context.Context
	app string
}

func newFixture(t *testing.T, s store.Store) *fixture {
	return &fixture{T: t, s: s, ctx: t.Context(), app: app}
}

// in returns a fixture on the same store for another application.
func (f *fixture) in(app string) *fixture {
	g := *f
	g.app = app
	return &g
}

// many returns n, or a fifth of it under -short.
func (f *fixture) many(n int) int {
	if testing.Short() {
		return n / 5
	}
	return n
}

// newID returns a random UUIDv7 with the given time.
func newID(at store.Time) store.ID { return idOf(at, rand.Uint64(), rand.Uint64()) }

func idOf(at store.Time, a, b uint64) (id store.ID) {
	binary.BigEndian.PutUint64(id[:], uint64(at)<<16|0x7000|a&0xfff)
	binary.BigEndian.PutUint64(id[8:], b>>2|1<<63)
	return id
}

func newHash() store.Hash { return hashOf(rand.Uint64) }

func hashOf(next func() uint64) (h store.Hash) {
	for i := 0; i < len(h); i += 8 {
		binary.BigEndian.PutUint64(h[i:], next())
	}
	return h
}

var (
	phone  = store.Client{IP: netip.MustParseAddr("192.0.2.7"), UserAgent: "Phone/1.0"}
	laptop = store.Client{IP: netip.MustParseAddr("2001:db8::7"), UserAgent: "Laptop/2.0"}
)

// session returns a session that starts at t0 and is in no store. It expires
// after an hour without activity, and after a day at the latest.
func session(subject string) *store.Record { return sessionAt(subject, t0) }

func sessionAt(subject string, at store.Time) *store.Record {
	rec := &store.Record{
		ID: newID(at), Subject: subject, Epoch: 1,
		Secret:    store.Secret{Hash: newHash(), IssuedAt: at},
		EpochHash: newHash(),
		CreatedAt: at, LastSeenAt: at, Idle: time.Hour, ExpiresAt: at + day,
		Client: phone, LastClient: phone,
		Values: values("cart", `{"sku":1}`, "theme", `"dark"`),
	}
	if subject != "" {
		rec.AuthenticatedAt, rec.AMR, rec.Level = at, "pwd", 1
	}
	return rec
}

// full returns a session that has a value in every field.
func full(subject string) *store.Record {
	rec := session(subject)
	rec.Secret = store.Secret{Hash: newHash(), IssuedAt: t0 + 1, FirstSeenAt: t0 + 2, ConfirmedAt: t0 + 3, Until: t0 + 4, Login: true}
	rec.Good = []store.Secret{
		{Hash: newHash(), IssuedAt: t0 - 5, FirstSeenAt: t0 - 4, ConfirmedAt: t0 - 3, Until: t0 + 600_000, Login: true},
		{Hash: newHash(), IssuedAt: t0 - 2},
	}
	rec.Spent = []store.Spent{{Print: newHash().Print(), Until: t0 - 9}, {Print: newHash().Print(), Until: t0 - 8}}
	rec.SpentTill = t0 - 10
	rec.Epochs = []store.Fingerprint{newHash().Print(), newHash().Print()}
	rec.Halves = []store.Fingerprint{newHash().Print(), newHash().Print(), newHash().Print()}
	rec.AuthenticatedAt, rec.AMR, rec.Level, rec.Epoch = t0+1, "pwd otp", 2, 3
	rec.Remembered, rec.Bearer, rec.Stale, rec.UntilBrowserCloses = true, true, true, true
	rec.LastSeenAt, rec.LastClient = t0+5, laptop
	rec.Binding = []byte(`"}\,"values":{}` + "\x00\xff")
	return rec
}

// values packs pairs of a key and its JSON, in this order.
func values(pairs ...string) store.Values {
	var v store.Values
	for i := 0; i < len(pairs); i += 2 {
		v = v.AppendSet(nil, pairs[i], []byte(pairs[i+1]))
	}
	return v
}

func clone(rec *store.Record) *store.Record {
	var c store.Record
	c.CopyFrom(rec)
	return &c
}

// created returns the options to create a session at its CreatedAt.
func created(rec *store.Record) store.CreateOptions {
	return store.CreateOptions{Arrived: rec.CreatedAt, Now: rec.CreatedAt}
}

func limited(rec *store.Record, max int) store.CreateOptions {
	opt := created(rec)
	opt.Limit.Max = max
	return opt
}

// login returns the options of an Update that logs in at a time.
func login(at store.Time) store.UpdateOptions {
	return store.UpdateOptions{Login: true, Arrived: at, Now: at}
}

func plain(at store.Time) store.UpdateOptions { return store.UpdateOptions{Arrived: at, Now: at} }

func (f *fixture) create(rec *store.Record) *store.Record {
	f.Helper()
	f.wantEnded(f.s.Create(f.ctx, f.app, rec, created(rec)))
	return rec
}

func (f *fixture) tryCreate(rec *store.Record, opt store.CreateOptions) error {
	_, err := f.s.Create(f.ctx, f.app, rec, opt)
	return err
}

// createEvicting creates a session under a limit. It must evict exactly the
// sessions in evicted.
func (f *fixture) createEvicting(rec *store.Record, max int, evicted ...*store.Record) {
	f.Helper()
	var want []store.Ended
	for _, old := range evicted {
		want = append(want, endedOf(old, store.ReasonEvicted, rec.CreatedAt))
	}
	ended, err := f.s.Create(f.ctx, f.app, rec, limited(rec, max))
	f.wantEnded(ended, err, want...)
}

// update makes an Update, which must succeed and end no session.
func (f *fixture) update(rec *store.Record, opt store.UpdateOptions) {
	f.Helper()
	before := rec.Revision
	f.wantEnded(f.s.Update(f.ctx, f.app, rec, opt))
	if rec.Revision != before+1 {
		f.Fatalf("Revision = %d after %d", rec.Revision, before)
	}
}

func (f *fixture) tryUpdate(rec *store.Record, opt store.UpdateOptions) error {
	_, err := f.s.Update(f.ctx, f.app, rec, opt)
	return err
}

// end ends a session, which must be live.
func (f *fixture) end(rec *store.Record, reason store.Reason, at store.Time) {
	f.Helper()
	ended, err := f.s.End(f.ctx, f.app, rec.ID, reason, at)
	f.wantEnded(ended, err, store.Ended{App: f.app, ID: rec.ID, Subject: rec.Subject, Reason: reason, At: at})
}

// endSubject revokes all sessions of a subject.
func (f *fixture) endSubject(subject string, at store.Time) {
	f.Helper()
	_, err := f.s.EndSubject(f.ctx, f.app, subject, store.ID{}, store.ReasonRevoked, at)
	f.must(err)
}

// getErr returns the error of a strict Get.
func (f *fixture) getErr(id store.ID) error {
	return f.s.Get(f.ctx, f.app, id, true, new(store.Record))
}

// get returns a live session.
func (f *fixture) get(id store.ID) *store.Record {
	f.Helper()
	var rec store.Record
	if err := f.s.Get(f.ctx, f.app, id, true, &rec); err != nil {
		f.Fatalf("Get: %v", err)
	}
	return &rec
}

// wantRecord checks that the session is live and equal to rec.
func (f *fixture) wantRecord(rec *store.Record) {
	f.Helper()
	f.wantEqual("Get", f.get(rec.ID), rec)
}

func (f *fixture) wantEqual(what string, got, want *store.Record) {
	f.Helper()
	if !got.Equal(want) {
		f.Errorf("%s:\n got %+v\nwant %+v", what, *got, *want)
	}
}

// wantGone checks the tombstone of a session that was last equal to rec.
func (f *fixture) wantGone(rec *store.Record, reason store.Reason, at store.Time) {
	f.Helper()
	var got store.Record
	if err := f.s.Get(f.ctx, f.app, rec.ID, true, &got); !errors.Is(err, store.ErrEnded) {
		f.Fatalf("Get of an ended session: %v", err)
	}
	want := clone(rec)
	want.Bury(reason, at)
	f.wantEqual("tombstone", &got, want)
}

// wantErr checks that err is target, and no other error of the contract.
func (f *fixture) wantErr(err, target error) {
	f.Helper()
	if !errors.Is(err, target) {
		f.Fatalf("error %v, want %v", err, target)
	}
	for _, other := range allErrors {
		if !errors.Is(other, target) && errors.Is(err, other) {
			f.Fatalf("error %v is both %v and %v", err, target, other)
		}
	}
}

var allErrors = []error{
	store.ErrNotFound, store.ErrEnded, store.ErrExists, store.ErrConflict, store.ErrLimit, store.ErrBarrier, store.ErrFull,
	store.ErrRepeated, store.ErrKeyReused, store.ErrUncertain, store.ErrClosed, context.Canceled,
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// wantEnded checks which sessions a call has ended, in any order.
func (f *fixture) wantEnded(got []store.Ended, err error, want ...store.Ended) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
	got = slices.Clone(got)
	byID := func(a, b store.Ended) int { return cmp.Or(a.ID.Compare(b.ID), cmp.Compare(a.App, b.App)) }
	slices.SortFunc(got, byID)
	slices.SortFunc(want, byID)
	if !slices.Equal(got, want) {
		f.Fatalf("ended\n got %+v\nwant %+v", got, want)
	}
}

func endedOf(rec *store.Record, reason store.Reason, at store.Time) store.Ended {
	return store.Ended{App: app, ID: rec.ID, Subject: rec.Subject, Reason: reason, At: at}
}

// list returns the sessions of all pages.
func (f *fixture) list(subject string, page int, now store.Time) []store.Record {
	f.Helper()
	var all []store.Record
	opt := store.ListOptions{Subject: subject, Limit: page, Now: now, Values: true}
	for range 1_000_000 {
		list, cursor, err := f.s.List(f.ctx, f.app, opt)
		if err != nil {
			f.Fatalf("List: %v", err)
		}
		if len(list) > page {
			f.Fatalf("List returned %d sessions, above the limit of %d", len(list), page)
		}
		all = append(all, list...)
		if cursor == "" {
			return all
		}
		if opt.Cursor == cursor {
			f.Fatalf("List: the cursor %q repeats", cursor)
		}
		opt.Cursor = cursor
	}
	f.Fatal("List did not reach the last page")
	return nil
}

// wantList checks the live sessions of a subject. List returns them in the
// order of their IDs.
func (f *fixture) wantList(subject string, now store.Time, want ...*store.Record) {
	f.Helper()
	got := f.list(subject, 1000, now)
	same := len(got) == len(want)
	slices.SortFunc(want, func(a, b *store.Record) int { return a.ID.Compare(b.ID) })
	for i := range want {
		same = same && got[i].Equal(want[i])
	}
	if !same {
		f.Fatalf("List of %q:\n got %+v\nwant %s", subject, got, deref(want))
	}
}

func deref(list []*store.Record) string {
	var s string
	for _, r := range list {
		s += fmt.Sprintf("%+v ", *r)
	}
	return s
}

func (f *fixture) wantBarrier(subject string, at store.Time) {
	f.Helper()
	got, err := f.s.Barrier(f.ctx, f.app, subject)
	f.must(err)
	if got != at {
		f.Fatalf("Barrier of %q is %d, want %d", subject, got, at)
	}
}

func (f *fixture) wantCount(sessions, loggedIn int64) {
	f.Helper()
	n, err := f.s.Count(f.ctx, f.app)
	if err != nil || n != (store.Count{Sessions: sessions, LoggedIn: loggedIn}) {
		f.Fatalf("Count of %q = %+v, %v, want %d sessions, %d logged in", f.app, n, err, sessions, loggedIn)
	}
}

// sweep runs a whole round of Sweep.
func (f *fixture) sweep(now store.Time) []store.Ended {
	f.Helper()
	var all []store.Ended
	for range 1_000_000 {
		ended, done, err := f.s.Sweep(f.ctx, f.app, now, 1000)
		if err != nil {
			f.Fatalf("Sweep: %v", err)
		}
		all = append(all, ended...)
		if done {
			return all
		}
	}
	f.Fatal("Sweep did not finish a round")
	return nil
}
