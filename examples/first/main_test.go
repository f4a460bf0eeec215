package main

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojourntest"
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
	sessions := sojourntest.New(t, sojourn.Options{})
	b := sessions.Browser(sessions.Handler(http.HandlerFunc(hello)))
	for _, want := range []string{"Visit 1.", "Visit 2.", "Visit 3."} {
		if w := b.Get("/"); !strings.Contains(w.Body.String(), want) {
			t.Fatalf("%q, want %q", w.Body, want)
		}
	}
}
