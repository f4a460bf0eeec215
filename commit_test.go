package sojourn_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

var plan = sojourn.NewKey[json.RawMessage]("plan")

// nothings are changes without an effect on a session with a color, a count of
// 1 and a plan.
var nothings = map[string]func(s *sojourn.Session) error{
	"Set of an equal value":        func(s *sojourn.Session) error { return color.Set(s, "red") },
	"Set of equal JSON":            func(s *sojourn.Session) error { return plan.Set(s, json.RawMessage(`{"b":[1,2],"a":"\u0078"}`)) },
	"SetValue of an equal value":   func(s *sojourn.Session) error { return s.SetValue("color", json.RawMessage(` "red"`)) },
	"Delete of an absent key":      func(s *sojourn.Session) error { return cart.Delete(s) },
	"DeleteValue of an absent key": func(s *sojourn.Session) error { return s.DeleteValue("nothing") },
	"Update to an equal value":     func(s *sojourn.Session) error { return count.Update(s, func(*int) error { return nil }) },
	"there and back": func(s *sojourn.Session) error {
		return errors.Join(color.Set(s, "blue"), cart.Set(s, nil), cart.Delete(s), color.Set(s, "red"))
	},
	"Start of a session that is there": func(s *sojourn.Session) error { return s.Start() },
}

// A change without an effect costs no write and no revision. It still counts as
// activity.
func TestChangesToNothing(t *testing.T) {
	for name, change := range nothings {
		t.Run(name, func(t *testing.T) {
			w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
				var err error
				if r.URL.Path == "/fill" {
					err = errors.Join(color.Set(s, "red"), count.Set(s, 1), plan.Set(s, json.RawMessage(`{"a":"x","b":[1,2]}`)))
				} else {
					err = change(s)
				}
				if err != nil {
					t.Error(err)
				}
			})
			b := w.surfer().login("alice")
			b.post("/fill")
			list, _, err := w.List(ctx, "alice", "", 1)
			if err != nil || len(list) != 1 {
				t.Fatalf("%v, %v", list, err)
			}
			before := w.record(list[0].ID)
			w.calls.reset()
			for range 3 {
				a := b.post("/")
				w.want("status", a.StatusCode, 200)
				w.want("Vary", a.Header.Get("Vary"), "Cookie")
				w.want("Set-Cookie", a.Header.Get("Set-Cookie"), "")
			}
			w.flush()
			if calls := w.calls.reset(); slices.ContainsFunc(calls, func(c string) bool { return c != "Get" }) {
				t.Errorf("unexpected calls of the store: %v", calls)
			}
			if after := w.record(before.ID); !after.Equal(&before) {
				t.Errorf("the record is\n%+v, it was\n%+v", after, before)
			}
			w.pass(2 * time.Minute)
			b.post("/")
			w.flush()
			w.want("calls after two minutes", strings.Contains(strings.Join(w.calls.reset(), " "), "Touch"), true)
			after := w.record(before.ID)
			w.want("last seen", after.LastSeenAt, store.TimeOf(w.time()))
			w.want("revision", after.Revision, before.Revision)
		})
	}
}

// A change without an effect on the copy that was read is written if the store
// holds another value by then.
func TestI5ChangeToNothingMeetsAnother(t *testing.T) {
	for _, where := range []string{"in the store", "behind a copy in memory"} {
		w := newWorld(t)
		j := w.loggedIn("ann")
		w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
		if where == "behind a copy in memory" {
			w.look(j)
		}
		s := w.begin(j)
		if err := s.Load(ctx); err != nil {
			t.Fatal(err)
		}
		w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "blue") }) // by a later request, which is answered first
		if err := color.Set(s, "red"); err != nil {
			t.Fatal(err)
		}
		w.answer(j, s)
		got, _ := color.Get(w.begin(j))
		w.want("stored color, "+where, got, "red")
	}
}

// A copy in memory may be older than what another node has stored. It doesn't
// decide that there is nothing to write.
func TestI5ChangeToNothingByAnOldCopy(t *testing.T) {
	var old *store.Record // if set, what a Get that isn't strict returns
	w := newWorld(t, onCalls(func(ctx context.Context, c driver.Call) driver.Result {
		if c.Op != driver.Get || c.Strict || old == nil {
			return c.Do(ctx)
		}
		c.Record.CopyFrom(old)
		c.Record.Cached = true
		return driver.Result{}
	}))
	j := w.loggedIn("ann")
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
	before := w.record(w.id(j))
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "blue") })
	old = &before
	s := w.begin(j)
	if err := color.Set(s, "red"); err != nil {
		t.Fatal(err)
	}
	w.answer(j, s)
	old = nil
	got, _ := color.Get(w.begin(j))
	w.want("color", got, "red")
}

// A change without an effect fails where any change would: after the session's
// end, after a login, at another revision.
func TestChangesToNothingFail(t *testing.T) {
	for name, meanwhile := range map[string]struct {
		do   func(w *world, j *jar, id sojourn.ID)
		want error
	}{
		"ended":     {func(w *world, j *jar, id sojourn.ID) { w.End(ctx, id) }, sojourn.ErrEnded},
		"logged in": {func(w *world, j *jar, id sojourn.ID) { w.login(j, "ann") }, sojourn.ErrSuperseded},
		"another value": {func(w *world, j *jar, id sojourn.ID) {
			w.visit(j, func(s *sojourn.Session) error { return count.Set(s, 7) })
		}, sojourn.ErrRevision},
	} {
		w := newWorld(t)
		j := w.loggedIn("ann")
		w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
		s := w.begin(j)
		id := s.ID()
		if name == "another value" {
			s = w.Begin(ctx, sojourn.Request{Session: []string{j.session}, Arrived: w.time(), Client: home, IfRevision: w.record(id).Revision})
		}
		if err := color.Set(s, "red"); err != nil {
			t.Fatal(err)
		}
		other := *j
		meanwhile.do(w, &other, id)
		if err := s.Commit(ctx); !errors.Is(err, meanwhile.want) {
			t.Errorf("%s: %v, want %v", name, err, meanwhile.want)
		}
	}
}

// After an Update's function panicked during a commit, Commit doesn't report
// success.
func TestPanicAtTheCommit(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	s, runs := w.begin(j), 0
	if err := count.Update(s, func(n *int) error {
		if runs++; runs > 1 {
			panic("again")
		}
		return increment(n)
	}); err != nil {
		t.Fatal(err)
	}
	w.visit(j, func(s *sojourn.Session) error { return count.Update(s, increment) })
	func() {
		defer func() { recover() }()
		s.Commit(ctx)
	}()
	if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrUncertain) {
		t.Errorf("%v", err)
	}
}

// A handler may call Commit early, before a side effect.
func TestHandlerCommitsEarly(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		count.Update(s, increment)
		if err := s.Commit(r.Context()); err != nil {
			http.Error(rw, "not charged", sojourn.StatusCode(err))
			return
		}
		if err := count.Update(s, increment); !errors.Is(err, sojourn.ErrCommitted) {
			t.Errorf("after Commit: %v", err)
		}
		io.WriteString(rw, "charged")
	})
	b := w.surfer()
	if a := b.get("/"); a.body != "charged" || len(a.cookies) != 1 {
		t.Errorf("%q %v", a.body, a.Header)
	}
	w.want("stored", b.get("/count").body, "1")
	w.calls.fail(always(errors.New("disk on fire"), "Update"), nil)
	w.want("with a broken store", b.get("/").wantStatus(t, 503).body, "not charged\n")
}

// A store may derive contexts from a commit's context and leave them behind, as
// drivers do. They end with the commit, not when the client leaves.
func TestHandlerCommitContext(t *testing.T) {
	type key struct{}
	var derived []context.Context
	gone, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
	defer cancel()
	w := newWorld(t, onCalls(func(ctx context.Context, c driver.Call) driver.Result {
		if c.Op == driver.Create {
			if ctx.Err() != nil || context.Cause(ctx) != nil || ctx.Value(key{}) != "v" {
				t.Errorf("the commit's context: %v, %v, %v", ctx.Err(), context.Cause(ctx), ctx.Value(key{}))
			}
			if d, ok := ctx.Deadline(); !ok || time.Until(d) > time.Minute {
				t.Errorf("deadline %v, %v", d, ok)
			}
			for range 100 {
				child, stop := context.WithCancel(ctx)
				derived = append(derived, child)
				t.Cleanup(stop)
				if len(derived)%2 == 0 {
					stop()
				}
			}
		}
		return c.Do(ctx)
	}))
	for range 20 {
		s := w.Begin(gone, sojourn.Request{})
		count.Update(s, increment)
		cancel()
		if err := s.Commit(gone); err != nil {
			t.Fatal(err)
		}
	}
	for _, child := range derived {
		<-child.Done()
		if !errors.Is(child.Err(), context.Canceled) {
			t.Fatalf("%v", child.Err())
		}
	}
}

// A logout that fails leaves the cookie to the client: without it, nobody could end
// the session, which lives.
func TestFailedLogoutKeepsTheCookie(t *testing.T) {
	w := newWorld(t, watched)
	j := w.loggedIn("ann")
	s := w.begin(j)
	if err := s.Logout(); err != nil {
		t.Fatal(err)
	}
	w.calls.fail(always(errors.New("disk on fire"), "End"), nil)
	if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrUnavailable) {
		t.Errorf("commit: %v", err)
	}
	h := http.Header{}
	s.AddCookies(h)
	if list := s.SetCookies(); len(list) > 0 || len(h) > 0 {
		t.Errorf("cookies: %q, header: %v", list, h)
	}
	w.calls.fail(nil, nil)
	w.want("who", w.look(j), "ann")
}
