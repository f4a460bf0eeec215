// Package docs holds a test of the pages: the samples of guide.md compile.
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
	"github.com/sojourn-go/sojourn/sojourntest"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

type User struct{ ID, Role string }

var (
	messages            chan string
	admin, account, acs http.Handler
	visits              http.HandlerFunc
	staff               *sojourn.Engine
)

func checkPassword(r *http.Request) (u User, ok bool)
func mergeSaved(u User, c *Cart) error
func pay(ctx context.Context) error
`

const parameters = "(ctx context.Context, w http.ResponseWriter, r *http.Request, s *sojourn.Session, sessions *sojourn.Engine, mux *http.ServeMux, user User)"

func TestGuideSamples(t *testing.T) {
	page, err := os.ReadFile("guide.md")
	if err != nil {
		t.Fatal(err)
	}
	samples := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(page, -1)
	if len(samples) < 20 {
		t.Fatalf("guide.md has %d samples", len(samples))
	}
	var source strings.Builder
	source.WriteString(prelude)
	for _, m := range samples {
		code := string(m[1])
		if !regexp.MustCompile(`^(func|type|var) `).MatchString(code) {
			code = fmt.Sprintf("func _%s error {\n%s\nreturn nil\n}\n", parameters, code)
		}
		fmt.Fprintf(&source, "//line guide.md:%d\n%s", 1+bytes.Count(page[:bytes.Index(page, m[1])], []byte("\n")), code)
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "guide.go", source.String(), parser.SkipObjectResolution)
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
