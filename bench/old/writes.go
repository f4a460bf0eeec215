package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A writesResult compares the keepers in one operation by so many writers.
type writesResult struct {
	Op      keeperOp
	Writers int
	Keepers []keeperTiming
}

func (r writesResult) of(name string) (keeperTiming, bool) {
	return first(r.Keepers, func(k keeperTiming) bool { return k.Keeper == name })
}

// A keeperTiming is how fast a keeper was: the median of the slices, and the latencies of all of them.
type keeperTiming struct {
	Keeper    string
	Sessions  int     // that it kept before the first write
	Rate      float64 // operations a second
	Low, High float64 // quartiles of Rate
	Latencies latencies
}

// A keeperRun is one keeper while it is measured.
type keeperRun struct {
	keeper
	kind  keeperKind
	kept  int          // sessions 0 to kept-1 are there to be read and changed
	next  atomic.Int64 // the next session to create
	hands []hand
	rates []float64
	total *histogram
}

func (k *keeperRun) begin(writers int) {
	for len(k.hands) < writers {
		k.hands = append(k.hands, k.hand())
	}
	k.rates, k.total = nil, new(histogram)
}

func (k *keeperRun) suits(o keeperOp, writers int) bool {
	return !k.kind.alone || writers == 1 && o == opCreate
}

// job returns what writer w of so many does over and over. Writers change different sessions, so that none of them meets a conflict.
func (k *keeperRun) job(o keeperOp, w, writers int) func() error {
	h := k.hands[w]
	random := rand.New(rand.NewPCG(uint64(w), uint64(len(k.rates))))
	n := min(k.kept, inUse)
	if o == opRandom {
		n = k.kept
	}
	some := func() int { return w + writers*random.IntN(n/writers) }
	switch o {
	case opCreate:
		return func() error { return h.create(int(k.next.Add(1)) - 1) }
	case opMix:
		return func() error {
			if random.IntN(10) == 0 {
				return h.update(some())
			}
			return h.read(some())
		}
	default:
		return func() error { return h.update(some()) }
	}
}

// slice has the writers work for d, and until the last of them is done; each does something.
func (k *keeperRun) slice(o keeperOp, writers int, d time.Duration) error {
	runtime.GC()
	var wg sync.WaitGroup
	histograms := make([]histogram, writers)
	errs := make([]error, writers)
	start := time.Now()
	for w := range writers {
		do := k.job(o, w, writers)
		wg.Go(func() {
			for at, end := time.Now(), start; end.Sub(start) < d; at = end {
				if errs[w] = do(); errs[w] != nil {
					return
				}
				end = time.Now()
				histograms[w].add(end.Sub(at))
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("bench: %s, %s by %d writers: %w", k.kind.name, o, writers, err)
	}
	done := uint64(0)
	for i := range histograms {
		done += histograms[i].total
		k.total.merge(&histograms[i])
	}
	k.rates = append(k.rates, float64(done)/took.Seconds())
	return nil
}

func (k *keeperRun) result() keeperTiming {
	return keeperTiming{
		Keeper: k.kind.name, Sessions: k.kept,
		Rate: quantile(k.rates, 0.5), Low: quantile(k.rates, 0.25), High: quantile(k.rates, 0.75),
		Latencies: k.total.latencies(),
	}
}

// A writesScale says how much of the durable writes is measured.
type writesScale struct {
	ops     []keeperOp
	writers []int
	rounds  int // of creations, for which there are aims, twice as many
	slice   time.Duration
}

// A writesCase is an operation by so many writers.
type writesCase struct {
	op      keeperOp
	writers int
	rounds  int
}

func (s writesScale) cases() (all []writesCase) {
	for _, o := range s.ops {
		for _, writers := range s.writers {
			c := writesCase{o, writers, s.rounds}
			if o == opCreate {
				c.rounds *= 2
			}
			if o != opRandom || writers == 128 {
				all = append(all, c)
			}
		}
	}
	return all
}

// measureWrites measures the kinds side by side, with n sessions, or their share of them, in each to begin with.
func measureWrites(ctx context.Context, dir string, kinds []keeperKind, n int, s writesScale, say func(string)) (all []writesResult, err error) {
	var runs []*keeperRun
	defer func() {
		for _, k := range runs {
			err = errors.Join(err, k.Close())
		}
	}()
	for _, kind := range kinds {
		say("durable writes, opening " + kind.name)
		k := &keeperRun{kind: kind, kept: max(n/kind.share, min(n, slices.Max(s.writers)))} // one for each writer at least
		if k.keeper, err = kind.open(ctx, dir, k.kept); err != nil {
			return nil, fmt.Errorf("bench: open %s: %w", kind.name, err)
		}
		k.next.Store(int64(k.kept))
		runs = append(runs, k)
	}
	for _, c := range s.cases() {
		result, err := compareWrites(ctx, runs, c, s.slice, say)
		if err != nil {
			return nil, err
		}
		all = append(all, result)
	}
	return all, nil
}

func compareWrites(ctx context.Context, runs []*keeperRun, c writesCase, d time.Duration, say func(string)) (writesResult, error) {
	var suited []*keeperRun
	for _, k := range runs {
		if k.suits(c.op, c.writers) {
			k.begin(c.writers)
			suited = append(suited, k)
		}
	}
	saying := func(round int) {
		say(fmt.Sprintf("durable writes, %s by %s: round %d of %d", c.op, writersWord(c.writers), round, c.rounds))
	}
	err := takeTurns(ctx, c.rounds, len(suited), saying, func(i int) error { return suited[i].slice(c.op, c.writers, d) })
	result := writesResult{Op: c.op, Writers: c.writers}
	for _, k := range suited {
		result.Keepers = append(result.Keepers, k.result())
	}
	return result, err
}

func writersWord(n int) string {
	if n == 1 {
		return "1 writer"
	}
	return fmt.Sprint(n, " writers")
}
