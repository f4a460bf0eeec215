package pgstore

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// Servers that tests share. The first test that needs one starts it. They need
// not survive a crash.
var (
	postgres = sync.OnceValues(func() (*servertest.PostgreSQLServer, error) {
		return servertest.StartPostgreSQL(servertest.PostgreSQLOptions{Config: []string{"fsync = off", "max_connections = 500"}})
	})
	bouncer = sync.OnceValues(func() (*servertest.PgBouncerServer, error) {
		p, err := postgres()
		if err != nil {
			return nil, err
		}
		return servertest.StartPgBouncer(p, servertest.PgBouncerOptions{})
	})
	started atomic.Bool
)

func TestMain(m *testing.M) {
	code := m.Run()
	if started.Load() {
		if b, err := bouncer(); err == nil {
			b.Close()
		}
		if p, err := postgres(); err == nil {
			p.Close()
		}
	}
	os.Exit(code)
}

// server returns the shared server.
func shared(t testing.TB) *servertest.PostgreSQLServer {
	t.Helper()
	started.Store(true)
	p, err := postgres()
	servertest.Check(t, err)
	return p
}

var schemas atomic.Int64

// schemaOf returns the name of a schema for one test, which is dropped at its
// end.
func schemaOf(t testing.TB, url string) string {
	t.Helper()
	schema := fmt.Sprintf("test%d", schemas.Add(1))
	t.Cleanup(func() {
		execute(t, url, `DROP SCHEMA IF EXISTS "`+schema+`" CASCADE`)
	})
	return schema
}

// execute runs statements on a connection of its own.
func execute(t testing.TB, url string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, text := range statements {
		if _, err := conn.Exec(context.Background(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// query returns the text of the result's only row and column.
func query(t testing.TB, url, text string, args ...any) string {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(context.Background(), text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return strings.Join(lines, "\n")
}

func mustOpen(t testing.TB, url string, opt Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), url, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// open returns a store in an empty schema of the shared server.
func openNew(t testing.TB) *Store {
	url := shared(t).URL()
	return mustOpen(t, url, Options{Schema: schemaOf(t, url)})
}

var _ store.Feeder = (*Store)(nil)
