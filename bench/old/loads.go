package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A load is something that many goroutines do over and over.
type load struct {
	name  string
	batch int // operations of one call: many where a look at the clock after each would count; 0: one
	hand  func(w int) func() error

	ready func(ctx context.Context, goroutines int) error // is called before the first turn

	// Some can't be repeated without a preparation that isn't measured: stock makes ready for n calls, and a slice makes no more than that.
	stock func(ctx context.Context, n int) error
}

// A loadTiming is how fast a load was: the median of the slices, and the latencies of all of them.
type loadTiming struct {
	Load      string
	Ns        float64 // wall time for one operation, of all goroutines together
	Low, High float64 // quartiles of Ns
	Latencies latencies
}

// Rate is in operations a second.
func (t loadTiming) Rate() float64 { return 1e9 / t.Ns }

// A loadResult compares loads in one kind of work, by so many goroutines at once.
type loadResult struct {
	Work       string
	Goroutines int
	Loads      []loadTiming
}

func (r loadResult) of(name string) (loadTiming, bool) {
	return first(r.Loads, func(t loadTiming) bool { return t.Load == name })
}

// A loadScale says how often and how long each load has its turn.
type loadScale struct {
	goroutines []int
	rounds     int
	slice      time.Duration
	stock      int // calls of a slice, where they need a stock, for each goroutine up to sixteen
}

type loadRun struct {
	load
	ns    []float64
	total histogram
}

// compareAllLoads measures the loads by each number of goroutines.
func compareAllLoads(ctx context.Context, work string, loads []load, s loadScale, say func(string)) (all []loadResult, err error) {
	for _, n := range s.goroutines {
		result, err := compareLoads(ctx, work, loads, n, s, say)
		if err != nil {
			return nil, err
		}
		all = append(all, result)
	}
	return all, nil
}

// compareLoads measures the loads in turns.
func compareLoads(ctx context.Context, work string, loads []load, goroutines int, s loadScale, say func(string)) (loadResult, error) {
	runs := make([]*loadRun, len(loads))
	for i, l := range loads {
		l.batch = max(1, l.batch)
		runs[i] = &loadRun{load: l}
		if l.ready == nil {
			continue
		}
		if err := l.ready(ctx, goroutines); err != nil {
			return loadResult{}, fmt.Errorf("bench: %s, %s: %w", work, l.name, err)
		}
	}
	saying := func(round int) {
		say(fmt.Sprintf("%s, %s: round %d of %d", work, goroutinesWord(goroutines), round, s.rounds))
	}
	err := takeTurns(ctx, s.rounds, len(runs), saying, func(i int) error {
		if err := runs[i].run(ctx, goroutines, s); err != nil {
			return fmt.Errorf("bench: %s, %s: %w", work, runs[i].name, err)
		}
		return nil
	})
	result := loadResult{Work: work, Goroutines: goroutines}
	for _, r := range runs {
		result.Loads = append(result.Loads, loadTiming{r.name, quantile(r.ns, 0.5), quantile(r.ns, 0.25), quantile(r.ns, 0.75), r.total.latencies()})
	}
	return result, err
}

// run works for one slice, and until the last goroutine is done; each does something.
func (r *loadRun) run(ctx context.Context, goroutines int, s loadScale) error {
	var left atomic.Int64
	left.Store(1 << 62)
	if r.stock != nil {
		n := s.stock * min(goroutines, 16)
		if err := r.stock(ctx, n); err != nil {
			return err
		}
		left.Store(int64(n))
	}
	hands := make([]func() error, goroutines)
	for w := range hands {
		hands[w] = r.hand(w)
	}
	histograms := make([]histogram, goroutines)
	errs := make([]error, goroutines)
	runtime.GC()
	var wg sync.WaitGroup
	start := time.Now()
	for w, do := range hands {
		wg.Go(func() {
			for at, end := start, start; end.Sub(start) < s.slice && left.Add(-1) >= 0; at = end {
				if errs[w] = do(); errs[w] != nil {
					return
				}
				end = time.Now()
				histograms[w].add(end.Sub(at) / time.Duration(r.batch))
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	done := uint64(0)
	for i := range histograms {
		done += histograms[i].total
		r.total.merge(&histograms[i])
	}
	r.ns = append(r.ns, float64(took.Nanoseconds())/float64(done*uint64(r.batch)))
	return errors.Join(errs...)
}

func goroutinesWord(n int) string {
	if n == 1 {
		return "1 goroutine"
	}
	return fmt.Sprint(n, " goroutines")
}
