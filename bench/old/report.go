package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
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
	Durable     *durableResults
	Shared      *sharedResults
	Server      *serverResults
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
	r.Durable.write(w, details)
	r.Shared.write(w, details)
	r.Server.write(w, details)
	if details {
		r.goals(w)
		r.Durable.goals(w)
		r.Shared.goals(w)
		r.Server.goals(w)
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
	return first(r.Cases, func(c caseResult) bool { return c.Case == name && c.CPUs == cpus })
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

func (r *report) writeMemory(w io.Writer) {
	if len(r.Memory) == 0 {
		return
	}
	fmt.Fprintf(w, "\nMemory, a process for each row: a user ID and 100 bytes of values in each session; in sojourn's also the client (1,000 user agents, random addresses, half of them IPv6). "+
		"Resident: growth of VmRSS after a collection and FreeOSMemory; peak: growth of VmHWM while filling. Rotated: every second session, each secret confirmed. Lookups: of random sessions, a second, on all CPUs, without the middleware; sojourn's give the decoded record, scs's the bytes.\n")
	t := table{head: []string{"contender", "sessions", "rotated", "resident each", "peak each", "Go heap each", "heap to scan", "CPU of a collection", "lookups in the store"}}
	for _, m := range r.Memory {
		rotated := "–"
		if m.Rotations > 0 {
			rotated = fmt.Sprintf("%d times", m.Rotations)
		}
		lookups := "–"
		if m.Lookups > 0 {
			lookups = perSecond(m.Lookups)
		}
		t.rows = append(t.rows, []string{m.Contender, count(m.Sessions), rotated,
			fmt.Sprintf("%.0f B", m.Resident), fmt.Sprintf("%.0f B", m.Peak), fmt.Sprintf("%.0f B", m.Heap), size(float64(m.Scan)), duration(m.GC * 1e9), lookups})
	}
	t.write(w)
}

func (r *report) writePauses(w io.Writer) {
	if len(r.Pauses) == 0 {
		return
	}
	fmt.Fprintf(w, "\nA reader's requests while half of the sessions expire, beside the same without a sweep:\n")
	t := table{head: slices.Concat([]string{"contender", "sessions", "", "requests"}, latencyHead, []string{"longest hold of a lock", "window"})}
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
			t.rows = append(t.rows, slices.Concat([]string{p.Contender, count(p.Sessions), x.name, millions(x.Requests)},
				x.row(), []string{hold, fmt.Sprintf("%.1f s", x.Window.Seconds())}))
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
