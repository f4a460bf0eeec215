// Command mutants shows that the tests can fail. Each patch beside it takes out what upholds one of the
// invariants of the design, and names a test that must go red under it. Run it as make mutants, or
//
//	go run ./mutants [invariant or part of a file name]...
//
// README.md in this directory tells how a patch is written.
package main

import (
	"bytes"
	"context"
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
	"text/tabwriter"
	"time"
)

const workers = 2

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, ".", os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		stop()
		os.Exit(1)
	}
}

// run tries the patches in root/mutants that one of only names, or all if only is empty.
func run(ctx context.Context, root string, only []string, out io.Writer) error {
	patches, err := load(filepath.Join(root, "mutants"), only)
	if err != nil {
		return err
	}
	files, err := list(ctx, root)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)

	tree := func(dir string) error { return copyTree(root, dir, files) }

	// First the tests as they are: one that is red anyway proves nothing.
	reds := commands(patches)
	asIs := make([]error, len(reds))
	each(temp, len(reds), func(dir string, i int) {
		if asIs[i] = tree(dir); asIs[i] == nil {
			asIs[i] = baseline(ctx, dir, reds[i])
		}
	})
	each(temp, len(patches), func(dir string, i int) {
		p := patches[i]
		if p.verdict = asIs[slices.Index(reds, p.red)]; p.verdict != nil {
			return
		}
		began := time.Now()
		if p.verdict = tree(dir); p.verdict == nil {
			p.verdict = try(ctx, dir, p)
		}
		p.took = time.Since(began)
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	return report(out, patches)
}

// each calls f for 0 to n-1, on a few at a time, each with a directory of its own in temp. There are only as many
// of these as calls at a time, so that go build's cache, which knows files by their place, serves the next.
func each(temp string, n int, f func(dir string, i int)) {
	items := make(chan int)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range items {
				f(filepath.Join(temp, fmt.Sprint(w)), i)
			}
		})
	}
	for i := range n {
		items <- i
	}
	close(items)
	wg.Wait()
}

type patch struct {
	name      string // of the file
	invariant string // I4, or R2 for a rule of rotation
	breaks    string // what is taken out
	red       string // the command that must fail: go test ...
	diff      []byte

	verdict error // nil: the test went red
	took    time.Duration
}

// load reads the patches of a directory, in the order of their names.
func load(dir string, only []string) ([]*patch, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	var patches []*patch
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		p, err := parse(filepath.Base(name), text)
		if err != nil {
			return nil, err
		}
		if len(only) == 0 || slices.ContainsFunc(only, p.named) {
			patches = append(patches, p)
		}
	}
	if len(patches) == 0 {
		return nil, fmt.Errorf("no patch in %s is of %q", dir, only)
	}
	return patches, nil
}

// named reports whether s is p's invariant or, if it is no invariant, a part of p's name.
func (p *patch) named(s string) bool {
	return p.invariant == s || !invariant.MatchString(s) && strings.Contains(p.name, s)
}

var invariant = regexp.MustCompile(`^[IR]\d+$`)

func parse(name string, text []byte) (*patch, error) {
	p := &patch{name: name, diff: text}
	for line := range strings.Lines(string(text)) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "#")
		if !ok {
			break
		}
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "invariant":
			p.invariant = value
		case "breaks":
			p.breaks = value
		case "red":
			p.red = value
		}
	}
	if p.invariant == "" || p.breaks == "" || !strings.HasPrefix(p.red, "go test ") || !strings.Contains(p.red, "-run") {
		return nil, fmt.Errorf("%s: begins with three lines, # invariant: I4, # breaks: what is taken out, # red: go test ./PACKAGE -run TestI4", name)
	}
	return p, nil
}

// commands returns the commands that the patches name, each once.
func commands(patches []*patch) []string {
	var all []string
	for _, p := range patches {
		all = append(all, p.red)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// list returns the files of the tree: those that git knows and those that it would add.
func list(ctx context.Context, root string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the files of %s: %w", root, err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 }), nil
}

// copyTree makes dir a fresh copy of the files.
func copyTree(root, dir string, files []string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(root, f))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, not committed yet
		}
		if err != nil {
			return err
		}
		to := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// baseline runs the command on the tree as it is. It must pass, and must have run a test.
func baseline(ctx context.Context, dir, red string) error {
	out, err := command(ctx, dir, red+" -v")
	switch {
	case err != nil:
		return fmt.Errorf("red without the patch too\n%s", tail(out))
	case !bytes.Contains(out, []byte("--- PASS: ")):
		return errors.New("names no test that runs")
	}
	return nil
}

// try applies the patch to the tree in dir and returns nil if the test went red.
func try(ctx context.Context, dir string, p *patch) error {
	apply := exec.CommandContext(ctx, "git", "apply", "--whitespace=nowarn", "-")
	apply.Dir = dir
	apply.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir)) // no repository
	apply.Stdin = bytes.NewReader(p.diff)
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("doesn't apply any more\n%s", tail(out))
	}
	if out, err := command(ctx, dir, p.red+" -run='^$'"); err != nil {
		return fmt.Errorf("doesn't build with the patch\n%s", tail(out))
	}
	out, err := command(ctx, dir, p.red)
	if err == nil {
		return errors.New("survived: the test is still green")
	}
	for _, sign := range []string{"--- FAIL: ", "panic: ", "fatal error: ", "DATA RACE"} {
		if bytes.Contains(out, []byte(sign)) {
			return nil
		}
	}
	return fmt.Errorf("the command failed, but no test did\n%s", tail(out))
}

// command runs a command line in dir, for at most five minutes.
func command(ctx context.Context, dir, line string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+line)
	cmd.Dir = dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.CombinedOutput()
}

// tail returns the end of what a command printed, indented.
func tail(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	lines = lines[max(0, len(lines)-15):]
	return "    " + strings.Join(lines, "\n    ")
}

// report prints a table and, below it, what went wrong.
func report(out io.Writer, patches []*patch) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "invariant\tpatch\ttest\tseconds\tbreaks")
	var bad []*patch
	for _, p := range patches {
		verdict := "red"
		if p.verdict != nil {
			verdict = "NOT RED"
			bad = append(bad, p)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%.1f\t%s\n", p.invariant, p.name, verdict, p.took.Seconds(), p.breaks)
	}
	table.Flush()
	for _, p := range bad {
		fmt.Fprintf(out, "\n%s: %v\n    %s\n", p.name, p.verdict, p.red)
	}
	if len(bad) > 0 {
		return fmt.Errorf("%d of %d patches did not make their test go red", len(bad), len(patches))
	}
	fmt.Fprintf(out, "\npatches: %d, each seen by its test\n", len(patches))
	return nil
}
