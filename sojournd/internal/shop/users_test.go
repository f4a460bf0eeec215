package shop

import (
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/mirror"
)

func TestMemoryUsers(t *testing.T) {
	testUsers(t, func(t *testing.T) *Users {
		users, err := NewMemoryUsers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = users.Close() })
		return users
	})
}

// testUsers tests users in memory and in a file.
func testUsers(t *testing.T, open func(t *testing.T) *Users) {
	ctx := t.Context()
	fresh := func(t *testing.T) *Users {
		users := open(t)
		for _, u := range []User{{ID: "1", Email: "ada@x", PasswordHash: "h"}, {ID: "2", Email: "ben@x"}} {
			if err := users.Add(ctx, u); err != nil {
				t.Fatal(err)
			}
		}
		return users
	}
	t.Run("find", func(t *testing.T) {
		users := fresh(t)
		u, err := users.ByEmail(ctx, "ada@x")
		if err != nil || u.ID != "1" || u.PasswordHash != "h" {
			t.Errorf("by e-mail: %+v, %v", u, err)
		}
		if u, err := users.ByID(ctx, "2"); err != nil || u.Email != "ben@x" {
			t.Errorf("by ID: %+v, %v", u, err)
		}
		for _, key := range []string{"", "3", "nobody@x", "ADA@x"} {
			if _, err := users.ByID(ctx, key); !errors.Is(err, ErrNoUser) {
				t.Errorf("ByID(%q): %v", key, err)
			}
			if _, err := users.ByEmail(ctx, key); !errors.Is(err, ErrNoUser) {
				t.Errorf("ByEmail(%q): %v", key, err)
			}
		}
	})
	t.Run("nobody", func(t *testing.T) {
		users := fresh(t)
		for _, err := range []error{
			users.SetEmail(ctx, "3", "c@x"), users.SetCart(ctx, "3", nil, CartVersion{}), users.SetPreferences(ctx, "3", Preferences{}, time.UnixMilli(1)),
		} {
			if !errors.Is(err, ErrNoUser) {
				t.Errorf("a user who isn't there: %v", err)
			}
		}
	})
	t.Run("e-mail", func(t *testing.T) {
		users := fresh(t)
		if err := users.Add(ctx, User{ID: "3", Email: "ada@x"}); !errors.Is(err, ErrEmailTaken) {
			t.Errorf("taken: %v", err)
		}
		if err := users.SetEmail(ctx, "2", "ada@x"); !errors.Is(err, ErrEmailTaken) {
			t.Errorf("taken: %v", err)
		}
		if err := users.SetEmail(ctx, "1", "ada@x"); err != nil {
			t.Errorf("one's own: %v", err)
		}
		if err := users.SetEmail(ctx, "1", "lovelace@x"); err != nil {
			t.Error(err)
		}
		if _, err := users.ByEmail(ctx, "ada@x"); !errors.Is(err, ErrNoUser) {
			t.Errorf("the former address: %v", err)
		}
		if err := users.SetEmail(ctx, "2", "ada@x"); err != nil {
			t.Errorf("free again: %v", err)
		}
	})
	t.Run("parallel sign-ups of one address", func(t *testing.T) {
		users := open(t)
		var mu sync.Mutex
		added := 0
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				if err := users.Add(ctx, User{ID: strconv.Itoa(i), Email: "c@x"}); err == nil {
					mu.Lock()
					added++
					mu.Unlock()
				} else if !errors.Is(err, ErrEmailTaken) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if added != 1 {
			t.Errorf("%d were added", added)
		}
	})
	t.Run("cart", func(t *testing.T) {
		users := fresh(t)
		one, two := sojourn.ID{1}, sojourn.ID{2}
		items := []Line{{"tent", 1}}
		for _, step := range []struct {
			qty     int
			version CartVersion
			want    string
		}{
			{1, CartVersion{one, 3}, "tent:1"},
			{2, CartVersion{one, 5}, "tent:2"},
			{3, CartVersion{one, 4}, "tent:2"}, // late
			{4, CartVersion{two, 1}, "tent:4"}, // of another session
			{5, CartVersion{two, 1}, "tent:5"},
		} {
			items[0].Qty = step.qty
			if err := users.SetCart(ctx, "1", items, step.version); err != nil {
				t.Fatal(err)
			}
			items[0].Qty = 99 // the caller's own again
			u, err := users.ByID(ctx, "1")
			if err != nil || lines(u.Cart) != step.want {
				t.Errorf("after %v: %q, %v", step.version, lines(u.Cart), err)
			}
		}
	})
	t.Run("preferences", func(t *testing.T) {
		users := fresh(t)
		for _, p := range []Preferences{{Theme: "dark"}, {Language: "de"}, {}} {
			if err := users.SetPreferences(ctx, "1", p, time.UnixMilli(1)); err != nil {
				t.Fatal(err)
			}
		}
		if u, _ := users.ByID(ctx, "1"); u.Preferences != (Preferences{"dark", "de"}) {
			t.Errorf("%+v", u.Preferences)
		}
		// The mirror keeps its values in the same place.
		update := func(id string, f func(map[string]mirror.Entry)) {
			t.Helper()
			if err := users.UpdateProfile(ctx, id, func(e map[string]mirror.Entry) error { f(e); return nil }); err != nil {
				t.Error(err)
			}
		}
		update("1", func(e map[string]mirror.Entry) {
			if string(e["theme"].Value) != `"dark"` || e["theme"].Time != 1 || len(e) != 2 {
				t.Errorf("the entries are %v", e)
			}
			e["theme"] = mirror.Entry{Value: json.RawMessage(`null`), Time: 5}
			e["language"] = mirror.Entry{Value: json.RawMessage(`"en"`), Time: 6}
		})
		if u, _ := users.ByID(ctx, "1"); u.Preferences != (Preferences{"", "en"}) {
			t.Errorf("%+v", u.Preferences)
		}
		raced := false
		update("1", func(e map[string]mirror.Entry) {
			if string(e["theme"].Value) != `null` || e["theme"].Time != 5 {
				t.Errorf("after a removal: %v", e)
			}
			if !raced { // another request comes first
				raced = true
				if err := users.SetPreferences(ctx, "1", Preferences{Language: "de"}, time.UnixMilli(7)); err != nil {
					t.Error(err)
				}
			}
			e["theme"] = mirror.Entry{Value: json.RawMessage(`"light"`), Time: 5}
		})
		if u, _ := users.ByID(ctx, "1"); u.Preferences != (Preferences{"light", "de"}) {
			t.Errorf("%+v", u.Preferences)
		}
		update("gone", func(e map[string]mirror.Entry) { e["theme"] = mirror.Entry{Value: json.RawMessage(`"dark"`), Time: 5} })
	})
}
