package sqlitestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// A lock is held by the one process that writes to a store. It is the kernel's
// lock on a file beside the store, which goes with the process however that
// ends. What the file says is for the error of the next process.
type lock struct {
	*flock.Flock
	created bool // there was no such file
}

// holderAt is where a lock's file says who holds it. Windows locks the bytes
// before it against every other handle, those of the same process included:
// flock locks the first byte.
const holderAt = 1

func acquire(path string) (*lock, error) {
	name := path + "-lock"
	_, err := os.Lstat(name)
	l := &lock{flock.New(name, flock.SetPermissions(0o600)), errors.Is(err, fs.ErrNotExist)}
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("the lock file %s: %w", name, err)
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s; stop it first", ErrInUse, holder(name))
	}
	if err := writeHolder(name); err != nil && !isDiskFull(err) { // full: the next one's error says less
		return nil, errors.Join(fmt.Errorf("the lock file: %w", err), l.Close())
	}
	return l, nil
}

// writeHolder writes who holds the lock into its file, as a line. The rest of a
// longer line may follow it, and doesn't matter.
func writeHolder(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "process %d (%s), since %s\n", os.Getpid(), commandName(), time.Now().Format(time.DateTime)), holderAt)
	if err != nil {
		_ = f.Truncate(holderAt) // so that the file names no earlier holder
	}
	return errors.Join(err, f.Close())
}

// holder returns who holds the lock, as its file says.
func holder(name string) string {
	if f, err := os.Open(name); err == nil {
		defer f.Close() //nolint:errcheck // it was only read
		text, _ := io.ReadAll(io.NewSectionReader(f, holderAt, 1024))
		if line, _, _ := strings.Cut(string(text), "\n"); line != "" {
			return line
		}
	}
	return "another process"
}

// withdraw removes the lock's file too, from beside a file that turned out to
// be somebody else's.
func (l *lock) withdraw() error {
	switch {
	case !l.created:
		return l.Close()
	case runtime.GOOS == "windows": // removes no open file, so the next holder's neither
		err := l.Close()
		_ = os.Remove(l.Path())
		return err
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
