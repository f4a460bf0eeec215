package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A cost is what operations of a kind cost a server, each.
type cost struct {
	Store string
	Op    string
	spent
}

// A costScale says how many operations of each kind are counted, and how long nodes that do nothing.
type costScale struct {
	ops  int
	idle time.Duration
}

// What is counted: the life of a session, and what its node does besides.
const (
	costVisit  = "create, anonymous"
	costRead   = "read"
	costUpdate = "update"
	costHeard  = "update, 12 nodes listen"
	costTouch  = "touch"
	costLogin  = "log in"
	costRotate = "rotate"
	costNotice = "confirm"
	costEnd    = "end"
	costMend   = "compare with its index" // in the sweep, once an hour
	costIdle   = "a node's second without requests"
)

const costSpace = "costs"

// listeners are the nodes of costHeard: more than elsewhere, for what one of them costs is little beside the rest.
const listeners = 12

// costWorkers work at once: enough to share round trips, as requests do.
const costWorkers = 16

// costs counts what a server spends on each kind of operation.
func (s *sharedRun) costs(ctx context.Context) error {
	for _, b := range s.backends {
		all, err := s.costsOf(ctx, b)
		if err != nil {
			return fmt.Errorf("bench: costs of %s: %w", b.name, err)
		}
		s.r.Costs = append(s.r.Costs, all...)
	}
	return nil
}

func (s *sharedRun) costsOf(ctx context.Context, b *backend) (all []cost, err error) {
	st, err := b.open(ctx, costSpace)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	life := newLife(st, s.samples, s.s.costs.ops)
	count := func(op string, do func(i int) error) error {
		c, err := s.count(ctx, b, op, do)
		all = append(all, c)
		return err
	}
	for _, step := range []func() error{
		func() error { return count(costVisit, life.visit) },
		func() error { return count(costRead, life.read) },
		func() error { return count(costUpdate, life.update) },
		func() error {
			listening, err := s.costsOfListening(ctx, b, life)
			all = append(all, listening...)
			return err
		},
		func() error { return count(costTouch, life.touch) },
		func() error { return count(costLogin, life.login) },
		func() error { return count(costRotate, life.rotate) },
		func() error { return count(costNotice, life.confirm) },
		func() error {
			if b.name != redisDriver {
				return nil
			}
			c, err := b.costOf(ctx, costMend, float64(s.s.costs.ops), func() error { return life.sweep(ctx) })
			all = append(all, c)
			return err
		},
		func() error { return count(costEnd, life.end) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// costsOfListening counts what nodes cost that listen to the feed.
func (s *sharedRun) costsOfListening(ctx context.Context, b *backend, l *life) (all []cost, err error) {
	nodes, closeNodes, err := b.openNodes(ctx, costSpace, listeners)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeNodes()) }()
	for _, n := range nodes {
		if err := n.waitLive(ctx); err != nil {
			return nil, err
		}
	}
	heard, err := s.count(ctx, b, costHeard, l.update)
	if err != nil {
		return nil, err
	}
	s.say("costs: idle nodes of " + b.name)
	idle, err := b.costOf(ctx, costIdle, s.s.costs.idle.Seconds()*listeners, func() error { return wait(ctx, s.s.costs.idle) })
	return []cost{heard, idle}, err
}

// count counts what the server spends on an operation on each of the sessions.
func (s *sharedRun) count(ctx context.Context, b *backend, op string, do func(i int) error) (cost, error) {
	s.say(fmt.Sprintf("costs: %s in %s", op, b.name))
	return b.costOf(ctx, op, float64(s.s.costs.ops), func() error {
		return spread(ctx, 0, s.s.costs.ops, costWorkers, func() func(int) error { return do })
	})
}

// costOf counts what the server spends while do makes n operations.
func (b *backend) costOf(ctx context.Context, op string, n float64, do func() error) (cost, error) {
	before, err := b.spent(ctx)
	if err != nil {
		return cost{}, err
	}
	if err := do(); err != nil {
		return cost{}, err
	}
	after, err := b.spent(ctx)
	d := after.since(before)
	each := func(x int64) int64 { return int64(float64(x) / n) }
	return cost{b.name, op, spent{time.Duration(each(int64(d.cpu))), each(d.in), each(d.out), each(d.log)}}, err
}

// A life are the sessions whose operations are counted. Different ones may be used concurrently.
type life struct {
	st   store.Store
	smp  samples
	now  store.Time
	recs []store.Record
}

func newLife(st store.Store, smp samples, n int) *life {
	return &life{st, smp, smp.created(n), make([]store.Record, n)}
}

func (l *life) visit(i int) error {
	rec := &l.recs[i]
	l.smp.record(rec, i)
	rec.Subject, rec.AMR, rec.Level, rec.AuthenticatedAt, rec.Epoch = "", "", 0, 0, 0
	_, err := l.st.Create(context.Background(), sampleApp, rec, store.CreateOptions{Arrived: l.now, Now: l.now})
	return err
}

func (l *life) read(i int) error {
	var rec store.Record
	return l.st.Get(context.Background(), sampleApp, l.smp.id(i), true, &rec)
}

func (l *life) update(i int) error {
	rec := &l.recs[i]
	rec.Values = sampleValues(rec.Values, i+int(rec.Revision))
	_, err := l.st.Update(context.Background(), sampleApp, rec, store.UpdateOptions{Arrived: l.now, Now: l.now})
	return err
}

func (l *life) touch(i int) error {
	return l.st.Touch(context.Background(), sampleApp, l.smp.id(i), l.now.Add(time.Minute), l.now, clientOf(i))
}

func (l *life) login(i int) error {
	rec := &l.recs[i]
	rec.Subject, rec.AMR, rec.Level, rec.AuthenticatedAt = userID(i), "pwd", 1, l.now
	rec.Epochs, rec.Epoch = append(rec.Epochs, rec.EpochHash.Print()), rec.Epoch+1
	noise(rec.Secret.Hash[:], i, 5)
	noise(rec.EpochHash[:], i, 6)
	_, err := l.st.Update(context.Background(), sampleApp, rec, store.UpdateOptions{Login: true, Limit: store.Limit{Max: 100}, Arrived: l.now, Now: l.now})
	return err
}

func (l *life) rotate(i int) error {
	rec := &l.recs[i]
	rec.Good = append(rec.Good, rec.Secret)
	rec.Secret = store.Secret{IssuedAt: l.now}
	noise(rec.Secret.Hash[:], i, 7)
	_, err := l.st.Update(context.Background(), sampleApp, rec, store.UpdateOptions{Arrived: l.now, Now: l.now})
	return err
}

func (l *life) confirm(i int) error {
	rec := &l.recs[i]
	c := store.Confirmation{FirstSeenAt: l.now, ConfirmedAt: l.now, Until: l.now.Add(10 * time.Minute)}
	if rec.Confirm(c) {
		rec.Revision++
	}
	return l.st.Confirm(context.Background(), sampleApp, rec.ID, rec.Secret.Hash, c)
}

// sweep meets every session, none of which has expired.
func (l *life) sweep(ctx context.Context) error {
	for {
		if _, done, err := l.st.Sweep(ctx, sampleApp, l.now, 1000); done || err != nil {
			return err
		}
	}
}

func (l *life) end(i int) error {
	ended, err := l.st.End(context.Background(), sampleApp, l.smp.id(i), store.ReasonLogout, l.now)
	if err == nil && len(ended) != 1 {
		err = errors.New("a session wasn't there to be ended")
	}
	return err
}
