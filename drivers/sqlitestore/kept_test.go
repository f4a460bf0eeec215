package sqlitestore

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/internal/kept"
)

// Each file that a version has written can be opened, read and changed.
func TestFilesOfEveryVersion(t *testing.T) {
	newest := fmt.Sprintf("testdata/schema-%d.db.gz", newestVersion())
	if os.Getenv("SOJOURN_KEEP") != "" {
		keep(t, newest)
	}
	files, err := filepath.Glob("testdata/schema-*.db.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no files: %v", err)
	}
	if _, err := os.Stat(newest); err != nil {
		t.Errorf("no file has this version's schema: %v", err)
	}
	for _, name := range files {
		packed, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer packed.Close()
		content, err := gzip.NewReader(packed)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "sessions.db")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), path, Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := kept.Check(t.Context(), s, !strings.Contains("schema-1 schema-2", strings.TrimSuffix(filepath.Base(name), ".db.gz"))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// keep writes the file of this version.
func keep(t *testing.T, name string) {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(t.Context(), filepath.Join(dir, "sessions.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := kept.Fill(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "copy.db")
	if err := Backup(t.Context(), filepath.Join(dir, "sessions.db"), copied, nil); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if _, err := w.Write(content); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
