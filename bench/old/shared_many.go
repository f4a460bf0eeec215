package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A manyScale says how much is measured with many sessions in a store.
type manyScale struct {
	few, sessions int
	fill, sweep   time.Duration // at most; a store that isn't full by then is measured with what it has
	pages         int
	loads         loadScale
}

// A manyResult is how a store does with many sessions in it, beside few.
type manyResult struct {
	Store    string
	Few      int
	Sessions int
	Fill     time.Duration
	Bytes    float64 // that the server keeps for each session: memory of Redis, disk of PostgreSQL after VACUUM

	Ops   []manyOp
	Count time.Duration
	Pages []pageTiming

	Ended   int           // by the sweep
	Took    time.Duration // by it
	Swept   bool          // all that were due
	Control latencies     // of strict reads by one goroutine
	During  latencies     // of the same while it swept
}

// A manyOp is an operation with few sessions in the store and with many.
type manyOp struct {
	Name      string
	Few, Many loadTiming
}

// A pageTiming is how long a page of a list takes.
type pageTiming struct {
	What     string
	Sessions int
	Median   time.Duration
	Longest  time.Duration
}

const manySpace = "many"

func (s *sharedRun) many(ctx context.Context) (err error) {
	s.r.Many, err = each(ctx, s, s.manyOf)
	return err
}

func (s *sharedRun) manyOf(ctx context.Context, b *backend) (r manyResult, err error) {
	before, err := b.kept(ctx, manySpace)
	if err != nil {
		return r, err
	}
	m := &manyRun{sharedRun: s, b: b, r: manyResult{Store: b.name, Few: s.s.many.few}}
	if err := m.fill(ctx, m.r.Few); err != nil {
		return r, err
	}
	st, err := b.open(ctx, manySpace)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	m.st = st
	few, err := m.ops(ctx)
	if err != nil {
		return r, err
	}
	if err := m.fill(ctx, s.s.many.sessions); err != nil {
		return r, err
	}
	after, err := b.kept(ctx, manySpace)
	if err != nil {
		return r, err
	}
	m.r.Sessions = int(m.n.Load())
	m.r.Bytes = float64(after-before) / float64(m.r.Sessions)
	many, err := m.ops(ctx)
	if err != nil {
		return r, err
	}
	for i := range few {
		m.r.Ops = append(m.r.Ops, manyOp{few[i].Load, few[i], many[i]})
	}
	if err := m.lists(ctx); err != nil {
		return r, err
	}
	err = m.sweep(ctx)
	return m.r, err
}

// A manyRun is one store while it has many sessions.
type manyRun struct {
	*sharedRun
	b  *backend
	st sharedStore
	n  atomic.Int64 // sessions that were made: all below
	r  manyResult
}

// fill creates sessions until there are so many, or time is up.
func (m *manyRun) fill(ctx context.Context, to int) error {
	st, err := m.b.hurry(ctx, manySpace)
	if err != nil {
		return err
	}
	const chunk = 10_000
	start := time.Now()
	for from := int(m.n.Load()); from < to && err == nil && m.r.Fill+time.Since(start) < m.s.many.fill; from = int(m.n.Load()) {
		m.say(fmt.Sprintf("filling %s: %s of %s sessions", m.b.name, count(from), count(to)))
		next := min(from/chunk*chunk+chunk, to)
		err = m.samples.fill(ctx, st, from, next)
		m.n.Store(int64(next))
	}
	m.r.Fill += time.Since(start)
	return errors.Join(err, st.Close())
}

// ops measures single operations with as many sessions as there are.
func (m *manyRun) ops(ctx context.Context) ([]loadTiming, error) {
	n := int(m.n.Load())
	loads := []load{
		getLoad("read", m.samples, n, 1, true, m.st),
		anyUpdateLoad("read and update", m.samples, n, m.st),
		{name: "create", hand: func(int) func() error {
			var rec store.Record
			return func() error { return m.samples.create(ctx, m.st, &rec, int(m.n.Add(1))-1) }
		}},
	}
	what := fmt.Sprintf("%s with %s sessions", m.b.name, count(n))
	result, err := compareLoads(ctx, what, loads, m.s.many.loads.goroutines[0], m.s.many.loads, m.say)
	return result.Loads, err
}

// anyUpdateLoad reads and changes any of n sessions.
func anyUpdateLoad(name string, smp samples, n int, st store.Store) load {
	return load{name: name, hand: func(w int) func() error {
		ctx := context.Background()
		var rec store.Record
		random := rand.New(rand.NewPCG(uint64(w), 19))
		return func() error {
			for {
				i := random.IntN(n)
				if err := st.Get(ctx, sampleApp, smp.id(i), true, &rec); err != nil {
					return err
				}
				rec.Values = sampleValues(rec.Values, i+int(rec.Revision))
				now := smp.created(n)
				_, err := st.Update(ctx, sampleApp, &rec, store.UpdateOptions{Arrived: now, Now: now})
				if !errors.Is(err, store.ErrConflict) { // another goroutine has hit upon the same
					return err
				}
			}
		}
	}}
}

// lists counts and lists what there is.
func (m *manyRun) lists(ctx context.Context) error {
	m.say("counting and listing " + m.b.name)
	start := time.Now()
	c, err := m.st.Count(ctx, sampleApp)
	m.r.Count = time.Since(start)
	if err == nil && c.Sessions != m.n.Load() {
		err = fmt.Errorf("it counts %d sessions of %d", c.Sessions, m.n.Load())
	}
	if err != nil {
		return err
	}
	now := m.samples.created(int(m.n.Load()))
	cursor := ""
	all, err := m.pages("of all", 100, func(int) (_ []store.Record, err error) {
		var recs []store.Record
		recs, cursor, err = m.st.List(ctx, sampleApp, store.ListOptions{Cursor: cursor, Limit: 100, Now: now})
		return recs, err
	})
	if err != nil {
		return err
	}
	subject, err := m.pages("of a subject", 1, func(page int) ([]store.Record, error) {
		recs, _, err := m.st.List(ctx, sampleApp, store.ListOptions{Subject: userID(page * 17), Limit: 100, Now: now})
		return recs, err
	})
	m.r.Pages = []pageTiming{all, subject}
	return err
}

// pages times pages that must hold want sessions each.
func (m *manyRun) pages(what string, want int, list func(page int) ([]store.Record, error)) (t pageTiming, err error) {
	t = pageTiming{What: what, Sessions: want}
	var took []float64
	for page := range m.s.many.pages {
		start := time.Now()
		recs, err := list(page)
		d := time.Since(start)
		if err != nil || len(recs) != want {
			return t, errors.Join(err, fmt.Errorf("a page %s has %d sessions, want %d", what, len(recs), want))
		}
		took = append(took, float64(d))
		t.Longest = max(t.Longest, d)
	}
	t.Median = time.Duration(quantile(took, 0.5))
	return t, nil
}

// sweep lets half of the sessions expire, while one goroutine reads the others.
func (m *manyRun) sweep(ctx context.Context) (err error) {
	var rec store.Record
	read := func(i int) bool { return m.st.Get(ctx, sampleApp, m.samples.id(i), true, &rec) == nil }
	n := int(m.n.Load())
	m.say("reading " + m.b.name)
	stop := startReader(n, read)
	waited := wait(ctx, m.s.many.sweep/20)
	if m.r.Control, err = stop(); err != nil || waited != nil {
		return errors.Join(err, waited)
	}
	m.say("sweeping " + m.b.name)
	stop = startReader(n, read)
	start := time.Now()
	for !m.r.Swept && err == nil && time.Since(start) < m.s.many.sweep {
		var ended []store.Ended
		ended, m.r.Swept, err = m.st.Sweep(ctx, sampleApp, m.samples.start.Add(2*shortIdle), sweepStep)
		m.r.Ended += len(ended)
		time.Sleep(sweepPause)
	}
	m.r.Took = time.Since(start)
	var readErr error
	m.r.During, readErr = stop()
	if err == nil && m.r.Swept && m.r.Ended != (n+1)/2 {
		err = fmt.Errorf("the sweep ended %d of %d sessions, want half", m.r.Ended, n)
	}
	return errors.Join(err, readErr)
}
