// Package bench compares Sojourn with the session libraries that people use,
// and its parts with the least that they could cost. `make bench` runs the
// benchmarks in rounds, so that all peers suffer the same disturbances, and
// prints benchstat's tables. docs/benchmarks.md explains them.
//
// A benchmark is named for the question, then case=, then peer=: the peers are
// the columns of a table. scripts/bench.sh knows each benchmark's -benchtime; most
// of those with files or servers need 1x. Under -short, everything is tiny.
package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// ends are what TestMain calls at the end, in reverse order.
var ends []func()

func atEnd(f func()) { ends = append(ends, f) }

func TestMain(m *testing.M) {
	if address := os.Getenv(bareVariable); address != "" {
		panic(http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Sojourn-Subject", "u-1815")
		})))
	}
	if name := os.Getenv(siteVariable); name != "" {
		panic(serveSite(name, os.Getenv(addressVariable)))
	}
	code := m.Run()
	for _, end := range slices.Backward(ends) {
		end()
	}
	os.Exit(code)
}

// check ends the program on an error: nothing is measured if something fails.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// must returns v, and ends the program on an error.
func must[T any](v T, err error) T {
	check(err)
	return v
}

// workDir is where files are: BENCH_DIR, which must be on a disk for the figures
// to mean anything, or a temporary directory. TestMain removes the latter.
var workDir = sync.OnceValue(func() string {
	if dir := os.Getenv("BENCH_DIR"); dir != "" {
		return dir
	}
	dir := must(os.MkdirTemp("", "sojourn-bench-"))
	check(os.Chmod(dir, 0o711)) // PostgreSQL's user enters it
	atEnd(func() { os.RemoveAll(dir) })
	return dir
})

// sized returns n, or few under -short.
func sized(n, few int) int {
	if testing.Short() {
		return few
	}
	return n
}

// bareVariable makes this program a bare handler on the address that it holds,
// which answers all requests with 200 and one header.
const bareVariable = "SOJOURN_BENCH_BARE"

// siteVariable makes this program the site of the peer that it names, on the
// address in addressVariable.
const (
	siteVariable    = "SOJOURN_BENCH_SITE"
	addressVariable = "SOJOURN_BENCH_ADDRESS"
)

// TestBenchmarksRun runs each benchmark once, in a process of its own, so that a
// broken one turns it red. Under -short, only those that need no file and no
// server run.
func TestBenchmarksRun(t *testing.T) {
	pattern := "."
	if testing.Short() {
		pattern = "Request$|Race$"
	}
	limit := 10 * time.Minute
	if end, ok := t.Deadline(); ok {
		limit = min(limit, time.Until(end)-20*time.Second)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	out, err := rerun(ctx, pattern, true)
	if ctx.Err() != nil {
		t.Fatalf("the benchmarks took more than %v:\n%s", limit.Round(time.Second), out)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// rerun runs benchmarks of this program once in another process, and returns what
// it printed. When ctx is done, the process prints its goroutines and exits. Its
// own processes die with it, and it dies with this one.
func rerun(ctx context.Context, pattern string, short bool, env ...string) (string, error) {
	cmd := exec.CommandContext(ctx, must(os.Executable()), "-test.run=^$", "-test.benchtime=1x",
		"-test.bench="+pattern, fmt.Sprint("-test.cpu=", runtime.GOMAXPROCS(0)), fmt.Sprint("-test.short=", short))
	cmd.Env = append(os.Environ(), append(env, "BENCH_DIR="+workDir())...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	cmd.WaitDelay = 5 * time.Second
	check(servertest.Spawn(cmd))
	err := cmd.Wait()
	return out.String(), err
}
