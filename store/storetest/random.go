package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

var randomCases = []testCase{
	{"Random/AgainstTheModel", func(f *fixture) {
		w := newWalk(f, seedOf(f.T), walkApps...)
		w.steps(f.many(6000))
		w.compareAll()
	}},
	{"Random/KnownSeeds", func(f *fixture) {
		w := newWalk(f, 1, walkApps...)
		w.steps(f.many(2000))
		w.compareAll()
	}},
	{"Random/SideBySide", func(f *fixture) {
		c := newCrowd(f, seedOf(f.T))
		c.steps(f.many(600))
		c.compareAll()
	}},
}

// seedOf chooses the seed of a walk and logs it. SOJOURN_SEED sets the seed, to
// repeat the calls of an earlier run. It does not repeat how parallel calls
// interleave.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("SOJOURN_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 0, 64)
		if err != nil {
			t.Fatalf("SOJOURN_SEED: %v", err)
		}
		seed = n
	}
	t.Logf("SOJOURN_SEED=%d repeats it", seed)
	return seed
}

// A walk makes random calls on a store and on the model, and compares the
// results. The reference is the model, not memstore: where the contract leaves
// a choice, the model accepts each outcome.
type walk struct {
	*fixture
	rnd    *rand.Rand
	m      *model
	apps   []string
	now    store.Time
	swept  map[string]store.Time // by application, the time of its latest sweep
	midway map[string]bool       // by application, whether a sweep has not finished its round
	ids    []store.ID
	step   int
	what   string
}

func newWalk(f *fixture, seed uint64, apps ...string) *walk {
	return &walk{fixture: f, rnd: rand.New(rand.NewPCG(seed, 0)), m: newModel(), apps: apps, now: t0,
		swept: map[string]store.Time{}, midway: map[string]bool{}}
}

// steps makes n random calls. They share few IDs and subjects, so that they
// affect each other. Time moves in small steps, with some jumps past the
// deadlines.
func (w *walk) steps(n int) {
	for range n {
		w.step++
		switch r := w.rnd.IntN(1000); {
		case r < 3:
			w.now += 2 * hour
		case r < 10:
			w.now += 20 * minute
		case r < 500:
			w.now += store.Time(w.rnd.IntN(1000))
		}
		switch r := w.rnd.IntN(100); {
		case r < 22:
			w.create()
		case r < 55:
			w.update()
		case r < 65:
			w.touch()
		case r < 73:
			w.confirm()
		case r < 80:
			w.end()
		case r < 83:
			w.endSubject()
		case r == 83 && w.rnd.IntN(4) == 0:
			w.endAll()
		case r == 84:
			w.sweepSome(w.app())
		case r == 85:
			w.sweepAll()
		case r < 90:
			w.compareLists()
		default:
			w.compare(w.app(), w.id())
		}
	}
}

// compareAll compares all sessions that the walk has created.
func (w *walk) compareAll() {
	w.what = "at the end"
	for _, app := range w.apps {
		for _, id := range w.ids {
			w.compare(app, id)
		}
	}
}

var walkApps = []string{"shop", "blog", "Shop"}

func (w *walk) app() string { return w.apps[min(w.rnd.IntN(6), len(w.apps)-1)] }

func (w *walk) subject() string {
	return []string{"", "alice", "alice", "Alice", "alice ", "bob", "b\x00b", "\xff"}[w.rnd.IntN(8)]
}

// id returns a known ID, mostly a recent one, or a new ID.
func (w *walk) id() store.ID {
	if n := len(w.ids); n > 0 && w.rnd.IntN(20) > 0 {
		return w.ids[max(0, n-1-w.rnd.IntN(40))]
	}
	return w.newID()
}

// newID and newHash depend only on the seed.
func (w *walk) newID() store.ID { return idOf(w.now, w.rnd.Uint64(), w.rnd.Uint64()) }

func (w *walk) newHash() store.Hash { return hashOf(w.rnd.Uint64) }

// near returns a time within two seconds of the present.
func (w *walk) near() store.Time { return w.now + store.Time(w.rnd.IntN(4000)-2000) }

func (w *walk) limit() store.Limit {
	return store.Limit{Max: w.rnd.IntN(5), Refuse: w.rnd.IntN(3) == 0}
}

func (w *walk) client() store.Client {
	return store.Client{IP: phone.IP, UserAgent: "agent " + strconv.Itoa(w.rnd.IntN(5))}
}

// shuffle fills a record with random contents, including some that the engine
// never writes.
func (w *walk) shuffle(rec *store.Record) {
	rec.Epoch = w.rnd.Uint32()
	rec.Secret = store.Secret{Hash: w.newHash(), IssuedAt: w.near(), Login: w.rnd.IntN(2) == 0}
	rec.Good, rec.Spent, rec.Epochs, rec.Halves = nil, nil, nil, nil
	for range w.rnd.IntN(4) {
		rec.Good = append(rec.Good, store.Secret{Hash: w.newHash(), IssuedAt: w.near(), FirstSeenAt: w.near()})
	}
	for range w.rnd.IntN(9) {
		rec.Spent = append(rec.Spent, store.Spent{Print: w.newHash().Print(), Until: w.near()})
	}
	for range w.rnd.IntN(5) {
		rec.Epochs = append(rec.Epochs, w.newHash().Print())
	}
	for range w.rnd.IntN(3) {
		rec.Halves = append(rec.Halves, w.newHash().Print())
	}
	rec.EpochHash = w.newHash()
	rec.SpentTill, rec.AuthenticatedAt = w.near(), w.near()
	rec.Level, rec.Remembered, rec.Bearer = uint8(w.rnd.IntN(4)), w.rnd.IntN(2) == 0, w.rnd.IntN(2) == 0
	rec.Stale, rec.UntilBrowserCloses = w.rnd.IntN(2) == 0, w.rnd.IntN(2) == 0
	rec.AMR = []string{"", "pwd", "pwd otp"}[w.rnd.IntN(3)]
	if w.rnd.IntN(2) == 0 {
		rec.LastSeenAt, rec.LastClient = w.near()+store.Time(w.rnd.IntN(3)*1000), w.client()
	}
	rec.Binding = nil
	for range w.rnd.IntN(3) * w.rnd.IntN(300) {
		rec.Binding = append(rec.Binding, byte(w.rnd.IntN(256)))
	}
	rec.Idle = []time.Duration{10 * time.Minute, time.Hour, 1000 * time.Hour}[w.rnd.IntN(3)]
	rec.ExpiresAt = w.now + []store.Time{0, 1, minute, hour, day}[w.rnd.IntN(5)]
	text := make([]byte, w.rnd.IntN(200))
	for i := range text {
		text[i] = byte('a' + w.rnd.IntN(26))
	}
	rec.Values = values("k", strconv.Quote(string(text)))
}

func (w *walk) create() {
	app := w.app()
	rec := sessionAt(w.subject(), w.now)
	rec.ID = w.newID()
	w.shuffle(rec)
	if w.rnd.IntN(10) == 0 {
		rec.ID = w.id()
	}
	opt := store.CreateOptions{Limit: w.limit(), Arrived: w.now - store.Time(w.rnd.IntN(1000)), Now: w.now}
	if w.rnd.IntN(8) == 0 {
		opt.Key, opt.KeyBody = "key "+strconv.Itoa(w.rnd.IntN(20)), [32]byte{byte(w.rnd.IntN(2))}
	}
	w.what = fmt.Sprintf("Create %q %v %q %+v", app, rec.ID, rec.Subject, opt)
	if w.m.forgotten(app, rec.ID, w.swept[app]) {
		return // the store may have forgotten it
	}
	given := clone(rec)
	got, err := w.s.Create(w.ctx, app, rec, opt)
	rest := w.m.expiredOnly(got, rec.Subject, opt.Now)
	refused, ended := w.m.create(app, given, opt)
	w.judge(err, refused...)
	w.wantEnded(rest, nil, ended...)
	switch {
	case errors.Is(err, store.ErrRepeated):
		if want := w.m.keys[scopedName{app, opt.Key}].id; rec.ID != want {
			w.fail("rec.ID = %v, want %v", rec.ID, want)
		}
	case err == nil:
		if rec.Revision != 1 {
			w.fail("Revision = %d", rec.Revision)
		}
		w.ids = append(w.ids, rec.ID)
		w.compare(app, rec.ID)
	}
}

func (w *walk) update() {
	app, id := w.app(), w.id()
	opt := store.UpdateOptions{Login: w.rnd.IntN(3) == 0, Limit: w.limit(), Arrived: w.now - store.Time(w.rnd.IntN(1000)), Now: w.now}
	rec := sessionAt(w.subject(), w.now)
	if known, err := w.m.get(app, id); err == nil {
		rec = clone(known)
		if w.rnd.IntN(3) == 0 {
			rec.Subject = w.subject()
		}
		if w.rnd.IntN(8) == 0 {
			rec.Revision += uint64(w.rnd.IntN(3)) - 1
		}
	}
	rec.ID = id
	w.shuffle(rec)
	w.what = fmt.Sprintf("Update %q %v to %q at %d %+v", app, id, rec.Subject, rec.Revision, opt)
	if w.m.forgotten(app, id, w.swept[app]) {
		return
	}
	given := clone(rec)
	got, err := w.s.Update(w.ctx, app, rec, opt)
	rest := w.m.expiredOnly(got, rec.Subject, opt.Now)
	refused, ended := w.m.update(app, given, opt)
	w.judge(err, refused...)
	w.wantEnded(rest, nil, ended...)
	if err == nil && rec.Revision != given.Revision+1 {
		w.fail("Revision = %d after %d", rec.Revision, given.Revision)
	}
	w.compare(app, id)
}

func (w *walk) touch() {
	app, id, at, client := w.app(), w.id(), w.near(), w.client()
	w.what = fmt.Sprintf("Touch %q %v at %d", app, id, at)
	if w.m.forgotten(app, id, w.swept[app]) {
		return
	}
	w.judge(w.s.Touch(w.ctx, app, id, at, w.now, client), w.m.touch(app, id, at, w.now, client))
	w.compare(app, id)
}

func (w *walk) confirm() {
	app, id := w.app(), w.id()
	secret := w.newHash()
	if known, err := w.m.get(app, id); err == nil && w.rnd.IntN(5) > 0 {
		secret = known.Secret.Hash
	}
	c := store.Confirmation{FirstSeenAt: w.near(), Until: w.near()}
	if w.rnd.IntN(2) == 0 {
		c.ConfirmedAt = w.near()
	}
	w.what = fmt.Sprintf("Confirm %q %v %+v", app, id, c)
	if w.m.forgotten(app, id, w.swept[app]) {
		return
	}
	w.judge(w.s.Confirm(w.ctx, app, id, secret, c), w.m.confirm(app, id, secret, c))
	w.compare(app, id)
}

func (w *walk) end() {
	app, id, at := w.app(), w.id(), w.near()
	reason := []store.Reason{store.ReasonLogout, store.ReasonTheft, store.ReasonRevoked}[w.rnd.IntN(3)]
	w.what = fmt.Sprintf("End %q %v %s at %d", app, id, reason, at)
	if w.m.forgotten(app, id, w.swept[app]) {
		return
	}
	got, err := w.s.End(w.ctx, app, id, reason, at)
	ended, want := w.m.end(app, id, reason, at)
	w.judge(err, want)
	w.wantEnded(got, nil, ended...)
	w.compare(app, id)
}

func (w *walk) endSubject() {
	app, subject, except := w.app(), w.subject(), w.id()
	if subject == "" {
		return
	}
	w.what = fmt.Sprintf("EndSubject %q %q but %v", app, subject, except)
	got, err := w.s.EndSubject(w.ctx, app, subject, except, store.ReasonRevoked, w.now)
	ended := w.m.endSubject(app, subject, except, store.ReasonRevoked, w.now, got)
	w.judge(err)
	w.wantEnded(got, nil, ended...)
}

func (w *walk) endAll() {
	app, at := w.app(), w.near()
	w.what = fmt.Sprintf("EndAll %q at %d", app, at)
	w.judge(w.s.EndAll(w.ctx, app, at))
	w.m.endAll(app, at)
}

func (w *walk) sweepAll() {
	app := w.app()
	for n := 0; w.midway[app]; n++ { // this round has passed sessions that are due by now
		if n == 1_000_000 {
			w.Fatal("Sweep did not finish a round")
		}
		w.sweepSome(app)
	}
	w.what = fmt.Sprintf("Sweep %q at %d", app, w.now)
	w.swept[app] = w.now
	got := w.in(app).sweep(w.now)
	w.wantEnded(got, nil, w.m.sweep(app, w.now)...)
}

// sweepSome takes one step of a sweep. Each session that it ends must have been
// due.
func (w *walk) sweepSome(app string) {
	w.what = fmt.Sprintf("a step of a Sweep %q at %d", app, w.now)
	w.swept[app] = w.now
	got, done, err := w.s.Sweep(w.ctx, app, w.now, 1+w.rnd.IntN(10))
	w.judge(err)
	w.midway[app] = !done
	for _, e := range got {
		if e.App != app {
			w.fail("ended %+v, of another application", e)
		}
		s := w.m.sessions[scoped{e.App, e.ID}]
		if s == nil || w.m.ended(e.App, s) {
			w.fail("ended %+v, which was not live", e)
		}
		reason, at := s.ExpiredAt(w.now)
		if want := s.bury(e.App, reason, at); reason == "" || e != want {
			w.fail("ended %+v, want %+v", e, want)
		}
	}
}

func (w *walk) compareLists() {
	app, subject := w.app(), w.subject()
	w.what = fmt.Sprintf("List and Count of %q %q", app, subject)
	var want []store.ID
	for k, s := range w.m.sessions {
		if k.app == app && (subject == "" || s.Subject == subject) && w.m.live(app, s, w.now) {
			want = append(want, k.id)
		}
	}
	slices.SortFunc(want, store.ID.Compare)
	var got []store.ID
	for _, rec := range w.in(app).list(subject, 1+w.rnd.IntN(20), w.now) {
		if s := w.m.sessions[scoped{app, rec.ID}]; s != nil && !rec.Equal(&s.Record) {
			w.fail("the list has\n%+v\nwant\n%+v", rec, s.Record)
		}
		got = append(got, rec.ID)
	}
	if subject == "" {
		slices.SortFunc(got, store.ID.Compare)
	}
	if !slices.Equal(got, want) {
		w.fail("the list has %v, want %v", got, want)
	}
	if subject != "" {
		opt := store.ListOptions{Subject: subject, Ended: true, Now: w.now, Limit: 1 + w.rnd.IntN(200)}
		ended, _, err := w.s.List(w.ctx, app, opt)
		if want := w.m.lately(app, opt); err != nil || !sameRecords(ended, want) {
			w.fail("the list of ended sessions has\n%+v\nwant\n%+v\n%v", ended, want, err)
		}
	}
	if w.rnd.IntN(4) == 0 {
		w.compareSearch(app)
	}
	n, err := w.s.Count(w.ctx, app)
	if want := w.m.count(app); err != nil || n != want {
		w.fail("Count = %+v, %v, want %+v", n, err, want)
	}
}

// compareSearch searches with a random filter.
func (w *walk) compareSearch(app string) {
	choice := func() store.Choice { return store.Choice(w.rnd.IntN(3)) }
	filter := store.Filter{LoggedIn: choice(), Remembered: choice(), MinLevel: uint8(w.rnd.IntN(2))}
	switch w.rnd.IntN(4) {
	case 0:
		filter.SubjectPrefix = []string{"al", "A", "b\x00", "\xff"}[w.rnd.IntN(4)]
	case 1:
		filter.UserAgent = "AGENT " + strconv.Itoa(w.rnd.IntN(5))
	case 2:
		filter.SeenFrom, filter.CreatedTo = w.near()-hour, w.near()
	}
	w.what = fmt.Sprintf("Search of %q %+v", app, filter)
	var want []store.ID
	for k, s := range w.m.sessions {
		if k.app == app && w.m.live(app, s, w.now) && filter.Matches(&s.Record) {
			want = append(want, k.id)
		}
	}
	slices.SortFunc(want, store.ID.Compare)
	var got []store.ID
	for _, rec := range w.in(app).search(filter, 1+w.rnd.IntN(20), 20+w.rnd.IntN(200), w.now) {
		got = append(got, rec.ID)
	}
	if !slices.Equal(got, want) {
		w.fail("it finds %v, want %v", got, want)
	}
}

// compare checks that the store and the model return the same session.
func (w *walk) compare(app string, id store.ID) {
	w.Helper()
	want, wantErr := w.m.get(app, id)
	var got store.Record
	strict := w.rnd.IntN(2) == 0 // no other handle writes, so a cache is never out of date
	err := w.s.Get(w.ctx, app, id, strict, &got)
	if strict && got.Cached {
		w.fail("a strict Get sets Cached")
	}
	if errors.Is(err, store.ErrNotFound) && w.m.forgotten(app, id, w.swept[app]) {
		return
	}
	w.judge(err, wantErr)
	if s := w.m.sessions[scoped{app, id}]; want != nil && slices.Contains(w.m.revokedAt(app, s), got.EndAt) {
		want = clone(&s.Record)
		want.Bury(store.ReasonRevoked, got.EndAt)
	}
	if want != nil && !got.Equal(want) {
		w.fail("Get, strict %t:\n got %+v\nwant %+v", strict, got, *want)
	}
}

// judge checks that err is one of the allowed errors, or nil if none is
// allowed.
func (w *walk) judge(err error, allowed ...error) {
	w.Helper()
	if err == nil && len(allowed) == 0 || slices.ContainsFunc(allowed, func(e error) bool { return errors.Is(err, e) }) {
		return
	}
	w.fail("error %v, want %v", err, allowed)
}

func (w *walk) fail(format string, args ...any) {
	w.Helper()
	w.Fatalf("%v: step %d, %s: %s", w.apps, w.step, w.what, fmt.Sprintf(format, args...))
}

// A crowd runs several walks in parallel in one store, each in an application
// of its own. No walk may affect another, even if the store commits their calls
// together.
type crowd struct{ walks []*walk }

func newCrowd(f *fixture, seed uint64) *crowd {
	c := &crowd{}
	for i := range 16 {
		w := newWalk(f, seed+uint64(i), "shop "+strconv.Itoa(i))
		c.walks = append(c.walks, w)
	}
	return c
}

// steps makes n calls in each walk.
func (c *crowd) steps(n int) { c.each(func(w *walk) { w.steps(n) }) }

func (c *crowd) compareAll() { c.each((*walk).compareAll) }

// each runs call for all walks in parallel. It ends the case if a walk has
// failed, because a walk's goroutine can't.
func (c *crowd) each(call func(w *walk)) {
	var wg sync.WaitGroup
	for _, w := range c.walks {
		wg.Go(func() { call(w) })
	}
	wg.Wait()
	if f := c.walks[0].fixture; f.Failed() {
		f.FailNow()
	}
}
