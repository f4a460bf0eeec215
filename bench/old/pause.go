package main

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"
)

// A pauseResult is what readers feel while half of all sessions expire.
type pauseResult struct {
	Contender      string
	Sessions       int
	Control, Sweep latencies
	Facts          sweepFacts
}

// latencies are those of a reader's requests.
type latencies struct {
	Requests                   uint64
	Window                     time.Duration
	P50, P99, P999, P9999, Max time.Duration
}

// measurePause lets one goroutine read sessions that don't expire, as fast as it can, for a while without a sweep and then during one.
func measurePause(open func() (vault, error), j job, progress func(string)) (pauseResult, error) {
	v, err := open()
	if err != nil {
		return pauseResult{}, err
	}
	jar := newManyCookies(j.Sessions)
	if err := v.expiring(jar, j.Sessions, progress); err != nil {
		return pauseResult{}, err
	}
	result := pauseResult{Contender: j.Contender, Sessions: j.Sessions}
	through := v.reader()
	read := func(i int) bool { return through(jar.get(i)) }

	settle()
	control := controlWindow
	if j.Sessions < 100_000 {
		control /= 10
	}
	progress("waiting until no sweep is due")
	v.quiet(control + time.Second)
	progress("reading without a sweep")
	stop := startReader(jar.n, read)
	time.Sleep(control)
	if result.Control, err = stop(); err != nil {
		return result, err
	}

	progress("letting half expire")
	if err := v.arm(); err != nil {
		return result, err
	}
	progress("reading during the sweep")
	stop = startReader(jar.n, read)
	if result.Facts, err = v.sweep(); err != nil {
		return result, err
	}
	result.Sweep, err = stop()
	return result, err
}

const controlWindow = 5 * time.Second

// startReader reads sessions with odd numbers below n, at random and as fast as it can. The returned function stops it.
func startReader(n int, read func(i int) bool) (stop func() (latencies, error)) {
	var over atomic.Bool
	type outcome struct {
		l   latencies
		err error
	}
	done := make(chan outcome)
	go func() {
		var h histogram
		random := rand.New(rand.NewPCG(1, 2))
		start := time.Now()
		failed := 0
		for !over.Load() {
			i := int(random.Uint32N(uint32(n/2)))*2 + 1
			before := time.Now()
			good := read(i)
			h.add(time.Since(before))
			if !good {
				failed++
			}
			runtime.Gosched() // as between two requests
		}
		l := h.latencies()
		l.Window = time.Since(start)
		var err error
		if failed > 0 {
			err = fmt.Errorf("bench: %d of %d reads found no session", failed, l.Requests)
		}
		done <- outcome{l, err}
	}()
	return func() (latencies, error) {
		over.Store(true)
		o := <-done
		return o.l, o.err
	}
}

// histogram counts durations in steps of 1/16 of their power of two.
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

func (h *histogram) merge(o *histogram) {
	for b, n := range o.counts {
		h.counts[b] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
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

func (h *histogram) latencies() latencies {
	return latencies{
		Requests: h.total,
		P50:      h.quantile(0.5), P99: h.quantile(0.99), P999: h.quantile(0.999), P9999: h.quantile(0.9999), Max: h.max,
	}
}
