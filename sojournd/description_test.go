//go:build unix

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// description writes /openapi.json of a running server to a file.
func (s *serving) description(t *testing.T) string {
	t.Helper()
	res, err := http.Get(s.api + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", res.Status, err)
	}
	file := filepath.Join(t.TempDir(), "openapi.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Redocly and Spectral find no mistake in the API's description, and they do
// find mistakes in a broken one.
func TestDescriptionRules(t *testing.T) {
	servertest.Need(t, "node")
	if _, err := os.Stat("testdata/lint/node_modules"); err != nil {
		if os.Getenv("SOJOURN_REQUIRE_ALL") != "" {
			t.Fatal("the linters are missing: scripts/install.sh installs them")
		}
		t.Skip("needs linters for OpenAPI: scripts/install.sh installs them")
	}
	lint := func(file string) string {
		t.Helper()
		out, err := exec.Command("node", "testdata/lint/lint.mjs", file).CombinedOutput()
		if failed := err != nil; failed != (len(out) > 0) {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	file := startServe(t, "").description(t)
	if found := lint(file); found != "" {
		t.Error(found)
	}

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	delete(doc, "servers")
	doc["components"].(map[string]any)["schemas"].(map[string]any)["Nobody"] = map[string]any{"type": "string"}
	if text, err = json.Marshal(doc); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.json")
	if err := os.WriteFile(broken, text, 0o600); err != nil {
		t.Fatal(err)
	}
	found := lint(broken)
	for _, rule := range []string{"redocly no-empty-servers", "redocly no-unused-components", "spectral oas3-api-servers", "spectral oas3-unused-component"} {
		if !strings.Contains(found, rule) {
			t.Errorf("a broken description passes %s: %s", rule, found)
		}
	}
}

// oapi-codegen generates a Go client from the description. It compiles and
// works with a running server.
func TestGeneratedClient(t *testing.T) {
	s := startServe(t, "")
	file := s.description(t)
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		text, err := os.ReadFile(filepath.Join("testdata", "goclient", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "client"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		command := exec.Command("go", args...)
		command.Dir = dir
		command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "SOJOURN_SERVER="+s.api, "SOJOURN_KEY="+s.keys["shop"])
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	// skip-prune keeps the type of events, to which only the text of a stream
	// refers.
	run("tool", "oapi-codegen", "-generate", "types,client,skip-prune", "-package", "client", "-o", "client/client.gen.go", file)
	if out := run("run", "."); out != "ok\n" {
		t.Error(out)
	}
}
