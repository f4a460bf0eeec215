package sqlitestore

import (
	"context"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A stage of the sweep examines up to n rows of an application in one
// transaction.
type stage func(t *tx, a app, now store.Time, n int) (swept, error)

// swept is the result of a stage's transaction.
type swept struct {
	ended    []store.Ended
	examined int
	over     bool // the stage has examined all its rows
}

var stages = []stage{
	sweepDue,
	sweepEndedAll,
	forget("DELETE FROM barriers WHERE (app, subject) IN (SELECT app, subject FROM barriers WHERE app = ? AND raised_at < ? LIMIT ?)", store.BarrierLife),
	forget("DELETE FROM idempotency_keys WHERE (app, key) IN (SELECT app, key FROM idempotency_keys WHERE app = ? AND created_at < ? LIMIT ?)", store.IdempotencyLife),
	giveBack,
}

// Sweep implements store.Store. Each transaction examines at most 128 rows, so
// that other writes get their turn. At the end of a round it gives free pages
// back to the file system, if they are more than a tenth of the file.
func (s *Store) Sweep(ctx context.Context, name string, now store.Time, max int) (all []store.Ended, done bool, err error) {
	if err := s.check(ctx); err != nil {
		return nil, false, err
	}
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	for max > 0 {
		var part swept
		unknown := false
		// A cancelled write would lose the report of the sessions that it has
		// ended. A chunk takes milliseconds.
		err := s.writeEnd(context.WithoutCancel(ctx), func(t *tx) (err error) {
			a, known := t.app(name)
			if unknown = !known; unknown {
				part = swept{over: true}
				return nil
			}
			part, err = stages[s.stages[name]](t, a, now, min(max, chunk))
			return err
		})
		if err != nil {
			return all, false, err
		}
		all = append(all, part.ended...)
		max -= part.examined
		if part.over {
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

// sweepDue examines the rows whose time has come: expired sessions, old
// tombstones, and sessions that have been active since.
func sweepDue(t *tx, a app, now store.Time, n int) (swept, error) {
	rows, err := t.w.conn.sessions(selectDue, a.num, int64(now), int64(n))
	if err != nil {
		return swept{}, err
	}
	var ends []toEnd
	for _, r := range rows {
		switch reason, at := r.ExpiredAt(now); {
		case r.End != "", a.ended(r) && past(a.mark, store.TombstoneLife, now):
			_, err = t.w.conn.exec("DELETE FROM sessions WHERE app = ? AND id = ?", r.app, r.ID[:])
		case a.ended(r):
			err = t.postpone(r, a.mark.Add(store.TombstoneLife)+1)
		case reason == "":
			err = t.postpone(r, deadline(&r.Record))
		default:
			ends = append(ends, toEnd{r, reason, at})
		}
		if err != nil {
			return swept{}, err
		}
	}
	ended, err := t.endAll(a, ends)
	return swept{ended, len(rows), len(rows) < n}, err
}

// postpone makes the sweep examine a row later.
func (t *tx) postpone(r *row, until store.Time) error {
	_, err := t.w.conn.exec("UPDATE sessions SET sweep_at = ? WHERE app = ? AND id = ?", int64(until), r.app, r.ID[:])
	return err
}

// sweepEndedAll removes the sessions that EndAll has ended, an hour later,
// whatever their deadlines.
func sweepEndedAll(t *tx, a app, now store.Time, n int) (swept, error) {
	limit := now.Add(-store.TombstoneLife)
	v, err := t.w.conn.first("SELECT purge_after, ended_all_at FROM apps WHERE num = ? AND purge_after IS NOT NULL AND ended_all_at < ?", a.num, int64(limit))
	if err != nil || v == nil {
		return swept{over: true}, err
	}
	after, mark := v[0], toInt(v[1])
	v, err = t.w.conn.first("SELECT count(*), max(id) FROM (SELECT id FROM sessions WHERE app = ? AND id > ? ORDER BY id LIMIT ?)", a.num, after, int64(n))
	if err != nil {
		return swept{}, err
	}
	examined, last := int(toInt(v[0])), v[1] // last is NULL at the end
	if examined > 0 {
		_, err = t.w.conn.exec("DELETE FROM sessions WHERE app = ? AND id > ? AND id <= ? AND created_at <= ? AND (end_reason IS NULL OR sweep_at <= ?)",
			a.num, after, last, mark, int64(now))
		if err != nil {
			return swept{}, err
		}
	}
	_, err = t.w.conn.exec("UPDATE apps SET purge_after = ? WHERE num = ?", last, a.num)
	return swept{examined: max(examined, 1)}, err
}

// forget returns a stage that deletes rows which are older than life.
func forget(query string, life time.Duration) stage {
	return func(t *tx, a app, now store.Time, n int) (swept, error) {
		removed, err := t.w.conn.exec(query, a.num, int64(now.Add(-life)), int64(n))
		return swept{examined: int(removed), over: removed < int64(n)}, err
	}
}

// giveBack shortens the file by some of its free pages.
func giveBack(t *tx, _ app, _ store.Time, n int) (swept, error) {
	pages, free, err := t.w.conn.pages()
	if err != nil {
		return swept{}, err
	}
	excess := free - pages/10
	if excess <= 0 {
		return swept{over: true}, nil
	}
	// Each page takes a write or two of its own. The driver knows a pragma only
	// with its argument in its text.
	if _, err = t.w.conn.exec("PRAGMA incremental_vacuum(16)"); err != nil {
		return swept{}, err
	}
	_, left, err := t.w.conn.pages()
	// A file that others have rebuilt may have no auto_vacuum.
	return swept{examined: min(n, 16), over: excess <= 16 || left == free}, err
}
