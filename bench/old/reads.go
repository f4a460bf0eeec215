package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// A readsResult compares where a session is read from.
type readsResult struct {
	CPUs    int
	Sources []readTiming
}

func (r readsResult) of(name string) (readTiming, bool) {
	return first(r.Sources, func(s readTiming) bool { return s.Source == name })
}

// A readTiming is what a Get needs: the median of the slices, with its quartiles.
type readTiming struct {
	Source    string
	Ns        float64 // wall time for one read; with several CPUs, of all of them together
	Low, High float64
}

const (
	fromMemory = "memstore"
	fromCache  = "through the cache"
	fromFile   = "sqlitestore itself"
)

// A readSource is a store that is read from.
type readSource struct {
	name   string
	store  store.Store
	cached bool // every read must come from memory
	ns     []float64
}

// slice reads sessions below hot for about d on each CPU.
func (s *readSource) slice(cpus, hot int, d time.Duration) error {
	type outcome struct {
		reads int
		err   error
	}
	done := make(chan outcome)
	runtime.GC()
	start := time.Now()
	for c := range cpus {
		go func() {
			var rec store.Record
			random := rand.New(rand.NewPCG(uint64(c), uint64(len(s.ns))))
			reads := 0
			for {
				for range 16 {
					err := s.store.Get(context.Background(), sampleApp, sampleID(random.IntN(hot)), false, &rec)
					if err == nil && s.cached && !rec.Cached {
						err = errors.New("not from memory")
					}
					if err != nil {
						done <- outcome{reads, err}
						return
					}
				}
				if reads += 16; time.Since(start) >= d {
					done <- outcome{reads, nil}
					return
				}
			}
		}()
	}
	total, err := 0, error(nil)
	for range cpus {
		o := <-done
		total, err = total+o.reads, errors.Join(err, o.err)
	}
	if err != nil {
		return fmt.Errorf("bench: read %s: %w", s.name, err)
	}
	s.ns = append(s.ns, float64(time.Since(start).Nanoseconds())/float64(total))
	return nil
}

// measureReads reads hot sessions of n from memory, through the cache, and from the file at path, which holds them all.
func measureReads(ctx context.Context, path storeFile, n, hot, rounds int, d time.Duration, say func(string)) (all []readsResult, err error) {
	memory := memstore.NewLimited(16 << 30)
	defer memory.Close()
	if err := fillStore(ctx, memory, 0, n, 2, say); err != nil {
		return nil, err
	}
	file, err := openFile(ctx, path)
	if err != nil {
		return nil, err
	}
	cache := nearcache.New(file, nearcache.Options{})
	defer func() { err = errors.Join(err, cache.Close()) }()
	if err := warm(ctx, cache, hot); err != nil {
		return nil, err
	}
	for _, cpus := range cpuCounts() {
		sources := []*readSource{{name: fromMemory, store: memory}, {name: fromCache, store: cache, cached: true}, {name: fromFile, store: file}}
		result, err := compareReads(ctx, sources, cpus, hot, rounds, d, say)
		if err != nil {
			return nil, err
		}
		all = append(all, result)
	}
	return all, nil
}

func compareReads(ctx context.Context, sources []*readSource, cpus, hot, rounds int, d time.Duration, say func(string)) (readsResult, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cpus))
	saying := func(round int) { say(fmt.Sprintf("cached reads, %s: round %d of %d", cpuWord(cpus), round, rounds)) }
	if err := takeTurns(ctx, rounds, len(sources), saying, func(i int) error { return sources[i].slice(cpus, hot, d) }); err != nil {
		return readsResult{}, err
	}
	result := readsResult{CPUs: cpus}
	for _, s := range sources {
		result.Sources = append(result.Sources, readTiming{s.name, quantile(s.ns, 0.5), quantile(s.ns, 0.25), quantile(s.ns, 0.75)})
	}
	return result, nil
}

// warm reads every session below hot, so that a cache holds them.
func warm(ctx context.Context, s store.Store, hot int) error {
	return spread(ctx, 0, hot, 2, func() func(int) error { return storeKeeper{s}.hand().read })
}
