package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A sharedScale says how much of the stores for many nodes is measured.
type sharedScale struct {
	disk     int64
	bound    time.Duration // of a part: for much less it is made
	hot      int           // sessions that are read and changed over and over
	reads    loadScale
	requests loadScale
	writes   loadScale
	ends     endsScale
	limit    int // races at the limit
	logins   loginScale
	subject  subjectScale
	costs    costScale
	many     manyScale
}

var (
	fullShared = sharedScale{
		disk: 12e9, bound: 10 * time.Minute, hot: 10_000,
		reads:    loadScale{goroutines: []int{1, 16}, rounds: 15, slice: 40 * time.Millisecond},
		requests: loadScale{goroutines: []int{1, 16}, rounds: 9, slice: 40 * time.Millisecond},
		writes:   loadScale{goroutines: []int{1, 16, 128}, rounds: 7, slice: 150 * time.Millisecond},
		ends:     endsScale{ends: 10_000, workers: 2},
		limit:    100,
		logins:   loginScale{loadScale{goroutines: []int{1, 16, 128}, rounds: 3, slice: 250 * time.Millisecond, stock: 40}, 1000},
		subject:  subjectScale{sessions: 1000, rounds: 5},
		costs:    costScale{ops: 5000, idle: 3 * time.Second},
		many: manyScale{few: 10_000, sessions: 1_000_000, fill: 120 * time.Second, sweep: 30 * time.Second, pages: 20,
			loads: loadScale{goroutines: []int{16}, rounds: 5, slice: 200 * time.Millisecond}},
	}
	smokeShared = sharedScale{
		disk: 2e9, bound: 2 * time.Minute, hot: 500,
		reads:    loadScale{goroutines: []int{1, 16}, rounds: 3, slice: 4 * time.Millisecond},
		requests: loadScale{goroutines: []int{1, 16}, rounds: 3, slice: 4 * time.Millisecond},
		writes:   loadScale{goroutines: []int{1, 16}, rounds: 3, slice: 10 * time.Millisecond},
		ends:     endsScale{ends: 200, workers: 2},
		limit:    5,
		logins:   loginScale{loadScale{goroutines: []int{1, 16}, rounds: 3, slice: 50 * time.Millisecond, stock: 8}, 20},
		subject:  subjectScale{sessions: 100, rounds: 3},
		costs:    costScale{ops: 300, idle: time.Second},
		many: manyScale{few: 1000, sessions: 10_000, fill: 5 * time.Second, sweep: 5 * time.Second, pages: 5,
			loads: loadScale{goroutines: []int{16}, rounds: 3, slice: 20 * time.Millisecond}},
	}
)

// sharedResults are what was measured of the stores for many nodes.
type sharedResults struct {
	Setup    []string // the servers, and how they are set up
	Reads    []loadResult
	Requests []caseResult
	Notes    []string // of those compared by requests
	Writes   []loadResult
	Ends     []endsResult
	Limits   []limitResult
	Logins   []loadResult
	Subjects []subjectResult
	Costs    []cost
	Many     []manyResult
}

// sharedParts are measured in this order.
var sharedParts = []string{"reads", "requests", "writes", "ends", "limit", "logins", "subject", "costs", "many"}

// A sharedRun measures the stores for many nodes, on servers of its own.
type sharedRun struct {
	s        sharedScale
	servers  *servers
	backends []*backend
	samples  samples
	say      func(string)
	r        sharedResults
}

// nodeCount is how many nodes there are.
const nodeCount = 3

// measureShared measures the parts whose name matches.
func measureShared(ctx context.Context, o options, say func(string)) (r *sharedResults, err error) {
	only, err := regexp.Compile(o.shared)
	if err != nil {
		return nil, fmt.Errorf("bench: -shared: %w", err)
	}
	s := o.scale.shared
	dir, remove, err := workDir(o.dir, s.disk)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if err := os.Chmod(dir, 0o711); err != nil { // PostgreSQL's user enters it
		return nil, err
	}
	say("starting the servers")
	servers, err := startServers(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer servers.close()
	run := &sharedRun{
		s: s, servers: servers, backends: servers.backends(), say: say,
		samples: samples{store.TimeOf(time.Now()).Add(-2 * time.Minute)}, // the last of a million is made within the next minute
	}
	if run.r.Setup, err = servers.describe(ctx); err != nil {
		return nil, err
	}
	return &run.r, run.run(ctx, only)
}

func (s *sharedRun) run(ctx context.Context, only *regexp.Regexp) error {
	for _, name := range sharedParts {
		if only.MatchString(name) {
			if err := bounded(ctx, s.s.bound, s.parts()[name]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// bounded returns after d at the latest, for a driver may hang. What was begun is left alone then: the program ends.
func bounded(ctx context.Context, d time.Duration, part func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- part(ctx) }()
	select {
	case err := <-done:
		return err
	case <-time.After(d):
		return fmt.Errorf("bench: not done after %v", d)
	}
}

func (s *sharedRun) parts() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"reads": s.reads, "requests": s.requests, "writes": s.writes, "ends": s.ends, "limit": s.limits,
		"logins": s.logins, "subject": s.subjects, "costs": s.costs, "many": s.many,
	}
}

// each measures something of each store, in turn.
func each[T any](ctx context.Context, s *sharedRun, measure func(context.Context, *backend) (T, error)) (all []T, err error) {
	for _, b := range s.backends {
		x, err := measure(ctx, b)
		if err != nil {
			return nil, fmt.Errorf("bench: %s: %w", b.name, err)
		}
		all = append(all, x)
	}
	return all, nil
}
