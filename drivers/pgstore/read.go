package pgstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// reads is how often a read is sent if the connection is lost before the answer.
const reads = 3

// read lends fn a connection, and another one if the first is lost.
func (s *Store) read(ctx context.Context, fn func(*call) error) error {
	for try := 1; ; try++ {
		sent, err := s.use(ctx, fn)
		switch {
		case err == nil, errors.Is(err, pgx.ErrNoRows):
			return err
		case s.closed.Load():
			return store.ErrClosed
		case !sent, try == reads, ctx.Err() != nil, isStatementError(err) && !isAborted(err):
			return explain(err)
		}
	}
}

// Get implements store.Store. Every Get is strict.
func (s *Store) Get(ctx context.Context, app string, id store.ID, strict bool, rec *store.Record) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	r := borrow(rec)
	defer r.giveBack()
	err := s.read(ctx, func(c *call) error { return c.row(s.sql.get, []any{escape(app), uuid(id)}, r.dest...) })
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return store.ErrNotFound
	case err != nil:
		return err
	}
	ended, err := r.finish()
	if err == nil && ended {
		err = store.ErrEnded
	}
	return err
}

// valuesAtOnce is how many sessions one statement reads with their values, which
// may be large.
const valuesAtOnce = 8

// List implements store.Store. Sessions are in the order of their IDs, and a
// cursor is the last ID of its page.
func (s *Store) List(ctx context.Context, app string, opt store.ListOptions) ([]store.Record, string, error) {
	if err := s.check(ctx); err != nil {
		return nil, "", err
	}
	if opt.Ended {
		list, err := s.listEnded(ctx, app, &opt)
		return list, "", err
	}
	after, err := driver.After(opt)
	if err != nil {
		return nil, "", err
	}
	var page driver.Page
	for {
		// One more session than asked for shows whether there is another page.
		n := opt.Limit + 1 - len(page.Records)
		if opt.Values {
			n = min(n, valuesAtOnce)
		}
		some, err := s.listSome(ctx, app, &opt, after, n)
		if err != nil {
			return nil, "", err
		}
		for i := range some {
			if after = some[i].ID; !page.Add(some[i], opt.Limit) {
				return page.Records, driver.Cursor(opt, page.Records[len(page.Records)-1].ID), nil
			}
		}
		if len(some) < n {
			return page.Records, "", nil
		}
	}
}

// listSome reads the next n sessions after an ID.
func (s *Store) listSome(ctx context.Context, app string, opt *store.ListOptions, after store.ID, n int) (list []store.Record, err error) {
	query, args := s.sql.list[flag(opt.Values)], []any{escape(app), int64(opt.Now), uuid(after), n}
	if opt.Subject != "" {
		query, args = s.sql.listSubject[flag(opt.Values)], append(args, escape(opt.Subject))
	}
	return s.records(ctx, query, args)
}

// records returns the sessions of a query for readColumns or headColumns.
func (s *Store) records(ctx context.Context, query string, args []any) (list []store.Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	err = s.read(ctx, func(c *call) error {
		var page []store.Record
		found, err := c.conn.Query(c.ctx, query, args...)
		if err != nil {
			return err
		}
		defer found.Close()
		for found.Next() {
			page = append(page, store.Record{})
			r := borrow(&page[len(page)-1])
			err := found.Scan(r.dest...)
			if err == nil {
				_, err = r.finish()
			}
			r.giveBack()
			if err != nil {
				return err
			}
		}
		if err := found.Err(); err != nil {
			return err
		}
		return c.fill(func() error {
			list = page
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (s *Store) listEnded(ctx context.Context, app string, opt *store.ListOptions) (list []store.Record, err error) {
	if err := driver.CheckEnded(*opt); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	err = s.read(ctx, func(c *call) error {
		var page []store.Record
		found, err := c.conn.Query(c.ctx, s.sql.listEnded, escape(app), escape(opt.Subject), int64(opt.Now.Add(-store.TombstoneLife)), min(opt.Limit, store.MaxEnded))
		if err != nil {
			return err
		}
		defer found.Close()
		for found.Next() {
			var id pgtype.UUID
			var created, ended int64
			var reason, ip, agent text
			if err := found.Scan(&id, &created, &ended, &reason, &ip, &agent); err != nil {
				return err
			}
			page = append(page, store.Record{ID: id.Bytes, Subject: opt.Subject, CreatedAt: store.Time(created), EndAt: store.Time(ended),
				End: store.Reason(reason.String()), LastClient: store.Client{IP: toIP(ip.String()), UserAgent: agent.String()}})
		}
		if err := found.Err(); err != nil {
			return err
		}
		return c.fill(func() error {
			list = page
			return nil
		})
	})
	return list, err
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Barrier implements store.Store.
func (s *Store) Barrier(ctx context.Context, app, subject string) (at store.Time, err error) {
	if err := s.check(ctx); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	err = s.read(ctx, func(c *call) error { return c.row(s.sql.barrier, []any{escape(app), escape(subject)}, &at) })
	return at, err
}

// Count implements store.Store. It reads all sessions of the application, which
// takes about a second for several millions.
func (s *Store) Count(ctx context.Context, app string) (n store.Count, err error) {
	if err := s.check(ctx); err != nil {
		return n, err
	}
	err = s.read(ctx, func(c *call) error { return c.row(s.sql.count, []any{escape(app)}, &n.Sessions, &n.LoggedIn) })
	return n, err
}
