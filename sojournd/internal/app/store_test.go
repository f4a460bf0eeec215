package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/drivers/sqlitestore"
	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/sojournd/internal/config"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

func TestStorePassword(t *testing.T) {
	t.Setenv(config.StorePasswordVariable, "from the environment")
	file := filepath.Join(t.TempDir(), "password")
	for text, want := range map[string]string{"secret\n": "secret", "secret": "secret", "a b\r\n": "a b", "": "is empty", "\n\n": "is empty", "two\nlines\n": "several lines"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := StoreOptions{PasswordFile: file}.password()
		if err != nil && strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "lines\n") {
			continue
		}
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	if got, err := (StoreOptions{}).password(); err != nil || got != "from the environment" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := (StoreOptions{PasswordFile: file + "x"}).password(); err == nil || !strings.Contains(err.Error(), file+"x") {
		t.Error(err)
	}
}

func TestHostOf(t *testing.T) {
	for url, want := range map[string]string{
		"redis://host:6379/0": "host:6379", "redis://u:p@host": "host", "redis-cluster://u:p@a:1,b:2/?x": "a:1,b:2", "unix://u:p@/run/redis.sock?db=1": "/run/redis.sock", "postgres://u:p@[::1]:5/db": "[::1]:5", "postgres:///db?host=/run": "",
		"redis://:hun#ter2@host:1/0": "host:1", "redis://u:hun?ter2@host": "host", "postgres://u:hun/ter2@host/db?x=y": "host", "postgres://u:hun@ter2@host/db": "host",
	} {
		if got := hostOf(url); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

func TestOptionsOfOtherStores(t *testing.T) {
	for _, c := range []struct {
		o    StoreOptions
		want string
	}{
		{StoreOptions{URL: "memory:", PasswordFile: "x"}, "leave it out"},
		{StoreOptions{URL: "sqlite:" + filepath.Join(t.TempDir(), "s"), Feed: "postgres://h"}, "postgres:// only"},
		{StoreOptions{URL: "redis://127.0.0.1:1", CAFile: "x"}, "rediss://"},
		{StoreOptions{URL: "redis-cluster://127.0.0.1:1", CAFile: "x"}, "rediss-cluster://"},
	} {
		if _, err := openStore(t.Context(), c.o, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}

// worried returns the warnings of a store.
func worried() []store.Warning {
	return []store.Warning{{Code: "eviction", Text: "it drops sessions: set maxmemory-policy noeviction"}}
}

// TestReadyWarns: /readyz prints the store's warnings although the server is
// ready, and the metrics count them.
func TestReadyWarns(t *testing.T) {
	st := &openedStore{Store: memstore.New(), warnings: worried}
	defer st.Close()
	s := &server{store: st, metrics: newMetrics(st, func() map[string]*sojourn.Engine { return nil }), log: slog.New(slog.DiscardHandler)}
	w := httptest.NewRecorder()
	s.ready(w, httptest.NewRequest("GET", "/readyz", nil))
	if want := "ready\nit drops sessions: set maxmemory-policy noeviction\n"; w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %q, want 200 %q", w.Code, w.Body, want)
	}
	w = httptest.NewRecorder()
	s.metrics.handler.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(w.Body.String(), "\nsojourn_store_warnings{code=\"eviction\"} 1\n") {
		t.Error("the warning isn't counted")
	}
}

// answers waits until a store answers.
func answers(t *testing.T, st store.Store) {
	t.Helper()
	var err error
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(20 * time.Millisecond) {
		if err = st.Get(t.Context(), "shop", store.ID{1}, true, new(store.Record)); errors.Is(err, store.ErrNotFound) {
			return
		}
	}
	t.Fatalf("the store doesn't answer: %v", err)
}

// TestRotatedPassword: after the password has changed in the database and in
// the file, new connections work without a restart.
func TestRotatedPassword(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := func(url string) *openedStore {
		t.Helper()
		st, err := openStore(context.Background(), StoreOptions{URL: url, PasswordFile: file}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		return st
	}
	t.Run("PostgreSQL", func(t *testing.T) {
		p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{Password: "another", Config: []string{"fsync = off"}})
		sql := func(text string) {
			t.Helper()
			if err := p.SQL("sojourn", text); err != nil {
				t.Fatal(err)
			}
		}
		sql("CREATE ROLE shop LOGIN PASSWORD 'first'; CREATE SCHEMA sojourn AUTHORIZATION shop")
		write("first")
		st := open(strings.Replace(p.URL(), "sojourn:another@", "shop@", 1))
		answers(t, st)
		sql("ALTER ROLE shop PASSWORD 'second'; SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'shop'")
		write("second")
		answers(t, st)
	})
	t.Run("Redis", func(t *testing.T) {
		r := servertest.Redis(t, servertest.RedisOptions{})
		do := func(command ...string) {
			t.Helper()
			if _, err := r.Do(command...); err != nil {
				t.Fatal(err)
			}
		}
		do("ACL", "SETUSER", "shop", "on", ">first", "~*", "&*", "+@all")
		write("first")
		st := open(strings.Replace(r.URL(), "redis://", "redis://shop@", 1))
		answers(t, st)
		write("second")
		do("ACL", "SETUSER", "shop", "resetpass", ">second")
		do("CLIENT", "KILL", "USER", "shop")
		answers(t, st)
	})
}

// TestRotatedCA: the file with the authorities is read for each new connection.
func TestRotatedCA(t *testing.T) {
	r := servertest.Redis(t, servertest.RedisOptions{TLS: true})
	other := servertest.Redis(t, servertest.RedisOptions{TLS: true})
	file := filepath.Join(t.TempDir(), "ca.pem")
	write := func(from *servertest.RedisServer) {
		t.Helper()
		b, err := os.ReadFile(from.Certificates.CAFile)
		if err == nil {
			err = os.WriteFile(file, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(r)
	st, err := openStore(context.Background(), StoreOptions{URL: r.URL(), CAFile: file}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	answers(t, st)
	cut := func() {
		t.Helper()
		if _, err := r.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"); err != nil {
			t.Fatal(err)
		}
	}
	write(other)
	cut()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) { // until the connections are gone
		err := st.Get(t.Context(), "shop", store.ID{1}, true, new(store.Record))
		if err != nil && strings.Contains(err.Error(), "certificate signed by unknown authority") {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("the server's certificate still passes: %v", err)
		}
	}
	write(r)
	answers(t, st)
}

// A server doesn't wait longer for a store's file than it may.
func TestFileInUse(t *testing.T) {
	o := StoreOptions{URL: "sqlite:" + filepath.Join(t.TempDir(), "s.db")}
	log := slog.New(slog.DiscardHandler)
	first, err := openStore(t.Context(), o, log)
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx      context.Context
		patience time.Duration
	}{{t.Context(), time.Nanosecond}, {cancelled, time.Hour}} {
		if _, err := openFreeStore(c.ctx, o, c.patience, log); !errors.Is(err, sqlitestore.ErrInUse) {
			t.Errorf("the error is %v", err)
		}
	}
	opened := make(chan error, 1)
	go func() {
		second, err := openFreeStore(t.Context(), o, time.Hour, log)
		if err == nil {
			err = second.Close()
		}
		opened <- err
	}()
	if err := errors.Join(first.Close(), <-opened); err != nil {
		t.Error(err)
	}
}
