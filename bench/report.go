package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A report is all that was measured, as Markdown that reads well as plain text too.
type report struct {
	Header      header
	Rounds      int
	Slice       time.Duration
	Cases       []caseResult
	Correctness []correctness
	Memory      []memoryResult
	Pauses      []pauseResult
}

// write writes the report; with details, the spread and the bytes of each figure, and the goals.
func (r *report) write(w io.Writer, details bool) {
	if details {
		fmt.Fprintf(w, "# Sojourn beside others\n\n")
	}
	fmt.Fprintf(w, "%s\n", r.Header)
	if len(r.Cases) > 0 {
		fmt.Fprintf(w, "\nMedians of %d rounds in turn, in one process; handlers called through their middleware, without a connection. In brackets: allocations; ×: times sojourn's.\n", r.Rounds)
	}
	for _, cpus := range r.cpus() {
		if !details && cpus != 1 {
			continue
		}
		r.overview(w, cpus)
	}
	r.writeCorrectness(w)
	r.writeMemory(w)
	r.writePauses(w)
	if details {
		r.goals(w)
		r.spread(w)
		fmt.Fprintf(w, "\nThe contenders:\n\n")
		for _, c := range contenders {
			fmt.Fprintf(w, "- %s: %s\n", strings.TrimSpace(c.name+" "+c.version()), c.note)
		}
	}
}

func (r *report) cpus() (list []int) {
	for _, c := range r.Cases {
		if !slices.Contains(list, c.CPUs) {
			list = append(list, c.CPUs)
		}
	}
	return list
}

func (r *report) find(name string, cpus int) (caseResult, bool) {
	for _, c := range r.Cases {
		if c.Case == name && c.CPUs == cpus {
			return c, true
		}
	}
	return caseResult{}, false
}

// overview is one row for each case, one column for each contender.
func (r *report) overview(w io.Writer, cpus int) {
	t := table{head: []string{cpuWord(cpus)}}
	for _, c := range contenders {
		if slices.ContainsFunc(r.Cases, func(x caseResult) bool { _, ok := x.of(c.name); return ok }) {
			t.head = append(t.head, c.name)
		}
	}
	for _, c := range r.Cases {
		if c.CPUs != cpus {
			continue
		}
		row := []string{c.Case}
		mine, _ := c.of("sojourn")
		for _, name := range t.head[1:] {
			x, ok := c.of(name)
			switch {
			case !ok:
				row = append(row, "–")
			case name == "sojourn" || mine.Ns == 0:
				row = append(row, fmt.Sprintf("%s (%.0f)", duration(x.Ns), x.Allocs))
			default:
				row = append(row, fmt.Sprintf("%s (%.0f) ×%s", duration(x.Ns), x.Allocs, ratio(x.Ns/mine.Ns)))
			}
		}
		t.rows = append(t.rows, row)
	}
	t.write(w)
}

func (r *report) spread(w io.Writer) {
	if len(r.Cases) == 0 {
		return
	}
	fmt.Fprintf(w, "\nEach figure with its quartiles:\n")
	t := table{head: []string{"case", "CPUs", "contender", "ns/op", "quartiles", "allocs/op", "B/op", "÷ sojourn"}}
	for _, c := range r.Cases {
		mine, _ := c.of("sojourn")
		for _, x := range c.Timings {
			row := []string{c.Case, fmt.Sprint(c.CPUs), x.Contender, fmt.Sprintf("%.0f", x.Ns), fmt.Sprintf("%.0f–%.0f", x.Low, x.High),
				fmt.Sprintf("%.1f", x.Allocs), fmt.Sprintf("%.0f", x.Bytes), "–"}
			if mine.Ns > 0 {
				row[7] = ratio(x.Ns / mine.Ns)
			}
			t.rows = append(t.rows, row)
		}
	}
	t.write(w)
}

// goals compares with what the project set out to reach (issue 2).
func (r *report) goals(w io.Writer) {
	t := table{head: []string{"goal, on 1 CPU", "reached", ""}}
	add := func(goal string, reached string, ok bool) {
		word := "no"
		if ok {
			word = "yes"
		}
		t.rows = append(t.rows, []string{goal, reached, word})
	}
	const oneKey, twentyKeys = "read one string, of 1 key", "read one string, of 20 keys and 2 KB"
	for _, g := range []struct {
		name, against string
		times, allocs float64
	}{
		{"read the subject", oneKey, 35, 4},
		{oneKey, oneKey, 25, 5},
		{"anonymous, touches nothing", "anonymous, touches nothing", 2, 2},
		{"change one string", "change one string", 12, 0},
		{"create a session of one string", "create a session of one string", 3, 0},
	} {
		c, ok1 := r.find(g.name, 1)
		d, ok2 := r.find(g.against, 1)
		mine, ok3 := c.of("sojourn")
		scs, ok4 := d.of("scs")
		if !ok1 || !ok2 || !ok3 || !ok4 {
			continue
		}
		x := scs.Ns / mine.Ns
		add(fmt.Sprintf("%s: %.0f times faster than scs", g.name, g.times), ratio(x)+" times", x >= g.times)
		if g.allocs > 0 {
			add(fmt.Sprintf("%s: at most %.0f allocations", g.name, g.allocs), fmt.Sprintf("%.1f", mine.Allocs), mine.Allocs < g.allocs+0.5)
		}
	}
	one, ok1 := r.find(oneKey, 1)
	many, ok2 := r.find(twentyKeys, 1)
	if a, ok := one.of("sojourn"); ok && ok1 && ok2 {
		b, _ := many.of("sojourn")
		add("one value of 20 keys: at most 1.3 times one of 1 key", ratio(b.Ns/a.Ns)+" times", b.Ns/a.Ns <= 1.3)
	}
	var scans []uint64
	for _, m := range r.Memory {
		if m.Contender != "sojourn" {
			continue
		}
		scans = append(scans, m.Scan)
		if m.Rotations > 0 && m.Sessions >= 1_000_000 {
			add("resident memory of a session, half rotated: at most 340 B", fmt.Sprintf("%.0f B", m.Resident), m.Resident <= 340)
		}
	}
	if len(scans) > 1 {
		d := slices.Max(scans) - slices.Min(scans)
		add("a collection's mark work at every number of sessions: within 1 MB", size(float64(d)), d <= 1e6)
	}
	if len(t.rows) > 0 {
		fmt.Fprintf(w, "\nThe project's goals:\n")
		t.write(w)
	}
}

func (r *report) writeMemory(w io.Writer) {
	if len(r.Memory) == 0 {
		return
	}
	fmt.Fprintf(w, "\nMemory, a process for each row: a user ID and 100 bytes of values in each session; in sojourn's also the client (1,000 user agents, random addresses, half of them IPv6). "+
		"Resident: growth of VmRSS after a collection and FreeOSMemory; peak: growth of VmHWM while filling. Rotated: every second session, each secret confirmed.\n")
	t := table{head: []string{"contender", "sessions", "rotated", "resident each", "peak each", "Go heap each", "heap to scan", "CPU of a collection"}}
	for _, m := range r.Memory {
		rotated := "–"
		if m.Rotations > 0 {
			rotated = fmt.Sprintf("%d times", m.Rotations)
		}
		t.rows = append(t.rows, []string{m.Contender, count(m.Sessions), rotated,
			fmt.Sprintf("%.0f B", m.Resident), fmt.Sprintf("%.0f B", m.Peak), fmt.Sprintf("%.0f B", m.Heap), size(float64(m.Scan)), duration(m.GC * 1e9)})
	}
	t.write(w)
}

func (r *report) writePauses(w io.Writer) {
	if len(r.Pauses) == 0 {
		return
	}
	fmt.Fprintf(w, "\nA reader's requests while half of the sessions expire, beside the same without a sweep:\n")
	t := table{head: []string{"contender", "sessions", "", "requests", "p50", "p99", "p99.9", "p99.99", "longest", "longest hold of a lock", "window"}}
	for _, p := range r.Pauses {
		for _, x := range []struct {
			name string
			latencies
			hold time.Duration
		}{{"no sweep", p.Control, 0}, {"sweep", p.Sweep, p.Facts.LongestHold}} {
			hold := "–"
			if x.hold > 0 {
				hold = duration(float64(x.hold))
			}
			row := []string{p.Contender, count(p.Sessions), x.name, fmt.Sprintf("%.2f M", float64(x.Requests)/1e6)}
			for _, d := range []time.Duration{x.P50, x.P99, x.P999, x.P9999, x.Max} {
				row = append(row, duration(float64(d)))
			}
			t.rows = append(t.rows, append(row, hold, fmt.Sprintf("%.1f s", x.Window.Seconds())))
		}
	}
	t.write(w)
}

func (r *report) writeCorrectness(w io.Writer) {
	if len(r.Correctness) == 0 {
		return
	}
	fmt.Fprintf(w, "\nWhat goes wrong when requests of one browser overlap (real connections; a handler takes 5 ms):\n")
	t := table{head: []string{"", "lost, of 64 parallel updates", "logged-out token good again", "login: old token good", "undone in the browser",
		"elevation: old token good", "undone in the browser", "rotation: undone in the browser", "write in flight kept"}}
	of := func(n, of int) string {
		if of == 0 {
			return "–"
		}
		return fmt.Sprintf("%d of %d", n, of)
	}
	for _, c := range r.Correctness {
		lost := fmt.Sprintf("%.0f %%", 100*float64(c.Lost)/float64(max(1, c.Updates)))
		if c.Refused > 0 {
			lost += fmt.Sprintf(" (%d refused)", c.Refused)
		}
		t.rows = append(t.rows, []string{c.Contender, lost,
			of(c.Logout.Revived, c.Logout.Rounds),
			of(c.Login.OldGood, c.Login.Rounds), of(c.Login.Undone+c.Login.LateUndone, 2*c.Login.Rounds),
			of(c.Elevation.OldGood, c.Elevation.Rounds), of(c.Elevation.Undone+c.Elevation.LateUndone, 2*c.Elevation.Rounds),
			of(c.Rotation.Undone+c.Rotation.LateUndone, 2*c.Rotation.Rounds), of(c.Rotation.Kept, c.Rotation.Rounds)})
	}
	t.write(w)
	fmt.Fprintf(w, "\nEach renewal twice: once with a request in flight that writes after it, once with a late request whose answer the browser gets last. "+
		"Sojourn refuses both with 409 after a login or elevation (no stale authority) and keeps both after a rotation, where the old token stays good for a while on purpose.\n")
}

// A table is written as Markdown with its columns aligned.
type table struct {
	head []string
	rows [][]string
}

func (t table) write(w io.Writer) {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(row []string) {
		for i, cell := range row {
			fmt.Fprint(w, "| ", cell, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)), " ")
		}
		fmt.Fprintln(w, "|")
	}
	fmt.Fprintln(w)
	line(t.head)
	rule := make([]string, len(widths))
	for i, n := range widths {
		rule[i] = strings.Repeat("-", max(3, n))
	}
	line(rule)
	for _, row := range t.rows {
		line(row)
	}
}

// duration writes nanoseconds with three digits.
func duration(ns float64) string {
	switch {
	case ns < 1e3:
		return digits(ns) + " ns"
	case ns < 1e6:
		return digits(ns/1e3) + " µs"
	case ns < 1e9:
		return digits(ns/1e6) + " ms"
	default:
		return digits(ns/1e9) + " s"
	}
}

func digits(x float64) string {
	switch {
	case x < 10:
		return fmt.Sprintf("%.2f", x)
	case x < 100:
		return fmt.Sprintf("%.1f", x)
	default:
		return fmt.Sprintf("%.0f", x)
	}
}

func ratio(x float64) string {
	if x < 10 {
		return fmt.Sprintf("%.2g", x)
	}
	return fmt.Sprintf("%.0f", x)
}

func size(bytes float64) string {
	switch {
	case bytes < 1e6:
		return digits(bytes/1e3) + " KB"
	default:
		return digits(bytes/1e6) + " MB"
	}
}
