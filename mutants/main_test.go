package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRun runs mutants of a small module with one function.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a dozen small programs")
	}
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/m\n\ngo 1.25\n",
		"add.go": "package m\n\nfunc Add(a, b int) int {\n\treturn a + b\n}\n",
		"add_test.go": `package m

import "testing"

func TestAdd(t *testing.T) {
	if Add(1, 0) != 1 {
		t.Fatal("wrong")
	}
}

func TestRed(t *testing.T) { t.Fatal("always") }
`} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("GOWORK", "off")

	one := func(name, test, from, to string) mutant {
		return mutant{name, "the sum", test, []edit{{"add.go", from, to}}}
	}
	const add = ". -run TestAdd"
	list := []mutant{
		one("I1-good", add, "a + b", "a + b + 1"),
		one("I1-panics", add, "return a + b", "panic(a + b)"),
		one("I1-survives", add, "a + b", "a - b"),
		one("I1-moved", add, "b + a", "b - a"),
		one("I1-twice", add, "a", "b"),
		one("I1-unbuilt", add, "a + b", "a + c"),
		one("I1-red-anyway", ". -run TestRed", "a + b", "a - b"),
		one("I1-no-test", ". -run TestNone", "a + b", "a - b"),
	}

	var out strings.Builder
	err := run(t.Context(), root, list, nil, &out)
	if err == nil || !strings.Contains(err.Error(), "6 of 8") {
		t.Errorf("got %v, want 6 of 8 reported", err)
	}
	for name, want := range map[string]string{
		"survives": "survived", "moved": "doesn't apply", "twice": "doesn't apply", "unbuilt": "doesn't build",
		"red-anyway": "the test also fails without", "no-test": "the test doesn't exist",
	} {
		if !strings.Contains(out.String(), "\nI1-"+name+": "+want) {
			t.Errorf("%s: want %q in\n%s", name, want, &out)
		}
	}

	out.Reset()
	if err := run(t.Context(), root, list, []string{"good", "panics"}, &out); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	if !strings.HasPrefix(out.String(), "2 mutants, 2 at a time: about 15 s") || !strings.Contains(out.String(), "2/2  0 s left") {
		t.Errorf("no progress is shown:\n%s", &out)
	}
	if err := run(t.Context(), root, list, []string{"I9"}, &out); err == nil {
		t.Error("an invariant without a mutant: no error")
	}
}

// TestApply checks that each entry applies to the source. Only make mutants
// shows whether its test fails.
func TestApply(t *testing.T) {
	name := regexp.MustCompile(`^I\d+-[a-z0-9-]+$`)
	seen := map[string]bool{}
	for _, m := range all() {
		if !name.MatchString(m.name) || seen[m.name] || m.breaks == "" || len(m.edits) == 0 {
			t.Errorf("%s: needs a unique name such as I4-write-revives, the rule that it breaks, and an edit", m.name)
		}
		seen[m.name] = true
		files, err := m.apply("..")
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		for file, text := range files {
			if filepath.Ext(file) != ".go" {
				continue
			}
			if _, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution); err != nil {
				t.Errorf("%s: the changed file is not valid Go: %v", m.name, err)
			}
		}
		checkTest(t, m)
	}
}

var (
	testArgs = regexp.MustCompile(`^(\S+) -run '?([^' ]+)'?`)
	testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// checkTest reports an error if a test that m names doesn't exist.
func checkTest(t *testing.T, m mutant) {
	args := testArgs.FindStringSubmatch(m.test)
	if args == nil {
		t.Errorf("%s: %q is not like ./store -run TestI4", m.name, m.test)
		return
	}
	files, err := filepath.Glob(filepath.Join("..", args[1], "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var tests []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range testFunc.FindAllStringSubmatch(string(text), -1) {
			tests = append(tests, f[1])
		}
	}
	for pattern := range strings.SplitSeq(args[2], "|") {
		pattern, _, _ = strings.Cut(pattern, "/")
		if !regexp.MustCompile(pattern).MatchString(strings.Join(tests, "\n")) {
			t.Errorf("%s: %s has no test that is named %s", m.name, args[1], pattern)
		}
	}
}

func TestNamed(t *testing.T) {
	list := []mutant{{name: "I1-a"}, {name: "I10-b"}, {name: "I10-ab"}}
	for only, want := range map[string]int{"": 3, "I1": 1, "I10": 2, "a": 2, "I1 b": 3, "c": 0} {
		if got := len(named(list, strings.Fields(only))); got != want {
			t.Errorf("%q names %d, want %d", only, got, want)
		}
	}
}
