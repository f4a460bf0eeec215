package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A steadyResult are the latencies of creations at a fixed rate, each from when it was due.
type steadyResult struct {
	Sessions  int // in the file to begin with
	Rate      int // creations a second
	Writers   int
	Latencies latencies
	Limit     latencies // those of the bare log at the same rate, in a tenth of the time: half of it before, half after
}

// A steadyScale says how many, how long.
type steadyScale struct {
	rate, writers int
	d             time.Duration
}

// measureSteady creates sessions in the file, which holds n, and returns how many it holds then.
func measureSteady(ctx context.Context, dir string, path storeFile, n int, s steadyScale, say func(string)) (result steadyResult, now int, err error) {
	limit, err := openLogKeeper(ctx, dir, 0)
	if err != nil {
		return result, n, err
	}
	file, err := openFile(ctx, path)
	if err != nil {
		return result, n, errors.Join(err, limit.Close())
	}
	defer func() { err = errors.Join(err, file.Close(), limit.Close()) }()

	before, err := s.create(ctx, limit, 0, s.d/20, func(t string) { say(bareLog + ": " + t) })
	if err != nil {
		return result, n, err
	}
	h, err := s.create(ctx, storeKeeper{file}, n, s.d, say)
	if err != nil {
		return result, n, err
	}
	after, err := s.create(ctx, limit, 0, s.d/20, func(t string) { say(bareLog + ": " + t) })
	if err != nil {
		return result, n, err
	}
	before.merge(after)
	result = steadyResult{Sessions: n, Rate: s.rate, Writers: s.writers, Latencies: h.latencies(), Limit: before.latencies()}
	result.Latencies.Window, result.Limit.Window = s.d, s.d/10
	return result, n + int(h.total), nil
}

// create creates sessions from the first one on at the steady rate.
func (s steadyScale) create(ctx context.Context, k keeper, first int, d time.Duration, say func(string)) (*histogram, error) {
	hands := make([]hand, s.writers)
	for w := range hands {
		hands[w] = k.hand()
	}
	settle()
	h, err := pace(ctx, s.rate, s.writers, d, func(w int) func(int) error {
		return func(i int) error {
			if i%(10*s.rate) == 0 {
				say(fmt.Sprintf("%d creations a second: %d of %.0f s", s.rate, i/s.rate, d.Seconds()))
			}
			return hands[w].create(first + i)
		}
	})
	return h, firstError(err, ctx.Err())
}
