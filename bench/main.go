// Bench compares Sojourn with the session libraries that people use, side by side in one process, and prints a table.
//
//	make bench                       everything, about 10 minutes
//	make bench ARGS=-quick           a smoke run, under a minute
//	make bench ARGS="-cases subject -skip-memory"
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	if text := os.Getenv(jobVariable); text != "" {
		exitOn(childMain(text, os.Stdout, os.Stderr))
		return
	}
	var o options
	quick := flag.Bool("quick", false, "a smoke run: little of everything, and no results file")
	flag.StringVar(&o.cases, "cases", "", "measure only the cases whose name matches this regular expression, and no races")
	flag.IntVar(&o.rounds, "rounds", 21, "rounds of each case")
	flag.BoolVar(&o.skipMemory, "skip-memory", false, "leave out memory and pauses")
	flag.StringVar(&o.markdown, "markdown", "", "write the tables for README to this `file`")
	flag.StringVar(&o.results, "results", "results", "write what a whole run found to a file in this `directory`; empty: don't")
	flag.StringVar(&o.profile, "profile", "", "run only sojourn's cases, and write a CPU profile to this `file`")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: unknown argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	o.slice, o.scale = 40*time.Millisecond, full
	if *quick {
		o.slice, o.scale, o.results = 4*time.Millisecond, smoke, ""
		o.rounds = min(o.rounds, 3)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exitOn(run(ctx, o, os.Stdout, newProgress(os.Stderr)))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
