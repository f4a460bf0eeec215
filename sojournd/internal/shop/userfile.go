package shop

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"time"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A UserFile is Users in an SQLite file.
type UserFile struct {
	db  *sql.DB
	max int
}

var _ Users = (*UserFile)(nil)

//go:embed migrations/*.sql
var migrations embed.FS

// userFileID is "SHOP", in the header of the file.
const userFileID = 0x53484f50

// OpenUsers opens the users in a file, and makes it, for its owner only, if there is none. The directory must be there.
// What a method has returned is on the disk.
//
// One process at a time may have the file open.
func OpenUsers(ctx context.Context, path string) (*UserFile, error) {
	u, err := openUsers(ctx, path)
	if err == nil {
		err = u.forgetCarts(ctx)
	}
	return u, describe(path, err)
}

// OpenSharedUsers is OpenUsers for several processes that serve the same sessions: the file may be open in all of them.
func OpenSharedUsers(ctx context.Context, path string) (*UserFile, error) {
	lock := flock.New(path+"-lock", flock.SetPermissions(0o600)) // they may all be the first
	if _, err := lock.TryLockContext(ctx, 10*time.Millisecond); err != nil {
		return nil, describe(path, err)
	}
	u, err := openUsers(ctx, path)
	return u, describe(path, errors.Join(err, lock.Close()))
}

func describe(path string, err error) error {
	if err == nil {
		return nil
	}
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_NOTADB {
		err = errNotUsers
	}
	return fmt.Errorf("shop: the accounts in %s: %w", path, err)
}

var errNotUsers = errors.New("this is no file of the shop's: move it away, and a new one is made")

func openUsers(ctx context.Context, path string) (_ *UserFile, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if err := recognise(ctx, path); err != nil {
		return nil, err
	}
	db, err := openDatabase(path, "busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	db.SetMaxOpenConns(4)
	if err := migrate(ctx, db); err != nil {
		return nil, err
	}
	return &UserFile{db, maxUsers}, nil
}

// forgetCarts has the next cart of each user be the newest: no request of an earlier process can still be late, and a session that was
// restored from a backup counts anew.
func (f *UserFile) forgetCarts(ctx context.Context) error {
	if _, err := f.db.ExecContext(ctx, "UPDATE users SET cart_session = '', cart_revision = 0 WHERE cart_session <> ''"); err != nil {
		return errors.Join(err, f.db.Close())
	}
	return nil
}

func openDatabase(path string, pragmas ...string) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+url.Values{"_pragma": pragmas}.Encode())
}

// recognise looks whether a file is the shop's, or empty, without changing it.
func recognise(ctx context.Context, path string) error {
	db, err := openDatabase(path, "busy_timeout(5000)", "query_only(1)")
	if err != nil {
		return err
	}
	var id, tables int
	err = db.QueryRowContext(ctx, "SELECT (SELECT * FROM pragma_application_id), (SELECT count(*) FROM sqlite_schema)").Scan(&id, &tables)
	if err == nil && id != userFileID && (id != 0 || tables > 0) {
		err = errNotUsers
	}
	return errors.Join(err, db.Close())
}

// migrate brings the file to this version's schema.
func migrate(ctx context.Context, db *sql.DB) error {
	source, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, source)
	if err != nil {
		return err
	}
	has, err := p.GetDBVersion(ctx)
	if err != nil {
		return err
	}
	sources := p.ListSources()
	if newest := sources[len(sources)-1].Version; has > newest {
		return fmt.Errorf("written by a newer version (%d, this one knows up to %d): use that one, or move the file away", has, newest)
	}
	_, err = p.Up(ctx)
	return err
}

// Close closes the file.
func (f *UserFile) Close() error { return f.db.Close() }

// Add is as of Users.
func (f *UserFile) Add(ctx context.Context, u User) error {
	cart, err := encodeCart(u.Cart)
	if err != nil {
		return err
	}
	err = f.exec(ctx, `INSERT INTO users (id, email, password_hash, cart, theme, language)
		SELECT ?, ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM users) < ?`,
		u.ID, u.Email, u.PasswordHash, cart, u.Preferences.Theme, u.Preferences.Language, f.max)
	switch {
	case errors.Is(err, ErrNoUser): // nothing was inserted
		if _, err := f.ByEmail(ctx, u.Email); err == nil {
			return ErrEmailTaken
		}
		return ErrUsersFull
	case isFull(err):
		return fmt.Errorf("%w: %w", ErrUsersFull, err)
	}
	return err
}

// ByID is as of Users.
func (f *UserFile) ByID(ctx context.Context, id string) (User, error) {
	return f.get(ctx, "SELECT id, email, password_hash, cart, theme, language FROM users WHERE id = ?", id)
}

// ByEmail is as of Users.
func (f *UserFile) ByEmail(ctx context.Context, email string) (User, error) {
	return f.get(ctx, "SELECT id, email, password_hash, cart, theme, language FROM users WHERE email = ?", email)
}

func (f *UserFile) get(ctx context.Context, query, key string) (u User, err error) {
	var cart []byte
	err = f.db.QueryRowContext(ctx, query, key).Scan(&u.ID, &u.Email, &u.PasswordHash, &cart, &u.Preferences.Theme, &u.Preferences.Language)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return User{}, ErrNoUser
	case err != nil:
		return User{}, fmt.Errorf("shop: read a user: %w", err)
	}
	if err := json.Unmarshal(cart, &u.Cart); err != nil {
		return User{}, fmt.Errorf("shop: read the cart of the user %s: %w", u.ID, err)
	}
	return u, nil
}

// SetEmail is as of Users.
func (f *UserFile) SetEmail(ctx context.Context, id, email string) error {
	return f.exec(ctx, "UPDATE users SET email = ? WHERE id = ?", email, id)
}

// SetCart is as of Users.
func (f *UserFile) SetCart(ctx context.Context, id string, items []Line, version CartVersion) error {
	cart, err := encodeCart(items)
	if err != nil {
		return err
	}
	session, revision := version.Session.String(), int64(version.Revision)
	err = f.exec(ctx, `UPDATE users SET cart = ?, cart_session = ?, cart_revision = ?
		WHERE id = ? AND (cart_session <> ? OR cart_revision <= ?)`, cart, session, revision, id, session, revision)
	if errors.Is(err, ErrNoUser) { // or the cart is an earlier one
		_, err = f.ByID(ctx, id)
	}
	return err
}

// SetPreferences is as of Users.
func (f *UserFile) SetPreferences(ctx context.Context, id string, p Preferences) error {
	return f.exec(ctx, "UPDATE users SET theme = coalesce(nullif(?, ''), theme), language = coalesce(nullif(?, ''), language) WHERE id = ?",
		p.Theme, p.Language, id)
}

// exec changes one user: ErrNoUser if the statement changed none.
func (f *UserFile) exec(ctx context.Context, query string, args ...any) error {
	result, err := f.db.ExecContext(ctx, query, args...)
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE {
		return ErrEmailTaken
	}
	if err != nil {
		return fmt.Errorf("shop: store a user: %w", err)
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = ErrNoUser
	}
	return err
}

func encodeCart(items []Line) (string, error) {
	if items == nil {
		items = []Line{}
	}
	cart, err := json.Marshal(items)
	return string(cart), err
}

func isFull(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL
}
