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
	cases      string
	rounds     int
	slice      time.Duration // of one contender in one round
	scale      scale
	skipMemory bool
	markdown   string
	results    string
	profile    string
}

// A scale says how much of everything else.
type scale struct {
	memory       []job
	pause        []job
	updateRounds int
	races        int // of sojourn
	peerRaces    int
}

var (
	full = scale{
		memory: []job{
			{"memory", "sojourn", 100_000, 8}, {"memory", "sojourn", 1_000_000, 8}, {"memory", "sojourn", 4_000_000, 0},
			{"memory", "sojourn", 1_000_000, 0}, {"memory", "scs", 1_000_000, 0}, {"memory", "fiber", 1_000_000, 0},
		},
		pause:        []job{{"pause", "sojourn", 1_000_000, 0}, {"pause", "scs", 1_000_000, 0}},
		updateRounds: 20, races: 100, peerRaces: 20,
	}
	smoke = scale{
		memory:       []job{{"memory", "sojourn", 10_000, 8}, {"memory", "scs", 10_000, 0}, {"memory", "fiber", 10_000, 0}},
		pause:        []job{{"pause", "sojourn", 20_000, 0}},
		updateRounds: 2, races: 3, peerRaces: 3,
	}
)

// run measures, and writes the report.
func run(ctx context.Context, o options, out io.Writer, p *progress) error {
	defer p.done()
	cases, err := selectCases(o.cases)
	if err != nil {
		return err
	}
	if len(cases) == 0 {
		return fmt.Errorf("bench: no case matches %q", o.cases)
	}
	r := report{Header: newHeader(), Rounds: o.rounds, Slice: o.slice}
	who := contenders
	if o.profile != "" {
		who = who[:1]
		file, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	cpus := []int{1}
	if runtime.NumCPU() > 1 {
		cpus = append(cpus, 2)
	}
	for _, n := range cpus {
		for _, c := range cases {
			result, err := compare(ctx, who, c, n, o.rounds, o.slice, p.say)
			if err != nil {
				return err
			}
			r.Cases = append(r.Cases, result)
		}
	}
	if o.cases == "" && o.profile == "" {
		if r.Correctness, err = allCorrectness(ctx, o.scale, p.say); err != nil {
			return err
		}
	}
	if !o.skipMemory && o.profile == "" {
		if r.Memory, err = runJobs[memoryResult](ctx, o.scale.memory, p.say); err != nil {
			return err
		}
		if r.Pauses, err = runJobs[pauseResult](ctx, o.scale.pause, p.say); err != nil {
			return err
		}
	}
	p.done()
	return publish(&r, o, out)
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
	if o.results == "" || o.cases != "" || o.skipMemory || o.profile != "" {
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
