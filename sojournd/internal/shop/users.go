package shop

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/gofrs/flock"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sojourn-go/sojourn"
)

// A User is an account of the shop. The ID never changes, so it is the subject
// of the user's sessions. The e-mail address may change.
type User struct {
	ID           string
	Email        string // normalised, see normaliseEmail
	PasswordHash string // argon2id, as a PHC string
	Cart         []Line
	Preferences  Preferences
}

// Preferences are how a visitor wants to see the shop. An empty field is no
// choice.
type Preferences struct {
	Theme    string `json:"theme,omitempty"`    // light, dark, auto
	Language string `json:"language,omitempty"` // a key of languages
}

// or returns p, with the choices of q where p has none.
func (p Preferences) or(q Preferences) Preferences {
	if p.Theme == "" {
		p.Theme = q.Theme
	}
	if p.Language == "" {
		p.Language = q.Language
	}
	return p
}

// A CartVersion is the state of a session that a saved cart comes from.
type CartVersion struct {
	Session  sojourn.ID
	Revision uint64
}

// The errors of Users.
var (
	ErrNoUser     = errors.New("shop: no such user")
	ErrEmailTaken = errors.New("shop: the e-mail address belongs to another account")
	ErrUsersFull  = errors.New("shop: no room for another account")
)

// maxUsers bounds the room that sign-ups can take.
const maxUsers = 100_000

// Users keeps the accounts, in an SQLite file or in memory. Its methods may be
// called concurrently. A change is on the disk when the method returns.
type Users struct {
	db  *sql.DB
	max int
}

//go:embed schema.sql
var schema string

const schemaVersion = 3 // user_version in schema.sql

// usersFileID is "SHOP", in the header of the file.
const usersFileID = 0x53484f50

// NewMemoryUsers returns an empty set of users in memory.
func NewMemoryUsers(ctx context.Context) (*Users, error) {
	db, err := openDatabase(":memory:")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // each connection has a memory of its own
	if err := migrate(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Users{db, maxUsers}, nil
}

// OpenUsers opens the users in a file. It creates the file, readable only by
// its owner, in a directory that exists. One process at a time may open the
// file.
func OpenUsers(ctx context.Context, path string) (*Users, error) {
	u, err := openUsers(ctx, path)
	if err == nil {
		err = u.forgetCarts(ctx)
	}
	return u, describe(path, err)
}

// OpenSharedUsers is OpenUsers for several processes that serve the same
// sessions. All of them may open the file.
func OpenSharedUsers(ctx context.Context, path string) (*Users, error) {
	lock := flock.New(path+"-lock", flock.SetPermissions(0o600)) // several may create the file at once
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
	if code, ok := sqliteCode(err); ok && code&0xff == sqlite3.SQLITE_NOTADB {
		err = errNotUsers
	}
	return fmt.Errorf("shop: the accounts in %s: %w", path, err)
}

var errNotUsers = errors.New("this is not a file of the shop: move it away, and a new one is made")

func openUsers(ctx context.Context, path string) (*Users, error) {
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
	db.SetMaxOpenConns(4)
	if err := migrate(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Users{db, maxUsers}, nil
}

// forgetCarts makes the next cart of each user the newest. No request of an
// earlier process can still arrive, and a session that was restored from a
// backup has a lower revision than its saved cart.
func (u *Users) forgetCarts(ctx context.Context) error {
	if _, err := u.db.ExecContext(ctx, "UPDATE users SET cart_session = '', cart_revision = 0 WHERE cart_session <> ''"); err != nil {
		return errors.Join(err, u.db.Close())
	}
	return nil
}

func openDatabase(path string, pragmas ...string) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+url.Values{"_pragma": pragmas}.Encode())
}

// recognise returns an error unless the file is empty or the shop's. It does
// not change the file.
func recognise(ctx context.Context, path string) error {
	db, err := openDatabase(path, "busy_timeout(5000)", "query_only(1)")
	if err != nil {
		return err
	}
	var id, tables int
	err = db.QueryRowContext(ctx, "SELECT (SELECT * FROM pragma_application_id), (SELECT count(*) FROM sqlite_schema)").Scan(&id, &tables)
	if err == nil && id != usersFileID && (id != 0 || tables > 0) {
		err = errNotUsers
	}
	return errors.Join(err, db.Close())
}

// migrate creates the schema. It returns an error if the file has a newer one.
func migrate(ctx context.Context, db *sql.DB) error {
	var has int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&has); err != nil {
		return err
	}
	if has > schemaVersion {
		return fmt.Errorf("written by a newer version (%d, this one knows up to %d): use that one, or move the file away", has, schemaVersion)
	}
	if has == schemaVersion {
		return nil
	}
	script := schema
	switch has { // to the table that exists
	case 1:
		script += "ALTER TABLE users ADD COLUMN not_before INTEGER NOT NULL DEFAULT 0;"
		fallthrough
	case 2:
		script += "ALTER TABLE users ADD COLUMN theme_at INTEGER NOT NULL DEFAULT 0; ALTER TABLE users ADD COLUMN language_at INTEGER NOT NULL DEFAULT 0;"
	}
	_, err := db.ExecContext(ctx, "BEGIN IMMEDIATE;"+script+"COMMIT;")
	return err
}

// Close closes the file.
func (u *Users) Close() error { return u.db.Close() }

// Add stores a new user. It returns ErrEmailTaken if another user has the
// address, and ErrUsersFull if there is no room.
func (u *Users) Add(ctx context.Context, user User) error {
	cart, err := encodeCart(user.Cart)
	if err != nil {
		return err
	}
	err = u.exec(ctx, `INSERT INTO users (id, email, password_hash, cart, theme, language)
		SELECT ?, ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM users) < ?`,
		user.ID, user.Email, user.PasswordHash, cart, user.Preferences.Theme, user.Preferences.Language, u.max)
	if errors.Is(err, ErrNoUser) { // nothing was inserted
		if _, err := u.ByEmail(ctx, user.Email); err == nil {
			return ErrEmailTaken
		}
		return ErrUsersFull
	}
	if code, ok := sqliteCode(err); ok && code&0xff == sqlite3.SQLITE_FULL {
		return fmt.Errorf("%w: %w", ErrUsersFull, err)
	}
	return err
}

// ByID returns a user, or ErrNoUser.
func (u *Users) ByID(ctx context.Context, id string) (User, error) { return u.get(ctx, "id", id) }

// ByEmail returns the user of an address, or ErrNoUser.
func (u *Users) ByEmail(ctx context.Context, email string) (User, error) {
	return u.get(ctx, "email", email)
}

func (u *Users) get(ctx context.Context, column, key string) (user User, err error) {
	var cart []byte
	err = u.db.QueryRowContext(ctx, "SELECT id, email, password_hash, cart, theme, language FROM users WHERE "+column+" = ?", key).
		Scan(&user.ID, &user.Email, &user.PasswordHash, &cart, &user.Preferences.Theme, &user.Preferences.Language)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return User{}, ErrNoUser
	case err != nil:
		return User{}, fmt.Errorf("shop: read a user: %w", err)
	}
	if err := json.Unmarshal(cart, &user.Cart); err != nil {
		return User{}, fmt.Errorf("shop: read the cart of the user %s: %w", user.ID, err)
	}
	return user, nil
}

// SetEmail changes the address. It returns ErrNoUser or ErrEmailTaken.
func (u *Users) SetEmail(ctx context.Context, id, email string) error {
	return u.exec(ctx, "UPDATE users SET email = ? WHERE id = ?", email, id)
}

// SetCart saves the cart, unless a later cart of the same session is saved
// already: requests may arrive here in another order than they were committed.
// Of different sessions the last one to save wins. It returns ErrNoUser.
func (u *Users) SetCart(ctx context.Context, id string, items []Line, version CartVersion) error {
	cart, err := encodeCart(items)
	if err != nil {
		return err
	}
	session, revision := version.Session.String(), int64(version.Revision)
	err = u.exec(ctx, `UPDATE users SET cart = ?, cart_session = ?, cart_revision = ?
		WHERE id = ? AND (cart_session <> ? OR cart_revision <= ?)`, cart, session, revision, id, session, revision)
	if errors.Is(err, ErrNoUser) { // or a later cart is saved
		_, err = u.ByID(ctx, id)
	}
	return err
}

// NotBefore returns the time before which no sign-in of a user holds any more.
// It is zero if there is none. It is for sojourn.Sealing. All sessions of an
// account that is gone have ended.
func (u *Users) NotBefore(ctx context.Context, id string) (time.Time, error) {
	var at int64
	switch err := u.db.QueryRowContext(ctx, "SELECT not_before FROM users WHERE id = ?", id).Scan(&at); {
	case errors.Is(err, sql.ErrNoRows):
		return endOfTime, nil
	case err != nil:
		return time.Time{}, fmt.Errorf("shop: read a user: %w", err)
	case at == 0:
		return time.Time{}, nil
	}
	return time.UnixMicro(at), nil
}

// endOfTime is later than any session.
var endOfTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// SetNotBefore ends the sign-ins of a user before a time, for sessions that the
// shop has no list of. It returns ErrNoUser.
func (u *Users) SetNotBefore(ctx context.Context, id string, at time.Time) error {
	return u.exec(ctx, "UPDATE users SET not_before = max(not_before, ?) WHERE id = ?", at.UnixMicro(), id)
}

// exec changes one user. It returns ErrNoUser if the statement changed none.
func (u *Users) exec(ctx context.Context, query string, args ...any) error {
	result, err := u.db.ExecContext(ctx, query, args...)
	if code, ok := sqliteCode(err); ok && code == sqlite3.SQLITE_CONSTRAINT_UNIQUE {
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

func sqliteCode(err error) (code int, ok bool) {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0, false
	}
	return e.Code(), true
}
