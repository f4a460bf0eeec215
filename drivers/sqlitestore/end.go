package sqlitestore

import (
	"context"
	"errors"

	"github.com/sojourn-go/sojourn/store"
)

var (
	errNoReason  = errors.New("sqlitestore: an end needs a reason")
	errNoSubject = errors.New("sqlitestore: EndSubject needs a subject")
)

// chunk is how many sessions a transaction ends at most, so that other writes
// get their turn during a call that ends many.
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
		e, err := t.end(a, &r, reason, at)
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
	// Sessions that join from here on have passed the barrier, and stay. A
	// cancelled call would end a part of the others only. A chunk takes
	// milliseconds.
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
			return all, err // the caller must report what has ended
		}
		all, after = append(all, list...), next
	}
	return all, nil
}

var selectSome = "SELECT " + headColumns + " FROM sessions INDEXED BY sessions_by_subject WHERE app = ? AND subject = ? AND joined > ? AND joined <= ? ORDER BY joined LIMIT ?"

// endSome ends the first chunk of a subject's sessions in the places (after,
// last], and returns the place of the last one that it looked at.
func (t *tx) endSome(name, subject string, except store.ID, reason store.Reason, at store.Time, after, last int64) (list []store.Ended, next int64, err error) {
	a, ok := t.app(name)
	if !ok {
		return nil, last, nil
	}
	rows, err := t.w.conn.sessions(selectSome, a.num, subject, after, last, int64(chunk))
	if err != nil {
		return nil, 0, err
	}
	next = last
	if len(rows) == chunk {
		next = rows[chunk-1].joined
	}
	var ends []toEnd
	for _, r := range rows {
		if r.ID != except && !a.ended(r) {
			ends = append(ends, toEnd{r, reason, at})
		}
	}
	list, err = t.endAll(a, ends)
	return list, next, err
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
		t.setApp(a)
		t.recount = append(t.recount, a.num)
		t.changes = append(t.changes, store.Change{Kind: store.GoneAll, App: name})
		return nil
	})
}
