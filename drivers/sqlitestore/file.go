package sqlitestore

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// applicationID, "SOJN", is in the header of a store. It distinguishes a store
// from other programs' files.
const applicationID = 0x534f4a4e

// resolve makes the directories of path, and returns path without symbolic
// links, so that a store has one name and one lock.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("sqlitestore: %w", err)
	}
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return "", describe(path, fmt.Errorf("its directory: %w", err))
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real, nil
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return filepath.Join(real, filepath.Base(path)), nil
	}
	return path, nil
}

// makeDir makes a directory and its missing parents, and syncs their names.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(dir, 0o700) // succeeds, or says what is wrong
	}
	if err := makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(dir)
}

// prepare creates the file if it doesn't exist, and brings its schema to this
// version.
func prepare(ctx context.Context, path string) error {
	if err := createFile(path); err != nil {
		return err
	}
	if current, err := examine(ctx, path); err != nil || current {
		return err
	}
	connector, err := sqlite.NewConnector(dsn(path, writerPragmas()...))
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close() //nolint:errcheck // the last return checks it
	db.SetMaxOpenConns(1)
	source, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, source)
	if err != nil {
		return err
	}
	// This comes first, so that a file whose creation was interrupted isn't taken
	// for another program's.
	if _, err := db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return err
	}
	return db.Close()
}

// createFile creates an empty file, which SQLite reads as an empty database,
// unless the file exists.
func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Close(), syncDir(path))
}

// syncDir syncs the names in the file's directory. Windows can't sync a
// directory: NTFS has a log for names.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// examine checks, without changing it, that a file is a store or empty, and
// reports whether its schema is this version's. No connection of this process
// may be open, because closing any descriptor of a file drops SQLite's locks on
// it.
func examine(ctx context.Context, path string) (current bool, err error) {
	if err := checkHeader(path); err != nil {
		return false, err
	}
	c, err := connect(ctx, dsn(path, busyPragma, "query_only(1)"))
	if err != nil {
		return false, err
	}
	defer c.Close() //nolint:errcheck // it has only read
	if tables, err := c.integer("SELECT count(*) FROM sqlite_schema"); err != nil || tables == 0 {
		return false, err
	}
	version, err := c.recognise()
	return version == newestVersion(), err
}

// recognise returns the version of a store's schema. It returns an error if the
// database isn't a store, or has a newer schema.
func (c *conn) recognise() (version int64, err error) {
	id, err := c.integer("PRAGMA application_id")
	if err != nil {
		return 0, err
	}
	if id != applicationID {
		return 0, fmt.Errorf("%w: it is a database of another program: choose another file", ErrNotDatabase)
	}
	if version, err = c.integer("SELECT max(version_id) FROM goose_db_version"); err != nil {
		return 0, err
	}
	if newest := newestVersion(); version > newest {
		return 0, fmt.Errorf("%w: its schema has version %d, this program knows up to %d: use a newer program", ErrNewer, version, newest)
	}
	return version, nil
}

// newestVersion returns the number at the beginning of the last migration's
// name.
func newestVersion() int64 {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		panic(err) // they are part of the program
	}
	version, err := goose.NumericComponent(files[len(files)-1].Name())
	if err != nil {
		panic(err)
	}
	return version
}

func checkHeader(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return errDirectory
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it has only read
	magic := []byte("SQLite format 3\x00")
	header := make([]byte, len(magic))
	switch n, err := io.ReadFull(f, header); {
	case n == 0 && errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF), err == nil && !bytes.Equal(header, magic):
		return errNoDatabase
	default:
		return err
	}
}

var errNoDatabase = fmt.Errorf("%w: it isn't an SQLite database: choose another file, or move this one away", ErrNotDatabase)

var errDirectory = errors.New("is a directory: name a file in it")

// describe adds to an error the file's name and what to do.
func describe(path string, err error) error {
	switch resultCode(err) {
	case sqlite3.SQLITE_NOTADB:
		err = errNoDatabase
	case sqlite3.SQLITE_CORRUPT:
		if !errors.Is(err, ErrCorrupt) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		err = fmt.Errorf("%w: sojournd check says what is damaged, sojournd restore replaces the file by a backup", err)
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		err = fmt.Errorf("%w: the file and its directory must be writable for this user, because the log lies beside the file", err)
	case sqlite3.SQLITE_FULL:
		err = fmt.Errorf("%w: the disk is full", err)
	}
	if extendedCode(err) == sqlite3.SQLITE_IOERR_SHMSIZE { // there is no room for the log's index
		err = fmt.Errorf("%w: the disk is full", err)
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		err = fmt.Errorf("%w: give this user the right to write there, or choose another file", err)
	}
	return fmt.Errorf("sqlitestore: %s: %w", path, err)
}
