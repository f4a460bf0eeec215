package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
)

// The programs that make packages and bills of materials, pinned; no module
// depends on them.
const (
	nfpm      = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2"
	cyclonedx = "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0"
)

// A target is a system and an architecture, as Go names them.
type target struct{ os, arch string }

func (t target) String() string { return t.os + "/" + t.arch }

// targets are what a release is built for.
var targets = []target{
	{"linux", "amd64"}, {"linux", "arm64"},
	{"darwin", "amd64"}, {"darwin", "arm64"},
	{"windows", "amd64"}, {"windows", "arm64"},
}

// A build makes the files of a release. They depend only on the commit, the
// version, and Go's version. They don't depend on the time, on the directory of
// the repository, or on what isn't committed.
type build struct {
	source  string // a clone of the repository
	dist    string // where the files go
	version string // v0.1.0
	time    time.Time
}

// newBuild clones a repository at a commit into the directory work, and empties
// the directory dist.
func newBuild(ctx context.Context, repository, commit, work, dist, version string) (*build, error) {
	if err := checkVersion(version); err != nil {
		return nil, err
	}
	dist, err := filepath.Abs(dist)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(dist), os.MkdirAll(dist, 0o755)); err != nil {
		return nil, err
	}
	b := &build{source: filepath.Join(work, "source"), dist: dist, version: version}
	if err := run(ctx, repository, "git", "clone", "--quiet", "--shared", "--no-checkout", ".", b.source); err != nil {
		return nil, err
	}
	if err := run(ctx, b.source, "git", "checkout", "--quiet", "--detach", commit); err != nil {
		return nil, err
	}
	committed, err := output(ctx, b.source, "git", "log", "-1", "--format=%ct")
	if err != nil {
		return nil, err
	}
	seconds, err := strconv.ParseInt(committed, 10, 64)
	if err != nil {
		return nil, err
	}
	b.time = time.Unix(seconds, 0).UTC()
	return b, b.workspace()
}

// workspace writes a go.work with the published modules. With it, a program's
// build information has the names of its sibling modules, and not the directories
// that replace them. Other modules of the repository have no influence on the
// versions of dependencies.
func (b *build) workspace() error {
	dirs, err := publishedModules(b.source)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(b.source, "sojournd/go.mod"))
	if err != nil {
		return err
	}
	mod, err := modfile.Parse("sojournd/go.mod", text, nil)
	if err != nil {
		return err
	}
	work := "go " + mod.Go.Version + "\n"
	for _, dir := range dirs {
		sibling := path.Join(path.Dir(mod.Module.Mod.Path), dir)
		if dir == "sojournd" || slices.ContainsFunc(mod.Require, func(r *modfile.Require) bool { return r.Mod.Path == sibling }) {
			work += "use ./" + path.Join("source", dir) + "\n"
		}
	}
	return os.WriteFile(b.workFile(), []byte(work), 0o644)
}

func (b *build) workFile() string { return filepath.Join(filepath.Dir(b.source), "go.work") }

// buildAll makes all files of a release in the directory dist.
func buildAll(ctx context.Context, repository, commit, dist, version string, targets []target) error {
	if commit == "" {
		commit = "HEAD"
		changes, err := output(ctx, repository, "git", "status", "--porcelain")
		if err != nil {
			return err
		}
		if changes != "" {
			return fmt.Errorf("commit these changes first, because a release is built from a commit:\n%s", changes)
		}
	}
	work, err := os.MkdirTemp("", "sojourn-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	b, err := newBuild(ctx, repository, commit, work, dist, version)
	if err != nil {
		return err
	}
	for _, t := range targets {
		fmt.Println("build", t)
		if err := b.all(ctx, t); err != nil {
			return err
		}
	}
	return b.checksums()
}

// all makes all files for a target.
func (b *build) all(ctx context.Context, t target) error {
	program, err := b.program(ctx, t)
	if err != nil {
		return err
	}
	if err := b.archive(t, program); err != nil {
		return err
	}
	if err := b.billOfMaterials(ctx, t, program); err != nil {
		return err
	}
	if t.os != "linux" {
		return nil
	}
	for _, format := range []string{"deb", "rpm"} {
		if err := b.pack(ctx, t, program, format); err != nil {
			return err
		}
	}
	return nil
}

// name returns the common part of the names of a target's files.
func (b *build) name(t target) string {
	return "sojournd_" + strings.TrimPrefix(b.version, "v") + "_" + t.os + "_" + t.arch
}

// program builds sojournd.
func (b *build) program(ctx context.Context, t target) (file string, err error) {
	file = filepath.Join(filepath.Dir(b.source), t.os+"_"+t.arch, "sojournd")
	if t.os == "windows" {
		file += ".exe"
	}
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w -X main.release="+b.version, "-o", file, ".")
	command.Dir, command.Stdout, command.Stderr = filepath.Join(b.source, "sojournd"), os.Stdout, os.Stderr
	command.Env = append(os.Environ(), "GOOS="+t.os, "GOARCH="+t.arch, "CGO_ENABLED=0", "GOWORK="+b.workFile(), "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=")
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("go build for %s: %w", t, err)
	}
	return file, nil
}

// billOfMaterials writes the modules of a program, in CycloneDX's format. The
// siblings of sojournd have the release's version.
func (b *build) billOfMaterials(ctx context.Context, t target, program string) error {
	command := exec.CommandContext(ctx, "go", "run", "-trimpath", cyclonedx, "bin", "-json", "-std", "-noserial", "-notimestamp", "-version", b.version, program)
	command.Stderr, command.Env = os.Stderr, append(os.Environ(), "GOWORK=off")
	bill, err := command.Output()
	if err != nil {
		return fmt.Errorf("cyclonedx-gomod: %w", err)
	}
	bill = bytes.ReplaceAll(bill, []byte("(devel)"), []byte(b.version))
	return os.WriteFile(filepath.Join(b.dist, b.name(t)+".cdx.json"), bill, 0o644)
}

// pack makes a package, a .deb or an .rpm.
func (b *build) pack(ctx context.Context, t target, program, format string) error {
	files, err := b.installed(t, program)
	if err != nil {
		return err
	}
	stage := filepath.Join(filepath.Dir(program), "root")
	if err := os.RemoveAll(stage); err != nil {
		return err
	}
	for _, f := range files {
		at := filepath.Join(stage, f.name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, f.content, f.mode); err != nil {
			return err
		}
	}
	// The modes don't depend on the umask.
	err = filepath.WalkDir(stage, func(name string, d fs.DirEntry, err error) error {
		mode := os.FileMode(0o644)
		if err == nil && (d.IsDir() || filepath.Dir(name) == filepath.Join(stage, "usr/bin")) {
			mode = 0o755
		}
		return errors.Join(err, os.Chmod(name, mode), os.Chtimes(name, b.time, b.time))
	})
	if err != nil {
		return err
	}
	file := filepath.Join(b.dist, b.name(t)+"."+format)
	command := exec.CommandContext(ctx, "go", "run", nfpm, "package", "--config", "deploy/package/nfpm.yaml", "--packager", format, "--target", file)
	command.Dir = b.source
	command.Env = append(os.Environ(), "GOWORK=off", "ARCH="+t.arch, "VERSION="+b.version, "ROOT="+stage, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", b.time.Unix()))
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nfpm %s: %w\n%s", format, err, out)
	}
	return nil
}

// A file is what an archive or a package holds.
type file struct {
	name    string // with slashes, relative
	mode    os.FileMode
	content []byte
}

// read returns a file of the repository under another name.
func (b *build) read(from, name string) (file, error) {
	content, err := os.ReadFile(filepath.Join(b.source, from))
	return file{name: name, mode: 0o644, content: content}, err
}

// installed returns the files of a package, except for the configuration, which
// the packager must know as a configuration file.
func (b *build) installed(t target, program string) ([]file, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	files := []file{{name: "usr/bin/sojournd", mode: 0o755, content: content}}
	const doc = "usr/share/doc/sojournd/"
	names := map[string]string{
		"deploy/sojournd.sysusers": "usr/lib/sysusers.d/sojournd.conf",
		"sojournd/completion/bash": "usr/share/bash-completion/completions/sojournd",
		"sojournd/completion/zsh":  "usr/share/zsh/vendor-completions/_sojournd",
		"sojournd/completion/fish": "usr/share/fish/vendor_completions.d/sojournd.fish",
		"LICENSE":                  doc + "copyright",
		"CHANGELOG.md":             doc + "CHANGELOG.md",
		"deploy/sojournd.service":  "usr/lib/systemd/system/sojournd.service",
	}
	for _, pattern := range []string{"deploy/*.socket", "examples/proxies/*/*"} {
		found, err := filepath.Glob(filepath.Join(b.source, pattern))
		if err != nil {
			return nil, err
		}
		for _, name := range found {
			from, err := filepath.Rel(b.source, name)
			if err != nil {
				return nil, err
			}
			if strings.HasPrefix(from, "deploy") {
				names[from] = "usr/lib/systemd/system/" + filepath.Base(from)
			} else {
				names[from] = doc + filepath.ToSlash(from)
			}
		}
	}
	for from, name := range names {
		f, err := b.read(from, name)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(name, "usr/lib/systemd/") { // without how to install it by hand, in /usr/local
			_, unit, _ := strings.Cut(string(f.content), "[Unit]")
			f.content = []byte("[Unit]" + strings.ReplaceAll(unit, "/usr/local/bin/", "/usr/bin/"))
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return files, nil
}

// output returns what a program printed, without the space around it.
func output(ctx context.Context, dir, program string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, program, args...)
	command.Dir, command.Stderr = dir, os.Stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
