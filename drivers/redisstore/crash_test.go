package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// crashAt makes a store stop before its k-th step, as if the process had died:
// what it has begun stays as it is.
func crashAt(s *Store, k int) (crashed *bool) {
	crashed, n := new(bool), 0
	s.hook = func(string) error {
		if n++; n < k && !*crashed {
			return nil
		}
		*crashed = true
		return errCrash
	}
	return crashed
}

// Calls that take several steps, each with the sessions that its subject has
// before.
var stepwise = []struct {
	name string
	call func(t *testing.T, s *Store, its []*store.Record) error
}{
	{"Create", func(t *testing.T, s *Store, its []*store.Record) error {
		rec := session("ada")
		opt := created(rec)
		opt.Limit, opt.Key = store.Limit{Max: 3}, "key"
		_, err := s.Create(t.Context(), app, rec, opt)
		return err
	}},
	{"Create that makes much room", func(t *testing.T, s *Store, its []*store.Record) error {
		rec := session("ada")
		opt := created(rec)
		opt.Limit.Max = 1
		_, err := s.Create(t.Context(), app, rec, opt)
		return err
	}},
	{"a visitor's login", func(t *testing.T, s *Store, its []*store.Record) error {
		visitor := *its[3]
		visitor.Subject = "ada"
		_, err := s.Update(t.Context(), app, &visitor, store.UpdateOptions{Login: true, Limit: store.Limit{Max: 3}, Arrived: t0, Now: t0})
		return err
	}},
	{"from one subject to another", func(t *testing.T, s *Store, its []*store.Record) error {
		bobs := *its[4]
		bobs.Subject = "ada"
		_, err := s.Update(t.Context(), app, &bobs, store.UpdateOptions{Login: true, Limit: store.Limit{Max: 3}, Arrived: t0, Now: t0})
		return err
	}},
	{"a repeated login", func(t *testing.T, s *Store, its []*store.Record) error {
		its0 := *its[0]
		_, err := s.Update(t.Context(), app, &its0, store.UpdateOptions{Login: true, Limit: store.Limit{Max: 2}, Arrived: t0, Now: t0})
		return err
	}},
	{"away from the subject", func(t *testing.T, s *Store, its []*store.Record) error {
		its0 := *its[0]
		its0.Subject = ""
		_, err := s.Update(t.Context(), app, &its0, store.UpdateOptions{Arrived: t0, Now: t0})
		return err
	}},
	{"End", func(t *testing.T, s *Store, its []*store.Record) error {
		_, err := s.End(t.Context(), app, its[1].ID, store.ReasonLogout, t0)
		return err
	}},
	{"EndSubject", func(t *testing.T, s *Store, its []*store.Record) error {
		_, err := s.EndSubject(t.Context(), app, "ada", its[0].ID, store.ReasonRevoked, t0-1)
		return err
	}},
	{"Sweep", func(t *testing.T, s *Store, its []*store.Record) error {
		_, _, err := s.Sweep(t.Context(), app, t0+hour, 1000)
		return err
	}},
}

// A node may die between any two steps of any call. Its subject stays within
// its limit, the index has every live session, and no place stays taken for
// good.
func TestI11CrashBetweenSteps(t *testing.T) {
	t.Parallel()
	for _, c := range stepwise {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for k := 1; ; k++ {
				nodes := openSeveral(t, shared(t, single).URL())
				dying, other := nodes[0], nodes[1]
				other.lapse = -time.Hour // what the dead node reserved may be taken back at once
				its := []*store.Record{session("ada"), session("ada"), session("ada"), session(""), session("bob")}
				for _, rec := range its {
					create(t, other, rec)
				}
				crashed := crashAt(dying, k)
				err := c.call(t, dying, its)
				if !*crashed {
					if err != nil {
						t.Fatalf("without a crash: %v", err)
					}
					if k == 1 {
						t.Fatal("the call has no steps")
					}
					return
				}
				if err != nil && !errors.Is(err, errCrash) {
					t.Fatalf("crash before step %d: %v", k, err)
				}
				checkSubject(t, other, "ada", k)
				checkSubject(t, other, "bob", k)
			}
		})
	}
}

// checkSubject checks what a crash has left.
func checkSubject(t *testing.T, s *Store, subject string, k int) {
	t.Helper()
	wantIndexed(t, s, subject)
	if n := len(live(t, s, subject, t0)); n > 3 {
		t.Fatalf("crash before step %d: %d sessions of %s are live", k, n, subject)
	}
	// Logins at the limit still work.
	for range 5 {
		rec := sessionAt(subject, t0+1)
		opt := created(rec)
		opt.Limit.Max = 3
		if _, err := s.Create(t.Context(), app, rec, opt); err != nil {
			t.Fatalf("crash before step %d: then a login: %v", k, err)
		}
		if n := len(live(t, s, subject, t0)); n > 3 {
			t.Fatalf("crash before step %d: then %d sessions are live", k, n)
		}
	}
	if n := len(live(t, s, subject, t0)); n != 3 {
		t.Fatalf("crash before step %d: the limit is 3, but after five logins %d sessions are live", k, n)
	}
	wantIndexed(t, s, subject)
	rec := sessionAt(subject, t0+1)
	opt := created(rec)
	opt.Key = "key" // of a crashed Create, perhaps
	if _, err := s.Create(t.Context(), app, rec, opt); err != nil && !errors.Is(err, store.ErrRepeated) {
		t.Fatalf("crash before step %d: then under the idempotency key: %v", k, err)
	}
	if _, err := s.EndSubject(t.Context(), app, subject, store.ID{}, store.ReasonRevoked, t0+2); err != nil {
		t.Fatal(err)
	}
	if n := members(t, s, subject); n != 0 {
		t.Fatalf("crash before step %d: the index has %d entries after EndSubject", k, n)
	}
	for _, rec := range live(t, s, "", t0) {
		if rec.Subject == subject {
			t.Fatalf("crash before step %d: EndSubject has left a session", k)
		}
	}
}

// wantIndexed checks that a subject's index has all its live sessions.
func wantIndexed(t *testing.T, s *Store, subject string) {
	t.Helper()
	var want, got []store.ID
	for _, rec := range live(t, s, "", t0) {
		if rec.Subject == subject {
			want = append(want, rec.ID)
		}
	}
	for _, rec := range live(t, s, subject, t0) {
		got = append(got, rec.ID)
	}
	slices.SortFunc(want, store.ID.Compare)
	if !slices.Equal(got, want) {
		t.Fatalf("the index of %s has %v, live are %v", subject, got, want)
	}
}

// pauseAt makes a call of a store wait before a step. It returns when the call
// has reached that step.
func pauseAt(s *Store, step string, call func()) (goOn func()) {
	there, resume, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
	first := true
	s.hook = func(name string) error {
		if name == step && first {
			first = false
			close(there)
			<-resume
		}
		return nil
	}
	go func() {
		defer close(over)
		call()
	}()
	<-there
	return func() {
		close(resume)
		<-over
	}
}

// A node that was paused between its reservation and its write finds the
// reservation taken back, and joins again.
func TestI11PausedLogin(t *testing.T) {
	t.Parallel()
	for _, subjectBefore := range []string{"", "new"} {
		nodes := openSeveral(t, shared(t, single).URL())
		paused, other := nodes[0], nodes[1]
		other.lapse = -time.Hour
		limit := store.Limit{Max: 2}
		create(t, other, session("ada"))
		late := session("ada")
		var err error
		var ended []store.Ended
		step, call := "create", func() {
			opt := created(late)
			opt.Limit = limit
			ended, err = paused.Create(t.Context(), app, late, opt)
		}
		if subjectBefore == "" {
			late = create(t, other, session(""))
			late.Subject = "ada"
			step, call = "update", func() {
				ended, err = paused.Update(t.Context(), app, late, store.UpdateOptions{Login: true, Limit: limit, Arrived: t0, Now: t0})
			}
		}
		goOn := pauseAt(paused, step, call)
		for range 2 { // they take the place of the reservation
			rec := session("ada")
			opt := created(rec)
			opt.Limit = limit
			if _, err := other.Create(t.Context(), app, rec, opt); err != nil {
				t.Fatal(err)
			}
		}
		goOn()
		if err != nil {
			t.Fatal(err)
		}
		if len(ended) != 1 || ended[0].Reason != store.ReasonEvicted {
			t.Errorf("the late login ended %+v, want one other", ended)
		}
		wantIndexed(t, other, "ada")
		if n := len(live(t, other, "ada", t0)); n != 2 {
			t.Errorf("%d sessions are live, want 2", n)
		}
		if err := other.Get(t.Context(), app, late.ID, true, new(store.Record)); err != nil {
			t.Errorf("the late login's session: %v", err)
		}
	}
}

// A login that is evicted before it is written was created, and has ended.
func TestI11EvictedOnTheWay(t *testing.T) {
	t.Parallel()
	nodes := openSeveral(t, shared(t, single).URL())
	paused, other := nodes[0], nodes[1]
	rec := session("ada")
	var err error
	var ended []store.Ended
	goOn := pauseAt(paused, "create", func() {
		opt := created(rec)
		opt.Limit.Max = 1
		ended, err = paused.Create(t.Context(), app, rec, opt)
	})
	next := session("ada")
	opt := created(next)
	opt.Limit.Max = 1
	if _, err := other.Create(t.Context(), app, next, opt); err != nil {
		t.Fatal(err)
	}
	goOn()
	want := store.Ended{App: app, ID: rec.ID, Subject: "ada", Reason: store.ReasonEvicted, At: t0}
	if err != nil || !slices.Equal(ended, []store.Ended{want}) {
		t.Fatalf("the login ended %+v, %v, want itself", ended, err)
	}
	var got store.Record
	if err := other.Get(t.Context(), app, rec.ID, true, &got); !errors.Is(err, store.ErrEnded) || got.End != store.ReasonEvicted {
		t.Errorf("Get: %v, %+v", err, got)
	}
	if list := live(t, other, "ada", t0); len(list) != 1 || list[0].ID != next.ID {
		t.Errorf("live are %+v", list)
	}
}

// A login that made its reservation before an EndSubject is not written after
// it, because its request arrived before.
func TestI3EndSubjectBarsLoginsOnTheWay(t *testing.T) {
	t.Parallel()
	for _, arrived := range []store.Time{t0, t0 + 2} {
		nodes := openSeveral(t, shared(t, single).URL())
		paused, other := nodes[0], nodes[1]
		rec := sessionAt("ada", t0+2)
		var err error
		goOn := pauseAt(paused, "create", func() {
			opt := created(rec)
			opt.Arrived = arrived
			_, err = paused.Create(t.Context(), app, rec, opt)
		})
		if _, err := other.EndSubject(t.Context(), app, "ada", store.ID{}, store.ReasonRevoked, t0+1); err != nil {
			t.Fatal(err)
		}
		goOn()
		switch n := len(live(t, other, "ada", t0+2)); {
		case arrived == t0 && (!errors.Is(err, store.ErrBarrier) || n != 0):
			t.Errorf("a login that arrived before: %v, and %d sessions are live", err, n)
		case arrived > t0+1 && (err != nil || n != 1):
			t.Errorf("a login that arrived after: %v, and %d sessions are live", err, n)
		}
		wantIndexed(t, other, "ada")
	}
}

// A node that was paused for longer than the fence writes nothing.
func TestI11Fence(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	visitor := create(t, s, session(""))
	s.fence = -time.Second // every write is late
	rec := session("ada")
	if _, err := s.Create(t.Context(), app, rec, created(rec)); !errors.Is(err, errTooLate) {
		t.Errorf("Create: %v", err)
	}
	visitor.Subject = "ada"
	if _, err := s.Update(t.Context(), app, visitor, store.UpdateOptions{Login: true, Arrived: t0, Now: t0}); !errors.Is(err, errTooLate) {
		t.Errorf("Update: %v", err)
	}
	if n := members(t, s, "ada"); n != 0 {
		t.Errorf("%d entries are in the index", n)
	}
	if n, err := s.Count(t.Context(), app); err != nil || n != (store.Count{Sessions: 1}) {
		t.Errorf("Count = %+v, %v", n, err)
	}
}

// An idempotency key whose creator died can be used again, and makes one
// session.
func TestClaimOfACrashedCreate(t *testing.T) {
	t.Parallel()
	nodes := openSeveral(t, shared(t, single).URL())
	paused, other := nodes[0], nodes[1]
	first := session("")
	var err error
	opt := created(first)
	opt.Key = "key"
	goOn := pauseAt(paused, "create", func() { _, err = paused.Create(t.Context(), app, first, opt) })
	second := session("") // waits until the claim is old, bars the first and takes its place
	if _, err := other.Create(t.Context(), app, second, opt); err != nil {
		t.Fatal(err)
	}
	firstID := first.ID
	goOn()
	if !errors.Is(err, store.ErrRepeated) || first.ID != second.ID {
		t.Errorf("the first: %v, session %v, want %v", err, first.ID, second.ID)
	}
	if err := other.Get(t.Context(), app, firstID, true, new(store.Record)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the first's session: %v", err)
	}
	if n, err := other.Count(t.Context(), app); err != nil || n.Sessions != 1 {
		t.Errorf("Count = %+v, %v", n, err)
	}
}

// A Create that died before it noted that its session was made counts while
// anything is known of the session. A repeat in that time notes it. After that
// a repeat may create another session, but two never live at the same time.
func TestClaimThatWasNotNoted(t *testing.T) {
	t.Parallel()
	for _, repeated := range []bool{true, false} {
		nodes := openSeveral(t, shared(t, single).URL())
		dying, other := nodes[0], nodes[1]
		dying.hook = func(step string) error {
			if step == "note claim" {
				return errCrash
			}
			return nil
		}
		first := session("ada")
		opt := created(first)
		opt.Key = "key"
		if _, err := dying.Create(t.Context(), app, first, opt); err != nil {
			t.Fatal(err)
		}
		repeat := func(now store.Time) (*store.Record, error) {
			rec, opt := sessionAt("ada", now), opt
			opt.Arrived, opt.Now = now, now
			_, err := other.Create(t.Context(), app, rec, opt)
			return rec, err
		}
		if _, err := other.End(t.Context(), app, first.ID, store.ReasonLogout, t0); err != nil {
			t.Fatal(err)
		}
		if repeated {
			if rec, err := repeat(t0 + hour); !errors.Is(err, store.ErrRepeated) || rec.ID != first.ID {
				t.Errorf("while there is a tombstone: %v", err)
			}
		}
		sweepAll(t, other, t0+2*hour)
		rec, err := repeat(t0 + 2*hour)
		switch {
		case repeated && (!errors.Is(err, store.ErrRepeated) || rec.ID != first.ID):
			t.Errorf("a repeat later on: %v", err)
		case !repeated && err != nil:
			t.Errorf("the first repeat, when nothing is known of the session: %v", err)
		}
		if n := len(live(t, other, "ada", t0+2*hour)); n > 1 {
			t.Errorf("%d sessions are live", n)
		}
		if err := other.Get(t.Context(), app, first.ID, true, new(store.Record)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the first: %v", err)
		}
	}
}

// A login that fails to examine its subject's hundred sessions returns one
// error.
func TestOneErrorOfMany(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	for range 100 {
		create(t, s, session("ada"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.hook = func(step string) error {
		if step == "examine" {
			cancel()
		}
		return nil
	}
	rec := session("ada")
	opt := created(rec)
	opt.Limit = store.Limit{Max: 100}
	_, err := s.Create(ctx, app, rec, opt)
	if err == nil || strings.Count(err.Error(), "unknown")+strings.Count(err.Error(), "not sent") != 1 {
		t.Errorf("%v", err)
	}
}

// A creator claimed a key and crashed before Redis' clock went back an hour.
// Its claim is replaced as soon as any other.
func TestClaimFromTheFuture(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	rec := session("ada")
	opt := created(rec)
	opt.Key = "k"
	redis(t, s, "SET", s.claimKey(app, opt.Key), fmt.Sprintf(`{"session":"%v","body":"%x","at":%d,"nonce":"abc","issued":%d,"done":false}`,
		session("ada").ID, opt.KeyBody, t0, time.Now().Add(time.Hour).UnixMilli()))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := s.Create(ctx, app, rec, opt); err != nil {
		t.Fatal(err)
	}
}

func TestLife(t *testing.T) {
	for _, now := range []store.Time{math.MinInt64, 0, t0, math.MaxInt64} {
		for _, expires := range []store.Time{math.MinInt64, 0, t0, math.MaxInt64} {
			if ms, err := strconv.ParseInt(life(expires, now), 10, 64); err != nil || ms < 6*int64(hour) || ms > 1<<53 {
				t.Errorf("life(%d, %d) is %d ms, %v", expires, now, ms, err)
			}
		}
	}
}
