package sqlitestore

import (
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// An admission is the answer to a session that wants to become a subject's: its
// place among the subject's sessions, and the sessions that must end first.
type admission struct {
	joined int64
	ends   []toEnd
}

type toEnd struct {
	*row
	reason store.Reason
	at     store.Time
}

// aboutSubject returns the subject's last place, its barrier, and the number of
// its sessions, counted up to the limit only: the query must not take longer
// the more sessions a subject has.
const aboutSubject = "SELECT (SELECT max(joined) FROM sessions INDEXED BY sessions_by_subject WHERE app = ?1 AND subject = ?2), " +
	"(SELECT raised_at FROM barriers WHERE app = ?1 AND subject = ?2), " +
	"(SELECT count(*) FROM (SELECT 1 FROM sessions INDEXED BY sessions_by_subject WHERE app = ?1 AND subject = ?2 LIMIT ?3))"

var selectSubject = "SELECT " + headColumns + " FROM sessions INDEXED BY sessions_by_subject WHERE app = ? AND subject = ? ORDER BY joined"

// admit checks the subject's barrier and limit, and changes nothing. It doesn't
// count self, which becomes the subject's session or already is.
func (t *tx) admit(a app, subject string, self store.ID, limit store.Limit, arrived, now store.Time) (admission, error) {
	v, err := t.w.conn.first(aboutSubject, a.num, subject, int64(max(limit.Max, 0)))
	if err != nil {
		return admission{}, err
	}
	if a.mark >= arrived || v[1] != nil && toTime(v[1]) >= arrived {
		return admission{}, store.ErrBarrier
	}
	adm := admission{joined: max(toInt(v[0]), t.w.joined) + 1}
	if limit.Max <= 0 || toInt(v[2]) < int64(limit.Max) {
		return adm, nil
	}
	// Some of the counted sessions may have expired, and self may be among them.
	rows, err := t.w.conn.sessions(selectSubject, a.num, subject)
	if err != nil {
		return adm, err
	}
	var live []toEnd
	for _, r := range rows {
		switch {
		case r.ID == self:
		case a.live(r, now):
			live = append(live, toEnd{r, store.ReasonEvicted, now})
		case !a.ended(r):
			reason, at := r.ExpiredAt(now)
			adm.ends = append(adm.ends, toEnd{r, reason, at})
		}
	}
	if excess := len(live) + 1 - limit.Max; excess > 0 {
		if limit.Refuse {
			return adm, store.ErrLimit
		}
		adm.ends = append(adm.ends, live[:excess]...)
	}
	return adm, nil
}

// endAll ends sessions, and returns what to report about them.
func (t *tx) endAll(a app, ends []toEnd) (list []store.Ended, err error) {
	for _, e := range ends {
		ended, err := t.end(a, e.row, e.reason, e.at)
		if err != nil {
			return nil, err
		}
		list = append(list, ended)
	}
	return list, nil
}

// past reports whether something of time at has outlived life.
func past(at store.Time, life time.Duration, now store.Time) bool { return now > at.Add(life) }
