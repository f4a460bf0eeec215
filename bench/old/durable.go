package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// A durableScale says how much of the embedded store is measured.
type durableScale struct {
	sessions int // in the file that most parts begin with
	large    int // in the one that is opened at last
	disk     int64

	writes writesScale
	steady steadyScale
	expiry expiryScale

	hot        int // sessions that are read through the cache
	readRounds int
	readSlice  time.Duration

	turnover int // sessions that live at once
}

var (
	fullDurable = durableScale{
		sessions: 1_000_000, large: 5_000_000, disk: 16e9,
		writes: writesScale{keeperOps, []int{1, 16, 128, 512}, 5, 250 * time.Millisecond},
		steady: steadyScale{10_000, 128, 5 * time.Minute},
		expiry: expiryScale{rate: 2000, writers: 64, hot: 100_000, control: 10 * time.Second},
		hot:    100_000, readRounds: 21, readSlice: 40 * time.Millisecond,
		turnover: 20_000,
	}
	smokeDurable = durableScale{
		sessions: 20_000, large: 30_000, disk: 2e9,
		writes: writesScale{keeperOps, []int{1, 128}, 2, 50 * time.Millisecond},
		steady: steadyScale{2000, 128, 2 * time.Second},
		expiry: expiryScale{rate: 500, writers: 16, hot: 5000, control: time.Second},
		hot:    5000, readRounds: 3, readSlice: 4 * time.Millisecond,
		turnover: 1440,
	}
)

// durableResults are what was measured of the embedded store.
type durableResults struct {
	Writes   []writesResult
	Steady   *steadyResult
	Reads    []readsResult
	Expiry   *expiryResult
	Openings []openingResult
	Turnover *turnoverResult
}

// durableParts are measured in this order: the file only grows.
var durableParts = []string{"open", "writes", "reads", "expiry", "steady", "large", "turnover"}

// A durableRun measures the embedded store, in a directory of its own.
type durableRun struct {
	s       durableScale
	dir     string
	only    *regexp.Regexp
	profile string // write a CPU profile of sojourn's durable writes to this file, and leave the others out
	say     func(string)

	file storeFile
	n    int // sessions in it
	r    durableResults
}

// measureDurable measures the parts whose name matches.
func measureDurable(ctx context.Context, o options, say func(string)) (r *durableResults, err error) {
	only, err := regexp.Compile(o.durable)
	if err != nil {
		return nil, fmt.Errorf("bench: -durable: %w", err)
	}
	s := o.scale.durable
	if s.writes.ops, err = selectOps(s.writes.ops, o.cases); err != nil {
		return nil, err
	}
	dir, remove, err := workDir(o.dir, s.disk)
	if err != nil {
		return nil, err
	}
	defer func() {
		say("removing " + dir)
		err = errors.Join(err, remove())
	}()
	d := &durableRun{s: s, dir: dir, only: only, profile: o.profile, say: say}
	return &d.r, d.run(ctx)
}

// selectOps returns the operations whose name matches.
func selectOps(ops []keeperOp, pattern string) ([]keeperOp, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("bench: -cases: %w", err)
	}
	return slices.DeleteFunc(slices.Clone(ops), func(o keeperOp) bool { return !re.MatchString(string(o)) }), nil
}

func (d *durableRun) run(ctx context.Context) (err error) {
	if d.file, err = newStoreFile(d.dir, "base"); err != nil {
		return err
	}
	parts := map[string]func(context.Context) error{
		"open": d.open, "writes": d.writes, "reads": d.reads, "expiry": d.expiry, "steady": d.steady, "large": d.large, "turnover": d.turnover,
	}
	for _, name := range durableParts {
		if !d.only.MatchString(name) {
			continue
		}
		if name != "turnover" {
			if err := d.fill(ctx, d.s.sessions); err != nil {
				return err
			}
		}
		if err := parts[name](ctx); err != nil {
			return err
		}
	}
	return nil
}

// fill adds to the file what n sessions lack.
func (d *durableRun) fill(ctx context.Context, n int) error {
	if d.n >= n {
		return nil
	}
	from := d.n
	d.n = n
	return fillFile(ctx, d.file, from, n, d.say)
}

// open opens the file with the system's memory of it, and without.
func (d *durableRun) open(ctx context.Context) error {
	for _, cold := range []bool{false, true} {
		var result openingResult
		j := job{Kind: "opening", Contender: "sojourn", Sessions: d.n, Path: string(d.file), Cold: cold}
		if err := runJob(ctx, j, &result, d.say); err != nil {
			return err
		}
		d.r.Openings = append(d.r.Openings, result)
	}
	return nil
}

func (d *durableRun) large(ctx context.Context) error {
	if err := d.fill(ctx, d.s.large); err != nil {
		return err
	}
	return d.open(ctx)
}

func (d *durableRun) writes(ctx context.Context) (err error) {
	kinds, s := slices.Concat([]keeperKind{{sojournKeeper, sojournNote, 1, false, openSojournKeeper(d.file)}}, peerKeepers), d.s.writes
	if d.profile != "" {
		kinds, s.writers, s.rounds = kinds[:1], []int{128}, s.rounds*8
		stop, err := startProfile(d.profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	d.r.Writes, err = measureWrites(ctx, d.dir, kinds, d.n, s, d.say)
	return err
}

func (d *durableRun) reads(ctx context.Context) (err error) {
	d.r.Reads, err = measureReads(ctx, d.file, d.n, d.s.hot, d.s.readRounds, d.s.readSlice, d.say)
	return err
}

func (d *durableRun) expiry(ctx context.Context) error {
	mine, err := newStoreFile(d.dir, "expiry")
	if err != nil {
		return err
	}
	if err := d.file.copyTo(mine); err != nil {
		return err
	}
	result, err := measureExpiry(ctx, mine, d.n, d.s.expiry, d.say)
	d.r.Expiry = &result
	return errors.Join(err, mine.remove())
}

func (d *durableRun) steady(ctx context.Context) error {
	result, n, err := measureSteady(ctx, d.dir, d.file, d.n, d.s.steady, d.say)
	d.r.Steady, d.n = &result, n
	return err
}

func (d *durableRun) turnover(ctx context.Context) error {
	result, err := measureTurnover(ctx, d.dir, d.s.turnover, d.say)
	d.r.Turnover = &result
	return err
}
