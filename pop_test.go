package sojourn_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

var notice = sojourn.NewKey[string]("notice")

// popped returns what Pop returns within a session.
func popped[T any](t testing.TB, s *sojourn.Session, key sojourn.Key[T]) (v T, ok bool) {
	t.Helper()
	v, ok, err := key.Pop(s)
	if err != nil {
		t.Errorf("Pop: %v", err)
	}
	return v, ok
}

func TestPop(t *testing.T) {
	w := newWorld(t, watched)
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error {
		if v, ok := popped(t, s, notice); ok || v != "" {
			t.Errorf("without a session: %q, %v", v, ok)
		}
		return nil
	})
	w.want("the cookies", *j, jar{})
	w.visit(j, func(s *sojourn.Session) error {
		return errors.Join(notice.Set(s, "saved"), color.Set(s, "red"), count.Set(s, 1))
	})
	w.visit(j, func(s *sojourn.Session) error {
		err := count.Update(s, increment)
		for range 2 { // the second time it is gone
			v, ok := popped(t, s, notice)
			again, _ := color.Get(s)
			w.want("another value", again, "red")
			if ok != (v == "saved") {
				t.Errorf("%q, %v", v, ok)
			}
		}
		if v, ok := popped(t, s, color); !ok || v != "red" {
			t.Errorf("another key: %q, %v", v, ok)
		}
		w.want("the request's view", string(s.Snapshot().Values), `{"count":2}`)
		return errors.Join(err, count.Update(s, increment), notice.Set(s, "next"))
	})
	w.want("the values", w.valuesOf(j), `{"count":3,"notice":"next"}`)

	w.visit(j, func(s *sojourn.Session) error { // its own values
		err := errors.Join(notice.Set(s, "mine"), count.Update(s, increment))
		if v, ok := popped(t, s, notice); !ok || v != "mine" {
			t.Errorf("its own value: %q, %v", v, ok)
		}
		if v, ok := popped(t, s, count); !ok || v != 4 {
			t.Errorf("its own update: %d, %v", v, ok)
		}
		return err
	})
	w.want("the values", w.valuesOf(j), `{}`)

	// Pop of an absent value writes nothing.
	w.calls.reset()
	w.visit(j, func(s *sojourn.Session) error { popped(t, s, notice); return nil })
	for _, call := range w.calls.made() {
		if call == "Update" {
			t.Error("an absent value costs a write")
		}
	}
}

// Pop fails where a change would, and then the value stays.
func TestPopThatFails(t *testing.T) {
	w := newWorld(t, watched)
	j := w.loggedIn("ann")
	w.visit(j, func(s *sojourn.Session) error { return notice.Set(s, "saved") })
	wrong := func(what string, s *sojourn.Session, want error) {
		t.Helper()
		if v, ok, err := notice.Pop(s); !errors.Is(err, want) || ok || v != "" {
			t.Errorf("%s: %q, %v, %v, want %v", what, v, ok, err, want)
		}
	}
	s := w.begin(j)
	if v, ok, err := sojourn.NewKey[int]("notice").Pop(s); !errors.Is(err, sojourn.ErrValue) || ok || v != 0 {
		t.Errorf("of another type: %v, %v, %v", v, ok, err)
	}
	w.answer(j, s)
	wrong("after the commit", s, sojourn.ErrCommitted)
	s.Finish()
	wrong("after the request", s, sojourn.ErrFinished)
	s = w.begin(j)
	if err := s.Logout(); err != nil {
		t.Error(err)
	}
	wrong("after Logout", s, sojourn.ErrEnded)

	s = w.Begin(ctx, sojourn.Request{Token: j.session, IfRevision: 99})
	wrong("at another revision", s, sojourn.ErrRevision)
	s = w.Begin(ctx, sojourn.Request{Token: j.session, IfRevision: w.record(w.id(j)).Revision})
	if err := color.Set(s, "red"); err != nil {
		t.Error(err)
	}
	if v, ok := popped(t, s, notice); !ok || v != "saved" {
		t.Errorf("at its revision: %q, %v", v, ok)
	}
	if err := errors.Join(notice.Set(s, "again"), s.Commit(ctx)); err != nil {
		t.Errorf("the commit after it: %v", err)
	}

	w.calls.fail(always(store.ErrUncertain, "Update"), nil)
	wrong("with an unknown outcome", w.begin(j), sojourn.ErrUncertain)
	w.calls.fail(always(errors.New("down"), "Update"), nil)
	wrong("in an outage", w.begin(j), sojourn.ErrUnavailable)
	w.calls.fail(nil, nil)
	w.want("the values", w.valuesOf(j), `{"color":"red","notice":"again"}`)
}

// Within the function of an Update, Pop returns an error at the commit and
// doesn't hang.
func TestPopWithinAnUpdate(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	s, other := w.begin(j), w.begin(j)
	var last error
	err := count.Update(s, func(n *int) error { *n++; _, _, last = notice.Pop(s); return nil })
	if err != nil || last != nil {
		t.Errorf("%v, %v", err, last)
	}
	if err := count.Update(other, increment); err != nil {
		t.Error(err)
	}
	w.answer(j, other)
	w.answer(j, s) // runs the function again
	if !errors.Is(last, sojourn.ErrCommitted) {
		t.Errorf("at the commit: %v", last)
	}
	w.want("the values", w.valuesOf(j), `{"count":2}`)
}

// A popped value stays gone if the handler fails.
func TestPopStaysTaken(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		if r.URL.Path == "/set" {
			notice.Set(s, "saved")
			return
		}
		v, ok := popped(t, s, notice)
		count.Set(s, 7)
		http.Error(rw, fmt.Sprint(v, ok), http.StatusInternalServerError)
	})
	b := w.surfer()
	b.post("/set").wantStatus(t, 200)
	w.want("the first", b.get("/pop").body, "savedtrue\n")
	w.want("the second", b.get("/pop").body, "false\n")
	w.want("the other change", b.get("/count").body, "0")
}

// I5: of several parallel Pops, on several nodes, one gets the value, and the other
// changes of all requests land.
func TestI5PopOnce(t *testing.T) {
	w := newWorld(t)
	nodes := []*world{w, w.node(), w.node()}
	j := w.loggedIn("ann")
	const n, rounds = 32, 10
	for round := range rounds {
		w.visit(j, func(s *sojourn.Session) error { return notice.Set(s, "saved") })
		var ready, wg sync.WaitGroup
		ready.Add(n)
		var got atomic.Int32
		for i := range n {
			wg.Go(func() {
				s := nodes[i%len(nodes)].begin(j)
				err := errors.Join(s.Load(ctx), count.Update(s, increment))
				ready.Done()
				ready.Wait() // all have read the value
				if v, ok := popped(t, s, notice); ok {
					w.want("the value", v, "saved")
					got.Add(1)
				}
				if err := errors.Join(err, count.Update(s, increment), s.Commit(ctx)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		w.want("requests that got the value", got.Load(), int32(1))
		w.want("the values", w.valuesOf(j), fmt.Sprintf(`{"count":%d}`, 2*n*(round+1)))
	}
}

// I4, I13: a Pop that a logout or an elevation overtakes gets nothing.
func TestI13PopIsOvertaken(t *testing.T) {
	for name, c := range map[string]struct {
		first func(*sojourn.Session) error
		want  error
	}{
		"logout":    {func(s *sojourn.Session) error { return s.Logout() }, sojourn.ErrEnded},
		"elevation": {func(s *sojourn.Session) error { return s.Elevate(2) }, sojourn.ErrSuperseded},
		"update":    {func(s *sojourn.Session) error { return count.Update(s, increment) }, nil},
		"pop":       {func(s *sojourn.Session) error { _, _, err := notice.Pop(s); return err }, nil},
	} {
		for _, pending := range []bool{false, true} {
			w := newWorld(t)
			j := w.loggedIn("ann")
			w.visit(j, func(s *sojourn.Session) error { return notice.Set(s, "saved") })
			s, other := w.begin(j), w.node().begin(j)
			err := s.Load(ctx)
			if pending {
				err = count.Update(s, increment)
			}
			if err := errors.Join(err, c.first(other)); err != nil {
				t.Fatal(err)
			}
			w.answer(j, other)
			v, ok, err := notice.Pop(s)
			if !errors.Is(err, c.want) || ok != (name == "update") || ok != (v == "saved") {
				t.Errorf("%s, pending %v: %q, %v, %v, want %v", name, pending, v, ok, err, c.want)
			}
		}
	}
}

// An Update whose function returns DeleteValue removes the value, also if it
// runs again on a newer one.
func TestUpdateThatDeletes(t *testing.T) {
	w := newWorld(t, watched)
	j := new(jar)
	take := func(n *int) error {
		if *n--; *n <= 0 {
			return fmt.Errorf("none left: %w", sojourn.DeleteValue)
		}
		return nil
	}
	w.visit(j, func(s *sojourn.Session) error { return count.Update(s, take) })
	w.want("the cookies of a visitor who removes nothing", *j, jar{})
	w.visit(j, func(s *sojourn.Session) error { return errors.Join(count.Set(s, 2), color.Set(s, "red")) })
	w.visit(j, func(s *sojourn.Session) error { return count.Update(s, take) })
	w.want("one left", w.valuesOf(j), `{"color":"red","count":1}`)

	// Two requests take the last one. The second sees at its commit that there is
	// none, and refuses.
	none := errors.New("none")
	takeOne := func(n *int) error {
		if *n == 0 {
			return none
		}
		return take(n)
	}
	a, b := w.begin(j), w.node().begin(j)
	if err := errors.Join(count.Update(a, takeOne), count.Update(b, takeOne)); err != nil {
		t.Fatal(err)
	}
	w.answer(j, a)
	if err := b.Commit(ctx); !errors.Is(err, sojourn.ErrConflict) || !errors.Is(err, none) {
		t.Errorf("the second: %v", err)
	}
	w.want("none left", w.valuesOf(j), `{"color":"red"}`)

	// A value that another request has put there meanwhile is removed too, and one
	// that the function keeps is kept.
	c := w.begin(j)
	if err := count.Update(c, take); err != nil {
		t.Fatal(err)
	}
	w.visit(j, func(s *sojourn.Session) error { return count.Set(s, 5) })
	w.answer(j, c)
	w.want("the values", w.valuesOf(j), `{"color":"red","count":4}`)
}

// I5: of parallel requests that take from a stock, as many get one as there are.
func TestI5UpdatesThatDelete(t *testing.T) {
	w := newWorld(t)
	nodes := []*world{w, w.node()}
	j := w.loggedIn("ann")
	const n, stock = 32, 20
	w.visit(j, func(s *sojourn.Session) error { return count.Set(s, stock) })
	var ready, wg sync.WaitGroup
	ready.Add(n)
	var got atomic.Int32
	for i := range n {
		wg.Go(func() {
			s := nodes[i%2].begin(j)
			err := count.Update(s, func(n *int) error {
				switch *n {
				case 0:
					return errors.New("none")
				case 1:
					return sojourn.DeleteValue
				}
				*n--
				return nil
			})
			ready.Done()
			ready.Wait()
			if err = errors.Join(err, s.Commit(ctx)); err == nil {
				got.Add(1)
			} else if !errors.Is(err, sojourn.ErrConflict) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	w.want("got one", got.Load(), int32(stock))
	w.want("the values", w.valuesOf(j), `{}`)
}

// A Pop goes on when its client has gone away: nobody may get the value twice.
func TestPopIsDetached(t *testing.T) {
	gone, cancel := context.WithCancel(ctx)
	w := newWorld(t, onCalls(func(ctx context.Context, c driver.Call) driver.Result {
		if c.Op == driver.Update {
			cancel()
		}
		return c.Do(ctx)
	}))
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error { return notice.Set(s, "saved") })
	s := w.Begin(gone, sojourn.Request{Visitor: []string{j.visitor}})
	if v, ok := popped(t, s, notice); !ok || v != "saved" {
		t.Errorf("%q, %v", v, ok)
	}
	w.want("the values", w.valuesOf(j), `{}`)
}

// I5: a value that a Regenerate keeps is still one that a parallel request may
// take. One of them gets it.
func TestI5PopAfterRegenerate(t *testing.T) {
	w := newWorld(t)
	for _, late := range []bool{false, true} { // the other request takes the value first
		j := w.loggedIn("ann")
		w.visit(j, func(s *sojourn.Session) error { return errors.Join(notice.Set(s, "saved"), color.Set(s, "red")) })
		s, other := w.begin(j), w.node().begin(j)
		if err := errors.Join(s.Regenerate("notice", "color"), other.Load(ctx)); err != nil {
			t.Fatal(err)
		}
		if late {
			if _, ok := popped(t, other, notice); !ok {
				t.Error("the other request got nothing")
			}
		}
		_, ok := popped(t, s, notice)
		w.want("the one that regenerates got it", ok, !late)
		if !late {
			if v, ok := popped(t, other, notice); ok {
				t.Errorf("the other request got %q too", v)
			}
		}
		id := s.ID()
		w.answer(j, s)
		w.want("the new session", w.id(j), id)
		w.want("its values", w.valuesOf(j), `{"color":"red"}`)
		w.want("who", w.look(j), "")
	}
}

// The function of an Update that runs again because a Pop met a conflict may
// call Pop, and nothing hangs.
func TestPopWithinAnUpdateThatAPopRepeats(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
	s := w.begin(j)
	var inner []error
	err := count.Update(s, func(n *int) error {
		*n++
		_, _, err := notice.Pop(s)
		inner = append(inner, err)
		return nil
	})
	w.visit(j, func(s *sojourn.Session) error { return errors.Join(err, count.Update(s, increment)) })
	done := make(chan bool)
	go func() {
		defer close(done)
		if v, ok := popped(t, s, color); !ok || v != "red" {
			t.Errorf("%q, %v", v, ok)
		}
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("Pop hangs")
	}
	if len(inner) != 2 || inner[0] != nil || !errors.Is(inner[1], sojourn.ErrConflict) {
		t.Errorf("within the function: %v", inner)
	}
	w.answer(j, s)
	w.want("the values", w.valuesOf(j), `{"count":2}`)
}
