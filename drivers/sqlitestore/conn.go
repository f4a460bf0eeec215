package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	driver "modernc.org/sqlite"
	"zombiezen.com/go/sqlite"

	"github.com/sojourn-go/sojourn/store"
)

// A conn is one connection to the file, for one goroutine at a time.
type conn struct{ *sqlite.Conn }

// A stmt is a statement that is prepared once for a connection. While it runs,
// it stands on a row.
type stmt struct{ *sqlite.Stmt }

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
	opened, err := sqlite.OpenConn(dsn, sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenURI)
	if err != nil {
		return nil, err
	}
	c := &conn{opened}
	c.SetBusyTimeout(0) // it would wait without end
	for _, pragma := range settings["_pragma"] {
		if _, err := c.exec("PRAGMA " + pragma); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// start begins a run. After it, call reset.
func (c *conn) start(query string, args []any) (*stmt, error) {
	s, err := c.Prepare(query) // once: queries are constants
	if err != nil {
		return nil, err
	}
	if n := s.BindParamCount(); len(args) != n {
		return nil, fmt.Errorf("sqlitestore: %d arguments for a statement with %d", len(args), n)
	}
	for i, a := range args {
		switch a := a.(type) {
		case nil: // as it is
		case int64:
			s.BindInt64(i+1, a)
		case string:
			s.BindText(i+1, a)
		case []byte:
			s.BindBytes(i+1, a)
		default:
			return nil, fmt.Errorf("sqlitestore: an argument is a %T", a)
		}
	}
	return &stmt{s}, nil
}

// reset ends the run. Its error is the last step's, which Step has returned.
func (s *stmt) reset() { _ = s.Reset() }

// Columns of the row on which a statement stands. They are zero for NULL.

func (s *stmt) int(column int) int64 { return s.ColumnInt64(column) }

func (s *stmt) time(column int) store.Time { return store.Time(s.int(column)) }

func (s *stmt) text(column int) string { return s.ColumnText(column) }

// fill copies a blob to dst.
func (s *stmt) fill(dst []byte, column int) { s.ColumnBytes(column, dst) }

// value returns an int64, string, []byte or nil.
func (s *stmt) value(column int) any {
	switch s.ColumnType(column) {
	case sqlite.TypeInteger:
		return s.int(column)
	case sqlite.TypeNull:
		return nil
	case sqlite.TypeBlob:
		b := make([]byte, s.ColumnLen(column))
		s.ColumnBytes(column, b)
		return b
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
		more, err = s.Step()
	}
	if err != nil {
		return 0, err
	}
	return int64(c.Changes()), nil
}

// rollback ends the transaction, if there is one.
func (c *conn) rollback() error {
	if c.AutocommitEnabled() {
		return nil
	}
	_, err := c.exec("ROLLBACK")
	return err
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
		if more, err := s.Step(); err != nil || !more {
			return err
		}
		if err := each(s); err != nil {
			return err
		}
	}
}

// first returns the first row of a query, or nil if there is none.
func (c *conn) first(query string, args ...any) ([]any, error) {
	s, err := c.start(query, args)
	if err != nil {
		return nil, err
	}
	defer s.reset()
	if more, err := s.Step(); err != nil || !more {
		return nil, err
	}
	row := make([]any, s.ColumnCount())
	for i := range row {
		row[i] = s.value(i)
	}
	return row, nil
}

// until runs fn. When done is closed, fn's statement is interrupted, and its
// later ones fail.
func (c *conn) until(done <-chan struct{}, fn func() error) error {
	c.SetInterrupt(done)
	defer c.SetInterrupt(nil)
	return fn()
}

// session reads the row of a session into r, or returns ErrNotFound.
func (c *conn) session(app int64, id store.ID, r *row) error {
	s, err := c.start(selectRow, []any{app, id[:]})
	if err != nil {
		return err
	}
	defer s.reset()
	switch more, err := s.Step(); {
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

// extendedCode returns SQLite's result code, or SQLITE_ERROR if the error isn't
// SQLite's.
func extendedCode(err error) sqlite.ResultCode {
	if e, ok := errors.AsType[*driver.Error](err); ok { // the migrations use database/sql
		return sqlite.ResultCode(e.Code())
	}
	return sqlite.ErrCode(err)
}

// resultCode is the part of extendedCode that names the kind of error.
func resultCode(err error) sqlite.ResultCode { return extendedCode(err).ToPrimary() }

func isFull(err error) bool { return resultCode(err) == sqlite.ResultFull }

func isConstraint(err error) bool { return resultCode(err) == sqlite.ResultConstraint }

func isDamaged(err error) bool { return resultCode(err) == sqlite.ResultCorrupt }

func isInterrupted(err error) bool { return resultCode(err) == sqlite.ResultInterrupt }

func isBusy(err error) bool { return resultCode(err) == sqlite.ResultBusy }
