package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// unpublished are the modules of go.work that nobody imports. Every other one
// is published.
var unpublished = []string{"bench", "examples", "faults", "release"}

// publishedModules returns the directories of the modules that a release
// publishes, as go.work lists them: "." and, for example, "drivers/pgstore".
func publishedModules(root string) ([]string, error) {
	name := filepath.Join(root, "go.work")
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	work, err := modfile.ParseWork(name, text, nil)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, use := range work.Use {
		if dir := path.Clean(use.Path); !slices.Contains(unpublished, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

// tagOf returns the tag by which the go command finds a version of the module in
// a directory.
func tagOf(dir, version string) string { return path.Join(dir, version) }

// tagModules commits the go.mod files of a release beside the branch that is
// checked out, and tags the commit for each published module. It pushes nothing.
// In the working tree a module finds its siblings by replace, which "go install
// MODULE@VERSION" refuses. In that commit it requires a version of them.
func tagModules(ctx context.Context, root, version string) error {
	if err := checkVersion(version); err != nil {
		return err
	}
	tree, err := os.MkdirTemp("", "sojourn-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	if err := run(ctx, root, "git", "worktree", "add", "--quiet", "--detach", tree, "HEAD"); err != nil {
		return err
	}
	defer run(context.WithoutCancel(ctx), root, "git", "worktree", "remove", "--force", tree) //nolint:errcheck // a leftover in the temporary directory
	dirs, err := publishedModules(tree)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		name := filepath.Join(tree, dir, "go.mod")
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if text, err = publishedMod(name, text, version); err != nil {
			return err
		}
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return err
		}
	}
	if err := run(ctx, tree, "git", "commit", "--quiet", "--all", "--allow-empty", "--message", "release "+version); err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := run(ctx, tree, "git", "tag", "--annotate", "--message", "release "+version, tagOf(dir, version)); err != nil {
			return err
		}
	}
	return nil
}

// publishedMod returns a go.mod as a release has it: it requires the siblings at
// a version, and replaces nothing.
func publishedMod(name string, text []byte, version string) ([]byte, error) {
	mod, err := modfile.Parse(name, text, nil)
	if err != nil {
		return nil, err
	}
	var siblings []string
	for _, r := range slices.Clone(mod.Replace) {
		if !modfile.IsDirectoryPath(r.New.Path) {
			return nil, fmt.Errorf("%s: a published module can't replace %s: programs that import it wouldn't get the replacement", name, r.Old.Path)
		}
		siblings = append(siblings, r.Old.Path)
		if err := mod.DropReplace(r.Old.Path, r.Old.Version); err != nil {
			return nil, err
		}
	}
	var required []*modfile.Require
	for _, r := range mod.Require {
		if slices.Contains(siblings, r.Mod.Path) {
			r.Mod.Version = version
		}
		required = append(required, &modfile.Require{Mod: module.Version{Path: r.Mod.Path, Version: r.Mod.Version}, Indirect: r.Indirect})
	}
	mod.SetRequireSeparateIndirect(required)
	mod.Cleanup()
	return mod.Format()
}

func checkVersion(version string) error {
	if semver.Canonical(version) != version || version == "" || strings.Contains(version, "+") {
		return fmt.Errorf("the version %q must look like v1.2.3 or v1.2.3-rc.1", version)
	}
	if semver.Major(version) > "v1" {
		return fmt.Errorf("the version %s needs /%s at the end of each module's path", version, semver.Major(version))
	}
	return nil
}

// run runs a program in a directory, with its output on ours.
func run(ctx context.Context, dir, program string, args ...string) error {
	command := exec.CommandContext(ctx, program, args...)
	command.Dir, command.Stdout, command.Stderr = dir, os.Stdout, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	return nil
}
