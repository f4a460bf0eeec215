// Bench compares Sojourn with the session libraries that people use, side by side in one process, and prints a table.
//
//	make bench                       everything, about half an hour
//	make bench ARGS=-quick           a smoke run, a minute
//	make bench ARGS="-cases subject -skip-memory"
//	make bench ARGS="-durable writes|steady"
//	make bench ARGS="-durable writes -cases create -profile cpu.prof"
//	make bench ARGS="-shared 'ends|limit'"
//	make bench ARGS="-server 'hits|crowd'"
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if text := os.Getenv(jobVariable); text != "" {
		exitOn(childMain(text, os.Stdout, os.Stderr))
		return
	}
	var o options
	quick := flag.Bool("quick", false, "a smoke run: little of everything, and no results file")
	flag.StringVar(&o.cases, "cases", "", "measure only the cases whose name matches this regular expression, and no races; with -durable, only such operations")
	flag.IntVar(&o.rounds, "rounds", 21, "rounds of each case")
	flag.BoolVar(&o.skipMemory, "skip-memory", false, "leave out memory and pauses of stores in memory")
	flag.BoolVar(&o.skipDurable, "skip-durable", false, "leave out the embedded store")
	flag.StringVar(&o.durable, "durable", "", "measure only the embedded store, and of it the `parts` whose name matches this regular expression: "+strings.Join(durableParts, ", "))
	flag.BoolVar(&o.skipShared, "skip-shared", false, "leave out the stores for many nodes")
	flag.StringVar(&o.shared, "shared", "", "measure only the stores for many nodes, and of them the `parts` whose name matches this regular expression: "+strings.Join(sharedParts, ", "))
	flag.BoolVar(&o.skipServer, "skip-server", false, "leave out the session server")
	flag.StringVar(&o.server, "server", "", "measure only the session server, and of it the `parts` whose name matches this regular expression: "+strings.Join(serverParts, ", "))
	flag.StringVar(&o.dir, "dir", "", "put the files of the embedded store and of the servers into this `directory`, on a disk (default that for temporary files)")
	steady := flag.Duration("steady", 0, "how long sessions are created at a steady rate (default 5m, with -quick 2s)")
	flag.StringVar(&o.markdown, "markdown", "", "write the tables for docs/benchmarks.md to this `file`")
	flag.StringVar(&o.results, "results", "results", "write what a whole run found to a file in this `directory`; empty: don't")
	flag.StringVar(&o.profile, "profile", "", "run only sojourn's cases, or what -durable names of it, or -shared names, and write a CPU profile to this `file`")
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
	if *steady > 0 {
		o.scale.durable.steady.d = *steady
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exitOn(run(ctx, o, os.Stdout, newProgress(os.Stderr)))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
