package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// A goalTable says what was aimed at, and what was reached.
type goalTable struct{ rows [][]string }

func (g *goalTable) add(goal, reached string, ok bool) {
	word := "no"
	if ok {
		word = "yes"
	}
	g.rows = append(g.rows, []string{goal, reached, word})
}

func (g *goalTable) write(w io.Writer, head string) {
	if len(g.rows) > 0 {
		fmt.Fprintf(w, "\nThe project's goals:\n")
		table{head: []string{head, "reached", ""}, rows: g.rows}.write(w)
	}
}

// goals compares with what the project set out to reach (issue 2).
func (r *report) goals(w io.Writer) {
	var g goalTable
	const oneKey, twentyKeys = "read one string, of 1 key", "read one string, of 20 keys and 2 KB"
	for _, c := range []struct {
		name, against string
		times, allocs float64
	}{
		{"read the subject", oneKey, 35, 4},
		{oneKey, oneKey, 25, 5},
		{"anonymous, touches nothing", "anonymous, touches nothing", 2, 2},
		{"change one string", "change one string", 12, 0},
		{"create a session of one string", "create a session of one string", 3, 0},
	} {
		own, ok1 := r.find(c.name, 1)
		others, ok2 := r.find(c.against, 1)
		mine, ok3 := own.of("sojourn")
		scs, ok4 := others.of("scs")
		if !ok1 || !ok2 || !ok3 || !ok4 {
			continue
		}
		x := scs.Ns / mine.Ns
		g.add(fmt.Sprintf("%s: %.0f times faster than scs", c.name, c.times), ratio(x)+" times", x >= c.times)
		if c.allocs > 0 {
			g.add(fmt.Sprintf("%s: at most %.0f allocations", c.name, c.allocs), fmt.Sprintf("%.1f", mine.Allocs), mine.Allocs < c.allocs+0.5)
		}
	}
	one, ok1 := r.find(oneKey, 1)
	many, ok2 := r.find(twentyKeys, 1)
	if a, ok := one.of("sojourn"); ok && ok1 && ok2 {
		b, _ := many.of("sojourn")
		g.add("one value of 20 keys: at most 1.3 times one of 1 key", ratio(b.Ns/a.Ns)+" times", b.Ns/a.Ns <= 1.3)
	}
	var scans []uint64
	for _, m := range r.Memory {
		if m.Contender != "sojourn" {
			continue
		}
		scans = append(scans, m.Scan)
		if m.Sessions >= 10_000_000 {
			g.add("10 M sessions: at most 3.4 GB resident", size(m.Resident*float64(m.Sessions)), m.Resident <= 340)
		}
		if m.Rotations > 0 && m.Sessions >= 1_000_000 {
			g.add("resident memory of a session, half rotated: at most 340 B", fmt.Sprintf("%.0f B", m.Resident), m.Resident <= 340)
		}
	}
	if len(scans) > 1 {
		d := slices.Max(scans) - slices.Min(scans)
		g.add("a collection's mark work at every number of sessions: within 1 MB", size(float64(d)), d <= 1e6)
	}
	g.write(w, "goal, on 1 CPU")
}

// goals compares with what the project set out to reach (issue 3).
func (d *durableResults) goals(w io.Writer) {
	if d == nil {
		return
	}
	var g goalTable
	for _, r := range d.Writes {
		mine, ok := r.of(sojournKeeper)
		if r.Op != opCreate || !ok {
			continue
		}
		if r.Writers == 128 {
			g.add("durable creations by 128 writers: at least 20,000 a second", perSecond(mine.Rate), mine.Rate >= 20_000)
		}
		if raw, ok := r.of(bareSync); ok {
			g.add("durable creations by one writer: at least 50 % of the bare write and sync", percent(mine.Rate/raw.Rate), mine.Rate/raw.Rate >= 0.5)
		}
	}
	if s := d.Steady; s != nil {
		g.add(fmt.Sprintf("%d durable creations a second: p99 under 35 ms", s.Rate), duration(float64(s.Latencies.P99)), s.Latencies.P99 < 35*time.Millisecond)
	}
	for _, r := range d.Reads {
		memory, _ := r.of(fromMemory)
		cache, _ := r.of(fromCache)
		file, _ := r.of(fromFile)
		g.add("read through the cache, "+cpuWord(r.CPUs)+": at most 1.5 times memstore's", ratio(cache.Ns/memory.Ns)+" times", cache.Ns/memory.Ns <= 1.5)
		g.add("read through the cache, "+cpuWord(r.CPUs)+": at least 10 times as fast as from the file", ratio(file.Ns/cache.Ns)+" times", file.Ns/cache.Ns >= 10)
	}
	if x := d.Expiry; x != nil {
		g.add("writes while half expire: p99.9 under 100 ms", duration(float64(x.Sweep.Writes.P999)), x.Sweep.Writes.P999 < 100*time.Millisecond)
	}
	g.write(w, "goal of the embedded store")
}
