package redisstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/overload"
)

// hold starts calls, which wait for b.send, in this order.
func hold(b *batcher, calls ...func() error) (errs []chan error) {
	b.mu.Lock()
	b.called = true
	b.mu.Unlock()
	for i, call := range calls {
		errs = append(errs, make(chan error, 1))
		go func() { errs[i] <- call() }()
		for waits := 0; waits <= i; runtime.Gosched() {
			b.mu.Lock()
			waits = len(b.waiting)
			b.mu.Unlock()
		}
	}
	return errs
}

// together makes calls, which go in one command. It returns their errors.
func together(b *batcher, calls ...func() error) (errs []error) {
	held := hold(b, calls...)
	b.send()
	for _, c := range held {
		errs = append(errs, <-c)
	}
	return errs
}

// updating returns an update that changes a value.
func (s *Store) updating(t *testing.T, rec *store.Record, value string) func() error {
	next := session0(rec)
	next.Values = store.Values(nil).AppendSet(nil, "cart", []byte(`"`+value+`"`))
	return func() error {
		_, err := s.Update(t.Context(), app, next, store.UpdateOptions{Arrived: t0, Now: t0})
		return err
	}
}

// valueOf returns the value that updating has set.
func valueOf(t *testing.T, s *Store, rec *store.Record) string {
	t.Helper()
	var got store.Record
	if err := s.Get(t.Context(), app, rec.ID, true, &got); err != nil {
		t.Fatal(err)
	}
	value, _ := got.Values.Get("cart")
	return string(value)
}

// Of updates that go in one command each has its own outcome. Two of the same
// revision are two writers: one has the conflict.
func TestI5UpdatesTogether(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	ada, bob, cleo, eve, anon := create(t, s, session("ada")), create(t, s, session("bob")), create(t, s, session("cleo")), create(t, s, session("eve")), create(t, s, session(""))
	stale := session0(ada)
	stale.Revision = 7
	if _, err := s.End(t.Context(), app, eve.ID, store.ReasonLogout, t0); err != nil {
		t.Fatal(err)
	}
	if err := s.Touch(t.Context(), app, cleo.ID, t0+5, t0+5, cleo.Client); err != nil {
		t.Fatal(err)
	}
	cleo.LastSeenAt = t0 + 6
	errs := together(s.updates, s.updating(t, stale, "stale"), s.updating(t, ada, "first"), s.updating(t, ada, "second"),
		s.updating(t, eve, "ended"), s.updating(t, bob, "bob"), s.updating(t, cleo, "cleo"), s.updating(t, anon, "anon"))
	for i, want := range []error{store.ErrConflict, nil, store.ErrConflict, store.ErrEnded, nil, nil, nil} {
		if !errors.Is(errs[i], want) {
			t.Errorf("update %d: %v, want %v", i, errs[i], want)
		}
	}
	for want, rec := range map[string]*store.Record{"first": ada, "bob": bob, "cleo": cleo, "anon": anon} {
		if got := valueOf(t, s, rec); got != `"`+want+`"` {
			t.Errorf("the session of %q has the value %s, want %s", rec.Subject, got, want)
		}
	}
	if n := redis(t, s, "EXISTS", s.placeOf(app, cleo.ID).seen(cleo.ID)); n != int64(0) {
		t.Error("an earlier touch is still there")
	}
}

// Every feed hears of each update that goes in a command with others.
func TestI10UpdatesTogether(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	var recs []*store.Record
	var calls []func() error
	for i := range mostTogether {
		recs = append(recs, create(t, s, session(fmt.Sprint("ada", i))))
		calls = append(calls, s.updating(t, recs[i], "x"))
	}
	changes, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range together(s.updates, calls...) {
		if err != nil {
			t.Error(err)
		}
	}
	missing := map[store.ID]bool{}
	for _, rec := range recs {
		missing[rec.ID] = true
	}
	for c := range changes {
		if c.Kind == store.Changed && c.Revision == 2 {
			delete(missing, c.ID)
		}
		if len(missing) == 0 {
			return
		}
	}
}

// Reads that go in one command get each its own session.
func TestReadsTogether(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	ada, bob, absent, foreign := create(t, s, session("ada")), create(t, s, session("bob")), session("cleo"), session("eve")
	redis(t, s, "SADD", s.placeOf(app, foreign.ID).session(foreign.ID), "x")
	if err := s.Touch(t.Context(), app, bob.ID, t0+5, t0+5, bob.Client); err != nil {
		t.Fatal(err)
	}
	reading := func(rec *store.Record, seen store.Time) func() error {
		return func() error {
			var got store.Record
			err := s.Get(t.Context(), app, rec.ID, true, &got)
			if err == nil && (got.Subject != rec.Subject || got.LastSeenAt != seen) {
				err = fmt.Errorf("it is %+v", got)
			}
			return err
		}
	}
	errs := together(s.reads, reading(ada, t0), reading(absent, 0), reading(foreign, 0), reading(bob, t0+5), reading(ada, t0))
	for i, want := range []error{nil, store.ErrNotFound, ErrForeign, nil, nil} {
		if !errors.Is(errs[i], want) {
			t.Errorf("read %d: %v, want %v", i, errs[i], want)
		}
	}
}

// If Redis refuses the command for several updates, each is made alone. When
// memory is full, those that don't grow are written.
func TestRefusedTogether(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servertest.RedisOptions{})
	s := openAt(t, r.URL(), Options{})
	ada, bob := create(t, s, session("ada")), create(t, s, session("bob"))
	redis(t, s, "CONFIG", "SET", "maxmemory", "1")
	errs := together(s.updates, s.updating(t, ada, strings.Repeat("x", 1000)), s.updating(t, bob, "x"))
	if !errors.Is(errs[0], store.ErrFull) || errs[1] != nil {
		t.Errorf("the errors are %v", errs)
	}
	if got := valueOf(t, s, bob); got != `"x"` {
		t.Errorf("the value is %s", got)
	}
}

// A write whose caller gives up before the answer is uncertain, and the calls that
// go with it don't notice.
func TestI6GivenUpTogether(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	ada, bob := create(t, s, session("ada")), create(t, s, session("bob"))
	ctx, cancel := context.WithCancel(t.Context())
	held := hold(s.updates, func() error {
		_, err := s.Update(ctx, app, ada, store.UpdateOptions{Arrived: t0, Now: t0})
		return err
	}, s.updating(t, bob, "bob"))
	cancel()
	if err := <-held[0]; !errors.Is(err, context.Canceled) || !errors.Is(err, store.ErrUncertain) {
		t.Errorf("the error is %v", err)
	}
	s.updates.send()
	if err := <-held[1]; err != nil {
		t.Error(err)
	}
}

// The timeout of a call begins when the call comes, not when it has passed the
// gate.
func TestTimeoutTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := overload.NewGate(1, time.Second)
		b := &batcher{s: &Store{gates: gates{gate}, timeout: time.Second}, called: true} // nobody sends
		pass, err := gate.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(500*time.Millisecond, func() { gate.Leave(pass, overload.Abandoned) })
		began := time.Now()
		if _, _, err := b.do(t.Context(), nil, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %v", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v of the bubble's time", took)
		}
	})
}
