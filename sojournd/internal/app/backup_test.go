package app

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/drivers/sqlitestore"
)

func TestBar(t *testing.T) {
	var terminal bytes.Buffer
	b := &bar{w: &terminal, what: "Backing up", began: time.Now()}
	for i := range int64(5) {
		b.show(i, 4)
		b.redraw()
	}
	b.clear()
	drawn := terminal.String()
	if !strings.Contains(drawn, "Backing up") || !strings.Contains(drawn, "%") {
		t.Errorf("drew %q", drawn)
	}
	if line := drawn[strings.LastIndexByte(drawn, '\r')+1:]; strings.TrimSpace(line) != "" {
		t.Errorf("left %q on the line", line)
	}

	terminal.Reset() // what is over soon shows none
	b = &bar{w: &terminal, what: "Backing up", began: time.Now(), after: time.Hour}
	b.show(1, 4)
	b.show(0, 0)
	b.redraw()
	b.clear()
	if terminal.Len() > 0 {
		t.Errorf("drew %q", &terminal)
	}
}

func TestNoBarWithoutTerminal(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // a test
	err = FileOptions{Progress: file}.during("Checking", func(p sqlitestore.Progress) error {
		if p != nil {
			t.Error("a bar for a file")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	st, err := sqlitestore.Open(t.Context(), path, sqlitestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := FileOptions{Store: "sqlite:" + path, File: path + "-backup", Out: os.Stdout}
	for _, work := range []func(context.Context, FileOptions) error{Backup, Restore, Check} {
		if err := work(ctx, o); err == nil || !strings.Contains(err.Error(), "interrupted") {
			t.Errorf("%v", err)
		}
	}
	if _, err := os.Lstat(o.File); err == nil {
		t.Error("there is a backup")
	}
}
