// Package servertest starts real servers for tests and benchmarks: Redis, a
// Redis Cluster, PostgreSQL, PgBouncer, nginx and Caddy. The programs must be
// installed. Each server listens on a free port of 127.0.0.1 and has its files
// in a temporary directory. It ends with its test or its process.
//
// A test calls
//
//	r := servertest.Redis(t, servertest.RedisOptions{})
//	s, err := redisstore.Open(ctx, r.URL(), redisstore.Options{})
//
// If redis-server is missing, the test is skipped, or fails if
// SOJOURN_REQUIRE_ALL is set. Programs, and tests that share a server, call
// StartRedis and Close.
//
// A server can be killed, restarted and paused. Such methods of one server must
// not be called concurrently. All others may.
package servertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// TB has the methods of testing.TB that the package uses.
type TB interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// ErrMissing is the error if a server's program is not installed.
var ErrMissing = errors.New("make tools installs it")

// patience is how long any step may take on a busy machine.
const patience = time.Minute

// where lists directories that are not in PATH on Debian and other systems.
var where = map[string][]string{
	"postgres":  {"/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin"},
	"pgbouncer": {"/usr/sbin"},
	"nginx":     {"/usr/sbin"},
	"haproxy":   {"/usr/sbin"},
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

// Need calls Check with an error if a program is not installed.
func Need(t TB, program string) {
	t.Helper()
	_, err := find(program)
	Check(t, err)
}

// Check ends the test if a server did not start. It skips the test if the
// program is missing and SOJOURN_REQUIRE_ALL is not set.
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

// keep closes a server after the test. If the test failed, it shows the log.
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
