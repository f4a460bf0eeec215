// Package servertest starts real servers for tests and benchmarks: Redis, a Redis Cluster, PostgreSQL,
// PgBouncer, nginx and Caddy, from the machine's packages. Each listens on a free port of 127.0.0.1, keeps its files in a temporary
// directory, and is gone when its test or its process is.
//
// A test says
//
//	r := servertest.Redis(t, servertest.RedisOptions{})
//	s, err := redisstore.Open(ctx, r.URL(), redisstore.Options{})
//
// and is skipped where the machine has no redis-server, but fails where SOJOURN_REQUIRE_ALL is set. A program, or
// tests that share a server, call StartRedis and Close.
//
// A server can be killed, restarted and paused. These methods of one server must not be called concurrently with
// each other; all others may be called at any time.
package servertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// TB is what the package needs of a test. Every testing.TB has it.
type TB interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// ErrMissing says that the machine lacks the program of a server: make tools installs it.
var ErrMissing = errors.New("make tools installs it")

// patience is how long a server may take to do what it was asked for, on a busy machine.
const patience = time.Minute

// where programs are that Debian and others keep out of PATH.
var where = map[string][]string{
	"postgres":  {"/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin"},
	"pgbouncer": {"/usr/sbin"},
	"nginx":     {"/usr/sbin"},
}

// find returns the path of a program.
func find(program string) (string, error) {
	for _, dir := range where[program] {
		paths, _ := filepath.Glob(filepath.Join(dir, program)) // the pattern is a constant
		if len(paths) > 0 {
			return paths[len(paths)-1], nil
		}
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("needs %s: %w", program, ErrMissing)
	}
	return path, nil
}

// Need ends the test if the machine lacks the program of a server, as Check does.
func Need(t TB, program string) {
	t.Helper()
	_, err := find(program)
	Check(t, err)
}

// Check ends the test if a server didn't start: it is skipped for want of the program, unless all tests must run.
func Check(t TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrMissing) && os.Getenv("SOJOURN_REQUIRE_ALL") != "1":
		t.Skipf("%v", err)
	default:
		t.Fatalf("%v", err)
	}
}

// A server of a test is closed after it, and has its log shown if the test failed.
func keep(t TB, err error, server interface {
	Close()
	LogTail() string
}) {
	t.Helper()
	Check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", server.LogTail())
		}
		server.Close()
	})
}

// eventually calls f until it returns nil.
func eventually(what string, f func() error) error {
	deadline := time.Now().Add(patience)
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := f()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v: %w", what, patience, err)
		}
		time.Sleep(wait)
	}
}
