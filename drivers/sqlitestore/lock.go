package sqlitestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// A lock is held by the one process that writes to a store. It is the kernel's lock on a file beside the
// store, which goes with the process however that ends; what the file says is for the error of the next one.
type lock struct {
	*flock.Flock
	created bool // there was no such file
}

func acquire(path string) (*lock, error) {
	name := path + "-lock"
	_, err := os.Lstat(name)
	l := &lock{flock.New(name, flock.SetPermissions(0o600)), errors.Is(err, fs.ErrNotExist)}
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("the lock file %s: %w", name, err)
	}
	if !ok {
		holder, err := os.ReadFile(name)
		if err != nil || len(holder) == 0 {
			holder = []byte("another process")
		}
		return nil, fmt.Errorf("%w: %s; stop it first", ErrInUse, strings.TrimSpace(string(holder)))
	}
	holder := fmt.Sprintf("process %d (%s), since %s\n", os.Getpid(), commandName(), time.Now().Format(time.DateTime))
	if err := os.WriteFile(name, []byte(holder), 0o600); err != nil && !isDiskFull(err) { // full: the next one's error says less
		return nil, errors.Join(fmt.Errorf("the lock file: %w", err), l.Close())
	}
	return l, nil
}

// withdraw removes the lock's file too, from beside a file that turned out to be somebody else's.
func (l *lock) withdraw() error {
	if !l.created {
		return l.Close()
	}
	return errors.Join(os.Remove(l.Path()), l.Close())
}

// commandName is the program with its first argument, if that is no flag: "sojournd demo".
func commandName() string {
	name := filepath.Base(os.Args[0])
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		name += " " + os.Args[1]
	}
	return name
}
