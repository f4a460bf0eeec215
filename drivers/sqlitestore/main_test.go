package sqlitestore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Some tests need a process of their own, to kill it or to look at its system calls: this program again, as a
// child that does what its first argument says.
const childEnv = "SOJOURN_SQLITESTORE_CHILD"

var children = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	if err := children[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child returns the command of a child, under the command that prefix names.
func child(ctx context.Context, prefix []string, args ...string) *exec.Cmd {
	line := append(prefix[:len(prefix):len(prefix)], os.Args[0])
	line = append(line, args...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"=1", "GORACE=halt_on_error=1")
	cmd.Stderr = os.Stderr
	return cmd
}

// needs skips a test for want of a program, but not where all tests must run.
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

// inspect asks SQLite's own program, which shares no code with the store, and may look while it is open.
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
