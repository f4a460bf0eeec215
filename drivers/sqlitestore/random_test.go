package sqlitestore

import (
	"path/filepath"
	"testing"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/nearcache"
	"github.com/sojourn-go/sojourn/store/storetest"
)

func TestDurable(t *testing.T) {
	t.Parallel()
	storetest.RunDurable(t, func(t testing.TB, dir string) store.Store { return openIn(t, dir) })
}

// TestDurableCached tests the store with its cache, as sojournd uses it: the
// cache must be right from the first call after a crash.
func TestDurableCached(t *testing.T) {
	t.Parallel()
	storetest.RunDurable(t, func(t testing.TB, dir string) store.Store {
		return nearcache.New(openIn(t, dir), nearcache.Options{})
	})
}

// openIn opens the store of a directory, which the caller closes.
func openIn(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(dir, "sessions.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
