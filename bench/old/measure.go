package main

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A timing is what a contender needed for a case: medians over the rounds.
type timing struct {
	Contender string
	Ns        float64 // wall time for one operation; with several visitors at once, of all of them together
	Low, High float64 // quartiles of Ns
	Allocs    float64
	Bytes     float64
}

// A caseResult compares the contenders in a case.
type caseResult struct {
	Case     string
	CPUs     int
	Visitors int // at once
	Timings  []timing
}

func (r caseResult) of(name string) (timing, bool) {
	return first(r.Timings, func(t timing) bool { return t.Contender == name })
}

// first returns the first in the list that is right.
func first[T any](list []T, right func(T) bool) (found T, ok bool) {
	i := slices.IndexFunc(list, right)
	if i < 0 {
		return found, false
	}
	return list[i], true
}

// A runner measures one contender in one case.
type runner struct {
	contender contender
	c         benchCase
	visitors  int
	site      site
	calls     []func() int // one for each visitor
	n         int          // calls of each in a slice
	slices    []slice
}

// A slice is one short measurement.
type slice struct{ ns, allocs, bytes float64 }

func (r *runner) open() error {
	s, err := r.contender.open()
	if err != nil {
		return err
	}
	r.site, r.calls = s, nil
	if !r.c.suits(s) {
		return nil
	}
	for range r.visitors {
		v, err := r.c.visitor(s)
		if err != nil {
			return fmt.Errorf("bench: %s, %s: %w", r.contender.name, r.c.name, err)
		}
		r.calls = append(r.calls, v.prepare(r.c.op))
	}
	return nil
}

// calibrate finds the number of calls that takes about d.
func (r *runner) calibrate(d time.Duration) error {
	for n := 1; ; n *= 4 {
		_, took, err := r.run(n)
		if err != nil {
			return err
		}
		if took >= d/4 {
			r.n = max(1, int(float64(n)*float64(d)/float64(took)))
			return nil
		}
	}
}

// measure adds a slice.
func (r *runner) measure() error {
	if r.c.fresh {
		_ = r.site.Close()
		if err := r.open(); err != nil {
			return err
		}
	}
	s, _, err := r.run(r.n)
	r.slices = append(r.slices, s)
	return err
}

// run makes n calls for each visitor.
func (r *runner) run(n int) (slice, time.Duration, error) {
	var bad atomic.Int64
	loop := func(call func() int) {
		wrong := 0
		for range n {
			if call() != http.StatusOK {
				wrong++
			}
		}
		bad.Add(int64(wrong))
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	if len(r.calls) == 1 {
		loop(r.calls[0])
	} else {
		var wg sync.WaitGroup
		for _, call := range r.calls {
			wg.Go(func() { loop(call) })
		}
		wg.Wait()
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if b := bad.Load(); b > 0 {
		return slice{}, took, fmt.Errorf("bench: %s, %s: %d of %d calls failed", r.contender.name, r.c.name, b, n*len(r.calls))
	}
	total := float64(n * len(r.calls))
	return slice{
		ns:     float64(took.Nanoseconds()) / total,
		allocs: float64(after.Mallocs-before.Mallocs) / total,
		bytes:  float64(after.TotalAlloc-before.TotalAlloc) / total,
	}, took, nil
}

func (r *runner) result() timing {
	column := func(of func(slice) float64) []float64 {
		var all []float64
		for _, s := range r.slices {
			all = append(all, of(s))
		}
		return all
	}
	ns := column(func(s slice) float64 { return s.ns })
	return timing{
		Contender: r.contender.name,
		Ns:        quantile(ns, 0.5), Low: quantile(ns, 0.25), High: quantile(ns, 0.75),
		Allocs: quantile(column(func(s slice) float64 { return s.allocs }), 0.5),
		Bytes:  quantile(column(func(s slice) float64 { return s.bytes }), 0.5),
	}
}

// compare measures a case on the given number of CPUs, each of which serves one visitor; the contenders take turns.
func compare(ctx context.Context, contenders []contender, c benchCase, cpus, rounds int, d time.Duration, progress func(string)) (caseResult, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cpus))
	say := func(s string) { progress(c.name + ", " + cpuWord(cpus) + s) }
	result, err := compareVisitors(ctx, contenders, c, cpus, rounds, d, say)
	result.CPUs = cpus
	return result, err
}

// compareVisitors measures a case with so many visitors at once.
func compareVisitors(ctx context.Context, contenders []contender, c benchCase, visitors, rounds int, d time.Duration, progress func(string)) (caseResult, error) {
	var runners []*runner
	defer func() {
		for _, r := range runners {
			_ = r.site.Close()
		}
	}()
	for _, who := range contenders {
		r := &runner{contender: who, c: c, visitors: visitors}
		if err := r.open(); err != nil {
			return caseResult{}, err
		}
		if r.calls == nil {
			_ = r.site.Close()
			continue
		}
		runners = append(runners, r)
		if err := r.calibrate(d); err != nil {
			return caseResult{}, err
		}
	}
	say := func(round int) { progress(fmt.Sprintf(": round %d of %d", round, rounds)) }
	if err := takeTurns(ctx, rounds, len(runners), say, func(i int) error { return runners[i].measure() }); err != nil {
		return caseResult{}, err
	}
	result := caseResult{Case: c.name, Visitors: visitors}
	for _, r := range runners {
		result.Timings = append(result.Timings, r.result())
	}
	return result, nil
}

func cpuWord(n int) string {
	if n == 1 {
		return "1 CPU"
	}
	return fmt.Sprint(n, " CPUs")
}

// quantile returns the q-quantile of the values, by linear interpolation; 0 if there are none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 == len(v) {
		return v[i]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}
