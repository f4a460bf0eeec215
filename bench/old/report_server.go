package main

import (
	"fmt"
	"io"
	"slices"
)

func (r *serverResults) write(w io.Writer, details bool) {
	if r == nil {
		return
	}
	fmt.Fprintf(w, "\nThe session server, `sojournd serve` as a process on this machine's loopback, on its embedded store; who calls it shares its CPUs.\n")
	if s := r.Start; s != nil {
		fmt.Fprintf(w, "\nFrom the start of the process until it is ready, with %s sessions on disk: %s, at most %s (of %d).\n", count(s.Sessions), duration(float64(s.Median)), duration(float64(s.Longest)), s.Starts)
	}
	if len(r.Hits) > 0 {
		fmt.Fprintf(w, "\nRequests a second, as fast as they are answered (wrk, %d connections, one live session), beside a net/http handler that answers 200 with one header and is sent the same. In turns; medians. "+
			"Then the latencies at half of the server's rate for both, counted from when a request was due.\n", hitConnections)
		t := table{head: slices.Concat([]string{"", "", "a second", "of the bare handler's", "p50, p99", "paced, a second"}, latencyHead)}
		for _, h := range r.Hits {
			for _, side := range []struct {
				name string
				hitTiming
			}{{"sojournd", h.Own}, {"bare handler", h.Bare}} {
				share := "–"
				if side.name == "sojournd" {
					share = fmt.Sprintf("%.0f %%", 100*h.share())
				}
				t.rows = append(t.rows, slices.Concat([]string{
					h.Name, side.name, perSecond(side.PerSecond), share,
					duration(float64(side.P50)) + ", " + duration(float64(side.P99)), fmt.Sprint(h.Rate),
				}, side.Paced.row()))
			}
		}
		t.write(w)
	}
	if c := r.Crowd; c != nil {
		fmt.Fprintf(w, "\n%s subscribers to events and %s idle connections, all from this machine:\n", count(c.Streams), count(c.Idle))
		t := table{head: []string{"resident without them", "holding them", "after events", "until all know of an event, median", "longest"}}
		t.rows = [][]string{{size(float64(c.Before)), size(float64(c.Holding)), size(float64(c.After)), duration(float64(c.Told)), duration(float64(c.Longest))}}
		t.write(w)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "\n%s\n", n)
	}
	if details && len(r.Hits) > 0 {
		fmt.Fprintf(w, "\nQuartiles of the rates:\n")
		t := table{head: []string{"", "sojournd", "bare handler"}}
		for _, h := range r.Hits {
			t.rows = append(t.rows, []string{h.Name, perSecond(h.Own.Low) + "–" + perSecond(h.Own.High), perSecond(h.Bare.Low) + "–" + perSecond(h.Bare.High)})
		}
		t.write(w)
	}
}

// share is the server's rate as a share of the bare handler's.
func (h hitResult) share() float64 { return h.Own.PerSecond / h.Bare.PerSecond }

// goals compares with what the project set out to reach (issue 5).
func (r *serverResults) goals(w io.Writer) {
	if r == nil {
		return
	}
	var g goalTable
	if s := r.Start; s != nil {
		g.add(fmt.Sprintf("start to ready with %s sessions on disk: under 200 ms", count(s.Sessions)), duration(float64(s.Median)), s.Median < 200e6)
	}
	for _, h := range r.Hits {
		g.add(fmt.Sprintf("%s: at least %.0f %% of a bare handler's rate", h.Name, 100*h.Goal), fmt.Sprintf("%.0f %%", 100*h.share()), h.share() >= h.Goal)
		if h.Goal >= 0.8 {
			x := float64(h.Own.Paced.P99) / float64(h.Bare.Paced.P99)
			g.add(h.Name+": p99 at half that rate at most 2 times the bare handler's", ratio(x)+" times", x <= 2)
		}
	}
	if c := r.Crowd; c != nil {
		g.add(fmt.Sprintf("%s subscribers and %s idle connections: under 1 GB", count(c.Streams), count(c.Idle)), size(float64(c.After)), c.After < 1e9)
	}
	g.write(w, "goal of the server")
}
