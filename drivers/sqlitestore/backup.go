package sqlitestore

import (
	"context"
	"github.com/sojourn-go/sojourn/store"
)

// Progress is told how far long work has come: done of total steps. It may be nil.
type Progress func(done, total int64)

// Backup writes a consistent copy of the store at path to the file dst, which must not exist. It may be
// called from any process, while another has the store open and writes to it.
func Backup(ctx context.Context, path, dst string, progress Progress) error { panic("x") }

// RestoreOptions are the settings of Restore.
type RestoreOptions struct {
	KeepSessions bool       // else all sessions are ended: a backup holds sessions that have ended since
	Now          store.Time // the time at which they end
}

func Restore(ctx context.Context, backup, path string, opt RestoreOptions, progress Progress) (kept string, err error) {
	panic("x")
}
func Check(ctx context.Context, path string, progress Progress) error { panic("x") }
