// Package docs holds tests of the pages: the samples of guide.md compile, and
// its tests pass.
package docs

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// prelude is the application that the samples of the guide belong to. Samples
// that are statements stand in a function with these parameters.
const prelude = `package guide

import (
	"context"; "encoding/json"; "errors"; "fmt"; "log"; "log/slog"; "net/http"; "net/http/httptest"; "net/netip"; "os"; "testing"; "time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/drivers/redisstore"
	"github.com/sojourn-go/sojourn/mirror"
	"github.com/sojourn-go/sojourn/pages"
	"github.com/sojourn-go/sojourn/sojourntest"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

type User struct{ ID, Role string; SignedOutAt time.Time }

var (
	messages            chan string
	admin, account, acs http.Handler = visits, visits, visits
	visits              http.HandlerFunc = func(http.ResponseWriter, *http.Request) {}
	staff               *sojourn.Engine
)

func checkPassword(r *http.Request) (u User, ok bool) { return }
func mergeSaved(u User, c *Cart) error { return nil }
func findUser(ctx context.Context, id string) (u User, err error) { return }
func pay(ctx context.Context) error { return nil }
`

const parameters = "(ctx context.Context, w http.ResponseWriter, r *http.Request, s *sojourn.Session, sessions *sojourn.Engine, mux *http.ServeMux, user User)"

func TestGuideSamples(t *testing.T) {
	source := samples(t, func(code string) string {
		return fmt.Sprintf("func _%s error {\n%s\nreturn nil\n}\n", parameters, code)
	})
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "guide.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	config := types.Config{
		Importer: importer.ForCompiler(fset, "gc", exports(t, file)),
		Error: func(err error) {
			var e types.Error
			if !errors.As(err, &e) || !e.Soft { // soft: the sample doesn't use a variable
				t.Error(err)
			}
		},
	}
	_, _ = config.Check("guide", fset, []*ast.File{file}, nil) // config.Error has the errors
}

// The guide's own tests pass.
func TestGuideTestsPass(t *testing.T) {
	source := samples(t, func(string) string { return "" }) +
		"var _ = []any{json.Valid, log.Println, slog.Default, netip.ParseAddr, os.Exit, redisstore.Open, memstore.New, nearcache.NewShared, mirror.New, pages.New}\n"
	file := filepath.Join(t.TempDir(), "guide_test.go")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "test", "-v", "-count=1", file).CombinedOutput()
	if err != nil || bytes.Count(out, []byte("--- PASS")) < 2 {
		t.Errorf("%v\n%s", err, out)
	}
}

// samples returns the samples of the guide and of pages.md as one file. statements turns a
// sample that is no declaration into one.
func samples(t *testing.T, statements func(code string) string) string {
	var source strings.Builder
	source.WriteString(prelude)
	found := 0
	for _, name := range []string{"guide.md", "pages.md"} {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(page, -1) {
			code := string(m[1])
			if !regexp.MustCompile(`^(func|type|var) `).MatchString(code) {
				code = statements(code)
			}
			fmt.Fprintf(&source, "//line %s:%d\n%s", name, 1+bytes.Count(page[:bytes.Index(page, m[1])], []byte("\n")), code)
			found++
		}
	}
	if found < 20 {
		t.Fatalf("found %d samples", found)
	}
	return source.String()
}

// exports returns where the compiler has put what a package that file imports
// exports.
func exports(t *testing.T, file *ast.File) importer.Lookup {
	args := []string{"list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}"}
	for _, i := range file.Imports {
		args = append(args, strings.Trim(i.Path.Value, `"`))
	}
	list, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(list)) {
		path, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		files[path] = name
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}
