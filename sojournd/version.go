package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// release is the version that a release was built as. The linker sets it:
// -ldflags "-X main.release=v0.1.0".
var release string

// version returns the version of the release or of the module, or "dev".
func version() string {
	info, _ := debug.ReadBuildInfo()
	return versionOf(release, info)
}

func versionOf(release string, info *debug.BuildInfo) string {
	switch {
	case release != "":
		return release
	case info != nil && info.Main.Version != "" && info.Main.Version != "(devel)":
		return info.Main.Version
	}
	return "dev"
}

// about returns what --version prints.
func about() string {
	info, _ := debug.ReadBuildInfo()
	return describe(release, info)
}

func describe(release string, info *debug.BuildInfo) string {
	lines := []string{"sojournd " + versionOf(release, info)}
	if info == nil {
		return lines[0]
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	commit, source := settings["vcs.revision"], "source without version control"
	switch {
	case commit != "" && settings["vcs.modified"] == "true":
		source = "that commit, with changes that were not committed"
	case commit != "":
		source = "that commit"
	case info.Main.Sum != "":
		source = "the module " + info.Main.Path + "@" + info.Main.Version + " " + info.Main.Sum
	}
	if commit != "" {
		lines = append(lines, "commit      "+commit+" of "+settings["vcs.time"])
	}
	lines = append(lines,
		fmt.Sprintf("Go          %s for %s/%s", strings.TrimPrefix(info.GoVersion, "go"), runtime.GOOS, runtime.GOARCH),
		"built from  "+source)
	return strings.Join(lines, "\n")
}
