package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	commit := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abcd"}, {Key: "vcs.time", Value: "2026-11-29T18:00:00Z"}, {Key: "vcs.modified", Value: "false"}}
	changed := append(commit[:2:2], debug.BuildSetting{Key: "vcs.modified", Value: "true"})
	module := debug.Module{Path: "example.com/sojournd", Version: "v0.1.0", Sum: "h1:abc="}
	here := "\nGo          1.26.8 for " + runtime.GOOS + "/" + runtime.GOARCH + "\nbuilt from  "
	for _, c := range []struct {
		release, version, about string
		info                    debug.BuildInfo
	}{
		{"v0.1.0", "v0.1.0", "sojournd v0.1.0\ncommit      0123abcd of 2026-11-29T18:00:00Z" + here + "that commit",
			debug.BuildInfo{Main: debug.Module{Version: "v0.0.0-20261129180000-0123abcd"}, Settings: commit}},
		{"", "v0.1.1-0.20261129180000-0123abcd+dirty", "sojournd v0.1.1-0.20261129180000-0123abcd+dirty\ncommit      0123abcd of 2026-11-29T18:00:00Z" + here + "that commit, with changes that were not committed",
			debug.BuildInfo{Main: debug.Module{Version: "v0.1.1-0.20261129180000-0123abcd+dirty"}, Settings: changed}},
		{"", "v0.1.0", "sojournd v0.1.0" + here + "the module example.com/sojournd@v0.1.0 h1:abc=", debug.BuildInfo{Main: module}},
		{"", "dev", "sojournd dev" + here + "source without version control", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}},
	} {
		c.info.GoVersion = "go1.26.8"
		if got := versionOf(c.release, &c.info); got != c.version {
			t.Errorf("version %q, want %q", got, c.version)
		}
		if got := describe(c.release, &c.info); got != c.about {
			t.Errorf("--version prints\n%s\nwant\n%s", got, c.about)
		}
	}
	if got := describe("", nil); got != "sojournd dev" {
		t.Errorf("without build information: %q", got)
	}
}
