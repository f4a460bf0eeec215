//go:build unix

package sqlitestore

import (
	"bufio"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"
)

func init() {
	children["umask"] = func(args []string) error {
		var mask int
		if _, err := fmt.Sscanf(args[1], "%o", &mask); err != nil {
			return err
		}
		syscall.Umask(mask)
		return holdOpen(args)
	}
}

// TestFilesAreTheOwners: whatever the umask, only the owner can read sessions.
func TestFilesAreTheOwners(t *testing.T) {
	for _, mask := range []string{"000", "022", "077"} {
		t.Run(mask, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "new", "newer", "sessions.db")
			cmd := child(t.Context(), nil, "umask", path, mask)
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "open\n" {
				t.Fatalf("%q, %v", line, err)
			}
			seen := map[string]bool{}
			err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
				if err != nil || name == dir {
					return err
				}
				info, err := e.Info()
				if err != nil {
					return err
				}
				want := fs.FileMode(0o600)
				if e.IsDir() {
					want = 0o700
				}
				if got := info.Mode().Perm(); got != want {
					t.Errorf("%s has the mode %o, want %o", name, got, want)
				}
				seen[filepath.Base(name)] = true
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"new", "newer", "sessions.db", "sessions.db-wal", "sessions.db-shm", "sessions.db-lock"} {
				if !seen[name] {
					t.Errorf("there is no %s", name)
				}
			}
			stdin.Close()
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
