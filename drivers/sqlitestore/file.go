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

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// applicationID is "SOJN" in the header of a store.
const applicationID = 0x534f4a4e

// resolve returns the path without symbolic links, so that a store has one name and one lock, and makes its directories.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("sqlitestore: %w", err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("sqlitestore: the directory of %s: %w", path, err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real, nil
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return filepath.Join(real, filepath.Base(path)), nil
	}
	return path, nil
}

// prepare sees to it that the file is a store of this version.
func prepare(ctx context.Context, path string) error {
	if err := createFile(path); err != nil {
		return err
	}
	db, err := openDB(path, writerPragmas()...)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing is left to write
	empty, err := recognise(ctx, path)
	if err != nil {
		return err
	}
	source, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, source)
	if err != nil {
		return err
	}
	if !empty {
		var version int64
		if err := db.QueryRowContext(ctx, "SELECT max(version_id) FROM goose_db_version").Scan(&version); err != nil {
			return err
		}
		sources := p.ListSources()
		if newest := sources[len(sources)-1].Version; version > newest {
			return fmt.Errorf("%w: its schema has version %d, this program knows up to %d: use a newer program", ErrNewer, version, newest)
		} else if version == newest {
			return db.Close()
		}
	}
	if _, err := p.Up(ctx); err != nil {
		return err
	}
	return db.Close()
}

func openDB(path string, pragmas ...string) (*sql.DB, error) {
	connector, err := sqlite.NewConnector(dsn(path, pragmas...))
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}

// createFile makes an empty file, which SQLite takes for an empty database, unless there is one.
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

// syncDir makes the names in the file's directory last.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// recognise looks whether a file is a store, or empty, without changing it. No connection of this process must
// be open: closing any descriptor of the file would drop the locks of SQLite's.
func recognise(ctx context.Context, path string) (empty bool, err error) {
	if err := checkHeader(path); err != nil {
		return false, err
	}
	c, err := connect(ctx, dsn(path, "busy_timeout(5000)", "query_only(1)"))
	if err != nil {
		return false, err
	}
	defer c.close() //nolint:errcheck // it has only read
	id, err := c.integer("PRAGMA application_id")
	if err != nil {
		return false, err
	}
	tables, err := c.integer("SELECT count(*) FROM sqlite_schema")
	switch {
	case err != nil:
		return false, err
	case id == applicationID:
		return false, nil
	case tables > 0 || id != 0:
		return false, fmt.Errorf("%w but a database of another program: choose another file", ErrNotDatabase)
	}
	return true, nil
}

func checkHeader(path string) error {
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

var errNoDatabase = fmt.Errorf("%w, nor any SQLite database: choose another file, or move this one away", ErrNotDatabase)

// describe names the file in an error, and says what to do.
func describe(path string, err error) error {
	switch resultCode(err) {
	case sqlite3.SQLITE_NOTADB:
		err = errNoDatabase
	case sqlite3.SQLITE_CORRUPT:
		if !errors.Is(err, ErrCorrupt) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		err = fmt.Errorf("%w: sojournd check tells how far, sojournd restore puts a backup in its place", err)
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		err = fmt.Errorf("%w: the file and its directory must be writable for this user, for the log lies beside the file", err)
	case sqlite3.SQLITE_FULL:
		err = fmt.Errorf("%w: the disk is full", err)
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: give this user the right to write there, or choose another file", err)
	}
	return fmt.Errorf("sqlitestore: %s: %w", path, err)
}
