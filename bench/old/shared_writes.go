package main

import (
	"context"
	"fmt"

	"github.com/sojourn-go/sojourn/store"
)

func watched(name string) string { return fmt.Sprintf("%s, %d nodes listen", name, nodeCount) }

// writes compares conditional writes with the least that each could take. With and without nodes that listen, for what others
// have to hear costs the server too.
func (s *sharedRun) writes(ctx context.Context) (err error) {
	var loads []load
	var closers closeList
	defer func() { err = closers.close(err) }()
	for _, b := range s.backends {
		for _, x := range []struct {
			name, space string
			nodes       int
		}{{b.name, "writes", 0}, {watched(b.name), "listened", nodeCount}} {
			s.say("writes: filling " + x.name)
			st, err := b.open(ctx, x.space)
			if err != nil {
				return err
			}
			closers.add(st.Close)
			if err := s.samples.fill(ctx, st, 0, s.s.hot); err != nil {
				return err
			}
			_, closeNodes, err := b.openNodes(ctx, x.space, x.nodes)
			if err != nil {
				return err
			}
			closers.add(closeNodes)
			loads = append(loads, updateLoad(x.name, s.samples, s.s.hot, st))
		}
		limit, err := b.limitOfWrites(ctx, "writes", s.s.hot)
		if err != nil {
			return err
		}
		loads = append(loads, limit)
	}
	s.r.Writes, err = compareAllLoads(ctx, "conditional write", loads, s.s.writes, s.say)
	return err
}

// updateLoad changes sessions whose latest revision the writer knows, as after a read: one call of Update each time. Writers change different sessions.
func updateLoad(name string, smp samples, n int, st store.Store) load {
	ctx := context.Background()
	recs := make([]store.Record, n)
	return load{
		name: name,
		ready: func(ctx context.Context, _ int) error {
			return spread(ctx, 0, n, sharedFillers, func() func(int) error {
				return func(i int) error { return st.Get(ctx, sampleApp, smp.id(i), true, &recs[i]) }
			})
		},
		hand: func(w int) func() error {
			return perWriter(w, n, func(i, change int) error {
				rec := &recs[i]
				rec.Values = sampleValues(rec.Values, i+change)
				now := smp.created(n)
				_, err := st.Update(ctx, sampleApp, rec, store.UpdateOptions{Arrived: now, Now: now})
				return err
			})
		},
	}
}

// mostWriters is how many writers share what there is to change.
const mostWriters = 128

// perWriter gives each writer things of its own to change, one after the other.
func perWriter(w, n int, change func(i, change int) error) func() error {
	own, turn := n/mostWriters, 0
	return func() error {
		turn++
		return change(w*own+turn%own, turn)
	}
}
