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
}

// A steadyScale says how many, how long.
type steadyScale struct {
	rate, writers int
	d             time.Duration
}

// measureSteady creates sessions in the file, which holds n, and returns how many it holds then.
func measureSteady(ctx context.Context, path storeFile, n int, s steadyScale, say func(string)) (result steadyResult, now int, err error) {
	file, err := openFile(ctx, path)
	if err != nil {
		return result, n, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hands := make([]hand, s.writers)
	for w := range hands {
		hands[w] = storeKeeper{file}.hand()
	}
	settle()
	h, err := pace(ctx, s.rate, s.writers, s.d, func(w int) func(int) error {
		return func(i int) error {
			if i%(10*s.rate) == 0 {
				say(fmt.Sprintf("%d creations a second: %d of %.0f s", s.rate, i/s.rate, s.d.Seconds()))
			}
			return hands[w].create(n + i)
		}
	})
	if err = firstError(err, ctx.Err()); err != nil {
		return result, n, err
	}
	result = steadyResult{Sessions: n, Rate: s.rate, Writers: s.writers, Latencies: h.latencies()}
	result.Latencies.Window = s.d
	return result, n + int(h.total), nil
}
