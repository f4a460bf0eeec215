package pgstore

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/internal/kept"
)

// Each database that a version has written, as pg_dump prints it, can be opened,
// read and changed.
func TestDatabasesOfEveryVersion(t *testing.T) {
	newest := fmt.Sprintf("testdata/schema-%d.sql", newestVersion())
	if os.Getenv("SOJOURN_KEEP") != "" {
		keep(t, newest)
	}
	files, err := filepath.Glob("testdata/schema-*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no files: %v", err)
	}
	if _, err := os.Stat(newest); err != nil {
		t.Errorf("no file has this version's schema: %v", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		at := newDatabase(t)
		execute(t, at, string(text))
		s := mustOpen(t, at, Options{})
		if err := kept.Check(t.Context(), s, !strings.Contains("schema-1 schema-2", strings.TrimSuffix(filepath.Base(name), ".sql"))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// newDatabase returns the URL of an empty database, which is dropped at the
// test's end.
func newDatabase(t *testing.T) string {
	t.Helper()
	server := shared(t).URL()
	name := fmt.Sprintf("kept%d", schemas.Add(1))
	execute(t, server, "CREATE DATABASE "+name)
	t.Cleanup(func() { execute(t, server, "DROP DATABASE "+name+" WITH (FORCE)") })
	at, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	at.Path = "/" + name
	return at.String()
}

// keep writes the file of this version.
func keep(t *testing.T, name string) {
	t.Helper()
	at := newDatabase(t)
	s := mustOpen(t, at, Options{})
	if err := kept.Fill(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	dump, err := exec.CommandContext(t.Context(), "pg_dump", "--no-owner", "--no-privileges", "--inserts", "--schema="+DefaultSchema,
		"--exclude-table-data="+DefaultSchema+".changes*", "--dbname="+at).Output()
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^(--.*|\\.*|SET transaction_timeout.*)?\n`).ReplaceAllString(string(dump), "")
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(strings.TrimSpace(text)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}
