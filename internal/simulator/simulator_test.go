package simulator

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// mustOccur lists the scenarios without which a run tests nothing.
var mustOccur = []string{
	"answer: lost, network",
	"answer: lost, the browser was gone",
	"answer: reordered",
	"answer: session cookies reordered",
	"answer: Set-Cookie ignored",
	"answer: minutes after an early commit",
	"browser: crashed, older jar",
	"browser: suspended",
	"browser: idle night",
	"request: upload",
	"request: asked late",
	"request: handled slowly",
	"user: logs in in two tabs",
	"user: elevates in two tabs",
	"user: rotates in two tabs",
	"user: authenticates again",
	"user: logs out",
	"user: another logs in",
	"elsewhere: one session ended",
	"elsewhere: all sessions ended",
	"login: repeated",
	"login: the older secret of a parallel login is used",
	"token: rotated",
	"token: a visitor's rotated",
	"token: rotation repeated",
	"token: confirmed",
	"token: a former one is used within its grace",
	"commit: overtaken by another node's",
	"commit: refused, superseded",
	"commit: refused, ended",
	"late: a refused request",
	"late: a safe request started a new session",
	"thief: came",
	"thief: stays",
	"thief: confirmed a successor",
	"theft: reported, the victim's",
	"theft: reported, the thief's",
	"vandal: tried",
	"event: ended idle",
	"signed out: ended, absolute",
	"event: ended evicted",
	"event: ended theft",
	"event: refused former",
	"signed out: answer to a login lost",
	"signed out: answer to a login lost to a crash within 30 s",
	"signed out: answer to an elevation lost",
	"node: restarted",
	"browser: clock set ahead",
	"browser: clock set back",
	"browser: crashed, lost a key",
	"bound: registered",
	"bound: confirmed",
	"bound: refreshed",
	"bound: refreshed ahead of time",
	"bound: request deferred",
	"bound: answer to a registration lost",
	"bound: answer to a refresh lost",
	"bound: given up after 401",
	"bound: a thief has some minutes",
	"commit: refused, unproven",
	"event: refused unproven",
	"event: refused bound",
	"signed out: a thief registered first",
	"signed out: key lost to a crash within 30 s",
	"thief: came before the login",
	"thief: copied a proof",
	"thief: unproven",
	"thief: refresh refused",
	"thief: registered first",
	"thief: registration refused",
	"unproven in passing: the answer to a refresh was lost",
	"unproven in passing: the browser's quota of signatures is used up",
	"unproven in passing: the clock was set back",
}

// raceDetector reports whether this test was built with -race.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TestSim checks I2 to I5, I7 and I12 to I14, that each logout of a browser has a
// reason, and that no thief of a bound session outlives the proofs it copied. It runs a few thousand worlds. SOJOURN_SOAK=1 runs 100,000
// browser-days, and a larger number that many. SOJOURN_SEED=n runs the world of
// one seed with a trace.
func TestSim(t *testing.T) {
	if text := os.Getenv("SOJOURN_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		r := Run(seed, true)
		for _, line := range r.Trace {
			t.Log(line)
		}
		t.Log(table(r))
		if r.Failure != "" {
			t.Error(r.Failure)
		}
		return
	}

	days, every := 2000.0, time.Duration(0)
	if raceDetector() { // ten times slower, and each simulation is one goroutine
		days = 600
	}
	switch {
	case os.Getenv("SOJOURN_SOAK") != "":
		days, every = 100_000, 10*time.Second
		if n, _ := strconv.ParseFloat(os.Getenv("SOJOURN_SOAK"), 64); n > 1 {
			days = n
		}
	case testing.Short():
		days = 150
	}
	begun := time.Now()
	all := simulate(t, days, every)
	took := time.Since(begun)
	t.Logf("%d worlds, %.0f browser-days in %v, %v each\n%s", all.Seed, all.Days, took.Round(time.Millisecond), (took / time.Duration(max(all.Days, 1))).Round(time.Microsecond), table(all))
	if t.Failed() || all.Days < 500 {
		return
	}
	for _, what := range mustOccur {
		if all.Counts[what] == 0 {
			t.Errorf("%q never occurred", what)
		}
	}
}

// simulate runs worlds from seed 1 on until they add up to the browser-days, or
// one fails.
func simulate(t *testing.T, days float64, every time.Duration) *Report {
	var mu sync.Mutex
	var all Report
	var seed uint64
	reported := time.Now()
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				mu.Lock()
				seed++
				mine, enough := seed, all.Days >= days || t.Failed()
				mu.Unlock()
				if enough {
					return
				}
				r := Run(mine, false)
				mu.Lock()
				all.Add(r)
				if r.Failure != "" {
					report(t, r)
				}
				if every > 0 && time.Since(reported) > every {
					reported = time.Now()
					fmt.Printf("%.0f browser-days\n", all.Days)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	all.Seed = seed
	return &all
}

// report repeats a failed run with a trace.
func report(t *testing.T, r *Report) {
	again := Run(r.Seed, true)
	trace := again.Trace
	if n := 120; len(trace) > n {
		trace = trace[len(trace)-n:]
	}
	t.Errorf("seed %d: %s\n%s\nSOJOURN_SEED=%d repeats it, with the whole trace.", r.Seed, r.Failure, strings.Join(trace, "\n"), r.Seed)
}

func table(r *Report) string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(r.Counts)) {
		fmt.Fprintf(&b, "%10d  %s\n", r.Counts[what], what)
	}
	return b.String()
}
