package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// A scalePlan turns what operations cost into what a large site needs. All but the costs is assumed, and said to be.
type scalePlan struct {
	sessions float64 // in the store
	checks   float64 // a second, at the peak
	gap      float64 // seconds between two requests of a browser in use
	writes   float64 // part of the requests that change the session
	logins   float64 // a second, at the peak; as many sessions end
	perNode  float64 // requests a second that a node serves, whatever else they do
	busy     float64 // part of a CPU that is planned with
	shard    float64 // bytes of sessions in one Redis
}

// bigSite is the one that issue 4 asks about. A session lives for twenty days, so 58 come and go in a second, and ten times as many at the peak.
var bigSite = scalePlan{
	sessions: 100e6, checks: 1e6, gap: 10, writes: 0.01, logins: 10 * 100e6 / (20 * 86400), perNode: 50_000, busy: 0.5, shard: 20e9,
}

// What the engine does by default, in seconds.
const (
	planTouch   = 60   // a session in use is touched so often
	planRotate  = 900  // and gets a new secret so often
	planConfirm = 60   // which isn't confirmed for at least so long: its requests are decided by the store
	planMend    = 3600 // the sweep compares each session with its subject's index so often, in Redis
)

func (p scalePlan) inUse() float64 { return p.checks * p.gap }

func (p scalePlan) nodes() float64 { return math.Ceil(p.checks / p.perNode) }

// rates are the operations a second that reach the store, where each browser's requests reach the same node.
func (p scalePlan) rates() map[string]float64 {
	rotations := p.inUse() / planRotate
	touches := p.inUse() / planTouch
	return map[string]float64{
		costRead:   touches + rotations*(planConfirm/p.gap+3), // what is due, an unconfirmed secret, and once more after a rotation and its two notes
		costTouch:  touches,
		costUpdate: p.checks * p.writes,
		costRotate: rotations,
		costNotice: 2 * rotations, // that it was seen, and that it is confirmed
		costVisit:  p.logins,
		costLogin:  p.logins,
		costEnd:    p.logins,
		costMend:   p.sessions / planMend,
	}
}

// heard are the operations that every node hears of.
var heard = []string{costUpdate, costRotate, costNotice, costVisit, costLogin, costEnd}

// changes is how many changes a second the feed reports to each node.
func (p scalePlan) changes() (n float64) {
	rates := p.rates()
	for _, op := range heard {
		n += rates[op]
	}
	return n
}

// A planRow is what operations of a kind cost the servers of a store in a second.
type planRow struct {
	op           string
	rate         float64
	each         time.Duration
	cores        float64
	in, out, log float64 // bytes
}

// rows are those of a store whose costs are known; the feed to all nodes, and their heartbeats, come last, and then the sum.
func (p scalePlan) rows(costs map[string]spent) (rows []planRow) {
	total := planRow{op: "all"}
	add := func(op string, rate float64, c spent) {
		r := planRow{op, rate, c.cpu, rate * c.cpu.Seconds(), rate * float64(c.in), rate * float64(c.out), rate * float64(c.log)}
		rows = append(rows, r)
		total.cores, total.in, total.out, total.log = total.cores+r.cores, total.in+r.in, total.out+r.out, total.log+r.log
	}
	rates := p.rates()
	for _, op := range []string{costRead, costTouch, costUpdate, costRotate, costNotice, costVisit, costLogin, costEnd} {
		add(op, rates[op], costs[op])
	}
	if c, ok := costs[costMend]; ok {
		add(costMend, rates[costMend], c)
	}
	told := costs[costHeard].since(costs[costUpdate])
	add("tell a node of a change", p.changes()*p.nodes(), spent{cpu: max(0, told.cpu) / listeners, out: max(0, told.out) / listeners})
	add("a node's heartbeats", p.nodes(), costs[costIdle])
	return append(rows, total)
}

// writePlan writes the plan from what was measured of each store: its costs, and its bytes.
func (r *sharedResults) writePlan(w io.Writer, p scalePlan) {
	t := table{head: []string{"", "", "a second", "CPU of one", "cores", "received", "sent", "logged"}}
	var notes []string
	for _, m := range r.Many {
		costs := map[string]spent{}
		for _, c := range r.Costs {
			if c.Store == m.Store {
				costs[c.Op] = c.spent
			}
		}
		if len(costs) == 0 {
			continue
		}
		rows := p.rows(costs)
		for _, x := range rows {
			row := []string{m.Store, x.op, "", "", fmt.Sprintf("%.2f", x.cores), sizeOf(x.in), sizeOf(x.out), sizeOf(x.log)}
			if x.rate > 0 {
				row[2], row[3] = rate(x.rate), duration(float64(x.each))
			}
			t.rows = append(t.rows, row)
		}
		notes = append(notes, p.note(m, rows[len(rows)-1].cores))
	}
	if len(t.rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\nA plan for %.0f M sessions and %.0f M checks a second on %.0f nodes, from these costs (docs/scale.md says what is assumed): "+
		"%.0f M browsers in use, each at one node; %.0f %% of the checks are answered from memory; the feed reports %s changes a second to each node.\n",
		p.sessions/1e6, p.checks/1e6, p.nodes(), p.inUse()/1e6, 100*(1-p.rates()[costRead]/p.checks), rate(p.changes()))
	t.write(w)
	fmt.Fprintf(w, "\n%s\n", strings.Join(notes, "\n"))
}

// note says how many servers of a store that takes.
func (p scalePlan) note(m manyResult, cores float64) string {
	bytes := p.sessions * m.Bytes
	text := fmt.Sprintf("- %s: %.0f M sessions of %.0f B are %s. %.1f cores' work is %.0f cores that are %.0f %% busy", m.Store, p.sessions/1e6, m.Bytes, size(bytes), cores, math.Ceil(cores/p.busy), 100*p.busy)
	if m.Store == redisDriver {
		text += fmt.Sprintf("; in shards of one core and at most %s of sessions: %.0f, and a replica of each", size(p.shard), math.Ceil(max(cores/p.busy, bytes/p.shard)))
	}
	return text + "."
}

func sizeOf(bytes float64) string {
	if bytes == 0 {
		return "–"
	}
	return size(bytes)
}

// rate writes operations a second.
func rate(x float64) string {
	switch {
	case x < 1e3:
		return fmt.Sprintf("%.0f", x)
	case x < 1e6:
		return digits(x/1e3) + " k"
	default:
		return digits(x/1e6) + " M"
	}
}
