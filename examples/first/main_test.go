package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// README and the package's documentation show this program, letter by letter.
func TestDocsShowThisProgram(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	program := read("main.go")
	if !strings.Contains(read("../../README.md"), "```go\n"+program+"```") {
		t.Error("README.md shows another program than examples/first/main.go")
	}
	comment := strings.ReplaceAll("//\t"+strings.ReplaceAll(strings.TrimSuffix(program, "\n"), "\n", "\n//\t"), "//\t\n", "//\n")
	if !strings.Contains(read("../../doc.go"), "\n"+comment+"\n//\n") {
		t.Error("doc.go shows another program than examples/first/main.go")
	}
}

func TestHello(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	sessions := sojourn.Must(sojourn.New(store, sojourn.Options{}))
	defer sessions.Close(context.Background())
	app := sessions.Handler(http.HandlerFunc(hello))
	r := httptest.NewRequest("GET", "http://localhost/", nil)
	for _, want := range []string{"Visit 1.", "Visit 2.", "Visit 3."} {
		answer := httptest.NewRecorder()
		app.ServeHTTP(answer, r)
		if !strings.Contains(answer.Body.String(), want) {
			t.Fatalf("%q, want %q", answer.Body, want)
		}
		for _, c := range answer.Result().Cookies() {
			r = httptest.NewRequest("GET", "http://localhost/", nil)
			r.AddCookie(c)
		}
	}
}
