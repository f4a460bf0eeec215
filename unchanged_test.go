package sojourn_test

import (
	"context"
	"encoding/json"
	"errors"
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
				t.Errorf("it cost the calls %v", calls)
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
		w.want("the last one's color, "+where, got, "red")
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
