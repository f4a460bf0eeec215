package sqlitestore

import (
	sqldriver "database/sql/driver"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A plan is what a subject's limit demands when the subject gets a session.
type plan struct {
	joined  int64 // the new session's
	evicted []*row
	expired []*row
	now     store.Time
}

// aboutSubject gives the last place, the barrier, and the number of sessions, as far as that matters: it is not to take longer the
// more sessions a subject has.
const aboutSubject = "SELECT (SELECT max(joined) FROM sessions INDEXED BY sessions_by_subject WHERE app = ?1 AND subject = ?2), " +
	"(SELECT raised_at FROM barriers WHERE app = ?1 AND subject = ?2), " +
	"(SELECT count(*) FROM (SELECT 1 FROM sessions INDEXED BY sessions_by_subject WHERE app = ?1 AND subject = ?2 LIMIT ?3))"

var selectSubject = "SELECT " + headColumns + " FROM sessions INDEXED BY sessions_by_subject WHERE app = ? AND subject = ? ORDER BY joined"

// admit checks the subject's barrier and limit. It changes nothing. self is a session that becomes, or is already, the
// subject's, and is not looked at.
func (t *tx) admit(a app, subject string, self store.ID, limit store.Limit, arrived, now store.Time) (plan, error) {
	p := plan{now: now}
	v, err := t.w.conn.first(aboutSubject, a.num, subject, int64(max(limit.Max, 0)))
	if err != nil {
		return p, err
	}
	if a.mark >= arrived || v[1] != nil && toTime(v[1]) >= arrived {
		return p, store.ErrBarrier
	}
	p.joined = max(toInt(v[0]), t.w.joined) + 1
	if limit.Max <= 0 || toInt(v[2]) < int64(limit.Max) {
		return p, nil
	}
	// Some of them may have expired, and self be among them.
	var live []*row
	err = t.w.conn.query(func(v []sqldriver.Value) error {
		r := new(row)
		r.scan(v)
		switch {
		case r.ID == self:
		case a.live(r, now):
			live = append(live, r)
		case !a.ended(r):
			p.expired = append(p.expired, r)
		}
		return nil
	}, selectSubject, a.num, subject)
	if err != nil {
		return p, err
	}
	if excess := len(live) + 1 - limit.Max; excess > 0 {
		if limit.Refuse {
			return p, store.ErrLimit
		}
		p.evicted = live[:excess]
	}
	return p, nil
}

// carryOut ends the sessions that make room, and those that were found expired, which would be looked at again.
func (t *tx) carryOut(name string, p *plan) (list []store.Ended, err error) {
	for _, r := range p.expired {
		reason, at := r.ExpiredAt(p.now)
		e, err := t.end(name, r, reason, at)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	for _, r := range p.evicted {
		e, err := t.end(name, r, store.ReasonEvicted, p.now)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// past reports whether something of time at has outlived life.
func past(at store.Time, life time.Duration, now store.Time) bool { return now > at.Add(life) }
