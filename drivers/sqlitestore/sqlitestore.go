// Package sqlitestore keeps sessions in one SQLite file: nothing that was acknowledged is lost when the process is
// killed or the power fails, and nobody has to run a database server.
package sqlitestore

import (
	"context"
	"errors"

	"github.com/sojourn-go/sojourn/store"
)

// What Open, Check and Restore find wrong with a file. Their messages name the file and say what to do.
var (
	ErrInUse       = errors.New("in use by another process")
	ErrNotDatabase = errors.New("not a store of Sojourn")
	ErrNewer       = errors.New("written by a newer version")
	ErrCorrupt     = errors.New("damaged")
)

// Options are the settings of Open. The zero Options are good.
type Options struct {
	// MaxBytes is the size that the file may reach, in bytes; 0 is DefaultMaxBytes.
	MaxBytes int64
}

// A Store is a store.Store and a store.Watcher in a file.
type Store struct{ store.Store }

// Open opens the store in a file, which it creates, with its directories, if there is none.
func Open(ctx context.Context, path string, opt Options) (*Store, error) {
	return nil, errors.ErrUnsupported
}

// Progress is told how far long work has come: done of total steps. It may be nil.
type Progress func(done, total int64)

// Backup writes a consistent copy of the store at path to the file dst, which must not exist. It may be
// called from any process, while another has the store open and writes to it.
func Backup(ctx context.Context, path, dst string, progress Progress) error {
	return errors.ErrUnsupported
}

// RestoreOptions are the settings of Restore.
type RestoreOptions struct {
	KeepSessions bool       // else all sessions are ended: a backup holds sessions that have ended since
	Now          store.Time // the time at which they end
}

// Restore puts a backup in the place of the store at path, which no process may have open. The file that was there
// is kept beside it, under the name that is returned; empty if there was none.
func Restore(ctx context.Context, backup, path string, opt RestoreOptions, progress Progress) (kept string, err error) {
	return "", errors.ErrUnsupported
}

// Check reads the whole file, which another process may have open, and returns an error that is ErrCorrupt if anything
// in it is damaged.
func Check(ctx context.Context, path string, progress Progress) error {
	return errors.ErrUnsupported
}
