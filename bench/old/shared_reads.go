package main

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// inMemory is how many reads come between two looks at the clock where a read takes less than a microsecond.
const inMemory = 16

func cached(name string) string { return name + ", cached" }

// reads compares reads from the memory of the nodes, reads from the servers, and the least that each could take.
func (s *sharedRun) reads(ctx context.Context) (err error) {
	memory := memstore.New()
	closers := closeList{memory.Close}
	defer func() { err = closers.close(err) }()
	if err := s.samples.fill(ctx, memory, 0, s.s.hot); err != nil {
		return err
	}
	loads := []load{s.getLoad(fromMemory, inMemory, false, memory)}
	var all []*node
	for _, b := range s.backends {
		s.say("reads: filling " + b.name)
		nodes, closeNodes, err := b.openNodes(ctx, "reads", nodeCount)
		if err != nil {
			return err
		}
		closers.add(closeNodes)
		if err := s.warmNodes(ctx, nodes, s.s.hot); err != nil {
			return err
		}
		all = append(all, nodes...)
		loads = append(loads, s.getLoad(cached(b.name), inMemory, false, caches(nodes)...), s.getLoad(b.name, 1, true, nodes[0].store))
		limits, err := b.limitOfReads(ctx, "reads", s.samples, s.s.hot)
		if err != nil {
			return err
		}
		loads = append(loads, limits...)
	}
	before := cacheCounts(all)
	if s.r.Reads, err = compareAllLoads(ctx, "read", loads, s.s.reads, s.say); err != nil {
		return err
	}
	if now := cacheCounts(all); now.Misses-before.Misses > (now.Hits-before.Hits)/100 {
		return fmt.Errorf("bench: of the cached reads %d came from memory, but %d didn't", now.Hits-before.Hits, now.Misses-before.Misses)
	}
	return nil
}

func cacheCounts(nodes []*node) (total nearcache.Stats) {
	for _, n := range nodes {
		s := n.cache.Stats()
		total.Hits += s.Hits
		total.Misses += s.Misses
	}
	return total
}

// warmNodes creates n sessions, and has every node keep them in memory.
func (s *sharedRun) warmNodes(ctx context.Context, nodes []*node, n int) error {
	if err := s.samples.fill(ctx, nodes[0].store, 0, n); err != nil {
		return err
	}
	for _, node := range nodes {
		err := spread(ctx, 0, n, sharedFillers, func() func(int) error {
			var rec store.Record
			return func(i int) error { return s.samples.warmUp(ctx, node.cache, &rec, i) }
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// getLoad reads sessions that are in use, from one of the stores after the other.
func (s *sharedRun) getLoad(name string, batch int, strict bool, stores ...store.Store) load {
	return getLoad(name, s.samples, s.s.hot, batch, strict, stores...)
}

func getLoad(name string, smp samples, n, batch int, strict bool, stores ...store.Store) load {
	return load{name: name, batch: batch, hand: func(w int) func() error {
		var rec store.Record
		random := rand.New(rand.NewPCG(uint64(w), 17))
		turn := w
		return func() error {
			for range batch {
				turn++
				i := random.IntN(n)
				if err := stores[turn%len(stores)].Get(context.Background(), sampleApp, smp.id(i), strict, &rec); err != nil {
					return fmt.Errorf("session %d: %w", i, err)
				}
			}
			return nil
		}
	}}
}
