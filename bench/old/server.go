package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A serverScale says how much of the session server is measured.
type serverScale struct {
	disk     int64
	bound    time.Duration // of a part: for much less it is made
	sessions int           // in its file
	starts   int
	rounds   int           // of each kind of request
	slice    time.Duration // of one of them in one round: whole seconds, as wrk wants it
	paced    time.Duration // at half the rate
	streams  int           // subscribers to events
	idle     int           // connections that wait for a request
}

var (
	fullServer  = serverScale{disk: 2e9, bound: 10 * time.Minute, sessions: 1_000_000, starts: 9, rounds: 7, slice: 3 * time.Second, paced: 10 * time.Second, streams: 10_000, idle: 10_000}
	smokeServer = serverScale{disk: 200e6, bound: 2 * time.Minute, sessions: 20_000, starts: 3, rounds: 1, slice: time.Second, paced: time.Second, streams: 500, idle: 500}
)

// serverResults are what was measured of the session server.
type serverResults struct {
	Start *startResult
	Hits  []hitResult
	Crowd *crowdResult
	Notes []string // what could not be measured, and why
}

// serverParts are measured in this order.
var serverParts = []string{"start", "hits", "crowd"}

// A serverRun measures sojournd as a process, on this machine's loopback.
type serverRun struct {
	s       serverScale
	program string
	file    storeFile
	dir     string
	say     func(string)
	r       serverResults
}

// measureServer measures the parts whose name matches.
func measureServer(ctx context.Context, o options, say func(string)) (r *serverResults, err error) {
	only, err := regexp.Compile(o.server)
	if err != nil {
		return nil, fmt.Errorf("bench: -server: %w", err)
	}
	dir, remove, err := workDir(o.dir, o.scale.server.disk)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	run := &serverRun{s: o.scale.server, dir: dir, say: say}
	return &run.r, run.run(ctx, only)
}

func (s *serverRun) run(ctx context.Context, only *regexp.Regexp) (err error) {
	s.say("building sojournd")
	if s.program, err = buildServer(ctx, s.dir); err != nil {
		return err
	}
	if s.file, err = newStoreFile(s.dir, "store"); err != nil {
		return err
	}
	parts := map[string]func(context.Context) error{"start": s.start, "hits": s.hits, "crowd": s.crowd}
	for _, name := range serverParts {
		if only.MatchString(name) {
			if err := bounded(ctx, s.s.bound, parts[name]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// A startResult is how long it takes from the start of the process until it is ready.
type startResult struct {
	Sessions int // on disk
	Median   time.Duration
	Longest  time.Duration
	Starts   int
}

func (s *serverRun) start(ctx context.Context) error {
	if err := s.fill(ctx); err != nil {
		return err
	}
	var took []float64
	for i := range s.s.starts {
		s.say(fmt.Sprintf("starting: %d of %d times", i+1, s.s.starts))
		server, err := s.startServer(ctx)
		if err != nil {
			return err
		}
		took = append(took, float64(server.ready))
		if err := server.stop(); err != nil {
			return err
		}
	}
	s.r.Start = &startResult{s.s.sessions, time.Duration(quantile(took, 0.5)), time.Duration(quantile(took, 1)), len(took)}
	return nil
}

// fill makes the file's sessions, which live: of expired ones the server would be busy sweeping while its requests are measured.
func (s *serverRun) fill(ctx context.Context) error {
	s.say(fmt.Sprintf("filling: %s sessions", count(s.s.sessions)))
	st, err := openFile(ctx, s.file)
	if err != nil {
		return err
	}
	live := samples{store.TimeOf(time.Now())}
	return errors.Join(live.fill(ctx, st, 0, s.s.sessions), st.Close())
}
