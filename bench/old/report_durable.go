package main

import (
	"fmt"
	"io"
	"time"
)

func (d *durableResults) write(w io.Writer, details bool) {
	if d == nil {
		return
	}
	d.writeWrites(w)
	if details {
		d.writeSpread(w)
	}
	d.writeSteady(w)
	d.writeReads(w)
	d.writeExpiry(w)
	d.writeOpenings(w)
	d.writeTurnover(w)
}

func (d *durableResults) writeWrites(w io.Writer) {
	if len(d.Writes) == 0 {
		return
	}
	fmt.Fprintf(w, "\nDurable writes of sessions like those above, on a disk, the keepers in turn in one process: operations a second, in brackets the p50 and p99 of one. "+
		"*%s* is what any store that syncs could reach at most: one goroutine writes the same sessions for all that wait, and one fdatasync for all. *%s* is write and fdatasync by the writer. "+
		"scs is given WAL and synchronous=FULL too; gorilla's files are never synced.\n", bareLog, bareSync)
	t := table{head: []string{"", "writers", sojournKeeper, "of the log's rate"}}
	for _, k := range peerKeepers {
		t.head = append(t.head, k.name)
	}
	for _, r := range d.Writes {
		mine, _ := r.of(sojournKeeper)
		row := []string{string(r.Op), fmt.Sprint(r.Writers), mine.String(), "–"}
		if limit, ok := r.of(bareLog); ok && mine.Rate > 0 {
			row[3] = percent(mine.Rate / limit.Rate)
		}
		if raw, ok := r.of(bareSync); ok && mine.Rate > 0 {
			row[3] += fmt.Sprintf("; %s of %s", percent(mine.Rate/raw.Rate), bareSync)
		}
		for _, k := range peerKeepers {
			cell := "–"
			if x, ok := r.of(k.name); ok {
				cell = x.String()
			}
			row = append(row, cell)
		}
		t.rows = append(t.rows, row)
	}
	t.write(w)
}

func (k keeperTiming) String() string {
	return fmt.Sprintf("%s (%s, %s)", perSecond(k.Rate), duration(float64(k.Latencies.P50)), duration(float64(k.Latencies.P99)))
}

func (d *durableResults) writeSpread(w io.Writer) {
	if len(d.Writes) == 0 {
		return
	}
	fmt.Fprintf(w, "\nEach of them with its quartiles and latencies:\n")
	t := table{head: append([]string{"", "writers", "keeper", "sessions before", "a second", "quartiles"}, latencyHead...)}
	for _, r := range d.Writes {
		for _, k := range r.Keepers {
			t.rows = append(t.rows, append([]string{string(r.Op), fmt.Sprint(r.Writers), k.Keeper, count(k.Sessions), fmt.Sprintf("%.0f", k.Rate),
				fmt.Sprintf("%.0f–%.0f", k.Low, k.High)}, k.Latencies.row()...))
		}
	}
	t.write(w)
	fmt.Fprintf(w, "\nThe keepers:\n\n- %s: %s\n", sojournKeeper, sojournNote)
	for _, k := range peerKeepers {
		fmt.Fprintf(w, "- %s: %s\n", k.name, k.note)
	}
}

func (d *durableResults) writeSteady(w io.Writer) {
	if s := d.Steady; s != nil {
		fmt.Fprintf(w, "\nDurable creations at a steady rate into a file of %s sessions, checkpoints included; each latency counts from when the creation was due:\n", count(s.Sessions))
		t := table{head: append([]string{"", "a second", "writers", "for", "creations"}, latencyHead...)}
		for _, k := range []struct {
			name string
			latencies
		}{{sojournKeeper, s.Latencies}, {bareLog + ", before and after", s.Limit}} {
			t.rows = append(t.rows, append([]string{k.name, fmt.Sprint(s.Rate), fmt.Sprint(s.Writers), k.Window.String(), millions(k.Requests)}, k.row()...))
		}
		t.write(w)
	}
}

func (d *durableResults) writeReads(w io.Writer) {
	if len(d.Reads) == 0 {
		return
	}
	fmt.Fprintf(w, "\nOne Get of a session that is read often, of many in the store:\n")
	t := table{head: []string{"", fromMemory, fromCache, "÷ " + fromMemory, fromFile, "÷ " + fromCache}}
	for _, r := range d.Reads {
		memory, _ := r.of(fromMemory)
		cache, _ := r.of(fromCache)
		file, _ := r.of(fromFile)
		t.rows = append(t.rows, []string{cpuWord(r.CPUs), duration(memory.Ns), duration(cache.Ns), ratio(cache.Ns / memory.Ns), duration(file.Ns), ratio(file.Ns / cache.Ns)})
	}
	t.write(w)
}

func (d *durableResults) writeExpiry(w io.Writer) {
	x := d.Expiry
	if x == nil {
		return
	}
	fmt.Fprintf(w, "\nHalf of %s sessions in a file expire while a reader reads through the cache as fast as it can, and %d durable writes a second come in, each counted from when it was due. "+
		"The sweep ended %d in %s.\n", count(x.Sessions), x.WriteRate, x.Ended, duration(float64(x.Took)))
	t := table{head: append([]string{"", "", "requests"}, latencyHead...)}
	for _, s := range []struct {
		name string
		served
	}{{"no sweep", x.Control}, {"sweep", x.Sweep}} {
		t.rows = append(t.rows, append([]string{s.name, "reads", millions(s.Reads.Requests)}, s.Reads.row()...),
			append([]string{s.name, "writes", millions(s.Writes.Requests)}, s.Writes.row()...))
	}
	t.write(w)
}

func (d *durableResults) writeOpenings(w io.Writer) {
	if len(d.Openings) == 0 {
		return
	}
	fmt.Fprintf(w, "\nA file is opened, in a process of its own. Cold: the system held nothing of it in memory (posix_fadvise; a host's cache is beyond that). "+
		"Resident: growth of VmRSS by opening it, and after reads of %s random sessions from it.\n", count(openingReads))
	t := table{head: []string{"sessions", "", "open", "first read", "on disk", "each", "resident", "after reads", "each"}}
	for _, o := range d.Openings {
		cold := "warm"
		if o.Cold {
			cold = "cold"
		}
		each := func(n int64) string { return fmt.Sprintf("%.0f B", float64(n)/float64(o.Sessions)) }
		t.rows = append(t.rows, []string{count(o.Sessions), cold, duration(float64(o.Open)), duration(float64(o.First)),
			size(float64(o.Disk)), each(o.Disk), size(float64(o.Resident)), size(float64(o.Serving)), each(o.Serving)})
	}
	t.write(w)
}

func (d *durableResults) writeTurnover(w io.Writer) {
	x := d.Turnover
	if x == nil {
		return
	}
	fmt.Fprintf(w, "\nA day's turnover in %s: %s sessions come and expire while %s live at once, and tombstones stay for an hour.\n",
		duration(float64(x.Took)), count(x.Through), count(x.Live))
	t := table{head: []string{"", "the file, all in all", "÷ first"}}
	for _, s := range []struct {
		name  string
		bytes int64
	}{{"when as many live for the first time", x.First}, {"at most", x.Max}, {"at the end", x.Last}} {
		t.rows = append(t.rows, []string{s.name, size(float64(s.bytes)), ratio(float64(s.bytes) / float64(x.First))})
	}
	t.write(w)
}

var latencyHead = []string{"p50", "p99", "p99.9", "p99.99", "longest"}

func (l latencies) row() (row []string) {
	for _, d := range []time.Duration{l.P50, l.P99, l.P999, l.P9999, l.Max} {
		row = append(row, duration(float64(d)))
	}
	return row
}

func percent(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }

func millions(n uint64) string { return fmt.Sprintf("%.2f M", float64(n)/1e6) }

// perSecond writes a rate with three digits.
func perSecond(x float64) string {
	if x < 1e4 {
		return fmt.Sprintf("%.0f/s", x)
	}
	return digits(x/1e3) + " k/s"
}
