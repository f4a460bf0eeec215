package sojourn_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/sojourn-go/sojourn"

// importRules say what a package may import besides the standard library. The
// first rule whose pattern matches the package's directory applies. In a
// pattern, * matches one element, and a final /... matches the directory itself
// and all below it. Packages under one match of such a pattern may import each
// other: by drivers/*/..., drivers/pgstore may import
// drivers/pgstore/migrations but not drivers/redisstore. Tests may import
// whatever their module's go.mod requires.
var importRules = []struct {
	from    string
	project []string // patterns of this project's packages
	others  bool     // also packages of other modules
	why     string
}{
	{".", []string{"store", "internal/..."}, false, "the engine knows the contract and no store; an application that imports it gets nobody else's modules"},
	{"internal/dbsc", nil, false, "the engine's binding, its simulator and the tests of the server speak it: it is the wire format alone, and knows no engine"},
	{"internal/peer", nil, false, "the engine and the server's parts judge a request's peer by it: it must drag nothing in"},
	{"internal/signin", nil, false, "the engine and forward-auth decide by it where to sign in: it must drag nothing in"},
	{"internal/script", nil, false, "the mirror and the pages serve their scripts with it: it must drag nothing in"},
	{"internal/...", []string{".", "store/..."}, false, "part of the library's module, which requires no other"},
	{"store", []string{"store/internal/jsontext"}, false, "the contract is for everyone who writes a store: it must drag nothing in"},
	{"store/internal/...", []string{"store"}, false, "what the stores share knows the contract only"},
	{"store/*/...", []string{"store", "store/driver", "store/internal/..."}, false, "a store knows the contract, not the engine and no other store"},
	{"sojourntest", []string{".", "store/memstore", "store/driver"}, false, "for tests of applications: part of the library's module"},
	{"mirror", []string{".", "internal/script"}, false, "part of the library's module, on its public API"},
	{"pages", []string{".", "internal/script", "internal/signin", "mirror"}, false, "part of the library's module, on its public API; it decides with the engine where to sign in"},
	{"drivers/*/...", []string{"store", "store/driver", "store/overload"}, true, "a driver knows the contract and what stores share, never the engine nor another driver: who imports one gets only that one's modules"},
	{"adapters/goback", []string{".", "adapters/anyjson"}, false, "part of the library's module, which requires no other"},
	{"adapters/anyjson", nil, false, "part of the library's module, which requires no other; every adapter uses it"},
	{"adapters/*/...", []string{".", "store", "store/memstore", "adapters/anyjson", "adapters/goback", "adapters/gorilla"}, true, "an adapter stands on the library's public API, and drags in no library but the one that it adapts (gin-contrib/sessions is built on gorilla/sessions)"},
	{"sojournd", []string{"sojournd/internal/..."}, true, "main translates flags and signals, and has app do the rest"},
	{"sojournd/internal/app/...", []string{".", "store/...", "pages", "mirror", "drivers/...", "internal/signin", "sojournd/internal/..."}, true, "app wires all"},
	{"sojournd/internal/password", nil, true, "the sign-ins of the shop and of the console share it: it knows neither"},
	{"sojournd/internal/browsertest", []string{"internal/servertest"}, true, "tests only: starts browsers, which end with the test"},
	{"sojournd/internal/history", []string{"."}, false, "the server's parts share its figures: it knows none of them"},
	{"sojournd/internal/useragent", nil, true, "names browsers for the server's parts"},
	{"sojournd/internal/webui", nil, true, "the pages of the shop and of the console share it: it knows neither"},
	{"sojournd/internal/*/...", []string{".", "store/...", "pages", "mirror", "drivers/...", "internal/peer", "internal/signin", "sojournd/internal/api/v1", "sojournd/internal/history", "sojournd/internal/password", "sojournd/internal/useragent", "sojournd/internal/webui"}, true, "the server's parts stand on the library's public API (and its one judgement of who sent a request, and of where to sign in), share the types of the API, the history of figures, the check of passwords, the names of browsers and the frame of pages, and reach each other only through an interface that the user of it declares; app hands it in"},
	{"bench/...", []string{".", "store/...", "drivers/...", "internal/servertest"}, true, "measures what an application can call"},
	{"examples/...", []string{".", "store/...", "pages", "mirror", "drivers/..."}, true, "shows what an application can call"},
	{"faults", nil, false, "tests only"},
	{"mutants", nil, false, "must run before anything else builds"},
	{"release", nil, true, "makes what users install, of the files as they are"},
	{"scripts/...", nil, false, "must run before anything else builds"},
}

// httpFiles are the files of the root package that may import net/http. The
// engine works without HTTP.
var httpFiles = map[string]string{
	"handler.go":     "the middleware",
	"exchange.go":    "the response writer that commits before the first byte",
	"ability.go":     "the methods of that writer: those of the one beneath",
	"development.go": "what tells a site in development from one in production",
	"bound_http.go":  "the addresses where browsers bind their sessions",
	"signin.go":      "what a requirement answers to a request that doesn't meet it",
	"body.go":        "closes the connection where http.MaxBytesReader would",
	"request.go":     "what a request presents",
	"answer.go":      "answers with an error",
	"errors.go":      "the status of each error",
	"cache.go":       "headers for caches",
	"cookie.go":      "reads and writes cookies",
	"site.go":        "how an engine faces the web: cookies, proxies, origins, prepared once",
}

// badNames match package names that say nothing about the content.
var badNames = regexp.MustCompile(`^(util|utils|common|helper|helpers|misc|model|models|pkg|types)$`)

func TestImportRules(t *testing.T) {
	files := goFiles(t)
	usesHTTP := map[string]bool{}
	for _, f := range files {
		dir := path.Dir(f)
		if slices.ContainsFunc(strings.Split(dir, "/"), badNames.MatchString) {
			t.Errorf("%s: the package's name doesn't say what it does", f)
		}
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		ast, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			continue
		}
		if badNames.MatchString(ast.Name.Name) {
			t.Errorf("%s: the package's name %q doesn't say what it does", f, ast.Name.Name)
		}
		for _, spec := range ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if err := checkImport(f, imported); err != nil {
				t.Error(err)
			}
			usesHTTP[f] = usesHTTP[f] || imported == "net/http"
		}
	}
	for f := range httpFiles {
		if !usesHTTP[f] {
			t.Errorf("%s doesn't import net/http: take it out of httpFiles", f)
		}
	}
	if len(files) == 0 {
		t.Error("found no Go files")
	}
}

// checkImport returns an error if a file must not import a package.
func checkImport(file, imported string) error {
	dir := path.Dir(file)
	for _, rule := range importRules {
		unit, ok := match(rule.from, dir)
		if !ok {
			continue
		}
		switch kind, target := classify(imported); kind {
		case ours:
			_, inside := match(unit+"/...", target)
			inside = inside && strings.HasSuffix(rule.from, "/...")
			if !inside && !slices.ContainsFunc(rule.project, func(p string) bool { _, ok := match(p, target); return ok }) {
				return fmt.Errorf("%s imports %s: %s (deps_test.go)", file, target, rule.why)
			}
		case others:
			if !rule.others {
				return fmt.Errorf("%s imports %s, of another module: %s (deps_test.go)", file, imported, rule.why)
			}
		case std:
			if dir == "." && (imported == "net/http" || strings.HasPrefix(imported, "net/http/")) && httpFiles[file] == "" {
				return fmt.Errorf("%s imports %s: the engine works without HTTP; move what needs it to one of the files that are about HTTP, or add this one to httpFiles (deps_test.go)", file, imported)
			}
		}
		return nil
	}
	return fmt.Errorf("%s: no rule says what this package may import; add one to importRules (deps_test.go)", file)
}

const (
	std = iota
	ours
	others
)

// classify says whose package an import is, and in which directory it is if it
// is ours.
func classify(imported string) (kind int, dir string) {
	switch rest, ok := strings.CutPrefix(imported, modulePath); {
	case ok && rest == "":
		return ours, "."
	case ok && rest[0] == '/':
		return ours, rest[1:]
	}
	if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") {
		return others, ""
	}
	return std, ""
}

// match returns the part of dir that matches the pattern without its final /...
// .
func match(pattern, dir string) (unit string, ok bool) {
	pattern, below := strings.CutSuffix(pattern, "/...")
	want, have := strings.Split(pattern, "/"), strings.Split(dir, "/")
	if len(have) < len(want) || len(have) > len(want) && !below {
		return "", false
	}
	for i, w := range want {
		if w != "*" && w != have[i] {
			return "", false
		}
	}
	return strings.Join(have[:len(want)], "/"), true
}

func TestImportRulesSeeWhatIsForbidden(t *testing.T) {
	const chi = "github.com/go-chi/chi/v5"
	allowed := []struct{ file, imported string }{
		{"engine.go", "time"},
		{"engine.go", modulePath + "/store"},
		{"handler.go", "net/http"},
		{"store/memstore/memstore.go", modulePath + "/store/internal/arena"},
		{"store/storetest/races.go", modulePath + "/store"},
		{"drivers/pgstore/pgstore.go", modulePath + "/drivers/pgstore/migrations"},
		{"drivers/pgstore/pgstore.go", "github.com/jackc/pgx/v5"},
		{"sojournd/main.go", modulePath + "/sojournd/internal/app"},
		{"sojournd/internal/app/demo.go", modulePath + "/sojournd/internal/shop"},
		{"sojournd/internal/shop/shop.go", modulePath + "/sojournd/internal/shop/catalogue"},
		{"sojournd/internal/shop/shop.go", modulePath},
		{"examples/chi/main.go", chi},
	}
	for _, c := range allowed {
		if err := checkImport(c.file, c.imported); err != nil {
			t.Errorf("allowed, but reported: %v", err)
		}
	}
	forbidden := []struct{ file, imported, why string }{
		{"engine.go", chi, "nobody else's modules"},
		{"engine.go", modulePath + "/store/memstore", "knows the contract and no store"},
		{"engine.go", "net/http", "works without HTTP"},
		{"engine.go", "net/http/cookiejar", "works without HTTP"},
		{"store/store.go", modulePath, "drag nothing in"},
		{"store/store.go", "golang.org/x/sync/errgroup", "drag nothing in"},
		{"store/store.go", modulePath + "/store/memstore", "drag nothing in"},
		{"store/memstore/memstore.go", modulePath, "not the engine"},
		{"store/memstore/memstore.go", modulePath + "/store/nearcache", "no other store"},
		{"drivers/pgstore/pgstore.go", modulePath, "never the engine"},
		{"drivers/pgstore/pgstore.go", modulePath + "/drivers/redisstore", "nor another driver"},
		{"drivers/pgstore/pgstore.go", modulePath + "/drivers/pgstoreold", "nor another driver"},
		{"sojournd/internal/api/api.go", modulePath + "/sojournd/internal/shop", "interface"},
		{"sojournd/internal/api/api.go", modulePath + "/sojournd/internal/app", "interface"},
		{"sojournd/main.go", modulePath, "main translates"},
		{"bench/main.go", modulePath + "/sojournd/internal/shop", "an application can call"},
		{"newthing/newthing.go", "time", "no rule"},
	}
	for _, c := range forbidden {
		if err := checkImport(c.file, c.imported); err == nil || !strings.Contains(err.Error(), c.why) || !strings.Contains(err.Error(), c.file) {
			t.Errorf("%s importing %s: got %v, want an error that names the file and says %q", c.file, c.imported, err, c.why)
		}
	}
}

func TestLibraryModuleRequiresNothing(t *testing.T) {
	b, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(strings.Fields(string(b)), " "), "module "+modulePath+" go 1.25"; got != want {
		t.Errorf("go.mod has\n\t%s\nand must have no more than\n\t%s\nso that an application that imports the library needs no other module and no newer Go", got, want)
	}
}

// make test sees only the modules that go.work lists.
func TestWorkspaceListsEveryModule(t *testing.T) {
	b, err := os.ReadFile("go.work")
	if err != nil {
		t.Fatal(err)
	}
	listed := strings.Fields(string(b))
	walk(t, func(name string) {
		if path.Base(name) != "go.mod" {
			return
		}
		want := "./" + path.Dir(name)
		if path.Dir(name) == "." {
			want = "."
		}
		if !slices.Contains(listed, want) {
			t.Errorf("go.work doesn't use %s", want)
		}
	})
}

func goFiles(t *testing.T) (files []string) {
	walk(t, func(name string) {
		if strings.HasSuffix(name, ".go") {
			files = append(files, name)
		}
	})
	return files
}

// walk calls visit for the source files of all modules, with slash-separated
// names.
func walk(t *testing.T, visit func(name string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch base := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "out" || base == "bin"):
			return fs.SkipDir
		case !d.IsDir():
			visit(filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Each file and directory that CONTRIBUTING's map names exists.
func TestMapOfTheHouse(t *testing.T) {
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "## A map of the house")
	houseMap, _, _ := strings.Cut(rest, "\n## ")
	named := regexp.MustCompile("`([a-z_/]+(?:\\.go|\\.lua)|[a-z]+/[a-z/]+)`").FindAllStringSubmatch(houseMap, -1)
	if len(named) < 30 {
		t.Fatalf("the map names %d places", len(named))
	}
	for _, n := range named {
		places := []string{n[1]}
		for _, dir := range []string{"sojournd", "sojournd/internal/api", "sojournd/internal/app", "sojournd/internal/config", "sojournd/internal/console", "sojournd/internal/events", "drivers/redisstore/lua"} {
			places = append(places, filepath.Join(dir, n[1]))
		}
		if !slices.ContainsFunc(places, func(p string) bool { _, err := os.Stat(p); return err == nil }) {
			t.Errorf("CONTRIBUTING.md names %s, which doesn't exist", n[1])
		}
	}
}
