package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/sojourn-go/sojourn/store"
)

// A Progress reports the progress of long work: done of total steps. It may be
// nil.
type Progress func(done, total int64)

func (p Progress) tell(done, total int64) {
	if p != nil {
		p(done, total)
	}
}

// part returns the progress of the first (0) or second (1) half of some work.
func (p Progress) part(n int64) Progress {
	return func(done, total int64) { p.tell(n*total+done, 2*total) }
}

// pagesAtOnce is how many pages Backup copies between two checks of its context.
const pagesAtOnce = 256

// Backup writes a consistent copy of the store at path to the file dst, which
// must not exist. Any process may call it, while another one has the store open
// and writes to it; the log grows meanwhile. The copy gets its name when it is
// complete and on the disk.
func Backup(ctx context.Context, path, dst string, progress Progress) error {
	if err := free(dst); err != nil {
		return err
	}
	l, err := acquire(dst) // two backups at a time would write the same .part file
	if err != nil {
		return describe(dst, err)
	}
	defer func() { _ = l.withdraw() }()
	if err := free(dst); err != nil {
		return err
	}
	part := dst + ".part"
	if err := clearWay(part, path); err != nil { // left by an interrupted backup
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

// withoutLog switches the file's log off, so that the file can be read in a
// directory that can't be written.
func withoutLog(ctx context.Context, path string) error {
	c, err := connect(ctx, dsn(path, busyPragma, "synchronous(FULL)"))
	if err == nil {
		_, err = c.first("PRAGMA journal_mode = DELETE")
		err = errors.Join(err, c.Close())
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
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("sqlitestore: the backup: %w", err)
	}
	return noLog(dst)
}

// noLog returns an error if the log of another store lies where a new file's log
// will be. SQLite would write it into the new file. The log isn't removed, because
// its store may have been moved away without it.
func noLog(path string) error {
	for _, suffix := range []string{"-wal", "-journal"} {
		_, err := os.Lstat(path + suffix)
		switch {
		case err == nil:
			return fmt.Errorf("sqlitestore: %s is the log of a store that is gone, and would damage the new file: move it to its store, or delete it", path+suffix)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// copyTo copies the database's present state to a file, whatever is written
// meanwhile.
func (c *conn) copyTo(ctx context.Context, dst string, progress Progress) (err error) {
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	defer c.exec("ROLLBACK") //nolint:errcheck // it has only read
	if _, err := c.first("SELECT count(*) FROM apps"); err != nil {
		return err
	}
	to, err := connect(ctx, dsn(dst, "synchronous(FULL)"))
	if err != nil {
		return describe(dst, err)
	}
	err = to.copyFrom(ctx, c, progress)
	if err = errors.Join(err, to.Close()); err != nil {
		err = describe(dst, err)
	}
	return err
}

// copyFrom copies all pages of a database.
func (c *conn) copyFrom(ctx context.Context, from *conn, progress Progress) error {
	b, err := sqlite.NewBackup(c.Conn, "main", from.Conn, "main")
	if err != nil {
		return err
	}
	for more := true; more && err == nil; {
		if more, err = b.Step(pagesAtOnce); err == nil {
			total := int64(b.PageCount())
			progress.tell(total-int64(b.Remaining()), total)
			err = ctx.Err()
		}
	}
	return errors.Join(err, b.Close())
}

// publishFile gives a complete file its name.
func publishFile(part, name string) error {
	f, err := os.OpenFile(part, os.O_RDWR, 0) // Windows syncs only writable files
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(part, name), syncDir(name))
}

// clearWay removes a store under the name that a copy has until it is complete,
// unless that store is the one to copy.
func clearWay(name, source string) error {
	a, err := os.Stat(source)
	if b, left := os.Stat(name); err == nil && left == nil && os.SameFile(a, b) {
		return fmt.Errorf("%s is a name for unfinished copies, which are removed: rename it first", source)
	}
	return removeStore(name)
}

// removeStore removes a store's file and the files beside it.
func removeStore(path string) error {
	return removeFiles(path, "", "-wal", "-shm", "-journal", "-lock", "-reserve")
}

// removeFiles removes those of the files that exist.
func removeFiles(path string, suffixes ...string) (err error) {
	for _, suffix := range suffixes {
		if e := os.Remove(path + suffix); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// withInspector lends fn a connection that reads the store at path. Another
// process may have the store open.
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
		err = c.until(ctx.Done(), func() error { return fn(c) })
	}
	if isInterrupted(err) {
		err = ctx.Err()
	}
	if err = errors.Join(err, c.Close()); err != nil {
		return describe(path, err)
	}
	return nil
}

// maxFaults is how many faults of one kind Check reports.
const maxFaults = 10

// Check reads the whole file and every session in it. Another process may have
// the file open. The error is ErrCorrupt if anything is damaged.
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
	total *= 2 // SQLite's own check follows, takes about as long, and reports no progress
	var done int64
	var faults []error
	err = c.query(func(s *stmt) error {
		var r row
		var rec store.Record
		r.scan(s)
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
	err = c.query(func(s *stmt) error {
		if line := s.text(0); line != "ok" {
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
	KeepSessions bool      // default: all sessions end, because the backup holds sessions that have ended since
	Now          time.Time // the time of their end; default the present
}

// Restore checks a backup and replaces the store at path by it. No process may
// have the store open for writing. The former file is kept beside it, under the
// returned name, which is empty if there was no file. If Restore fails, nothing
// has changed.
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
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := noLog(path); err != nil {
			return "", err
		}
	}
	if err := Check(ctx, backup, progress.part(0)); err != nil {
		return "", fmt.Errorf("the backup can't be used, nothing was changed: %w", err)
	}
	fresh := path + ".restoring"
	if err := clearWay(fresh, backup); err != nil { // left by an interrupted restore
		return "", fmt.Errorf("sqlitestore: the restore: %w", err)
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
		if _, left := os.Lstat(fresh); left == nil { // path is still the old file, which must not keep a second name
			err = errors.Join(err, os.Remove(kept))
		}
	}
	return kept, err
}

// renew brings a copy to this version's schema, and ends its sessions unless
// they are kept.
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

// endRestored ends all sessions of an application by a watermark at now. It ends
// later ones, which a fast clock has created, one by one: a later watermark
// would bar logins until then.
func (s *Store) endRestored(ctx context.Context, name string, now store.Time) error {
	if err := s.EndAll(ctx, name, now); err != nil {
		return err
	}
	var ahead []store.ID
	err := s.read(ctx, func(c *conn) error {
		a, _ := s.app(name)
		return c.query(func(s *stmt) error {
			var id store.ID
			s.fill(id[:], 0)
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

// setAside gives the file of a store a second name, so that its first name can
// be replaced in one step. No log may remain under the first name, because
// SQLite would apply it to the new file. At every moment the store is complete
// under one of its names.
func setAside(path string, now time.Time) (kept string, err error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if c, err := connect(context.Background(), dsn(path, busyPragma)); err == nil {
		_, _ = c.first("PRAGMA wal_checkpoint(TRUNCATE)") // closing the last connection removes the log
		_ = c.Close()
	}
	name := path + ".before-restore-" + now.UTC().Format("20060102-150405")
	kept = name
	for n := 2; ; n++ {
		if err = duplicate(path, kept); !errors.Is(err, fs.ErrExist) {
			break
		}
		kept = fmt.Sprintf("%s-%d", name, n)
	}
	// If the file couldn't be opened, there is still a log.
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

// duplicate gives a file a second name, or copies it if the file system has no
// hard links.
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
