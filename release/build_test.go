package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// here is the target of this machine's packages.
var here = target{"linux", runtime.GOARCH}

// first is the release of this machine's target that the tests share.
var first = sync.OnceValues(func() (dist string, err error) {
	dist = filepath.Join(scratch, "first")
	return dist, buildRelease(dist, testVersion, os.Environ(), here)
})

// scratch is a directory for the tests of this package.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "sojourn-release-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// tool is the program of this package, without the race detector, under which
// compression takes a minute.
var tool = sync.OnceValues(func() (string, error) {
	program := filepath.Join(scratch, "release")
	_, err := output(context.Background(), ".", "go", "build", "-o", program, ".")
	return program, err
})

// commit is what the tests build, even if the branch moves meanwhile.
var commit = sync.OnceValues(func() (string, error) {
	return output(context.Background(), "..", "git", "rev-parse", "HEAD")
})

// buildRelease runs what make release runs.
func buildRelease(dist, version string, env []string, targets ...target) error {
	program, err := tool()
	if err != nil {
		return err
	}
	commit, err := commit()
	if err != nil {
		return err
	}
	args := []string{"-c", `umask $UMASK && exec "$0" "$@"`, program, "-commit", commit, "-dist", dist, "build", version}
	for _, t := range targets {
		args = append(args, t.String())
	}
	command := exec.Command("sh", args...)
	command.Dir, command.Env = "..", append([]string{"UMASK=022"}, env...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// filesOf returns the common part of the names of this machine's files.
func filesOf(version string) string { return (&build{version: version}).name(here) }

// Two builds are equal, byte by byte. By default only this machine's target is
// built. SOJOURN_RELEASE_ALL=1 builds all targets, the second time without the
// compiler's cache.
func TestBuildsAreEqual(t *testing.T) {
	skipShort(t)
	t.Parallel()
	one, err := first()
	if err != nil {
		t.Fatal(err)
	}
	chosen, two := []target{here}, filepath.Join(t.TempDir(), "dist")
	env := append(os.Environ(), "TZ=Asia/Kolkata", "LC_ALL=C", "UMASK=077")
	if os.Getenv("SOJOURN_RELEASE_ALL") != "" {
		chosen, one = targets, filepath.Join(t.TempDir(), "dist")
		if err := buildRelease(one, testVersion, os.Environ(), chosen...); err != nil {
			t.Fatal(err)
		}
		env = append(env, "GOCACHE="+t.TempDir())
	}
	if err := buildRelease(two, testVersion, env, chosen...); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(one)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 1+2*len(chosen) {
		t.Fatalf("only %d files were built", len(files))
	}
	for _, f := range files {
		if sum(t, filepath.Join(one, f.Name())) != sum(t, filepath.Join(two, f.Name())) {
			t.Errorf("%s: two builds differ", f.Name())
		}
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", "cd "+one+" && sha256sum --check --quiet SHA256SUMS").CombinedOutput(); err != nil {
		t.Errorf("the checksums: %v\n%s", err, out)
	}
}

// The archive's program says what it was built from, and the bill of materials
// names its modules.
func TestArchive(t *testing.T) {
	skipShort(t)
	t.Parallel()
	dist, err := first()
	if err != nil {
		t.Fatal(err)
	}
	at := place{t, t.TempDir(), os.Environ()}
	at.run("tar", "-xzf", filepath.Join(dist, filesOf(testVersion)+".tar.gz"))
	commit, err := commit()
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == here.os {
		says := at.run(filepath.Join(at.dir, filesOf(testVersion), "sojournd"), "--version")
		want := []string{"sojournd " + testVersion + "\n", "commit      " + commit + " of ", "Go          " + strings.TrimPrefix(runtime.Version(), "go"), "built from  that commit\n"}
		for _, w := range want {
			if !strings.Contains(says, w) {
				t.Errorf("--version prints\n%s\nwithout %q", says, w)
			}
		}
	}
	for _, name := range []string{"LICENSE", "CHANGELOG.md", "sojourn.yaml", "completion/bash", "deploy/sojournd.service"} {
		if info, err := os.Stat(filepath.Join(at.dir, filesOf(testVersion), name)); err != nil || info.Size() == 0 {
			t.Errorf("the archive's %s: %v", name, err)
		}
	}
	bill, err := os.ReadFile(filepath.Join(dist, filesOf(testVersion)+".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{modulePath + "@" + testVersion, modulePath + "/drivers/pgstore@" + testVersion, "pkg:golang/modernc.org/sqlite@v", `"CycloneDX"`} {
		if !bytes.Contains(bill, []byte(want)) {
			t.Errorf("the bill of materials doesn't name %s", want)
		}
	}
}

func sum(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
		return name
	}
	return fmt.Sprintf("%x", sha256.Sum256(content))
}
