package sojourn_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// profile returns the values of a user's profile as text.
func (w *world) profile(subject string) (text string) {
	w.Helper()
	err := w.UpdateProfile(ctx, subject, func(values map[string]json.RawMessage) error {
		b, err := json.Marshal(values)
		text = string(b)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return text
}

// put returns a change of one value.
func put(key, value string) func(map[string]json.RawMessage) error {
	return func(values map[string]json.RawMessage) error {
		values[key] = json.RawMessage(value)
		return nil
	}
}

func countUp(values map[string]json.RawMessage) error {
	var n int
	if raw, ok := values["n"]; ok {
		if err := json.Unmarshal(raw, &n); err != nil {
			return err
		}
	}
	values["n"] = json.RawMessage(fmt.Sprint(n + 1))
	return nil
}

// A profile outlives the sessions of its user, and is no session.
func TestProfileOutlivesSessions(t *testing.T) {
	w := newWorld(t)
	w.want("at first", w.profile("ann"), `{}`)
	j := w.loggedIn("ann")
	if err := w.UpdateProfile(ctx, "ann", put("theme", ` "dark" `)); err != nil {
		t.Fatal(err)
	}
	list, _, err := w.List(ctx, "ann", "", 10)
	w.want("ann's sessions", fmt.Sprint(len(list), err), "1 <nil>")
	w.visit(j, (*sojourn.Session).Logout)
	if _, err := w.EndSubject(ctx, "ann", sojourn.ID{}); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second)
	if err := w.EndAll(ctx); err != nil {
		t.Fatal(err)
	}
	w.want("afterwards", w.profile("ann"), `{"theme":"dark"}`)
	w.want("on another node", w.node().profile("ann"), `{"theme":"dark"}`)
	w.want("another user's", w.profile("bob"), `{}`)
	all, _, err := w.Count(ctx)
	w.want("sessions that count", fmt.Sprint(all, err), "0 <nil>")
	if err := w.UpdateProfile(ctx, "ann", func(values map[string]json.RawMessage) error { clear(values); return nil }); err != nil {
		t.Fatal(err)
	}
	w.want("erased", w.profile("ann"), `{}`)
}

func TestProfileRefuses(t *testing.T) {
	w := newWorld(t)
	own := errors.New("own")
	for name, c := range map[string]struct {
		subject string
		fn      func(map[string]json.RawMessage) error
		want    error
	}{
		"no subject":   {"", put("a", "1"), sojourn.ErrSubject},
		"bad key":      {"ann", put("", "1"), sojourn.ErrValue},
		"no JSON":      {"ann", put("a", "{"), sojourn.ErrValue},
		"large value":  {"ann", put("a", `"`+strings.Repeat("x", 64<<10)+`"`), sojourn.ErrTooLarge},
		"many values":  {"ann", func(v map[string]json.RawMessage) error { return many(v) }, sojourn.ErrTooLarge},
		"an own error": {"ann", func(v map[string]json.RawMessage) error { v["a"] = json.RawMessage("1"); return own }, own},
	} {
		if err := w.UpdateProfile(ctx, c.subject, c.fn); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	w.want("afterwards", w.profile("ann"), `{}`)
	n, err := w.store.Count(ctx, "default/profiles")
	w.want("records", fmt.Sprint(n.Sessions, err), "0 <nil>")
}

func many(values map[string]json.RawMessage) error {
	for i := range 5 {
		values[fmt.Sprint(i)] = json.RawMessage(`"` + strings.Repeat("x", 60<<10) + `"`)
	}
	return nil
}

// I5: parallel changes on several nodes all land, the first of them too.
func TestI5ParallelProfiles(t *testing.T) {
	w := newWorld(t)
	nodes := []*world{w, w.node(), w.node(), w.node()}
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			if err := nodes[i%len(nodes)].UpdateProfile(ctx, "ann", countUp); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	w.want("the count", w.profile("ann"), `{"n":64}`)

	// Another node comes first, at the creation and at a change.
	for _, user := range []string{"new", "ann"} {
		before := w.profile(user)
		first := true
		err := w.UpdateProfile(ctx, user, func(values map[string]json.RawMessage) error {
			if first {
				first = false
				if err := nodes[1].UpdateProfile(ctx, user, countUp); err != nil {
					t.Error(err)
				}
			}
			return countUp(values)
		})
		w.want("the error", err, nil)
		w.want("after "+before, w.profile(user), map[string]string{"new": `{"n":2}`, "ann": `{"n":66}`}[user])
	}
}

// A profile lasts 400 days after its last use, and a use writes at most once in
// twenty days. When it is over, its memory goes, and a new one begins.
func TestProfileExpires(t *testing.T) {
	writes := 0
	w := newWorld(t, onCalls(func(ctx context.Context, c driver.Call) driver.Result {
		if c.Create != nil || c.Update != nil {
			writes++
		}
		return c.Do(ctx)
	}))
	if err := w.UpdateProfile(ctx, "ann", put("theme", `"dark"`)); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		w.pass(9 * 24 * time.Hour)
		w.profile("ann")
	}
	w.want("writes in 900 days", writes, 1+33)
	w.pass(390 * 24 * time.Hour)
	w.want("after 390 days", w.profile("ann"), `{"theme":"dark"}`)
	w.pass(400 * 24 * time.Hour)
	if err := w.UpdateProfile(ctx, "ann", countUp); !errors.Is(err, sojourn.ErrEnded) {
		t.Errorf("after 400 days: %v", err)
	}
	w.want("events", len(w.happened(sojourn.EventEnded)), 0)
	w.pass(2 * time.Hour)
	for done := false; !done; {
		var err error
		if _, done, err = w.store.Sweep(ctx, "default/profiles", store.TimeOf(w.time()), 256); err != nil {
			t.Fatal(err)
		}
	}
	w.want("a new one", w.profile("ann"), `{}`)
	if err := w.UpdateProfile(ctx, "ann", countUp); err != nil {
		t.Error(err)
	}
}

// I9: no failure of the store looks like an empty profile, or like a change that
// was stored.
func TestI9ProfileOutage(t *testing.T) {
	down := 0
	w := newWorld(t, onCalls(func(ctx context.Context, c driver.Call) driver.Result {
		if down--; down == 0 {
			return driver.Result{Err: errors.New("down")}
		}
		return c.Do(ctx)
	}))
	if err := w.UpdateProfile(ctx, "ann", countUp); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 2; n++ { // the read, the write
		down = n
		if err := w.UpdateProfile(ctx, "ann", countUp); !errors.Is(err, sojourn.ErrUnavailable) {
			t.Errorf("call %d fails: %v", n, err)
		}
	}
	down = 0
	w.want("afterwards", w.profile("ann"), `{"n":1}`)
}
