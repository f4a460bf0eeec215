package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A hand is one of the goroutines that call something at once.
type hand struct {
	w, turn int
	rec     store.Record // belongs to the hand
}

// A call does something for the number i.
type call func(h *hand, i int) error

// work shares the numbers from first on among so many hands. due returns when the
// call of a number is due, or false if there is none. A latency counts from then:
// a stall counts for every call that it keeps waiting.
func work(hands, first int, do call, due func(i int) (time.Time, bool)) latencies {
	var next atomic.Int64
	next.Store(int64(first))
	all := make([]latencies, hands)
	var wg sync.WaitGroup
	for w := range hands {
		wg.Go(func() {
			var own latencies
			h := &hand{w: w}
			for {
				i := int(next.Add(1)) - 1
				start, more := due(i)
				if !more {
					break
				}
				check(do(h, i))
				own = append(own, time.Since(start))
			}
			all[w] = own
		})
	}
	wg.Wait()
	return slices.Concat(all...)
}

// atOnce measures what so many goroutines do over and over. The time of an
// operation is that of all goroutines together; p50 and p99 are of single calls.
func atOnce(b *testing.B, hands int, do call) {
	b.ResetTimer()
	took := spread(0, b.N, hands, do)
	b.StopTimer()
	took.report(b.ReportMetric, "", 50, 99)
}

// spread makes the calls from first up to end.
func spread(first, end, hands int, do call) latencies {
	return work(hands, first, do, func(i int) (time.Time, bool) { return time.Now(), i < end })
}

// pace makes so many calls a second, until ctx is done.
func pace(ctx context.Context, rate, hands int, do call) latencies {
	start := time.Now()
	return work(hands, 0, do, func(i int) (time.Time, bool) {
		due := start.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		return due, ctx.Err() == nil
	})
}

type latencies []time.Duration

// report sorts l and reports percentiles of it.
func (l latencies) report(metric func(value float64, unit string), prefix string, percentiles ...float64) {
	slices.Sort(l)
	for _, p := range percentiles {
		name := fmt.Sprintf("p%v-ns", p)
		if p == 100 {
			name = "max-ns"
		}
		if len(l) > 0 {
			metric(float64(l[min(int(p/100*float64(len(l))), len(l)-1)]), prefix+name)
		}
	}
}

// figures are what a benchmark reports in place of its time, by unit.
type figures map[string]float64

func (m figures) add(value float64, unit string) { m[unit] = value }

func (m figures) report(b *testing.B) {
	m["ns/op"] = 0
	for unit, value := range m {
		b.ReportMetric(value, unit)
	}
}

func TestPercentiles(t *testing.T) {
	var l latencies
	for n := range 100_000 {
		l = append(l, time.Duration(100_000-n))
	}
	got := figures{}
	l.report(got.add, "", 50, 99.9, 100)
	if got["p50-ns"] != 50_001 || got["p99.9-ns"] != 99_901 || got["max-ns"] != 100_000 {
		t.Error(got)
	}
}

// A call that waits for a busy hand counts from when it was due.
func TestPaceCountsFromWhenDue(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	took := pace(ctx, 1000, 1, func(_ *hand, i int) error {
		if i == 0 {
			time.Sleep(50 * time.Millisecond)
		}
		if i == 40 {
			cancel()
		}
		return nil
	})
	got := figures{}
	took.report(got.add, "", 50)
	if len(took) != 41 || got["p50-ns"] < 20e6 {
		t.Error(len(took), "calls, median", got)
	}
}
