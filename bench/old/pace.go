package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// pace has workers do something so many times a second, for d or until ctx is done. Each time is counted from when it was due, not from when
// a worker was free for it: otherwise a stall would count once and not for all whom it kept waiting. The histogram is of those that
// were due before the end; all of them are done when pace returns.
func pace(ctx context.Context, rate, workers int, d time.Duration, worker func(w int) func(n int) error) (*histogram, error) {
	var next atomic.Int64
	interval := time.Second / time.Duration(rate)
	histograms := make([]histogram, workers)
	errs := make([]error, workers)
	var failed atomic.Bool
	var wg sync.WaitGroup
	start := time.Now()
	for w := range workers {
		do := worker(w)
		wg.Go(func() {
			for !failed.Load() {
				n := next.Add(1) - 1
				due := time.Duration(n) * interval
				if due >= d {
					return
				}
				time.Sleep(due - time.Since(start))
				if ctx.Err() != nil {
					return
				}
				if errs[w] = do(int(n)); errs[w] != nil {
					failed.Store(true)
					return
				}
				histograms[w].add(time.Since(start) - due)
			}
		})
	}
	wg.Wait()
	total := &histograms[0]
	for i := range histograms[1:] {
		total.merge(&histograms[i+1])
	}
	return total, errors.Join(errs...)
}
