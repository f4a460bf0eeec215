package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The runner itself, on a module of one function and one test.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a dozen small programs")
	}
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/m\n\ngo 1.25\n")
	write("add.go", "package m\n\nfunc Add(a, b int) int {\n\treturn a + b\n}\n")
	write("add_test.go", `package m

import "testing"

func TestAdd(t *testing.T) {
	if Add(1, 0) != 1 {
		t.Fatal("wrong")
	}
}

func TestRed(t *testing.T) { t.Fatal("always") }
`)
	patch := func(name, red, from, to string) {
		write("mutants/"+name+".patch", "# invariant: I1\n# breaks: the sum\n# red: "+red+
			"\ndiff --git a/add.go b/add.go\n--- a/add.go\n+++ b/add.go\n@@ -3,3 +3,3 @@\n func Add(a, b int) int {\n-\t"+from+"\n+\t"+to+"\n }\n")
	}
	const add = "go test . -run TestAdd"
	patch("good", add, "return a + b", "return a + b + 1")
	patch("panics", add, "return a + b", "panic(a + b)")
	patch("survives", add, "return a + b", "return a - b")
	patch("moved", add, "return b + a", "return b - a")
	patch("unbuilt", add, "return a + b", "return a + c")
	patch("redanyway", "go test . -run TestRed", "return a + b", "return a - b")
	patch("notest", "go test . -run TestNone", "return a + b", "return a - b")
	if out, err := exec.Command("git", "-C", root, "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("GOWORK", "off")

	var out strings.Builder
	err := run(t.Context(), root, nil, &out)
	if err == nil || !strings.Contains(err.Error(), "5 of 7") {
		t.Errorf("got %v, want 5 of 7 reported", err)
	}
	for name, want := range map[string]string{
		"survives": "survived", "moved": "doesn't apply", "unbuilt": "doesn't build",
		"redanyway": "red without the patch", "notest": "names no test",
	} {
		if !strings.Contains(out.String(), "\n"+name+".patch: "+want) {
			t.Errorf("%s: want %q in\n%s", name, want, &out)
		}
	}

	out.Reset()
	if err := run(t.Context(), root, []string{"good", "panics"}, &out); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	if err := run(t.Context(), root, []string{"I9"}, &out); err == nil {
		t.Error("an invariant without a patch: no error")
	}
}

// TestPatchesApply: whoever moves a line that a patch names, moves it there too. That its test goes red only make mutants shows.
func TestPatchesApply(t *testing.T) {
	patches, err := load(".", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range patches {
		cmd := exec.Command("git", "apply", "--check", filepath.Join("mutants", p.name))
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s doesn't apply any more: %s", p.name, out)
		}
	}
}

func TestPatchHeader(t *testing.T) {
	const head = "# invariant: I4\n# breaks: it\n"
	p, err := parse("x", []byte(head+"# red: go test ./store -run 'TestI4|TestI5'\ndiff --git a/x b/x\n"))
	if err != nil || p.invariant != "I4" || p.breaks != "it" || p.red != "go test ./store -run 'TestI4|TestI5'" {
		t.Errorf("%+v, %v", p, err)
	}
	if !p.named("I4") || p.named("I1") || !p.named("x") || p.named("y") {
		t.Error("named")
	}
	for _, bad := range []string{"", head, head + "# red: rm -r /\n", head + "# red: go test ./...\n", "diff\n" + head + "# red: go test . -run X\n"} {
		if _, err := parse("x", []byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
