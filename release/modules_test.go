package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/version"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const testVersion = "v0.1.0"

// All modules are published, in a proxy of files, and are used from outside the
// repository by the commands that README names.
func TestModulesArePublished(t *testing.T) {
	skipShort(t)
	t.Parallel()
	clone := cloneOf(t, "..")
	if err := tagModules(t.Context(), clone, testVersion); err != nil {
		t.Fatal(err)
	}
	proxy, app := t.TempDir(), t.TempDir()
	dirs, err := publishedModules(clone)
	if err != nil {
		t.Fatal(err)
	}
	var modules, packages []string
	for _, dir := range dirs {
		mod := publish(t, clone, dir, proxy)
		modules = append(modules, mod.Path)
		packages = append(packages, importable(t, clone, dir, mod.Path)...)
	}
	if len(modules) < 5 || len(packages) < 10 {
		t.Fatalf("published %q with the packages %q", modules, packages)
	}

	user := outsider(t, app, proxy)
	user.run("go", "mod", "init", "example.com/app")
	source := "package main\n\nimport (\n"
	for _, p := range packages {
		source += fmt.Sprintf("\t_ %q\n", p)
	}
	write(t, app, "imports.go", source+")\n")
	first, err := os.ReadFile(filepath.Join(clone, "examples/first/main.go")) // README's program
	if err != nil {
		t.Fatal(err)
	}
	write(t, app, "main.go", string(first))
	for _, m := range modules {
		user.run("go", "get", m+"@"+testVersion)
	}
	user.run("go", "get", ".") // a later module may have chosen newer versions for an earlier one
	user.run("go", "build", "-o", "app", ".")

	// The application doesn't depend on the module of the server.
	user.run("go", "install", modulePath+"/sojournd@"+testVersion)
	if said := user.run(filepath.Join(app, "bin", "sojournd"), "--version"); !strings.Contains(said, testVersion) {
		t.Errorf("sojournd says %q", said)
	}

	// The library brings no other module.
	alone := outsider(t, t.TempDir(), proxy)
	alone.run("go", "mod", "init", "example.com/alone")
	alone.run("go", "get", modulePath+"@"+testVersion)
	if all := strings.Fields(alone.run("go", "list", "-m", "all")); len(all) != 3 {
		t.Errorf("an application of the library alone has the modules %q", all)
	}
}

const modulePath = "github.com/sojourn-go/sojourn"

// cloneOf returns a clone of a repository, with the changes of its files that
// aren't committed yet.
func cloneOf(t *testing.T, root string) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		skip(t, "git")
	}
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		_ = os.Setenv("GIT_"+who+"_NAME", "A Tester")
		_ = os.Setenv("GIT_"+who+"_EMAIL", "tester@example.com")
	}
	here := place{t, root, os.Environ()}
	commit := strings.TrimSpace(here.run("git", "stash", "create"))
	if commit == "" {
		commit = "HEAD"
	}
	commit = strings.TrimSpace(here.run("git", "rev-parse", commit))
	clone := t.TempDir()
	here.run("git", "clone", "--quiet", "--shared", "--no-checkout", ".", clone)
	place{t, clone, os.Environ()}.run("git", "checkout", "--quiet", "--detach", commit)
	return clone
}

// publish makes the module in a directory of a tagged repository a version of
// the proxy, as proxy.golang.org does.
func publish(t *testing.T, repository, dir, proxy string) module.Version {
	t.Helper()
	git := place{t, repository, os.Environ()}
	tag := tagOf(dir, testVersion)
	text := git.run("git", "show", tag+":"+path.Join(dir, "go.mod"))
	mod, err := modfile.Parse(dir+"/go.mod", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(mod.Replace) > 0 {
		t.Errorf("%s has replacements at %s", dir, tag)
	}
	v := module.Version{Path: mod.Module.Mod.Path, Version: testVersion}
	if want := path.Join(modulePath, dir); v.Path != want {
		t.Errorf("the module in %s is %s, and must be %s", dir, v.Path, want)
	}
	var packed bytes.Buffer
	subdir := dir
	if dir == "." {
		subdir = ""
	}
	if err := zip.CreateFromVCS(&packed, v, repository, tag, subdir); err != nil {
		t.Fatalf("the zip of %s: %v", dir, err)
	}
	escaped, err := module.EscapePath(v.Path)
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	info, _ := json.Marshal(map[string]any{"Version": testVersion, "Time": time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)})
	write(t, at, "list", testVersion+"\n")
	write(t, at, testVersion+".info", string(info))
	write(t, at, testVersion+".mod", text)
	write(t, at, testVersion+".zip", packed.String())
	return v
}

// importable returns the packages of a module that an application may import.
func importable(t *testing.T, repository, dir, modulePath string) (packages []string) {
	t.Helper()
	user := place{t, filepath.Join(repository, dir), os.Environ()}
	for line := range strings.Lines(user.run("go", "list", "-f", "{{if .GoFiles}}{{.Name}} {{.ImportPath}}{{end}}", "./...")) {
		name, p, _ := strings.Cut(strings.TrimSpace(line), " ")
		if p != "" && name != "main" && !regexp.MustCompile(`(^|/)internal(/|$)`).MatchString(strings.TrimPrefix(p, modulePath)) {
			packages = append(packages, p)
		}
	}
	return packages
}

// A place is a directory and an environment in which commands must succeed.
type place struct {
	t   *testing.T
	dir string
	env []string
}

// run returns what a command printed to its standard output.
func (p place) run(program string, args ...string) string {
	p.t.Helper()
	var out, errors bytes.Buffer
	command := exec.CommandContext(p.t.Context(), program, args...)
	command.Dir, command.Env, command.Stdout, command.Stderr = p.dir, p.env, &out, &errors
	if err := command.Run(); err != nil {
		p.t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out.String(), errors.String())
	}
	return out.String()
}

// outsider is somebody who knows the repository through a proxy only. Other modules
// come from this machine's cache, or else from the usual proxy. The compiler's
// cache is shared, because -trimpath makes packages independent of their
// directories.
func outsider(t *testing.T, dir, proxy string) place {
	t.Helper()
	here := place{t, dir, os.Environ()}
	cache := strings.TrimSpace(here.run("go", "env", "GOMODCACHE"))
	usual := strings.TrimSpace(here.run("go", "env", "GOPROXY"))
	t.Cleanup(func() { // the module cache is read-only
		_ = filepath.WalkDir(filepath.Join(dir, "mod"), func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = os.Chmod(name, 0o755)
			}
			return nil
		})
	})
	here.env = append(here.env, "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=-trimpath", "GONOSUMDB="+modulePath+","+modulePath+"/*", "GOTOOLCHAIN=local", "GOBIN="+filepath.Join(dir, "bin"), "GOMODCACHE="+filepath.Join(dir, "mod"),
		"GOPROXY="+fileURL(proxy)+","+fileURL(filepath.Join(cache, "cache", "download"))+","+usual)
	return here
}

func fileURL(dir string) string {
	if runtime.GOOS == "windows" {
		return "file:///" + filepath.ToSlash(dir)
	}
	return "file://" + dir
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// skip skips a test that needs a component, where it may be absent.
func skip(t *testing.T, component string) {
	t.Helper()
	if os.Getenv("SOJOURN_REQUIRE_ALL") != "" {
		t.Fatalf("needs %s", component)
	}
	t.Skipf("needs %s: it is absent", component)
}

func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds programs")
	}
}

// A module requires the version of Go that its dependencies require, and no newer
// one. README says which.
func TestGoOfModules(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := publishedModules("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		here := place{t, filepath.Join("..", dir), append(os.Environ(), "GOWORK=off")}
		needed, why := "go1.25", "the library itself"
		var own string
		for line := range strings.Lines(here.run("go", "list", "-m", "-f", "{{or .GoVersion 1.0}} {{.Path}} {{.Main}}", "all")) {
			fields := strings.Split(strings.TrimSpace(line), " ")
			if v := "go" + fields[0]; fields[2] == "true" {
				own = v
			} else if version.Compare(v, needed) > 0 {
				needed, why = v, fields[1]
			}
		}
		if version.Compare(strings.TrimSuffix(own, ".0"), strings.TrimSuffix(needed, ".0")) != 0 {
			t.Errorf("%s/go.mod asks for %s, and needs no newer one than %s, because of %s", dir, own, needed, why)
		}
		var row [][]byte // of the module, or of its directory: `drivers/*`
		for _, name := range []string{path.Join(modulePath, dir), dir, path.Dir(dir) + "/*"} {
			if row == nil {
				row = regexp.MustCompile("(?m)^\\|.*`" + regexp.QuoteMeta(name) + "`.*\\| Go ([0-9.]+) \\|$").FindSubmatch(readme)
			}
		}
		if row == nil {
			t.Errorf("README doesn't say which Go %s needs", dir)
		} else if says := "go" + string(row[1]); says != version.Lang(own) {
			t.Errorf("README says that %s needs %s, and its go.mod says %s", dir, says, own)
		}
	}
}

// A release needs a version of the first major, in its canonical form.
func TestVersions(t *testing.T) {
	for v, good := range map[string]bool{
		"v0.1.0": true, "v1.2.3-rc.1": true,
		"": false, "0.1.0": false, "v0.1": false, "v2.0.0": false, "v1.0.0+debian": false, "v01.0.0": false, "latest": false,
	} {
		if err := checkVersion(v); (err == nil) != good {
			t.Errorf("checkVersion(%q) = %v", v, err)
		}
	}
}
