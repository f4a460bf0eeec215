package sqlitestore

import (
	"context"
	"errors"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// readers is the number of connections for reading. A read takes microseconds,
// so few are in use at a time.
const readers = 4

// read lends fn a connection for reading.
func (s *Store) read(ctx context.Context, fn func(*conn) error) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	var c *conn
	select {
	case c = <-s.readers:
	case <-ctx.Done():
		return ctx.Err()
	}
	if c == nil {
		return store.ErrClosed
	}
	defer func() { s.readers <- c }()
	return s.explain(fn(c))
}

// Get implements store.Store. Every Get is strict.
func (s *Store) Get(ctx context.Context, name string, id store.ID, strict bool, rec *store.Record) error {
	return s.read(ctx, func(c *conn) error {
		a, ok := s.app(name)
		if !ok {
			return store.ErrNotFound
		}
		var r row
		if err := c.session(a.num, id, &r); err != nil {
			return err
		}
		if err := r.decode(rec); err != nil {
			return err
		}
		if a, _ = s.app(name); r.End == "" && a.ended(&r) {
			rec.Bury(store.ReasonRevoked, a.mark)
		}
		if rec.End != "" {
			return store.ErrEnded
		}
		return nil
	})
}

// app returns an application as of the last commit.
func (s *Store) app(name string) (app, bool) {
	a, ok := (*s.writer.published.Load())[name]
	return a, ok
}

// Barrier implements store.Store.
func (s *Store) Barrier(ctx context.Context, name, subject string) (at store.Time, err error) {
	err = s.read(ctx, func(c *conn) error {
		a, ok := s.app(name)
		if !ok {
			return nil
		}
		raised, err := c.integer("SELECT max(raised_at) FROM barriers WHERE app = ? AND subject = ?", a.num, subject)
		at = max(0, a.mark, store.Time(raised))
		return err
	})
	return at, err
}

// pageOfSubject finds a subject's IDs by the index alone. The index has the
// order of joining, so each page reads all of a subject's entries.
func pageOfSubject(columns string) string {
	return "SELECT " + columns + " FROM sessions WHERE app = ?1 AND id IN (SELECT id FROM sessions INDEXED BY sessions_by_subject " +
		"WHERE app = ?1 AND subject = ?2 AND id > ?3 ORDER BY id LIMIT ?4) ORDER BY id"
}

func pageOfApp(columns string) string {
	return "SELECT " + columns + " FROM sessions WHERE app = ? AND id > ? ORDER BY id LIMIT ?"
}

// The statements of a page, without the values and with them.
var (
	subjectPages = [2]string{pageOfSubject(headColumns), pageOfSubject(rowColumns)}
	appPages     = [2]string{pageOfApp(headColumns), pageOfApp(rowColumns)}
)

var errPageFull = errors.New("the page is full")

// List implements store.Store. Sessions are in the order of their IDs, and a
// cursor is the last ID of its page.
func (s *Store) List(ctx context.Context, name string, opt store.ListOptions) (_ []store.Record, cursor string, err error) {
	if opt.Ended {
		list, err := s.listEnded(ctx, name, opt)
		return list, "", err
	}
	after, err := driver.After(opt)
	if err != nil {
		return nil, "", err
	}
	var page driver.Page
	err = s.read(ctx, func(c *conn) error {
		a, ok := s.app(name)
		if !ok {
			return nil
		}
		for size := chunk; ; size *= 2 { // each query reads all of a subject's rows, of which few may be live
			if err := ctx.Err(); err != nil {
				return err
			}
			limit, n := int64(max(opt.Limit+1-len(page.Records), size)), int64(0)
			each := func(v *stmt) error {
				var r row
				r.scan(v)
				n++
				after = r.ID
				if !a.live(&r, opt.Now) {
					return nil
				}
				var rec store.Record
				if err := r.decode(&rec); err != nil {
					return err
				}
				if !page.Add(rec, opt.Limit) {
					return errPageFull
				}
				return nil
			}
			query, args := appPages[flag(opt.Values)], []any{a.num, after[:], limit}
			if opt.Subject != "" {
				query, args = subjectPages[flag(opt.Values)], []any{a.num, opt.Subject, after[:], limit}
			}
			if err := c.query(each, query, args...); err != nil {
				return err
			}
			if n < limit {
				return nil
			}
		}
	})
	switch {
	case errors.Is(err, errPageFull):
		cursor = driver.Cursor(opt, page.Records[len(page.Records)-1].ID)
	case err != nil:
		return nil, "", err
	}
	return page.Records, cursor, nil
}

const selectEnded = "SELECT id, created_at, ended_at, end_reason, ip, user_agent FROM sessions INDEXED BY sessions_by_end " +
	"WHERE app = ? AND ended_subject = ? AND ended_at >= ? ORDER BY ended_at DESC, id DESC LIMIT ?"

func (s *Store) listEnded(ctx context.Context, name string, opt store.ListOptions) (list []store.Record, err error) {
	if err := driver.CheckEnded(opt); err != nil {
		return nil, err
	}
	err = s.read(ctx, func(c *conn) error {
		a, ok := s.app(name)
		if !ok {
			return nil
		}
		return c.query(func(v *stmt) error {
			rec := store.Record{Subject: opt.Subject, CreatedAt: v.time(1), EndAt: v.time(2), End: store.Reason(v.text(3)),
				LastClient: store.Client{IP: toIP(v.text(4)), UserAgent: v.text(5)}}
			v.fill(rec.ID[:], 0)
			list = append(list, rec)
			return nil
		}, selectEnded, a.num, opt.Subject, int64(opt.Now.Add(-store.TombstoneLife)), int64(min(opt.Limit, store.MaxEnded)))
	})
	return list, err
}
