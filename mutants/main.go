// Command mutants proves that the tests can fail. Each entry of its tables is a
// change that breaks an invariant of the design, and names a test that must
// fail then. Run it with make mutants, or
//
//	go run ./mutants [invariant or part of a name]...
//
// README.md in this directory says how to write an entry.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	workers = 2
	// usual is about how long one mutant takes if two run at a time on two
	// cores. It includes a share of the tests without mutants.
	usual = 15 * time.Second
	// limit is how long one test may take.
	limit = 5 * time.Minute
)

// A mutant is a change to the source under which a test must fail.
type mutant struct {
	name   string // the invariant, a dash and what is wrong: I4-write-revives
	breaks string // the rule that the change breaks
	test   string // arguments of go test at the root: ./store -run TestI4
	edits  []edit
}

// An edit replaces a text that occurs exactly once in a file.
type edit struct{ file, old, new string }

// all returns the mutants of all tables, sorted by name.
func all() []mutant {
	list := slices.Concat(engine, sealed, bound, boundHTTP, pages, mirrors, store, nearcache, sqlitestore, pgstore, redisstore, server, console, simulator)
	slices.SortFunc(list, func(a, b mutant) int { return strings.Compare(a.name, b.name) })
	return list
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	root, err := os.Getwd()
	if err == nil {
		err = run(ctx, root, all(), os.Args[1:], os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		stop()
		os.Exit(1)
	}
}

// run tries the mutants of the tree at root whose name matches a word in only,
// or all if only is empty. It prints a line for each.
func run(ctx context.Context, root string, list []mutant, only []string, out io.Writer) error {
	if list = named(list, only); len(list) == 0 {
		return fmt.Errorf("no mutant is named %q", only)
	}
	temp, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)

	// A test that also fails without its mutant proves nothing.
	unchanged := map[string]func() error{}
	for _, m := range list {
		unchanged[m.test] = sync.OnceValue(func() error { return tryUnchanged(ctx, root, m.test) })
	}

	fmt.Fprintf(out, "%d mutants, %d at a time: about %s on two cores\n",
		len(list), workers, about(usual*time.Duration(len(list))/workers))
	began := time.Now()
	verdicts := make([]error, len(list)) // nil: the test went red
	var mu sync.Mutex                    // guards done and out
	done := 0
	items := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range items {
				m, start := list[i], time.Now()
				if verdicts[i] = unchanged[m.test](); verdicts[i] == nil {
					verdicts[i] = try(ctx, root, filepath.Join(temp, m.name), m)
				}
				took := time.Since(start)
				if ctx.Err() != nil {
					continue
				}

				mu.Lock()
				done++
				left := time.Since(began) / time.Duration(done) * time.Duration(len(list)-done)
				word := "red"
				if verdicts[i] != nil {
					word = "NOT RED"
				}
				fmt.Fprintf(out, "%*d/%d  %-14s %-7s %6.1fs  %s: %s\n", len(fmt.Sprint(len(list))), done, len(list),
					about(left)+" left", word, took.Seconds(), m.name, m.breaks)
				mu.Unlock()
			}
		})
	}
	for i := range list {
		items <- i
	}
	close(items)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	return report(out, list, verdicts)
}

var invariant = regexp.MustCompile(`^I\d+$`)

// named returns the mutants whose name matches a word in only. A word is an
// invariant or a part of a name. Without words, named returns all.
func named(list []mutant, only []string) []mutant {
	return slices.DeleteFunc(slices.Clone(list), func(m mutant) bool {
		return len(only) > 0 && !slices.ContainsFunc(only, func(word string) bool {
			if invariant.MatchString(word) {
				return strings.HasPrefix(m.name, word+"-")
			}
			return strings.Contains(m.name, word)
		})
	})
}

// about rounds a duration for display.
func about(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
}

// apply returns the changed content of the files that m changes.
func (m *mutant) apply(root string) (map[string][]byte, error) {
	type place struct {
		from, to int
		new      string
	}
	places := map[string][]place{}
	texts := map[string]string{}
	for _, e := range m.edits {
		if _, ok := texts[e.file]; !ok {
			text, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				return nil, fmt.Errorf("doesn't apply: %w", err)
			}
			texts[e.file] = string(text)
		}
		if n := strings.Count(texts[e.file], e.old); n != 1 {
			return nil, fmt.Errorf("doesn't apply: %s must have the old text once, but has it %d times:\n%s", e.file, n, e.old)
		}
		i := strings.Index(texts[e.file], e.old)
		places[e.file] = append(places[e.file], place{i, i + len(e.old), e.new})
	}
	files := map[string][]byte{}
	for name, list := range places {
		slices.SortFunc(list, func(a, b place) int { return a.from - b.from })
		var b strings.Builder
		at := 0
		for _, p := range list {
			if p.from < at {
				return nil, fmt.Errorf("doesn't apply: two edits of %s overlap", name)
			}
			b.WriteString(texts[name][at:p.from] + p.new)
			at = p.to
		}
		b.WriteString(texts[name][at:])
		files[name] = []byte(b.String())
	}
	return files, nil
}

// tryUnchanged runs a test on the unchanged tree. It must exist and pass.
func tryUnchanged(ctx context.Context, root, test string) error {
	out, err := goTest(ctx, root, test+" -v")
	switch {
	case err != nil:
		return fmt.Errorf("the test also fails without the mutant\n%s", tail(out))
	case !bytes.Contains(out, []byte("--- PASS: ")):
		return errors.New("the test doesn't exist, or skips itself")
	}
	return nil
}

// try runs m's test with the changed files, which it writes to dir. The tree
// stays as it is. try returns nil if the test fails.
func try(ctx context.Context, root, dir string, m mutant) error {
	files, err := m.apply(root)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, text := range files {
		to := filepath.Join(dir, fmt.Sprint(len(overlay.Replace))+filepath.Ext(name))
		if err := os.WriteFile(to, text, 0o644); err != nil {
			return err
		}
		overlay.Replace[filepath.Join(root, name)] = to
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, text, 0o644); err != nil {
		return err
	}

	// GOFLAGS also applies the overlay to programs that the test builds.
	out, err := goTest(ctx, root, m.test, "GOFLAGS="+os.Getenv("GOFLAGS")+" -overlay="+list)
	if err == nil {
		return errors.New("survived: the test is still green")
	}
	for _, sign := range []string{"[build failed]", "[setup failed]"} {
		if bytes.Contains(out, []byte(sign)) {
			return fmt.Errorf("doesn't build\n%s", tail(out))
		}
	}
	for _, sign := range []string{"--- FAIL: ", "panic: ", "fatal error: ", "DATA RACE"} {
		if bytes.Contains(out, []byte(sign)) {
			return nil
		}
	}
	return fmt.Errorf("go test failed, but no test did\n%s", tail(out))
}

// goTest runs go test. A shell splits the arguments.
func goTest(ctx context.Context, root, args string, env ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec go test "+args)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.CombinedOutput()
}

// tail returns the last lines of a command's output, indented.
func tail(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	lines = lines[max(0, len(lines)-15):]
	return "    " + strings.Join(lines, "\n    ")
}

// report prints what went wrong.
func report(out io.Writer, list []mutant, verdicts []error) error {
	bad := 0
	for i, m := range list {
		if verdicts[i] != nil {
			bad++
			fmt.Fprintf(out, "\n%s: %v\n    go test %s\n", m.name, verdicts[i], m.test)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d mutants did not make their test go red", bad, len(list))
	}
	fmt.Fprintf(out, "%d mutants, and each made its test go red\n", len(list))
	return nil
}
