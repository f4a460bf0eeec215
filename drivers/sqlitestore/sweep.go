package sqlitestore

import (
	"context"
	sqldriver "database/sql/driver"

	"github.com/sojourn-go/sojourn/store"
)

// A stage of the sweep examines up to chunk rows of an application in a
// transaction, and reports whether it has seen all.
type stage func(t *tx, a named, now store.Time, n int) (ended []store.Ended, examined int, over bool, err error)

// A named is an application with its name.
type named struct {
	app
	name string
}

var stages = []stage{sweepDue, sweepEndedAll, sweepBarriers, sweepKeys, giveBack}

// Sweep implements store.Store. Each transaction examines at most 128 rows, so that other writes come between. At the
// end of a round it gives free pages back to the file system, if they are more than a tenth of the file.
func (s *Store) Sweep(ctx context.Context, name string, now store.Time, max int) (all []store.Ended, done bool, err error) {
	if err := s.check(ctx); err != nil {
		return nil, false, err
	}
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	for max > 0 {
		var list []store.Ended
		var examined int
		var over, unknown bool
		// Cancelled it would lose what it has ended: a chunk takes milliseconds.
		err := s.writeEnd(context.WithoutCancel(ctx), func(t *tx) (err error) {
			a, known := t.app(name)
			if unknown = !known; unknown {
				over = true
				return nil
			}
			list, examined, over, err = stages[s.stages[name]](t, named{a, name}, now, min(max, chunk))
			return err
		})
		if err != nil {
			return all, false, err
		}
		all = append(all, list...)
		max -= examined
		if over {
			if s.stages[name]++; unknown || s.stages[name] == len(stages) {
				delete(s.stages, name)
				return all, true, nil
			}
		}
		if ctx.Err() != nil {
			return all, false, nil
		}
	}
	return all, false, nil
}

var selectDue = "SELECT " + headColumns + " FROM sessions INDEXED BY sessions_by_sweep WHERE app = ? AND sweep_at <= ? ORDER BY sweep_at LIMIT ?"

// sweepDue looks at the rows whose time has come: expired sessions and old tombstones, and sessions that have been
// active since.
func sweepDue(t *tx, a named, now store.Time, n int) (ended []store.Ended, examined int, over bool, err error) {
	var rows []*row
	err = t.w.conn.query(func(v []sqldriver.Value) error {
		r := new(row)
		r.scan(v)
		rows = append(rows, r)
		return nil
	}, selectDue, a.num, int64(now), int64(n))
	if err != nil {
		return nil, 0, false, err
	}
	for _, r := range rows {
		switch reason, at := r.ExpiredAt(now); {
		case r.End != "":
			err = t.remove(r)
		case a.ended(r) && past(a.mark, store.TombstoneLife, now):
			err = t.remove(r)
		case a.ended(r):
			err = t.postpone(r, a.mark.Add(store.TombstoneLife)+1)
		case reason == "":
			err = t.postpone(r, deadline(&r.Record))
		default:
			var e store.Ended
			e, err = t.end(a.name, r, reason, at)
			ended = append(ended, e)
		}
		if err != nil {
			return nil, 0, false, err
		}
	}
	return ended, len(rows), len(rows) < n, nil
}

func (t *tx) remove(r *row) error {
	_, err := t.w.conn.exec("DELETE FROM sessions WHERE app = ? AND id = ?", r.app, r.ID[:])
	return err
}

// postpone has the sweep look at a row later.
func (t *tx) postpone(r *row, until store.Time) error {
	_, err := t.w.conn.exec("UPDATE sessions SET sweep_at = ? WHERE app = ? AND id = ?", int64(until), r.app, r.ID[:])
	return err
}

// sweepEndedAll removes what EndAll has ended, an hour later, without waiting for each one's deadline.
func sweepEndedAll(t *tx, a named, now store.Time, n int) (_ []store.Ended, examined int, over bool, err error) {
	limit := now.Add(-store.TombstoneLife)
	v, err := t.w.conn.first("SELECT purge_after, ended_all_at FROM apps WHERE num = ? AND purge_after IS NOT NULL AND ended_all_at < ?", a.num, int64(limit))
	if err != nil || v == nil {
		return nil, 0, true, err
	}
	after, mark := v[0], toInt(v[1])
	v, err = t.w.conn.first("SELECT count(*), max(id) FROM (SELECT id FROM sessions WHERE app = ? AND id > ? ORDER BY id LIMIT ?)", a.num, after, int64(n))
	if err != nil {
		return nil, 0, false, err
	}
	examined = int(toInt(v[0]))
	last := v[1] // NULL at the end
	if examined > 0 {
		_, err = t.w.conn.exec("DELETE FROM sessions WHERE app = ? AND id > ? AND id <= ? AND created_at <= ? AND (end_reason IS NULL OR sweep_at <= ?)",
			a.num, after, last, mark, int64(now))
		if err != nil {
			return nil, 0, false, err
		}
	}
	_, err = t.w.conn.exec("UPDATE apps SET purge_after = ? WHERE num = ?", last, a.num)
	return nil, max(examined, 1), false, err
}

func sweepBarriers(t *tx, a named, now store.Time, n int) (_ []store.Ended, examined int, over bool, err error) {
	return t.forget("DELETE FROM barriers WHERE (app, subject) IN (SELECT app, subject FROM barriers WHERE app = ? AND raised_at < ? LIMIT ?)",
		a.num, now.Add(-store.BarrierLife), n)
}

func sweepKeys(t *tx, a named, now store.Time, n int) (_ []store.Ended, examined int, over bool, err error) {
	return t.forget("DELETE FROM idempotency_keys WHERE (app, key) IN (SELECT app, key FROM idempotency_keys WHERE app = ? AND created_at < ? LIMIT ?)",
		a.num, now.Add(-store.IdempotencyLife), n)
}

func (t *tx) forget(query string, app int64, before store.Time, n int) (_ []store.Ended, examined int, over bool, err error) {
	removed, err := t.w.conn.exec(query, app, int64(before), int64(n))
	return nil, int(removed), removed < int64(n), err
}

// giveBack shortens the file by some of its free pages.
func giveBack(t *tx, _ named, _ store.Time, n int) (_ []store.Ended, examined int, over bool, err error) {
	pages, err := t.w.conn.integer("PRAGMA page_count")
	if err != nil {
		return nil, 0, false, err
	}
	free, err := t.w.conn.integer("PRAGMA freelist_count")
	if err != nil {
		return nil, 0, false, err
	}
	excess := free - pages/10
	if excess <= 0 {
		return nil, 0, true, nil
	}
	// A page takes a write or two of its own; the driver knows a pragma only with its argument in its text.
	if _, err = t.w.conn.exec("PRAGMA incremental_vacuum(16)"); err != nil {
		return nil, 0, false, err
	}
	left, err := t.w.conn.integer("PRAGMA freelist_count")
	return nil, min(n, 16), excess <= 16 || left == free, err // a file that others have rebuilt may have no auto_vacuum
}
