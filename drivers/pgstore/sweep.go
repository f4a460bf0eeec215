package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sojourn-go/sojourn/store"
)

// chunk is how many rows a transaction of the sweep locks at most, so that other
// writes get their turn.
const chunk = 128

// A stage of the sweep examines up to n rows of an application, and returns how
// many it examined. If fewer than n, the stage is over.
type stage func(ctx context.Context, app string, now store.Time, n int) (ended []store.Ended, examined int, err error)

// Sweep implements store.Store. Each transaction examines at most 128 rows and
// skips rows that others have locked, so that nodes which sweep at the same time
// share the work.
func (s *Store) Sweep(ctx context.Context, app string, now store.Time, max int) (all []store.Ended, done bool, err error) {
	if err := s.check(ctx); err != nil {
		return nil, false, err
	}
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	stages := []stage{s.sweepDue, s.forget(s.sql.sweepEndedAll), s.forget(s.sql.sweepBarriers), s.forget(s.sql.sweepKeys)}
	for max > 0 {
		n := min(max, chunk)
		// A cancelled write would lose the report of the sessions that it has
		// ended. A chunk takes milliseconds.
		list, examined, err := stages[s.stages[app]](context.WithoutCancel(ctx), app, now, n)
		if err != nil {
			return all, false, err
		}
		all = append(all, list...)
		max -= examined
		if examined < n {
			if s.stages[app]++; s.stages[app] == len(stages) {
				delete(s.stages, app)
				return all, true, nil
			}
		}
		if ctx.Err() != nil {
			return all, false, nil
		}
	}
	return all, false, nil
}

// sweepDue ends expired sessions, and removes old tombstones.
func (s *Store) sweepDue(ctx context.Context, app string, now store.Time, n int) (list []store.Ended, examined int, err error) {
	var subjects, reasons []string
	var ids []pgtype.UUID
	var ats []int64
	if err := s.write(ctx, s.sql.sweepDue, []any{escape(app), int64(now), int32(n)}, &examined, &ids, &subjects, &reasons, &ats); err != nil {
		return nil, 0, err
	}
	for i, id := range ids {
		list = append(list, store.Ended{App: app, ID: id.Bytes, Subject: unescape(subjects[i]), Reason: store.Reason(reasons[i]), At: store.Time(ats[i])})
	}
	if len(list) > 0 {
		s.kick()
	}
	return list, examined, nil
}

// forget returns a stage that removes old rows.
func (s *Store) forget(statement string) stage {
	return func(ctx context.Context, app string, now store.Time, n int) (_ []store.Ended, examined int, err error) {
		err = s.write(ctx, statement, []any{escape(app), int64(now), int32(n)}, &examined)
		return nil, examined, err
	}
}
