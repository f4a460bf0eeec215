package pgstore

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// TestCredentials: after a change of the password, the next connection gets the
// new one, the feed's too.
func TestCredentials(t *testing.T) {
	t.Parallel()
	p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{Password: "another", Config: []string{"fsync = off"}})
	sql := func(text string) {
		t.Helper()
		if err := p.SQL("sojourn", text); err != nil {
			t.Fatal(err)
		}
	}
	sql("CREATE ROLE shop LOGIN PASSWORD 'first'; CREATE SCHEMA sojourn AUTHORIZATION shop")
	var password atomic.Value
	password.Store("first")
	s := mustOpen(t, p.URL(), Options{Password: "wrong", Credentials: func(ctx context.Context) (string, string, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("nothing bounds the call")
		}
		if password.Load() == "" {
			return "", "", errors.New("the vault is closed")
		}
		return "shop", password.Load().(string), nil
	}})
	w := watchOf(t, s)
	w.beat(s, 1)
	cut := "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'shop'"
	sql("ALTER ROLE shop PASSWORD 'second'; " + cut)
	password.Store("second")
	wait(t, "the store answers", func() bool {
		return errors.Is(s.Get(t.Context(), "shop", store.ID{1}, true, new(store.Record)), store.ErrNotFound)
	})
	w.beat(s, 2)
	password.Store("")
	sql(cut)
	err := s.Get(t.Context(), "shop", store.ID{1}, true, new(store.Record))
	if err == nil || !strings.Contains(err.Error(), "the vault is closed") {
		t.Errorf("%v", err)
	}
	password.Store("second")
	w.beat(s, 3)
}
