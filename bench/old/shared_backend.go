package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// A sharedStore is what a node has of a store for many nodes.
type sharedStore interface {
	store.Store
	store.Feeder
}

// A backend is a store for many nodes, on its server.
type backend struct {
	name  string // of the driver
	open  func(ctx context.Context, space string) (sharedStore, error)
	hurry func(ctx context.Context, space string) (sharedStore, error) // like open, for filling: acknowledges before it is durable
	spent func(ctx context.Context) (spent, error)
	kept  func(ctx context.Context, space string) (int64, error) // bytes that the server keeps, in memory or on disk

	// The limits: what the same client does without a session store on top.
	limitOfReads  func(ctx context.Context, space string, smp samples, n int) ([]load, error)
	limitOfWrites func(ctx context.Context, space string, n int) (load, error)
}

// The sessions of each part lie in a space of their own, so that no part hears another's feed.

// spent is what a server has spent since it was started.
type spent struct {
	cpu     time.Duration
	in, out int64 // bytes on its connections; 0: not known
	log     int64 // bytes that it has logged to disk
}

func (s spent) since(before spent) spent {
	return spent{s.cpu - before.cpu, s.in - before.in, s.out - before.out, s.log - before.log}
}

// A node is what an application has on each machine: a connection to the store, and a cache in front of it.
type node struct {
	store sharedStore
	cache *nearcache.Cache
}

// openNodes opens n nodes, in this process. close closes them all.
func (b *backend) openNodes(ctx context.Context, space string, n int) (nodes []*node, closeAll func() error, err error) {
	closeAll = func() (err error) {
		for _, n := range nodes {
			err = errors.Join(err, n.cache.Close())
		}
		return err
	}
	for range n {
		s, err := b.open(ctx, space)
		if err != nil {
			return nil, nil, errors.Join(err, closeAll())
		}
		nodes = append(nodes, &node{s, nearcache.NewShared(s, nearcache.Options{})})
	}
	return nodes, closeAll, nil
}

// waitLive waits until the node's cache trusts its feed.
func (n *node) waitLive(ctx context.Context) error {
	for start := time.Now(); !n.cache.Stats().Live; time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			return fmt.Errorf("bench: a cache doesn't trust its feed after %v", patience)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// patience is how long something may take that takes a moment.
const patience = 20 * time.Second

// caches are the nodes' stores as an engine gets them.
func caches(nodes []*node) (all []store.Store) {
	for _, n := range nodes {
		all = append(all, n.cache)
	}
	return all
}

// fillers of a shared store: many enough to keep the server busy.
const sharedFillers = 64

// fill creates the samples from up to to.
func (smp samples) fill(ctx context.Context, s store.Store, from, to int) error {
	return spread(ctx, from, to, sharedFillers, func() func(int) error {
		var rec store.Record
		return func(i int) error { return smp.create(ctx, s, &rec, i) }
	})
}

func (smp samples) create(ctx context.Context, s store.Store, rec *store.Record, i int) error {
	smp.record(rec, i)
	_, err := s.Create(ctx, sampleApp, rec, store.CreateOptions{Limit: store.Limit{Max: 100}, Arrived: rec.CreatedAt, Now: rec.CreatedAt})
	return err
}

// warmUp reads sample i until it comes from memory, for at most as long as a cache may need to trust its feed.
func (smp samples) warmUp(ctx context.Context, s store.Store, rec *store.Record, i int) error {
	for start := time.Now(); ; {
		if err := s.Get(ctx, sampleApp, smp.id(i), false, rec); err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
		if rec.Cached {
			return nil
		}
		if time.Since(start) > patience {
			return fmt.Errorf("session %d isn't read from memory after %v", i, patience)
		}
		if err := wait(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// A closeList is what is to be closed, the last first.
type closeList []func() error

func (l *closeList) add(f func() error) { *l = append(*l, f) }

func (l *closeList) close(err error) error {
	for _, f := range slices.Backward(*l) {
		err = errors.Join(err, f())
	}
	return err
}
