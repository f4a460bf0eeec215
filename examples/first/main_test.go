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

// The README's program is this one, letter by letter.
func TestReadmeShowsThisProgram(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```go\n"+string(program)+"```") {
		t.Error("README.md shows another program than examples/first/main.go")
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
