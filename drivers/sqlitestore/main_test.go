package sqlitestore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Some tests need a process of their own, to kill it or to read its system
// calls. They run this program again, as a child that does what its first
// argument says.
const childEnv = "SOJOURN_SQLITESTORE_CHILD"

var children = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		code := m.Run()
		os.RemoveAll(plainDir)
		os.Exit(code)
	}
	if err := children[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// plain builds this program without the race detector, with which SQLite takes
// ten times as long. It is for tests that run a child hundreds of times.
var plain = sync.OnceValues(func() (name string, err error) {
	if plainDir, err = os.MkdirTemp("", "sqlitestore-"); err != nil {
		return "", err
	}
	name = filepath.Join(plainDir, "plain.test")
	if out, err := exec.Command("go", "test", "-c", "-o", name, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go test -c: %w: %s", err, out)
	}
	return name, nil
})

var plainDir string

// plainChild is like child, without the race detector.
func plainChild(t testing.TB, prefix []string, args ...string) *exec.Cmd {
	t.Helper()
	name, err := plain()
	if err != nil {
		t.Fatal(err)
	}
	cmd := child(t.Context(), prefix, args...)
	cmd.Args[len(prefix)] = name
	if len(prefix) == 0 {
		cmd.Path = name
	}
	return cmd
}

// child returns the command of a child, run by the command in prefix.
func child(ctx context.Context, prefix []string, args ...string) *exec.Cmd {
	line := append(prefix[:len(prefix):len(prefix)], os.Args[0])
	line = append(line, args...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"=1", "GORACE=halt_on_error=1")
	cmd.Stderr = os.Stderr
	return cmd
}

// needs skips a test if a program is missing, and fails it if all tests must
// run.
func needs(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("SOJOURN_REQUIRE_ALL") == "1" {
		t.Fatalf("needs %s: make tools installs it", program)
	}
	t.Skipf("needs %s: make tools installs it", program)
}

// inspect asks SQLite's own program, which shares no code with the store and
// can read it while it is open.
func inspect(t testing.TB, path, query string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sqlite3", "-readonly", "-bail", path, query).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 %s %q: %v: %s", filepath.Base(path), query, err, out)
	}
	return strings.TrimSpace(string(out))
}

func wantIntact(t testing.TB, path string) {
	t.Helper()
	if got := inspect(t, path, "PRAGMA integrity_check"); got != "ok" {
		t.Fatalf("integrity_check of %s: %s", path, got)
	}
}

const pageBytes = 4096
