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

// A lock is held by the one process that writes to a store. It is a lock of the
// kernel on a file beside the store: the kernel releases it when the process
// ends, in whatever way. The file's text is for the error of the next process.
type lock struct {
	*flock.Flock
	created bool // there was no such file
}

// holderAt is the offset at which a lock's file names the holder. flock locks
// the first byte, which Windows then refuses to every other handle, even of the
// same process.
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
	if err := writeHolder(name); err != nil && !isDiskFull(err) { // on a full disk the next process' error says less
		return nil, errors.Join(fmt.Errorf("the lock file: %w", err), l.Close())
	}
	return l, nil
}

// writeHolder writes a line into the lock's file that names this process. The
// end of an earlier, longer line may follow.
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

// holder returns the line that names the holder of the lock.
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

// withdraw releases the lock, and removes its file if acquire created it. It is
// for a file that turned out not to be a store.
func (l *lock) withdraw() error {
	switch {
	case !l.created:
		return l.Close()
	case runtime.GOOS == "windows": // Windows removes no open file, so it keeps a next holder's
		err := l.Close()
		_ = os.Remove(l.Path())
		return err
	}
	return errors.Join(os.Remove(l.Path()), l.Close())
}

// commandName returns the program's name with its first argument, unless that
// is a flag: "sojournd demo".
func commandName() string {
	name := filepath.Base(os.Args[0])
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		name += " " + os.Args[1]
	}
	return name
}
