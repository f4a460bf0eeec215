package sqlitestore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestLockedByteIsLeftAlone: the lock's text doesn't touch the locked byte,
// which Windows lets no handle read or write.
func TestLockedByteIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	file := path + "-lock"
	old := append([]byte("#"), bytes.Repeat([]byte("older "), 100)...)
	if err := os.WriteFile(file, old, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := acquire(path); !errors.Is(err, ErrInUse) || !bytes.Contains([]byte(err.Error()), fmt.Appendf(nil, ": process %d (", os.Getpid())) {
		t.Errorf("a second lock: %v", err)
	}
	if err := l.withdraw(); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || text[0] != '#' || len(text) != len(old) {
		t.Errorf("the file has %d bytes and begins with %.40q, %v", len(text), text, err)
	}
	if l, err = acquire(path); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestLockFileIsWithdrawn: withdraw removes the file that acquire created.
func TestLockFileIsWithdrawn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	l, err := acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.withdraw(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path + "-lock"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lock's file: %v", err)
	}
}
