package sqlitestore

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"

	"github.com/sojourn-go/sojourn/store"
)

var (
	errNoReason  = errors.New("sqlitestore: a session ends for a reason")
	errNoSubject = errors.New("sqlitestore: EndSubject needs a subject")
)

// chunk is how many sessions a transaction ends at most, where a call ends many: other writes come between.
const chunk = 128

// End implements store.Store.
func (s *Store) End(ctx context.Context, name string, id store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	if reason == "" {
		return nil, errNoReason
	}
	var list []store.Ended
	err := s.writeEnd(ctx, func(t *tx) error {
		list = nil
		var r row
		a, err := t.find(name, id, &r)
		if err != nil || a.ended(&r) {
			return err
		}
		e, err := t.end(name, &r, reason, at)
		list = []store.Ended{e}
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// EndSubject implements store.Store.
func (s *Store) EndSubject(ctx context.Context, name, subject string, except store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	switch {
	case subject == "":
		return nil, errNoSubject
	case reason == "":
		return nil, errNoReason
	}
	var after, last int64
	err := s.writeEnd(ctx, func(t *tx) error {
		a, err := t.needApp(name)
		if err != nil {
			return err
		}
		_, err = t.w.conn.exec("INSERT INTO barriers (app, subject, raised_at) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET raised_at = max(raised_at, excluded.raised_at)",
			a.num, subject, int64(at))
		if err != nil {
			return err
		}
		last, err = t.w.conn.integer("SELECT max(joined) FROM sessions INDEXED BY sessions_by_subject WHERE app = ? AND subject = ?", a.num, subject)
		t.w.joined = max(t.w.joined, last)
		return err
	})
	if err != nil {
		return nil, err
	}
	// What joins the subject from here on has passed the barrier. Cancelled this would leave a part, and a chunk takes milliseconds.
	ctx = context.WithoutCancel(ctx)
	var all []store.Ended
	for after < last {
		var list []store.Ended
		var next int64
		err := s.writeEnd(ctx, func(t *tx) (err error) {
			list, next, err = t.endSome(name, subject, except, reason, at, after, last)
			return err
		})
		if err != nil {
			return all, err // what has ended must be told
		}
		all, after = append(all, list...), next
	}
	return all, nil
}

var selectSome = "SELECT " + headColumns + " FROM sessions INDEXED BY sessions_by_subject WHERE app = ? AND subject = ? AND joined > ? AND joined <= ? ORDER BY joined LIMIT ?"

// endSome ends the next sessions of a subject after one, and returns the place of the last one.
func (t *tx) endSome(name, subject string, except store.ID, reason store.Reason, at store.Time, after, last int64) (list []store.Ended, next int64, err error) {
	a, ok := t.app(name)
	if !ok {
		return nil, last, nil
	}
	var rows []*row
	next = last
	err = t.w.conn.query(func(v []sqldriver.Value) error {
		r := new(row)
		r.scan(v)
		rows = append(rows, r)
		return nil
	}, selectSome, a.num, subject, after, last, int64(chunk))
	if err != nil {
		return nil, 0, err
	}
	if len(rows) == chunk {
		next = rows[chunk-1].joined
	}
	for _, r := range rows {
		if r.ID == except || a.ended(r) {
			continue
		}
		e, err := t.end(name, r, reason, at)
		if err != nil {
			return nil, 0, err
		}
		list = append(list, e)
	}
	return list, next, nil
}

// EndAll implements store.Store.
func (s *Store) EndAll(ctx context.Context, name string, at store.Time) error {
	return s.writeEnd(ctx, func(t *tx) error {
		a, err := t.needApp(name)
		if err != nil || at <= a.mark {
			return err
		}
		if _, err := t.w.conn.exec("UPDATE apps SET ended_all_at = ?, purge_after = x'00' WHERE num = ?", int64(at), a.num); err != nil {
			return err
		}
		a.mark = at
		t.setApp(name, a)
		t.recount = append(t.recount, a.num)
		t.changes = append(t.changes, store.Change{Kind: store.GoneAll, App: name})
		return nil
	})
}
