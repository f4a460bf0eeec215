package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// An endsScale says how many ends are followed, and by how many goroutines at once.
type endsScale struct{ ends, workers int }

// An endsResult says how soon an end on one node is known on the others.
type endsResult struct {
	Store string
	Seen  latencies // from the acknowledgement of each end until each other node refused the session: nodeCount-1 times for each
	Ack   latencies // of the ends themselves
}

// ends follows ends from node to node.
func (s *sharedRun) ends(ctx context.Context) (err error) {
	s.r.Ends, err = each(ctx, s, s.endsOf)
	return err
}

func (s *sharedRun) endsOf(ctx context.Context, b *backend) (result endsResult, err error) {
	nodes, closeNodes, err := b.openNodes(ctx, "ends", nodeCount)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, closeNodes()) }()
	var mu sync.Mutex
	var seen, ack histogram
	err = spread(ctx, 0, s.s.ends.ends, s.s.ends.workers, func() func(int) error {
		var rec store.Record
		return func(i int) error {
			if i%100 == 0 {
				s.say(fmt.Sprintf("ends in %s: %d of %d", b.name, i, s.s.ends.ends))
			}
			e, err := s.samples.followEnd(ctx, nodes, &rec, i)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			ack.add(e.took)
			for _, d := range e.seen {
				seen.add(d)
			}
			return nil
		}
	})
	return endsResult{b.name, seen.latencies(), ack.latencies()}, err
}

// An end is how long one took, and when each other node refused the session.
type end struct {
	took time.Duration
	seen []time.Duration
}

// followEnd creates session i and has all nodes keep it in memory. Then one ends it, while the others serve it as they would to requests.
func (smp samples) followEnd(ctx context.Context, nodes []*node, rec *store.Record, i int) (end, error) {
	from := nodes[i%len(nodes)]
	if err := smp.create(ctx, from.cache, rec, i); err != nil {
		return end{}, err
	}
	var others []*node
	for _, n := range nodes {
		if err := smp.warmUp(ctx, n.cache, rec, i); err != nil {
			return end{}, err
		}
		if n != from {
			others = append(others, n)
		}
	}
	start := time.Now()
	ended, err := from.cache.End(ctx, sampleApp, smp.id(i), store.ReasonLogout, store.TimeOf(start))
	if err != nil || len(ended) != 1 {
		return end{}, errors.Join(err, fmt.Errorf("session %d: ended %d", i, len(ended)))
	}
	acknowledged := time.Now()
	e := end{acknowledged.Sub(start), make([]time.Duration, len(others))}
	var wg sync.WaitGroup
	errs := make([]error, len(others))
	for o, n := range others {
		wg.Go(func() { e.seen[o], errs[o] = smp.refusal(n, i, acknowledged) })
	}
	wg.Wait()
	return e, errors.Join(errs...)
}

// refusal asks a node for session i until it says that this has ended, and returns how long after the acknowledgement it was asked
// for the first time what it said so to.
func (smp samples) refusal(n *node, i int, acknowledged time.Time) (time.Duration, error) {
	var rec store.Record
	for {
		err := n.cache.Get(context.Background(), sampleApp, smp.id(i), false, &rec)
		since := time.Since(acknowledged)
		switch {
		case errors.Is(err, store.ErrEnded):
			return since, nil
		case err != nil:
			return 0, fmt.Errorf("session %d: %w", i, err)
		case since > patience:
			return 0, fmt.Errorf("session %d is still good %v after its end", i, patience)
		}
		nap()
	}
}
