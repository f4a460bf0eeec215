package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

func (r *sharedResults) write(w io.Writer, details bool) {
	if r == nil {
		return
	}
	fmt.Fprintf(w, "\nStores for many nodes, on this machine's loopback: %s. The servers and %d nodes in one process share its CPUs.\n", strings.Join(r.Setup, "; "), nodeCount)
	r.writeReads(w)
	r.writeRequests(w)
	r.writeWrites(w)
	r.writeEnds(w)
	r.writeLogins(w)
	r.writeSubjects(w)
	r.writeCosts(w)
	r.writeMany(w)
	if details {
		r.writePlan(w, bigSite)
		r.writeSpread(w)
	}
}

// byGoroutines is a table with a row for each load and a column for each number of goroutines.
func byGoroutines(first string, results []loadResult, cell func(loadResult, loadTiming) string) (t table) {
	t.head = []string{first}
	for i, r := range results {
		t.head = append(t.head, goroutinesWord(r.Goroutines))
		for row, l := range r.Loads {
			if i == 0 {
				t.rows = append(t.rows, []string{l.Load})
			}
			t.rows[row] = append(t.rows[row], cell(r, l))
		}
	}
	return t
}

func (r *sharedResults) writeReads(w io.Writer) {
	if len(r.Reads) == 0 {
		return
	}
	fmt.Fprintf(w, "\nOne Get of a session in use. *Cached*: from the memory of %d nodes in turn, each behind nearcache.NewShared; the drivers' own are strict reads from the server. "+
		"%s and %s are the limits: the same client reads what the driver has written; %s is that client's own cache. In brackets: times memstore's, or times the limit's.\n", nodeCount, rawGet, rawSelect, rawDoCache)
	byGoroutines("", r.Reads, func(all loadResult, l loadTiming) string {
		against := map[string]string{redisDriver: rawGet, pgDriver: rawSelect, cached(redisDriver): fromMemory, cached(pgDriver): fromMemory}[l.Load]
		return duration(l.Ns) + times(all, l, against)
	}).write(w)
}

// times says how many times as long as another a load takes.
func times(all loadResult, l loadTiming, against string) string {
	if limit, ok := all.of(against); ok {
		return " (×" + ratio(l.Ns/limit.Ns) + ")"
	}
	return ""
}

func (r *sharedResults) writeRequests(w io.Writer) {
	if len(r.Requests) == 0 {
		return
	}
	fmt.Fprintf(w, "\nRequests through the middleware, each library with the stores that it has for these servers. In brackets: times %s.\n", cached(redisDriver))
	t := table{head: []string{""}}
	for _, c := range r.Requests {
		t.head = append(t.head, c.Case+", "+visitorsWord(c.Visitors))
		mine, _ := c.of(cached(redisDriver))
		for i, x := range c.Timings {
			if len(t.rows) == i {
				t.rows = append(t.rows, []string{x.Contender})
			}
			cell := duration(x.Ns)
			if x.Contender != mine.Contender && mine.Ns > 0 {
				cell += " (×" + ratio(x.Ns/mine.Ns) + ")"
			}
			t.rows[i] = append(t.rows[i], cell)
		}
	}
	t.write(w)
}

func (r *sharedResults) writeWrites(w io.Writer) {
	if len(r.Writes) == 0 {
		return
	}
	fmt.Fprintf(w, "\nA conditional write: Update of a session whose revision is known. %s compares the revision and sets a value of the same size, with a script; %s does it with a row. "+
		"In brackets: times these; then p50 and p99 of one.\n", rawScript, rawUpdate)
	byGoroutines("", r.Writes, func(all loadResult, l loadTiming) string {
		against := rawScript
		if strings.HasPrefix(l.Load, pgDriver) {
			against = rawUpdate
		}
		if l.Load == rawScript || l.Load == rawUpdate {
			against = ""
		}
		return fmt.Sprintf("%s%s, %s, %s", perSecond(l.Rate()), times(all, l, against), duration(float64(l.Latencies.P50)), duration(float64(l.Latencies.P99)))
	}).write(w)
}

func (r *sharedResults) writeEnds(w io.Writer) {
	if len(r.Ends) > 0 {
		fmt.Fprintf(w, "\nEnds: one node ends a session that all have in memory; from its acknowledgement until each of the others refuses the session, asked some ten thousand times a second, without a strict read.\n")
		t := table{head: slices.Concat([]string{"", "", ""}, latencyHead)}
		for _, e := range r.Ends {
			t.rows = append(t.rows, slices.Concat([]string{e.Store, "the end itself", fmt.Sprint(e.Ack.Requests)}, e.Ack.row()),
				slices.Concat([]string{e.Store, "until another node refuses", fmt.Sprint(e.Seen.Requests)}, e.Seen.row()))
		}
		t.write(w)
	}
	if len(r.Limits) > 0 {
		fmt.Fprintf(w, "\nRaces at a limit of %d sessions, logins in parallel over the nodes:\n", lowLimit)
		t := table{head: []string{"", "logins in parallel", "races", "left exactly " + fmt.Sprint(lowLimit), "fewest", "most"}}
		for _, l := range r.Limits {
			t.rows = append(t.rows, []string{l.Store, fmt.Sprint(l.Logins), fmt.Sprint(l.Races), fmt.Sprint(l.Exact), fmt.Sprint(l.Least), fmt.Sprint(l.Most)})
		}
		t.write(w)
	}
}

func (r *sharedResults) writeLogins(w io.Writer) {
	if len(r.Logins) == 0 {
		return
	}
	fmt.Fprintf(w, "\nLogins a second through the engines of %d nodes, in brackets the p50 and p99 of one. At the limit each ends the subject's oldest session.\n", nodeCount)
	t := table{head: []string{"", "in parallel"}}
	for i, x := range r.Logins {
		row := []string{x.Work, fmt.Sprint(x.Goroutines)}
		for _, l := range x.Loads {
			if i == 0 {
				t.head = append(t.head, l.Load)
			}
			row = append(row, fmt.Sprintf("%s (%s, %s)", perSecond(l.Rate()), duration(float64(l.Latencies.P50)), duration(float64(l.Latencies.P99))))
		}
		t.rows = append(t.rows, row)
	}
	t.write(w)
}

func (r *sharedResults) writeSubjects(w io.Writer) {
	if len(r.Subjects) == 0 {
		return
	}
	fmt.Fprintf(w, "\nAll sessions of a subject end:\n")
	t := table{head: []string{"", "sessions", "median", "longest", "of"}}
	for _, x := range r.Subjects {
		t.rows = append(t.rows, []string{x.Store, fmt.Sprint(x.Sessions), duration(float64(x.Took)), duration(float64(x.Longest)), fmt.Sprint(x.Rounds)})
	}
	t.write(w)
}

func (r *sharedResults) writeCosts(w io.Writer) {
	if len(r.Costs) == 0 {
		return
	}
	fmt.Fprintf(w, "\nWhat an operation costs the server, %d at once: CPU time of its processes, bytes on its connections (of Redis), and bytes logged to disk (Redis' append-only file, PostgreSQL's WAL).\n", costWorkers)
	t := table{head: []string{"", "operation", "CPU", "received", "sent", "logged"}}
	for _, c := range r.Costs {
		bytes := func(n int64) string {
			if n == 0 {
				return "–"
			}
			return fmt.Sprintf("%d B", n)
		}
		t.rows = append(t.rows, []string{c.Store, c.Op, duration(float64(c.cpu)), bytes(c.in), bytes(c.out), bytes(c.log)})
	}
	t.write(w)
}

func (r *sharedResults) writeMany(w io.Writer) {
	if len(r.Many) == 0 {
		return
	}
	fmt.Fprintf(w, "\nMany sessions in a store, logged in, with 100 bytes of values; each is what the server's memory grew by (Redis), or its tables and indexes after VACUUM (PostgreSQL). "+
		"The sweep ends half of them while one goroutine reads the others, strictly.\n")
	t := table{head: []string{"", "sessions", "each", "filled in", "count", "page of 100 of all", "page of a subject", "sweep", "a second", "reads without it, p50, p99", "during it"}}
	for _, m := range r.Many {
		row := []string{m.Store, count(m.Sessions), fmt.Sprintf("%.0f B", m.Bytes), duration(float64(m.Fill)), duration(float64(m.Count))}
		for _, p := range m.Pages {
			row = append(row, fmt.Sprintf("%s, at most %s", duration(float64(p.Median)), duration(float64(p.Longest))))
		}
		ended := fmt.Sprintf("%d in %s", m.Ended, duration(float64(m.Took)))
		if !m.Swept {
			ended += ", then stopped"
		}
		p := func(l latencies) string { return duration(float64(l.P50)) + ", " + duration(float64(l.P99)) }
		t.rows = append(t.rows, append(row, ended, perSecond(float64(m.Ended)/m.Took.Seconds()), p(m.Control), p(m.During)))
	}
	t.write(w)
	ops := table{head: []string{"", "operation", "few sessions", "a second", "many sessions", "a second", "times as long"}}
	for _, m := range r.Many {
		for _, o := range m.Ops {
			ops.rows = append(ops.rows, []string{m.Store, o.Name, count(m.Few), perSecond(o.Few.Rate()), count(m.Sessions), perSecond(o.Many.Rate()), ratio(o.Many.Ns / o.Few.Ns)})
		}
	}
	ops.write(w)
}

// writeSpread writes each figure with its quartiles and latencies.
func (r *sharedResults) writeSpread(w io.Writer) {
	all := slices.Concat(r.Reads, r.Writes, r.Logins)
	if len(all) > 0 {
		fmt.Fprintf(w, "\nEach of them with its quartiles, and the latencies of one:\n")
		t := table{head: slices.Concat([]string{"", "goroutines", "store", "ns", "quartiles"}, latencyHead)}
		for _, x := range all {
			for _, l := range x.Loads {
				t.rows = append(t.rows, slices.Concat([]string{x.Work, fmt.Sprint(x.Goroutines), l.Load, fmt.Sprintf("%.0f", l.Ns), fmt.Sprintf("%.0f–%.0f", l.Low, l.High)}, l.Latencies.row()))
			}
		}
		t.write(w)
	}
	if len(r.Requests) > 0 {
		t := table{head: []string{"request", "visitors", "", "ns", "quartiles", "allocs", "B"}}
		for _, c := range r.Requests {
			for _, x := range c.Timings {
				t.rows = append(t.rows, []string{c.Case, fmt.Sprint(c.Visitors), x.Contender, fmt.Sprintf("%.0f", x.Ns), fmt.Sprintf("%.0f–%.0f", x.Low, x.High), fmt.Sprintf("%.1f", x.Allocs), fmt.Sprintf("%.0f", x.Bytes)})
			}
		}
		t.write(w)
		fmt.Fprintf(w, "\nThose compared by requests:\n\n")
		for _, n := range r.Notes {
			fmt.Fprintf(w, "- %s\n", n)
		}
	}
}

// goals compares with what the project set out to reach (issue 4).
func (r *sharedResults) goals(w io.Writer) {
	if r == nil {
		return
	}
	var g goalTable
	atMost := func(goal string, all loadResult, name, against string, limit float64) {
		mine, ok1 := all.of(name)
		other, ok2 := all.of(against)
		if ok1 && ok2 {
			g.add(fmt.Sprintf("%s, %s: at most %g times %s", goal, goroutinesWord(all.Goroutines), limit, against), ratio(mine.Ns/other.Ns)+" times", mine.Ns/other.Ns <= limit)
		}
	}
	for _, all := range r.Reads {
		for _, name := range []string{redisDriver, pgDriver} {
			atMost("read, "+cached(name), all, cached(name), fromMemory, 2)
		}
		atMost("read, "+redisDriver, all, redisDriver, rawGet, 1.3)
		atMost("read, "+pgDriver, all, pgDriver, rawSelect, 1.3)
	}
	for _, c := range r.Requests {
		scs, ok1 := c.of(scsRedis)
		for _, name := range []string{redisDriver, pgDriver} {
			if mine, ok2 := c.of(cached(name)); ok1 && ok2 && (c.Case == sharedCases[0].name || c.Case == sharedCases[1].name) {
				g.add(fmt.Sprintf("%s, %s, %s: at least 25 times as fast as %s", c.Case, visitorsWord(c.Visitors), cached(name), scsRedis), ratio(scs.Ns/mine.Ns)+" times", scs.Ns/mine.Ns >= 25)
			}
		}
	}
	for _, all := range r.Writes {
		atMost("conditional write, "+redisDriver, all, redisDriver, rawScript, 1.5)
	}
	for _, e := range r.Ends {
		limit := map[string]time.Duration{redisDriver: 10 * time.Millisecond, pgDriver: 20 * time.Millisecond}[e.Store]
		g.add(fmt.Sprintf("an end seen by the other nodes, %s: p99 under %v", e.Store, limit), duration(float64(e.Seen.P99)), e.Seen.P99 < limit)
	}
	for _, l := range r.Limits {
		g.add(fmt.Sprintf("%d parallel logins over %d nodes leave exactly %d, %s: always", l.Logins, nodeCount, lowLimit, l.Store), fmt.Sprintf("%d of %d", l.Exact, l.Races), l.Exact == l.Races)
	}
	g.write(w, "goal of the stores for many nodes")
}
