package sqlitestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"path/filepath"
	"strings"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sojourn-go/sojourn/store"
)

// A conn is one connection to the file, for one goroutine at a time. It calls
// SQLite itself. The driver for database/sql has SQLite take a mutex for each
// column of each row, and asks for the names and types of all columns for each
// query: this costs more than a short statement.
type conn struct {
	tls   *libc.TLS
	db    uintptr
	stmts map[string]*stmt
}

// A stmt is a statement that is prepared once for a connection. While it runs,
// it stands on a row.
type stmt struct {
	*conn
	handle uintptr
	params int
	memory uintptr // SQLite's memory, with the texts and blobs that are bound
	size   int     // of memory
	row    []any   // what first returns
}

// dsn names the file, for connect and for the driver for database/sql.
func dsn(path string, pragmas ...string) string {
	q := url.Values{}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	return "file:" + (&url.URL{Path: filepath.Clean(path)}).EscapedPath() + "?" + q.Encode()
}

func connect(ctx context.Context, dsn string) (_ *conn, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, query, _ := strings.Cut(dsn, "?")
	settings, err := url.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	c := &conn{tls: libc.NewTLS(), stmts: map[string]*stmt{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	err = c.withText(dsn, &c.db, func(name, db uintptr) int32 {
		return sqlite3.Xsqlite3_open_v2(c.tls, name, db,
			sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_CREATE|sqlite3.SQLITE_OPEN_NOMUTEX|sqlite3.SQLITE_OPEN_URI, 0)
	})
	if err != nil {
		return nil, err
	}
	sqlite3.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	for _, pragma := range settings["_pragma"] {
		if _, err := c.exec("PRAGMA " + pragma); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *conn) close() error {
	for _, s := range c.stmts {
		sqlite3.Xsqlite3_finalize(c.tls, s.handle)
		sqlite3.Xsqlite3_free(c.tls, s.memory)
	}
	err := c.fail(sqlite3.Xsqlite3_close_v2(c.tls, c.db))
	c.tls.Close()
	return err
}

const pointerSize = int(unsafe.Sizeof(uintptr(0)))

// withText calls fn with a text of C, and with the address of a pointer that fn
// sets.
func (c *conn) withText(text string, pointer *uintptr, fn func(text, pointer uintptr) int32) error {
	size := pointerSize + len(text) + 1
	memory := sqlite3.Xsqlite3_malloc(c.tls, int32(size))
	if memory == 0 {
		return errNoMemory
	}
	defer sqlite3.Xsqlite3_free(c.tls, memory)
	b := libc.GoBytes(memory, size)
	clear(b)
	copy(b[pointerSize:], text)
	code := fn(memory+uintptr(pointerSize), memory)
	*pointer = *(*uintptr)(unsafe.Pointer(&b[0]))
	return c.fail(code)
}

// A codedError is an error of SQLite.
type codedError struct {
	code int32 // the extended result code
	text string
}

var errNoMemory = &codedError{sqlite3.SQLITE_NOMEM, "out of memory"}

func (e *codedError) Error() string { return fmt.Sprintf("%s (%d)", e.text, e.code) }

// Code implements the method of the driver's errors.
func (e *codedError) Code() int { return int(e.code) }

// fail returns the error of a result code.
func (c *conn) fail(code int32) error {
	if code == sqlite3.SQLITE_OK {
		return nil
	}
	e := &codedError{code, libc.GoString(sqlite3.Xsqlite3_errstr(c.tls, code))}
	if c.db != 0 && (sqlite3.Xsqlite3_extended_errcode(c.tls, c.db)^code)&0xff == 0 {
		if text := libc.GoString(sqlite3.Xsqlite3_errmsg(c.tls, c.db)); text != e.text {
			e.text += ": " + text
		}
	}
	return e
}

// prepare returns the statement of a query. Queries are constants, so each is
// prepared once.
func (c *conn) prepare(query string) (*stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	s := &stmt{conn: c}
	err := c.withText(query, &s.handle, func(text, handle uintptr) int32 {
		return sqlite3.Xsqlite3_prepare_v3(c.tls, c.db, text, -1, sqlite3.SQLITE_PREPARE_PERSISTENT, handle, 0)
	})
	if err != nil {
		return nil, err
	}
	s.params = int(sqlite3.Xsqlite3_bind_parameter_count(c.tls, s.handle))
	s.row = make([]any, sqlite3.Xsqlite3_column_count(c.tls, s.handle))
	c.stmts[query] = s
	return s, nil
}

// bind sets the arguments of a statement. It copies texts and blobs into the
// statement's memory, where SQLite reads them.
func (s *stmt) bind(args []any) error {
	if len(args) != s.params {
		return fmt.Errorf("sqlitestore: %d arguments for a statement with %d", len(args), s.params)
	}
	size := 1 // an empty text has an address too
	for _, a := range args {
		size += textLength(a)
	}
	if size > s.size {
		if size > math.MaxInt32/2 {
			return &codedError{sqlite3.SQLITE_TOOBIG, "the arguments are too long"}
		}
		sqlite3.Xsqlite3_free(s.tls, s.memory)
		s.size = size + size/2
		if s.memory = sqlite3.Xsqlite3_malloc(s.tls, int32(s.size)); s.memory == 0 {
			s.size = 0
			return errNoMemory
		}
	}
	memory, used := libc.GoBytes(s.memory, s.size), 0
	for i, a := range args {
		n, at := int32(i+1), s.memory+uintptr(used)
		var code int32
		switch a := a.(type) {
		case nil:
			code = sqlite3.Xsqlite3_bind_null(s.tls, s.handle, n)
		case int64:
			code = sqlite3.Xsqlite3_bind_int64(s.tls, s.handle, n, a)
		case string:
			used += copy(memory[used:], a)
			code = sqlite3.Xsqlite3_bind_text(s.tls, s.handle, n, at, int32(len(a)), sqlite3.SQLITE_STATIC)
		case []byte:
			used += copy(memory[used:], a)
			code = sqlite3.Xsqlite3_bind_blob(s.tls, s.handle, n, at, int32(len(a)), sqlite3.SQLITE_STATIC)
		default:
			return fmt.Errorf("sqlitestore: an argument is a %T", a)
		}
		if code != sqlite3.SQLITE_OK {
			return s.fail(code)
		}
	}
	return nil
}

// step runs the statement up to its next row; false if there is none.
func (s *stmt) step() (bool, error) {
	switch code := sqlite3.Xsqlite3_step(s.tls, s.handle); code {
	case sqlite3.SQLITE_ROW:
		return true, nil
	case sqlite3.SQLITE_DONE:
		return false, nil
	default:
		return false, s.fail(code)
	}
}

// reset ends the run. Its error is the last step's, which step has returned.
func (s *stmt) reset() { sqlite3.Xsqlite3_reset(s.tls, s.handle) }

// start begins a run. After it, call reset.
func (c *conn) start(query string, args []any) (*stmt, error) {
	s, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	return s, s.bind(args)
}

// Columns of the row on which a statement stands. They are zero for NULL.

func (s *stmt) int(column int) int64 {
	return sqlite3.Xsqlite3_column_int64(s.tls, s.handle, int32(column))
}

func (s *stmt) time(column int) store.Time { return store.Time(s.int(column)) }

func (s *stmt) text(column int) string { return string(s.bytes(column)) }

// fill copies a blob to dst.
func (s *stmt) fill(dst []byte, column int) { copy(dst, s.bytes(column)) }

// bytes returns a text or blob, valid until the next step.
func (s *stmt) bytes(column int) []byte {
	p := sqlite3.Xsqlite3_column_blob(s.tls, s.handle, int32(column))
	if p == 0 {
		return nil
	}
	return libc.GoBytes(p, int(sqlite3.Xsqlite3_column_bytes(s.tls, s.handle, int32(column))))
}

func (s *stmt) kind(column int) int32 {
	return sqlite3.Xsqlite3_column_type(s.tls, s.handle, int32(column))
}

// value returns an int64, string, []byte or nil.
func (s *stmt) value(column int) any {
	switch s.kind(column) {
	case sqlite3.SQLITE_INTEGER:
		return s.int(column)
	case sqlite3.SQLITE_NULL:
		return nil
	case sqlite3.SQLITE_BLOB:
		return bytes.Clone(s.bytes(column))
	default:
		return s.text(column)
	}
}

// exec runs a statement and returns the number of changed rows. Arguments are
// int64, string, []byte or nil.
func (c *conn) exec(query string, args ...any) (int64, error) {
	s, err := c.start(query, args)
	if err != nil {
		return 0, err
	}
	defer s.reset()
	for more := true; more && err == nil; {
		more, err = s.step()
	}
	if err != nil {
		return 0, err
	}
	return sqlite3.Xsqlite3_changes64(c.tls, c.db), nil
}

// query calls each with every row, until each returns an error. Don't run the
// same query during it.
func (c *conn) query(each func(*stmt) error, query string, args ...any) error {
	s, err := c.start(query, args)
	if err != nil {
		return err
	}
	defer s.reset()
	for {
		if more, err := s.step(); err != nil || !more {
			return err
		}
		if err := each(s); err != nil {
			return err
		}
	}
}

// first returns the first row of a query, or nil if there is none. It is valid
// until the same query runs again.
func (c *conn) first(query string, args ...any) ([]any, error) {
	s, err := c.start(query, args)
	if err != nil {
		return nil, err
	}
	defer s.reset()
	if more, err := s.step(); err != nil || !more {
		return nil, err
	}
	for i := range s.row {
		s.row[i] = s.value(i)
	}
	return s.row, nil
}

// session reads the row of a session into r, or returns ErrNotFound.
func (c *conn) session(app int64, id store.ID, r *row) error {
	s, err := c.start(selectRow, []any{app, id[:]})
	if err != nil {
		return err
	}
	defer s.reset()
	switch more, err := s.step(); {
	case err != nil:
		return err
	case !more:
		return store.ErrNotFound
	}
	r.scan(s)
	return nil
}

// sessions returns the rows of a query for headColumns or rowColumns.
func (c *conn) sessions(query string, args ...any) (list []*row, err error) {
	err = c.query(func(s *stmt) error {
		r := new(row)
		r.scan(s)
		list = append(list, r)
		return nil
	}, query, args...)
	return list, err
}

// pages returns how many pages the file has, and how many of them are free.
func (c *conn) pages() (all, free int64, err error) {
	v, err := c.first("SELECT page_count, freelist_count FROM pragma_page_count, pragma_freelist_count")
	if err != nil {
		return 0, 0, err
	}
	return toInt(v[0]), toInt(v[1]), nil
}

// integer returns the number in a query's only row and column, or 0 if there is
// none.
func (c *conn) integer(query string, args ...any) (int64, error) {
	row, err := c.first(query, args...)
	if err != nil || row == nil {
		return 0, err
	}
	return toInt(row[0]), nil
}

func toInt(v any) int64 {
	n, _ := v.(int64)
	return n
}

func toString(v any) string {
	s, _ := v.(string)
	return s
}

// coded errors are SQLite's, by this package or the driver for database/sql.
type coded interface {
	error
	Code() int
}

// extendedCode returns SQLite's result code, or 0 if the error isn't SQLite's.
func extendedCode(err error) int {
	if e, ok := errors.AsType[coded](err); ok {
		return e.Code()
	}
	return 0
}

// resultCode is the part of extendedCode that names the kind of error.
func resultCode(err error) int { return extendedCode(err) & 0xff }

func isFull(err error) bool { return resultCode(err) == sqlite3.SQLITE_FULL }

func isConstraint(err error) bool { return resultCode(err) == sqlite3.SQLITE_CONSTRAINT }

func isDamaged(err error) bool { return resultCode(err) == sqlite3.SQLITE_CORRUPT }

func isBusy(err error) bool { return resultCode(err) == sqlite3.SQLITE_BUSY }

// isIdle reports whether a ROLLBACK failed because there was no transaction.
func isIdle(err error) bool { return resultCode(err) == sqlite3.SQLITE_ERROR }
