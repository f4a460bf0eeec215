package sqlitestore

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"io"
	"net/url"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sojourn-go/sojourn/store"
)

// A conn is one connection to the file, for one goroutine at a time. It calls
// the driver without the pool of database/sql, which costs more than a short
// statement.
type conn struct {
	sqldriver.Conn
	stmts map[string]*stmt
}

// A stmt is a statement that is prepared once for a connection.
type stmt struct {
	exec  sqldriver.StmtExecContext
	query sqldriver.StmtQueryContext
	args  []sqldriver.NamedValue
	row   []sqldriver.Value
}

// dsn names the file for the driver.
func dsn(path string, pragmas ...string) string {
	q := url.Values{}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	return "file:" + (&url.URL{Path: filepath.Clean(path)}).EscapedPath() + "?" + q.Encode()
}

func connect(ctx context.Context, dsn string) (*conn, error) {
	connector, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	c, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, stmts: map[string]*stmt{}}, nil
}

func (c *conn) close() error {
	for _, s := range c.stmts {
		s.query.(sqldriver.Stmt).Close() //nolint:errcheck // the connection goes too
	}
	return c.Close()
}

// prepare returns the statement of a query. Queries are constants, so each is
// prepared once.
func (c *conn) prepare(query string) (*stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	p, err := c.Conn.(sqldriver.ConnPrepareContext).PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	s := &stmt{exec: p.(sqldriver.StmtExecContext), query: p.(sqldriver.StmtQueryContext)}
	c.stmts[query] = s
	return s, nil
}

func (s *stmt) bind(args []any) []sqldriver.NamedValue {
	for len(s.args) < len(args) {
		s.args = append(s.args, sqldriver.NamedValue{Ordinal: len(s.args) + 1})
	}
	for i, a := range args {
		s.args[i].Value = a
	}
	return s.args[:len(args)]
}

// exec runs a statement and returns the number of changed rows. Arguments are
// int64, string, []byte or nil.
func (c *conn) exec(query string, args ...any) (int64, error) {
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	r, err := s.exec.ExecContext(context.Background(), s.bind(args))
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// rows begins a query. The caller reads its rows into the statement's row.
func (c *conn) rows(query string, args []any) (*stmt, sqldriver.Rows, error) {
	s, err := c.prepare(query)
	if err != nil {
		return nil, nil, err
	}
	rows, err := s.query.QueryContext(context.Background(), s.bind(args))
	if err != nil {
		return nil, nil, err
	}
	if s.row == nil {
		s.row = make([]sqldriver.Value, len(rows.Columns()))
	}
	return s, rows, nil
}

// query calls each with every row, until each returns an error. The row is
// valid only during that call; its values may be kept. Don't run the same query
// during it.
func (c *conn) query(each func(row []sqldriver.Value) error, query string, args ...any) error {
	s, rows, err := c.rows(query, args)
	if err != nil {
		return err
	}
	for err == nil {
		if err = rows.Next(s.row); err == nil {
			err = each(s.row)
		}
	}
	if errors.Is(err, io.EOF) {
		return rows.Close()
	}
	return errors.Join(err, rows.Close())
}

// first returns the first row of a query, or nil if there is none. It is valid
// until the same query runs again.
func (c *conn) first(query string, args ...any) ([]sqldriver.Value, error) {
	s, rows, err := c.rows(query, args)
	if err != nil {
		return nil, err
	}
	err = rows.Next(s.row)
	if closed := rows.Close(); closed != nil && (err == nil || errors.Is(err, io.EOF)) {
		return nil, closed
	}
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	return s.row, err
}

// session reads the row of a session into r, or returns ErrNotFound.
func (c *conn) session(app int64, id store.ID, r *row) error {
	v, err := c.first(selectRow, app, id[:])
	switch {
	case err != nil:
		return err
	case v == nil:
		return store.ErrNotFound
	}
	r.scan(v)
	return nil
}

// sessions returns the rows of a query for headColumns or rowColumns.
func (c *conn) sessions(query string, args ...any) (list []*row, err error) {
	err = c.query(func(v []sqldriver.Value) error {
		r := new(row)
		r.scan(v)
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

func toInt(v sqldriver.Value) int64 {
	n, _ := v.(int64)
	return n
}

func toString(v sqldriver.Value) string {
	s, _ := v.(string)
	return s
}

// extendedCode returns SQLite's result code, or 0 if the error isn't SQLite's.
func extendedCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
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
