package sqlitestore

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"modernc.org/sqlite"

	"github.com/sojourn-go/sojourn/store"
)

// A Progress is told how far long work has come: done of total steps. It may be nil.
type Progress func(done, total int64)

func (p Progress) tell(done, total int64) {
	if p != nil {
		p(done, total)
	}
}

// part is the progress of the first or the second half of some work.
func (p Progress) part(n int64) Progress {
	return func(done, total int64) { p.tell(n*total+done, 2*total) }
}

// pagesAtOnce is how many pages Backup copies between two looks at its context.
const pagesAtOnce = 256

// Backup writes a consistent copy of the store at path to the file dst, which must not exist. It may be
// called from any process, while another has the store open and writes to it; the log grows meanwhile. The copy
// appears under its name when it is complete and on the disk.
func Backup(ctx context.Context, path, dst string, progress Progress) error {
	if err := free(dst); err != nil {
		return err
	}
	l, err := acquire(dst) // two at a time would take each other's parts
	if err != nil {
		return describe(dst, err)
	}
	defer func() { _ = l.withdraw() }()
	if err := free(dst); err != nil {
		return err
	}
	part := dst + ".part"
	if err := removeStore(part); err != nil { // of a backup that was interrupted
		return fmt.Errorf("sqlitestore: the backup: %w", err)
	}
	if err := createFile(part); err != nil {
		return describe(part, err)
	}
	err = withInspector(ctx, path, func(c *conn) error { return c.copyTo(ctx, part, progress) })
	if err == nil {
		err = withoutLog(ctx, part)
	}
	if err == nil {
		err = publishFile(part, dst)
	}
	if err != nil {
		return errors.Join(err, removeStore(part))
	}
	return nil
}

// withoutLog has the file say that it has no log, so that it can be read where nothing can be written.
func withoutLog(ctx context.Context, path string) error {
	c, err := connect(ctx, dsn(path, busyPragma, "synchronous(FULL)"))
	if err == nil {
		_, err = c.first("PRAGMA journal_mode = DELETE")
		err = errors.Join(err, c.close())
	}
	if err != nil {
		return describe(path, err)
	}
	return nil
}

func free(dst string) error {
	_, err := os.Lstat(dst)
	switch {
	case err == nil:
		return fmt.Errorf("sqlitestore: %s exists: choose another name for the backup", dst)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("sqlitestore: the backup: %w", err)
}

// copyTo copies the database to a file as it is at this moment, whatever is written to it meanwhile.
func (c *conn) copyTo(ctx context.Context, dst string, progress Progress) (err error) {
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	defer c.exec("ROLLBACK") //nolint:errcheck // it has only read
	if _, err := c.first("SELECT count(*) FROM apps"); err != nil {
		return err
	}
	b, err := c.Conn.(interface {
		NewBackup(string) (*sqlite.Backup, error)
	}).NewBackup(dsn(dst, "synchronous(FULL)"))
	if err != nil {
		return describe(dst, err)
	}
	for more := true; more && err == nil; {
		if more, err = b.Step(pagesAtOnce); err == nil {
			total := int64(b.PageCount())
			progress.tell(total-int64(b.Remaining()), total)
			err = ctx.Err()
		}
	}
	if err != nil {
		err = describe(dst, err)
	}
	return errors.Join(err, b.Finish())
}

// publishFile gives a complete file its name.
func publishFile(part, name string) error {
	f, err := os.OpenFile(part, os.O_RDWR, 0) // Windows syncs what may be written only
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(part, name), syncDir(name))
}

// removeStore removes a file and what SQLite has put beside it.
func removeStore(path string) error {
	return removeFiles(path, "", "-wal", "-shm", "-journal", "-lock", "-reserve")
}

// removeFiles removes those files that there are.
func removeFiles(path string, suffixes ...string) (err error) {
	for _, suffix := range suffixes {
		if e := os.Remove(path + suffix); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// withInspector lends fn a connection that reads the store at path, which some process may have open.
func withInspector(ctx context.Context, path string, fn func(*conn) error) error {
	if info, err := os.Stat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sqlitestore: %s: there is no store: %w", path, err)
		}
		return describe(path, err)
	} else if info.IsDir() {
		return describe(path, errDirectory)
	}
	c, err := connect(ctx, dsn(path, append(readerPragmas(), "cache_size(-65536)")...)+"&mode=rw")
	if err != nil {
		return describe(path, err)
	}
	if _, err = c.recognise(); err == nil {
		err = fn(c)
	}
	if err = errors.Join(err, c.close()); err != nil {
		return describe(path, err)
	}
	return nil
}

// maxFaults is how many faults of one kind Check tells.
const maxFaults = 10

// Check reads the whole file, which another process may have open, and every session in it. It returns an error
// that is ErrCorrupt if anything is damaged.
func Check(ctx context.Context, path string, progress Progress) error {
	return withInspector(ctx, path, func(c *conn) error { return c.check(ctx, progress) })
}

func (c *conn) check(ctx context.Context, progress Progress) error {
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	defer c.exec("ROLLBACK") //nolint:errcheck // it has only read
	total, err := c.integer("SELECT count(*) FROM sessions")
	if err != nil {
		return err
	}
	total *= 2 // SQLite's own check comes after ours, takes about as long, and doesn't tell how far it is
	var done int64
	var faults []error
	err = c.query(func(v []sqldriver.Value) error {
		var r row
		var rec store.Record
		r.scan(v)
		if err := r.decode(&rec); err != nil && len(faults) < maxFaults {
			faults = append(faults, err)
		}
		if done++; done%1000 == 0 {
			progress.tell(done, total)
			return ctx.Err()
		}
		return nil
	}, "SELECT "+rowColumns+" FROM sessions")
	if err != nil {
		return err
	}
	err = c.query(func(v []sqldriver.Value) error {
		if line := toString(v[0]); line != "ok" {
			faults = append(faults, errors.New(line))
		}
		return ctx.Err()
	}, fmt.Sprintf("PRAGMA integrity_check(%d)", maxFaults))
	if err == nil && len(faults) > 0 {
		err = fmt.Errorf("%w: %w", ErrCorrupt, errors.Join(faults...))
	}
	progress.tell(total, total)
	return err
}

// RestoreOptions are the settings of Restore.
type RestoreOptions struct {
	KeepSessions bool      // else all sessions end: a backup holds sessions that have ended since
	Now          time.Time // the time at which they end; zero: the present
}

// Restore puts a backup, which it checks first, in the place of the store at path, which no process may have open
// for writing. The file that was there is kept beside it, under the name that is returned; empty if there was none. If Restore
// fails, everything is as it was.
func Restore(ctx context.Context, backup, path string, opt RestoreOptions, progress Progress) (kept string, err error) {
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	if path, err = resolve(path); err != nil {
		return "", err
	}
	l, err := acquire(path)
	if err != nil {
		return "", describe(path, err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := Check(ctx, backup, progress.part(0)); err != nil {
		return "", fmt.Errorf("the backup isn't good, nothing was changed: %w", err)
	}
	fresh := path + ".restoring"
	if err := removeStore(fresh); err != nil { // of a restore that was interrupted
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeStore(fresh))
		}
	}()
	if err := Backup(ctx, backup, fresh, progress.part(1)); err != nil {
		return "", err
	}
	if err := renew(ctx, fresh, opt); err != nil {
		return "", err
	}
	if kept, err = setAside(path, opt.Now); err != nil {
		return "", describe(path, err)
	}
	if err = publishFile(fresh, path); err != nil && kept != "" {
		if _, left := os.Lstat(fresh); left == nil { // path is still the old file: a second name for it is a trap
			err = errors.Join(err, os.Remove(kept))
		}
	}
	return kept, err
}

// renew brings a copy to this version's schema, and ends its sessions.
func renew(ctx context.Context, path string, opt RestoreOptions) error {
	s, err := Open(ctx, path, Options{})
	if err != nil {
		return err
	}
	if !opt.KeepSessions {
		for name := range *s.writer.published.Load() {
			if err = s.endRestored(ctx, name, store.TimeOf(opt.Now)); err != nil {
				break
			}
		}
	}
	if err = errors.Join(err, s.Close(), removeFiles(path, "-lock", "-reserve")); err != nil {
		return err
	}
	return withoutLog(ctx, path)
}

// endRestored ends all of an application; one by one what a clock ahead of this one has created, for the watermark bars logins.
func (s *Store) endRestored(ctx context.Context, name string, now store.Time) error {
	if err := s.EndAll(ctx, name, now); err != nil {
		return err
	}
	var ahead []store.ID
	err := s.read(ctx, func(c *conn) error {
		a, _ := s.app(name)
		return c.query(func(v []sqldriver.Value) error {
			var id store.ID
			fill(id[:], v[0])
			ahead = append(ahead, id)
			return nil
		}, "SELECT id FROM sessions WHERE app = ? AND created_at > ? AND end_reason IS NULL", a.num, int64(now))
	})
	for _, id := range ahead {
		if err == nil {
			_, err = s.End(ctx, name, id, store.ReasonRevoked, now)
		}
	}
	return err
}

// setAside gives the file of a store a second name, so that the first is free to be replaced in one step. No log may stay
// under the first, for SQLite would take it for the new file's. The store is whole under one of its names at every moment.
func setAside(path string, now time.Time) (kept string, err error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if c, err := connect(context.Background(), dsn(path, busyPragma)); err == nil {
		_, _ = c.first("PRAGMA wal_checkpoint(TRUNCATE)") // with the last connection its log goes too
		_ = c.close()
	}
	name := path + ".before-restore-" + now.UTC().Format("20060102-150405")
	kept = name
	for n := 2; ; n++ {
		if err = duplicate(path, kept); !errors.Is(err, fs.ErrExist) {
			break
		}
		kept = fmt.Sprintf("%s-%d", name, n)
	}
	// There is still a log if the file can't be opened.
	if err == nil {
		if err = duplicate(path+"-wal", kept+"-wal"); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return "", err
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return kept, syncDir(kept)
}

// duplicate gives a file a second name, or copies it where the file system has no second names.
func duplicate(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // it was only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}
