package pgstore

import (
	"context"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// TestI10CrashBehindPooler: the system kills one of the server's processes, for
// example when memory is short. The server ends all others and recovers, which
// empties the table of changes but changes no start time. The feed's connection
// goes to a pooler and survives. The feed must have a gap.
func TestI10CrashBehindPooler(t *testing.T) {
	t.Parallel()
	p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{})
	b := servertest.PgBouncer(t, p, servertest.PgBouncerOptions{})
	s, other := mustOpen(t, b.URL(), Options{}), mustOpen(t, p.URL(), Options{})
	w := watchOf(t, s)
	w.beat(s, 1)
	victim, err := pgx.Connect(t.Context(), p.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close(context.Background())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(b.Pause()) // no query may notice the crash
	rec := createOne(t, other)
	process, err := os.FindProcess(int(victim.PgConn().PID()))
	must(err)
	must(process.Kill())
	wait(t, "the server has recovered, without the changes", func() bool {
		n, err := p.Query("sojourn", "SELECT count(*) FROM sojourn.changes")
		return err == nil && n == "0" && other.Get(t.Context(), "shop", rec.ID, true, rec) == nil
	})
	must(b.Continue())
	told := false
	for _, c := range w.beat(s, 2) {
		told = told || c.Kind == store.Gap
	}
	if !told {
		t.Error("a heartbeat came back without a gap")
	}
	createOne(t, other)
	w.until(store.Changed)
}
