package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A child of a test is this program, too.
func TestMain(m *testing.M) {
	if text := os.Getenv(jobVariable); text != "" {
		exitOn(childMain(text, os.Stdout, os.Stderr))
		return
	}
	os.Exit(m.Run())
}

// All of it, of which hardly anything.
func TestMeasureServer(t *testing.T) {
	if testing.Short() {
		t.Skip("builds sojournd")
	}
	if _, err := exec.LookPath("wrk"); err != nil {
		if os.Getenv("SOJOURN_REQUIRE_ALL") != "" {
			t.Fatal("needs wrk: make test installs it")
		}
		t.Skip("needs wrk: not installed")
	}
	tiny := serverScale{bound: 2 * time.Minute, sessions: 500, starts: 2, rounds: 1, slice: time.Second, paced: 200 * time.Millisecond, streams: 20, idle: 10}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r, err := measureServer(ctx, options{scale: scale{server: tiny}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Start; s == nil || s.Median <= 0 || s.Longest < s.Median || s.Sessions != 500 {
		t.Errorf("start: %+v", s)
	}
	if len(r.Hits) != 2 {
		t.Fatalf("hits: %+v", r.Hits)
	}
	for _, h := range r.Hits {
		if h.share() <= 0 || h.Own.P99 < h.Own.P50 || h.Own.Paced.Requests == 0 || h.Bare.Paced.Requests == 0 {
			t.Errorf("%+v", h)
		}
	}
	if c := r.Crowd; c == nil || c.Streams != 20 || c.Idle != 10 || c.Holding <= 0 || c.Told <= 0 {
		t.Errorf("crowd: %+v", c)
	}
	var text strings.Builder
	r.write(&text, true)
	r.goals(&text)
	for _, want := range []string{"/check of a live session", "subscribers", "goal of the server", "resolve: at least 50 %"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%s\nlacks %q", &text, want)
		}
	}
	(*serverResults)(nil).write(&text, true)
	(*serverResults)(nil).goals(&text)
}

const wrkSaid = `Running 1s test @ http://127.0.0.1:9999/
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.51ms    1.48ms  26.39ms   87.32%
    Req/Sec    27.34k     3.29k   35.18k    70.00%
  Latency Distribution
     50%    1.06ms
     75%    2.07ms
     90%    3.31ms
     99%  730.00us
  54382 requests in 1.01s, 6.69MB read
Requests/sec:  53849.19
Transfer/sec:      6.62MB
`

func TestReadWrk(t *testing.T) {
	m, err := readWrk(wrkSaid)
	if want := (wrkTiming{53849.19, 1060 * time.Microsecond, 730 * time.Microsecond}); m != want || err != nil {
		t.Errorf("%+v, %v", m, err)
	}
	for name, text := range map[string]string{
		"refused":   wrkSaid + "  Non-2xx or 3xx responses: 5\n",
		"broken":    wrkSaid + "  Socket errors: connect 0, read 4, write 0, timeout 0\n",
		"no rate":   strings.ReplaceAll(wrkSaid, "Requests/sec", "x"),
		"no median": strings.ReplaceAll(wrkSaid, " 50%", " 51%"),
		"nothing":   "",
	} {
		if m, err := readWrk(text); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}
