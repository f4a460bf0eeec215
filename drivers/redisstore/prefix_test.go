package redisstore

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// Stores with two prefixes in one database see nothing of each other, even if
// one prefix begins like the other's keys.
func TestPrefixesAreApart(t *testing.T) {
	t.Parallel()
	for name, url := range urls(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := "test-" + newNonce()
			for _, second := range []string{first + ":feed", first + ":s", first + "x"} {
				a := openAt(t, url, Options{Prefix: first})
				b, err := Open(t.Context(), url+"?prefix="+second, Options{})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = b.Close() })
				if b.prefix != second {
					t.Fatalf("the prefix is %s", b.prefix)
				}
				aside := watch(t, a)
				ann := create(t, a, session("ann"))
				beatUntil(t, a, aside, 1)
				twin := *ann
				if _, err := b.Create(t.Context(), app, &twin, created(&twin)); err != nil { // with the same ID
					t.Fatal(err)
				}
				if _, err := b.End(t.Context(), app, twin.ID, store.ReasonLogout, t0); err != nil {
					t.Fatal(err)
				}
				create(t, b, session("ann"))
				if _, err := b.EndSubject(t.Context(), app, "ann", store.ID{}, store.ReasonRevoked, t0+1); err != nil {
					t.Fatal(err)
				}
				if err := b.EndAll(t.Context(), app, t0+2); err != nil {
					t.Fatal(err)
				}
				if before := beatUntil(t, a, aside, 2); slices.ContainsFunc(before, func(c store.Change) bool { return c.Kind != store.Gap }) {
					t.Errorf("%s hears of %s: %+v", first, second, before)
				}
				if err := a.Get(t.Context(), app, ann.ID, true, new(store.Record)); err != nil {
					t.Errorf("beside %s: %v", second, err)
				}
				if list := live(t, a, "ann", t0); len(list) != 1 {
					t.Errorf("beside %s, %d sessions", second, len(list))
				}
				if err := b.Get(t.Context(), app, twin.ID, true, new(store.Record)); !errors.Is(err, store.ErrEnded) {
					t.Errorf("in %s: %v", second, err)
				}
				if _, _, err := b.Sweep(t.Context(), app, t0+store.Time((100*24*time.Hour).Milliseconds()), 1000); err != nil {
					t.Fatal(err)
				}
				if err := a.Get(t.Context(), app, ann.ID, true, new(store.Record)); err != nil {
					t.Errorf("after a sweep of %s: %v", second, err)
				}
				if _, err := a.End(t.Context(), app, ann.ID, store.ReasonLogout, t0); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
