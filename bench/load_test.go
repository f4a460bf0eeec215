package bench

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// atOnce measures what so many goroutines do over and over. worker is called once
// for each of them. The time of an operation is that of all goroutines together;
// p50 and p99 are of single calls.
func atOnce(b *testing.B, goroutines int, worker func(w int) func() error) {
	hands := make([]func() error, goroutines)
	for w := range hands {
		hands[w] = worker(w)
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	histograms := make([]histogram, goroutines)
	b.ResetTimer()
	for w, do := range hands {
		wg.Go(func() {
			for at := time.Now(); left.Add(-1) >= 0; {
				check(do())
				end := time.Now()
				histograms[w].add(end.Sub(at))
				at = end
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	merge(histograms).report(b, "", 0.5, 0.99)
}

// spread calls do for each number from from up to to, by so many workers.
func spread(from, to, workers int, worker func() func(i int) error) {
	var next atomic.Int64
	next.Store(int64(from))
	var wg sync.WaitGroup
	for range workers {
		do := worker()
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < to; i = int(next.Add(1)) - 1 {
				check(do(i))
			}
		})
	}
	wg.Wait()
}

// each is a worker of spread that needs no state of its own.
func each(do func(i int) error) func() func(i int) error {
	return func() func(int) error { return do }
}

// pace lets workers do something so many times a second, until ctx is done. A
// latency counts from when the call was due, not from when a worker was free:
// a stall counts for every call that it keeps waiting.
func pace(ctx context.Context, rate, workers int, worker func(w int) func(n int) error) *histogram {
	var next atomic.Int64
	interval := time.Second / time.Duration(rate)
	histograms := make([]histogram, workers)
	var wg sync.WaitGroup
	start := time.Now()
	for w := range workers {
		do := worker(w)
		wg.Go(func() {
			for {
				n := next.Add(1) - 1
				due := time.Duration(n) * interval
				time.Sleep(due - time.Since(start))
				if ctx.Err() != nil {
					return
				}
				check(do(int(n)))
				histograms[w].add(time.Since(start) - due)
			}
		})
	}
	wg.Wait()
	return merge(histograms)
}

// A histogram counts durations in steps of 1/16 of their power of two.
type histogram struct {
	counts [64 * 16]uint64
	total  uint64
	max    time.Duration
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.total++
	h.max = max(h.max, d)
}

func merge(all []histogram) *histogram {
	sum := new(histogram)
	for _, h := range all {
		for b, n := range h.counts {
			sum.counts[b] += n
		}
		sum.total += h.total
		sum.max = max(sum.max, h.max)
	}
	return sum
}

func bucket(n uint64) int {
	if n < 16 {
		return int(n)
	}
	exp := bits.Len64(n) - 5 // n>>exp is 16 to 31
	return exp*16 + int(n>>exp)
}

// bucketTop is the largest value of a bucket.
func bucketTop(b int) uint64 {
	if b < 16 {
		return uint64(b)
	}
	exp := b/16 - 1
	return uint64(b%16+16+1)<<exp - 1
}

func (h *histogram) quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.total))
	var seen uint64
	for b, n := range h.counts {
		if seen += n; seen > rank {
			return min(time.Duration(bucketTop(b)), h.max)
		}
	}
	return h.max
}

var quantileNames = map[float64]string{0.5: "p50-ns", 0.99: "p99-ns", 0.999: "p99.9-ns", 0.9999: "p99.99-ns", 1: "max-ns"}

// figures are what a benchmark reports, by unit.
type figures map[string]float64

func (m figures) ReportMetric(value float64, unit string) { m[unit] = value }

// report adds the quantiles to a benchmark's metrics.
func (h *histogram) report(to interface{ ReportMetric(float64, string) }, prefix string, quantiles ...float64) {
	for _, q := range quantiles {
		to.ReportMetric(float64(h.quantile(q)), prefix+quantileNames[q])
	}
}

func TestHistogram(t *testing.T) {
	all := make([]histogram, 2)
	for n := range 100_000 {
		all[n%2].add(time.Duration(n + 1))
	}
	h := merge(all)
	for q, want := range map[float64]float64{0.5: 50_000, 0.99: 99_000, 0.9999: 99_990, 1: 100_000} {
		if got := float64(h.quantile(q)); got < want || got > want*17/16 {
			t.Errorf("quantile %v: %v, want %v to a sixteenth more", q, got, want)
		}
	}
	for n := range uint64(100_000) {
		if b := bucket(n); bucketTop(b) < n || b > 0 && bucketTop(b-1) >= n {
			t.Fatalf("%d is in the bucket %d, which ends at %d", n, b, bucketTop(b))
		}
	}
}

// A call that waits for a busy worker counts from when it was due.
func TestPaceCountsFromWhenDue(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h := pace(ctx, 1000, 1, func(int) func(int) error {
		return func(n int) error {
			if n == 0 {
				time.Sleep(50 * time.Millisecond)
			}
			if n == 40 {
				cancel()
			}
			return nil
		}
	})
	if h.total != 41 || h.quantile(0.5) < 20*time.Millisecond {
		t.Errorf("%d calls, median %v", h.total, h.quantile(0.5))
	}
}
