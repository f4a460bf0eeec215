package storetest

import (
	"errors"
	"slices"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// A model is the simplest implementation of the contract: it keeps everything
// in maps and makes one call at a time. Where the contract leaves a choice, the
// model allows each outcome and adopts that of the store.
type model struct {
	sessions map[scoped]*modelSession
	barriers map[scopedName]store.Time
	marks    map[string]store.Time
	raised   map[string][]store.Time // all values of marks, ascending
	keys     map[scopedName]modelKey
	joined   int // how often a session has joined a subject
}

type scoped struct {
	app string
	id  store.ID
}

type scopedName struct{ app, name string }

type modelSession struct {
	store.Record
	joined   int          // model.joined when it joined its subject
	obituary store.Record // what a list of ended sessions shows
}

// Bury ends the session.
func (s *modelSession) Bury(reason store.Reason, at store.Time) {
	s.obituary = s.Obituary(reason, at)
	s.Record.Bury(reason, at)
}

// bury ends the session and returns the report of that.
func (s *modelSession) bury(app string, reason store.Reason, at store.Time) store.Ended {
	e := store.Ended{App: app, ID: s.ID, Subject: s.Subject, Reason: reason, At: at}
	s.Bury(reason, at)
	return e
}

type modelKey struct {
	body [32]byte
	id   store.ID
	at   store.Time
}

func newModel() *model {
	return &model{map[scoped]*modelSession{}, map[scopedName]store.Time{}, map[string]store.Time{}, map[string][]store.Time{}, map[scopedName]modelKey{}, 0}
}

// marked reports whether the application's watermark has reached a time.
func (m *model) marked(app string, at store.Time) bool {
	mark, ok := m.marks[app]
	return ok && at <= mark
}

// ended reports whether a session that exists has ended.
func (m *model) ended(app string, s *modelSession) bool {
	return s.End != "" || m.marked(app, s.CreatedAt)
}

func (m *model) live(app string, s *modelSession, now store.Time) bool {
	reason, _ := s.ExpiredAt(now)
	return !m.ended(app, s) && reason == ""
}

// get returns the record that Get must, and its error.
func (m *model) get(app string, id store.ID) (*store.Record, error) {
	s := m.sessions[scoped{app, id}]
	switch {
	case s == nil:
		return nil, store.ErrNotFound
	case s.End != "":
		return &s.Record, store.ErrEnded
	case m.ended(app, s):
		rec := clone(&s.Record)
		rec.Bury(store.ReasonRevoked, m.marks[app])
		return rec, store.ErrEnded
	}
	return &s.Record, nil
}

// subject returns the live sessions of a subject, in the order in which they
// joined it.
func (m *model) subject(app, subject string, now store.Time) []*modelSession {
	var list []*modelSession
	for k, s := range m.sessions {
		if k.app == app && s.Subject == subject && m.live(app, s, now) {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *modelSession) int { return a.joined - b.joined })
	return list
}

// lately returns what a list of ended sessions must show.
func (m *model) lately(app string, opt store.ListOptions) (list []store.Record) {
	for k, s := range m.sessions {
		if k.app == app && s.obituary.Subject == opt.Subject && s.End != "" {
			list = append(list, s.obituary)
		}
	}
	return driver.Lately(list, opt)
}

// barrier returns what Barrier must.
func (m *model) barrier(app, subject string) store.Time {
	return max(0, m.marks[app], m.barriers[scopedName{app, subject}])
}

// admit returns the errors that the subject's barrier and limit may cause, and
// the sessions that the limit evicts.
func (m *model) admit(app, subject string, self store.ID, limit store.Limit, arrived, now store.Time) (refused []error, evicted []*modelSession) {
	if at, ok := m.barriers[scopedName{app, subject}]; ok && at >= arrived || m.marked(app, arrived) {
		refused = append(refused, store.ErrBarrier)
	}
	if limit.Max <= 0 {
		return refused, nil
	}
	others := slices.DeleteFunc(m.subject(app, subject, now), func(s *modelSession) bool { return s.ID == self })
	if excess := len(others) + 1 - limit.Max; excess > 0 {
		if limit.Refuse {
			return append(refused, store.ErrLimit), nil
		}
		evicted = others[:excess]
	}
	return refused, evicted
}

// evict ends sessions that a limit evicts.
func (m *model) evict(app string, evicted []*modelSession, now store.Time) []store.Ended {
	var list []store.Ended
	for _, s := range evicted {
		list = append(list, s.bury(app, store.ReasonEvicted, now))
	}
	return list
}

// expiredOnly adopts the ends of expired sessions that a Create or an Update
// reports, which the contract allows. It returns the other ends.
func (m *model) expiredOnly(got []store.Ended, subject string, now store.Time) (rest []store.Ended) {
	for _, e := range got {
		s := m.sessions[scoped{e.App, e.ID}]
		if s != nil && !m.ended(e.App, s) && s.Subject == subject && subject != "" && e.Subject == subject {
			if reason, at := s.ExpiredAt(now); reason != "" && e.Reason == reason && e.At == at {
				s.Bury(reason, at)
				continue
			}
		}
		rest = append(rest, e)
	}
	return rest
}

// create returns the errors that are allowed. If there are none, the call must
// succeed, and create returns the sessions that it ends.
func (m *model) create(app string, rec *store.Record, opt store.CreateOptions) ([]error, []store.Ended) {
	if opt.Key != "" {
		k, ok := m.keys[scopedName{app, opt.Key}]
		life := store.Time(store.IdempotencyLife.Milliseconds())
		switch {
		case !ok || opt.Now-k.at > life:
		case k.body != opt.KeyBody:
			return []error{store.ErrKeyReused}, nil
		default:
			return []error{store.ErrRepeated}, nil
		}
	}
	var refused []error
	if m.sessions[scoped{app, rec.ID}] != nil {
		refused = append(refused, store.ErrExists)
	}
	var evicted []*modelSession
	if rec.Subject != "" {
		var more []error
		more, evicted = m.admit(app, rec.Subject, store.ID{}, opt.Limit, opt.Arrived, opt.Now)
		refused = append(refused, more...)
	} else if m.marked(app, opt.Arrived) {
		refused = append(refused, store.ErrBarrier)
	}
	if len(refused) > 0 {
		return refused, nil
	}
	ended := m.evict(app, evicted, opt.Now)
	m.joined++
	s := &modelSession{Record: *clone(rec), joined: m.joined}
	s.Revision = 1
	m.sessions[scoped{app, rec.ID}] = s
	if opt.Key != "" {
		m.keys[scopedName{app, opt.Key}] = modelKey{opt.KeyBody, rec.ID, opt.Now}
	}
	return nil, ended
}

// update returns the same as create.
func (m *model) update(app string, rec *store.Record, opt store.UpdateOptions) ([]error, []store.Ended) {
	s := m.sessions[scoped{app, rec.ID}]
	switch {
	case s == nil:
		return []error{store.ErrNotFound}, nil
	case !m.live(app, s, opt.Now):
		return []error{store.ErrEnded}, nil
	}
	var refused []error
	if rec.Revision != s.Revision {
		refused = append(refused, store.ErrConflict)
	}
	var evicted []*modelSession
	if rec.Subject != "" && (opt.Login || rec.Subject != s.Subject) {
		var more []error
		more, evicted = m.admit(app, rec.Subject, rec.ID, opt.Limit, opt.Arrived, opt.Now)
		refused = append(refused, more...)
	}
	if len(refused) > 0 {
		return refused, nil
	}
	ended := m.evict(app, evicted, opt.Now)
	if rec.Subject != s.Subject {
		m.joined++
		s.joined = m.joined
	}
	old := s.Record
	s.Record = *clone(rec)
	s.Revision, s.CreatedAt = old.Revision+1, old.CreatedAt
	if old.LastSeenAt > s.LastSeenAt {
		s.LastSeenAt, s.LastClient = old.LastSeenAt, old.LastClient
	}
	return nil, ended
}

func (m *model) touch(app string, id store.ID, at, now store.Time, client store.Client) error {
	s := m.sessions[scoped{app, id}]
	switch {
	case s == nil:
		return store.ErrNotFound
	case !m.live(app, s, now):
		return store.ErrEnded
	case at > s.LastSeenAt:
		s.LastSeenAt, s.LastClient = at, client
	}
	return nil
}

func (m *model) confirm(app string, id store.ID, secret store.Hash, c store.Confirmation) error {
	s := m.sessions[scoped{app, id}]
	switch {
	case s == nil:
		return store.ErrNotFound
	case m.ended(app, s):
		return store.ErrEnded
	case s.Secret.Hash == secret && s.Confirm(c):
		s.Revision++
	}
	return nil
}

func (m *model) end(app string, id store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	s := m.sessions[scoped{app, id}]
	switch {
	case s == nil:
		return nil, store.ErrNotFound
	case m.ended(app, s):
		return nil, nil
	}
	return []store.Ended{s.bury(app, reason, at)}, nil
}

// endSubject ends the sessions of a subject. The store may end an expired
// session with the given reason or with that of its deadline, so endSubject
// adopts the reason in got.
func (m *model) endSubject(app, subject string, except store.ID, reason store.Reason, at store.Time, got []store.Ended) []store.Ended {
	k := scopedName{app, subject}
	if old, ok := m.barriers[k]; !ok || old < at {
		m.barriers[k] = at
	}
	var list []store.Ended
	for key, s := range m.sessions {
		if key.app != app || s.Subject != subject || s.ID == except || m.ended(app, s) {
			continue
		}
		e := store.Ended{App: app, ID: s.ID, Subject: subject, Reason: reason, At: at}
		if own, since := s.ExpiredAt(at); own != "" {
			if alt := (store.Ended{App: app, ID: s.ID, Subject: subject, Reason: own, At: since}); slices.Contains(got, alt) {
				e = alt
			}
		}
		s.Bury(e.Reason, e.At)
		list = append(list, e)
	}
	return list
}

func (m *model) endAll(app string, at store.Time) {
	if old, ok := m.marks[app]; !ok || old < at {
		m.marks[app] = at
		m.raised[app] = append(m.raised[app], at)
	}
}

func (m *model) count(app string) store.Count {
	var n store.Count
	for k, s := range m.sessions {
		if k.app == app && !m.ended(app, s) {
			n.Sessions++
			if s.Subject != "" {
				n.LoggedIn++
			}
		}
	}
	return n
}

// sweep ends the expired sessions of an application and returns what a whole
// round of Sweep must report.
func (m *model) sweep(app string, now store.Time) []store.Ended {
	var list []store.Ended
	for k, s := range m.sessions {
		reason, at := s.ExpiredAt(now)
		if k.app != app || reason == "" || m.ended(app, s) {
			continue
		}
		list = append(list, s.bury(app, reason, at))
	}
	return list
}

// revokedAt returns the watermarks that cover the session. Which of them is in
// its tombstone depends on when the store wrote the tombstone.
func (m *model) revokedAt(app string, s *modelSession) []store.Time {
	if s == nil || s.End != "" {
		return nil
	}
	marks := m.raised[app]
	for len(marks) > 0 && marks[0] < s.CreatedAt {
		marks = marks[1:]
	}
	return marks
}

// forgotten reports whether the session ended so long ago that a sweep at now may have removed it.
func (m *model) forgotten(app string, id store.ID, now store.Time) bool {
	rec, err := m.get(app, id)
	if !errors.Is(err, store.ErrEnded) {
		return false
	}
	since := rec.EndAt
	if marks := m.revokedAt(app, m.sessions[scoped{app, id}]); len(marks) > 0 {
		since = marks[0]
	}
	return now-since >= store.Time(store.TombstoneLife.Milliseconds())
}
