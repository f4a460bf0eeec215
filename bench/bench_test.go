// Package bench compares Sojourn with the session libraries that people use,
// and its parts with the least that they could cost. `make bench` runs the
// benchmarks in rounds, so that all peers suffer the same disturbances, and
// prints benchstat's tables. docs/benchmarks.md explains them.
//
// A benchmark is named for the question, then case=, then peer=: the peers are
// the columns of a table. Under -short, everything is tiny.
package bench

import (
	"net/http"
	"os"
	"os/exec"
	"testing"
)

// atExit is what TestMain calls at the end.
var atExit = func() {}

func TestMain(m *testing.M) {
	if address := os.Getenv(bareVariable); address != "" {
		serveBare(address)
	}
	code := m.Run()
	atExit()
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

// bareVariable makes this program a bare handler on the address that it holds.
const bareVariable = "SOJOURN_BENCH_BARE"

// serveBare answers all requests with 200 and one header.
func serveBare(address string) {
	panic(http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Sojourn-Subject", "u-1815")
	})))
}

// Each benchmark runs once, in a process of its own, so that a broken one turns
// this test red. Under -short, only those that need no file and no server do.
func TestBenchmarksRun(t *testing.T) {
	pattern := "."
	if testing.Short() {
		pattern = "Request$|Race$"
	}
	cmd := exec.Command(must(os.Executable()), "-test.run=^$", "-test.bench="+pattern, "-test.benchtime=1x", "-test.short")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
