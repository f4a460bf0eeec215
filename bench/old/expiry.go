package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// An expiryResult is what readers and writers feel while half of all sessions expire.
type expiryResult struct {
	Sessions       int
	WriteRate      int // a second
	Control, Sweep served
	Ended          int
	Took           time.Duration
}

// served are the latencies of the two kinds of work.
type served struct{ Reads, Writes latencies }

// An expiryScale says how much is served meanwhile.
type expiryScale struct {
	rate, writers int
	hot           int // sessions that are read
	control       time.Duration
}

// measureExpiry serves cached reads as fast as one goroutine can make them, and durable writes at a fixed rate, half of them creations and half changes of sessions in use, first without a sweep
// and then during one that ends the even half of the n sessions in the file.
func measureExpiry(ctx context.Context, path storeFile, n int, s expiryScale, say func(string)) (result expiryResult, err error) {
	file, err := openFile(ctx, path)
	if err != nil {
		return result, err
	}
	cache := nearcache.New(file, nearcache.Options{})
	defer func() {
		if closed := cache.Close(); err == nil {
			err = closed
		}
	}()
	say("expiry: filling the cache")
	if err := warm(ctx, cache, s.hot); err != nil {
		return result, err
	}
	result = expiryResult{Sessions: n, WriteRate: s.rate}
	created := n
	serve := func(during func(context.Context) error) (served, error) {
		serving, stop := context.WithCancel(ctx)
		defer stop()
		hands := make([]hand, s.writers)
		for w := range hands {
			hands[w] = storeKeeper{cache}.hand()
		}
		type outcome struct {
			h   *histogram
			err error
		}
		written := make(chan outcome)
		first := created
		go func() {
			h, err := pace(serving, s.rate, s.writers, math.MaxInt64, func(w int) func(int) error {
				return func(i int) error {
					if i%2 == 0 {
						return hands[w].create((first + i) | 1) // an odd one, that stays
					}
					return hands[w].update(i%min(n, inUse) | 1)
				}
			})
			written <- outcome{h, err}
		}()
		reading := storeKeeper{cache}.hand()
		stopReader := startReader(s.hot, func(i int) bool { return reading.read(i) == nil })
		start := time.Now()
		duringErr := during(serving)
		window := time.Since(start)
		reads, readErr := stopReader()
		stop()
		w := <-written
		created += (int(w.h.total) + s.writers + 2) &^ 1
		writes := w.h.latencies()
		writes.Window = window
		return served{reads, writes}, firstError(duringErr, readErr, w.err, ctx.Err())
	}

	say("expiry: serving without a sweep")
	if result.Control, err = serve(func(ctx context.Context) error { return wait(ctx, s.control) }); err != nil {
		return result, err
	}
	say("expiry: serving during the sweep")
	result.Sweep, err = serve(func(ctx context.Context) error {
		start := time.Now()
		result.Ended, err = sweepAll(ctx, cache, sampleStart.Add(shortIdle*2))
		result.Took = time.Since(start)
		return err
	})
	if err == nil && result.Ended != n/2 {
		err = fmt.Errorf("bench: the sweep ended %d of %d sessions, want half", result.Ended, n)
	}
	return result, err
}

// sweepAll does what the engine does once a minute.
func sweepAll(ctx context.Context, s store.Store, now store.Time) (total int, err error) {
	for done := false; !done; {
		ended, finished, err := s.Sweep(ctx, sampleApp, now, sweepStep)
		total += len(ended)
		if err != nil {
			return total, err
		}
		if done = finished; !done {
			if err := wait(ctx, sweepPause); err != nil {
				return total, err
			}
		}
	}
	return total, nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
