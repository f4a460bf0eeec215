// Command skipped reads the events of a test run (go test -json). It fails and
// prints the tests that were skipped because a component, such as Chromium, is
// missing. Such tests call t.Skip("needs <component>: ...").
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "skipped:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: skipped events.json")
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	missing, err := find(f)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	for _, m := range missing {
		fmt.Fprintln(out, m)
	}
	if len(missing) > 0 {
		return fmt.Errorf("tests were skipped because a component is missing: %d", len(missing))
	}
	return nil
}

// reason matches the line that t.Skip prints: the place of the call, then its
// text.
var reason = regexp.MustCompile(`^\s+\S+\.go:\d+: (needs [^:]+:.*)`)

// find returns a line for each test that was skipped because of a missing
// component.
func find(events io.Reader) (missing []string, err error) {
	type test struct{ Package, Test string }
	wants := map[test]string{}
	n := 0
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			n++
			var e struct {
				test
				Action, Output string
			}
			if err := json.Unmarshal(line, &e); err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			switch m := reason.FindStringSubmatch(e.Output); {
			case e.Action == "output" && m != nil:
				wants[e.test] = m[1]
			case e.Action == "skip" && wants[e.test] != "":
				missing = append(missing, fmt.Sprintf("%s %s %s", e.Package, e.Test, wants[e.test]))
			}
		}
		switch {
		case err == io.EOF && n == 0:
			return nil, errors.New("no events: did no test run?")
		case err == io.EOF:
			return missing, nil
		case err != nil:
			return nil, err
		}
	}
}
