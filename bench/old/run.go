package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"
)

// options say what is measured.
type options struct {
	cases       string
	rounds      int
	slice       time.Duration // of one contender in one round
	scale       scale
	skipMemory  bool
	skipDurable bool
	skipShared  bool
	durable     string // parts of the embedded store to measure, and nothing else; empty: all of everything
	skipServer  bool
	shared      string // the same for the stores for many nodes
	server      string // the same for the session server
	dir         string // for its files
	markdown    string
	results     string
	profile     string
}

// A scale says how much of everything else.
type scale struct {
	memory       []job
	pause        []job
	updateRounds int
	races        int // of sojourn
	peerRaces    int
	durable      durableScale
	shared       sharedScale
	server       serverScale
}

var (
	full = scale{
		memory: []job{
			memory("sojourn", 100_000, 8), memory("sojourn", 1_000_000, 8), memory("sojourn", 10_000_000, 0),
			memory("sojourn", 1_000_000, 0), memory("scs", 1_000_000, 0), memory("fiber", 1_000_000, 0),
		},
		pause:        []job{pause("sojourn", 1_000_000), pause("scs", 1_000_000)},
		updateRounds: 20, races: 100, peerRaces: 20,
		durable: fullDurable, shared: fullShared, server: fullServer,
	}
	smoke = scale{
		memory:       []job{memory("sojourn", 10_000, 8), memory("scs", 10_000, 0), memory("fiber", 10_000, 0)},
		pause:        []job{pause("sojourn", 20_000)},
		updateRounds: 2, races: 3, peerRaces: 3,
		durable: smokeDurable, shared: smokeShared, server: smokeServer,
	}
)

func memory(contender string, sessions, rotations int) job {
	return job{Kind: "memory", Contender: contender, Sessions: sessions, Rotations: rotations}
}

func pause(contender string, sessions int) job {
	return job{Kind: "pause", Contender: contender, Sessions: sessions}
}

// whole reports whether everything is measured.
func (o *options) whole() bool { return o.plan() == plan{true, true, true, true, true, true} }

// A plan says which parts of a run are wanted.
type plan struct{ cases, races, memory, durable, shared, server bool }

func (o *options) plan() plan {
	switch {
	case o.durable != "" || o.shared != "" || o.server != "":
		return plan{durable: o.durable != "", shared: o.shared != "", server: o.server != ""}
	case o.profile != "":
		return plan{cases: true}
	default:
		all := o.cases == ""
		return plan{true, all, !o.skipMemory, all && !o.skipDurable, all && !o.skipShared, all && !o.skipServer}
	}
}

// run measures, and writes the report.
func run(ctx context.Context, o options, out io.Writer, p *progress) error {
	defer p.done()
	want := o.plan()
	cases, err := selectCases(o.cases)
	if err != nil {
		return err
	}
	if len(cases) == 0 && want.cases {
		return fmt.Errorf("bench: no case matches %q", o.cases)
	}
	r := report{Header: newHeader(), Rounds: o.rounds, Slice: o.slice}
	who := contenders
	if o.profile != "" && o.durable == "" {
		who = who[:1]
		stop, err := startProfile(o.profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	if want.cases {
		if r.Cases, err = compareAll(ctx, who, cases, o.rounds, o.slice, p.say); err != nil {
			return err
		}
	}
	if want.races {
		if r.Correctness, err = allCorrectness(ctx, o.scale, p.say); err != nil {
			return err
		}
	}
	if want.memory {
		if r.Memory, err = runJobs[memoryResult](ctx, o.scale.memory, p.say); err != nil {
			return err
		}
		if r.Pauses, err = runJobs[pauseResult](ctx, o.scale.pause, p.say); err != nil {
			return err
		}
	}
	if want.durable {
		if r.Durable, err = measureDurable(ctx, o, p.say); err != nil {
			return err
		}
	}
	if want.shared {
		if r.Shared, err = measureShared(ctx, o, p.say); err != nil {
			return err
		}
	}
	if want.server {
		if r.Server, err = measureServer(ctx, o, p.say); err != nil {
			return err
		}
	}
	p.done()
	return publish(&r, o, out)
}

func startProfile(path string) (stop func(), err error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close()
	}, nil
}

func compareAll(ctx context.Context, who []contender, cases []benchCase, rounds int, d time.Duration, say func(string)) (all []caseResult, err error) {
	for _, n := range cpuCounts() {
		for _, c := range cases {
			result, err := compare(ctx, who, c, n, rounds, d, say)
			if err != nil {
				return nil, err
			}
			all = append(all, result)
		}
	}
	return all, nil
}

// cpuCounts are the numbers of CPUs on which is measured what uses as many as it gets.
func cpuCounts() []int {
	if runtime.NumCPU() > 1 {
		return []int{1, 2}
	}
	return []int{1}
}

func allCorrectness(ctx context.Context, s scale, say func(string)) (all []correctness, err error) {
	for _, who := range contenders {
		if who.module == "" {
			continue
		}
		races := s.peerRaces
		if who.name == "sojourn" {
			races = s.races
		}
		c, err := measureCorrectness(ctx, who, s.updateRounds, races, say)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func runJobs[T any](ctx context.Context, jobs []job, say func(string)) (all []T, err error) {
	for _, j := range jobs {
		var result T
		if err := runJob(ctx, j, &result, say); err != nil {
			return nil, err
		}
		all = append(all, result)
	}
	return all, nil
}

// publish prints the report, and writes the files asked for.
func publish(r *report, o options, out io.Writer) error {
	var text strings.Builder
	r.write(&text, true)
	if _, err := io.WriteString(out, text.String()); err != nil {
		return err
	}
	if o.markdown != "" {
		var short strings.Builder
		r.write(&short, false)
		if err := os.WriteFile(o.markdown, []byte(short.String()), 0o644); err != nil {
			return err
		}
	}
	if o.results == "" || !o.whole() {
		return nil // only a whole run is worth keeping
	}
	if err := os.MkdirAll(o.results, 0o755); err != nil {
		return err
	}
	name := filepath.Join(o.results, r.Header.fileName())
	if err := os.WriteFile(name, []byte(text.String()), 0o644); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, "\nwritten to "+name)
	return err
}
