package storetest

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// A mapStore is the model as a store: slow, simple and, unless a test breaks it
// on purpose, correct.
type mapStore struct {
	broken string

	mu     *sync.Mutex
	m      *model
	closed bool
	leave  func() // publishes the changes of a call, if there are watchers, and unlocks
}

func newMapStore(broken string) *mapStore {
	s := &mapStore{broken: broken, mu: new(sync.Mutex), m: newModel()}
	s.leave = s.mu.Unlock
	return s
}

func (s *mapStore) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return store.ErrClosed
	}
	return nil
}

// app and subject change the names in some broken stores.
func (s *mapStore) app(app string) string {
	if s.broken == "applications share everything" {
		return "one"
	}
	return app
}

func (s *mapStore) subject(subject string) string {
	switch s.broken {
	case "subjects in lower case":
		return strings.ToLower(subject)
	case "subjects without trailing blanks":
		return strings.TrimRight(subject, " ")
	}
	return subject
}

func first(errs []error) error {
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

func (s *mapStore) Create(ctx context.Context, app string, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	app = s.app(app)
	fresh := clone(rec)
	fresh.Subject, fresh.End, fresh.EndAt, fresh.Cached = s.subject(rec.Subject), "", 0, false
	if s.broken == "slices are kept" {
		fresh = rec
	}
	var ended []store.Ended
	if s.broken == "limit checked before" {
		errs, evicted := s.m.admit(app, fresh.Subject, store.ID{}, opt.Limit, opt.Arrived, opt.Now)
		if fresh.Subject != "" && len(errs) == 0 {
			ended = s.m.evict(app, evicted, opt.Now)
			opt.Limit.Max = 0
			s.mu.Unlock()
			for range 20 {
				runtime.Gosched()
			}
			s.mu.Lock()
		}
	}
	if s.broken == "expiring sessions count" {
		opt.Now = min(opt.Now, t0)
	}
	errs, more := s.m.create(app, fresh, opt)
	switch err := first(errs); {
	case errors.Is(err, store.ErrRepeated):
		rec.ID = s.m.keys[scopedName{app, opt.Key}].id
		return nil, err
	case err != nil:
		return nil, err
	}
	if s.broken == "slices are kept" {
		s.m.sessions[scoped{app, rec.ID}].Values = rec.Values
	}
	rec.Revision = 1
	return append(ended, more...), nil
}

func (s *mapStore) Get(ctx context.Context, app string, id store.ID, strict bool, rec *store.Record) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	got, err := s.m.get(s.app(app), id)
	if s.broken == "reads are activity" && err == nil {
		got.LastSeenAt++
	}
	if got != nil {
		rec.CopyFrom(got)
		rec.Cached = false
	}
	return err
}

func (s *mapStore) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) ([]store.Ended, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	app = s.app(app)
	next := clone(rec)
	next.Subject, next.End, next.EndAt, next.Cached = s.subject(rec.Subject), "", 0, false
	known := s.m.sessions[scoped{app, rec.ID}]
	switch s.broken {
	case "blind upsert":
		next.Revision++
		s.m.joined++
		s.m.sessions[scoped{app, rec.ID}] = &modelSession{Record: *next, joined: s.m.joined}
		rec.Revision++
		return nil, nil
	case "revisions are not compared":
		if known != nil {
			next.Revision = known.Revision
		}
	case "last seen goes back":
		if known != nil && known.Revision == rec.Revision && known.End == "" {
			known.LastSeenAt = rec.LastSeenAt
		}
	case "expired sessions are updated":
		opt.Now = 0
	case "no limit for logins":
		opt.Limit.Max = 0
	case "eviction before the revision is compared":
		if known != nil && known.Subject != next.Subject && next.Subject != "" {
			_, evicted := s.m.admit(app, next.Subject, rec.ID, opt.Limit, opt.Arrived, opt.Now)
			s.m.evict(app, evicted, opt.Now)
		}
	}
	errs, ended := s.m.update(app, next, opt)
	if err := first(errs); err != nil {
		return nil, err
	}
	rec.Revision = s.m.sessions[scoped{app, rec.ID}].Revision
	return ended, nil
}

func (s *mapStore) Touch(ctx context.Context, app string, id store.ID, at, now store.Time, client store.Client) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	app = s.app(app)
	if known := s.m.sessions[scoped{app, id}]; s.broken == "touch resurrects" && known != nil && known.End != "" {
		known.End, known.EndAt = "", 0
		known.LastSeenAt, known.Idle, known.ExpiresAt = at, 1e15, at+day
		return nil
	}
	if s.broken == "touch at any time" {
		now = 0
	}
	return s.m.touch(app, id, at, now, client)
}

func (s *mapStore) Confirm(ctx context.Context, app string, id store.ID, secret store.Hash, c store.Confirmation) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	app = s.app(app)
	if known := s.m.sessions[scoped{app, id}]; s.broken == "confirms whatever secret" && known != nil {
		secret = known.Secret.Hash
	}
	return s.m.confirm(app, id, secret, c)
}

func (s *mapStore) End(ctx context.Context, app string, id store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	app = s.app(app)
	ended, err := s.m.end(app, id, reason, at)
	switch {
	case s.broken == "no tombstones":
		delete(s.m.sessions, scoped{app, id})
	case s.broken == "ends again" && err == nil:
		s.m.sessions[scoped{app, id}].Bury(reason, at)
	}
	return ended, err
}

func (s *mapStore) EndSubject(ctx context.Context, app, subject string, except store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if subject == "" {
		return nil, errors.New("no subject")
	}
	ended := s.m.endSubject(s.app(app), s.subject(subject), except, reason, at, nil)
	switch s.broken {
	case "no barrier":
		clear(s.m.barriers)
	case "a barrier for everybody":
		for k, r := range s.m.sessions {
			if other := (scopedName{k.app, r.Subject}); k.app == app {
				s.m.barriers[other] = max(s.m.barriers[other], at)
			}
		}
	}
	return ended, nil
}

func (s *mapStore) EndAll(ctx context.Context, app string, at store.Time) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.m.endAll(s.app(app), at)
	if s.broken == "the watermark goes back" {
		s.m.marks[s.app(app)] = at
	}
	return nil
}

func (s *mapStore) List(ctx context.Context, app string, opt store.ListOptions) ([]store.Record, string, error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if opt.Ended {
		if err := driver.CheckEnded(opt); err != nil {
			return nil, "", err
		}
		opt.Subject = s.subject(opt.Subject)
		if s.broken == "ended sessions for good" {
			opt.Now = 0
		}
		list := s.m.lately(s.app(app), opt)
		return list, "", nil
	}
	if opt.Limit < 1 || opt.Limit > 1000 {
		return nil, "", store.ErrCursor
	}
	var after store.ID
	if opt.Cursor != "" {
		id, err := store.ParseID(opt.Cursor)
		if err != nil {
			return nil, "", store.ErrCursor
		}
		after = id
	}
	var list []store.Record
	for k, r := range s.m.sessions {
		if k.app != s.app(app) || opt.Subject != "" && r.Subject != s.subject(opt.Subject) || !s.m.live(k.app, r, opt.Now) {
			continue
		}
		if opt.Cursor == "" || r.ID.Compare(after) > 0 {
			list = append(list, *clone(&r.Record))
		}
	}
	slices.SortFunc(list, func(a, b store.Record) int { return a.ID.Compare(b.ID) })
	var page driver.Page
	for _, rec := range list {
		if !opt.Values {
			rec.Values = nil
		}
		if !page.Add(rec, opt.Limit) {
			return page.Records, page.Records[len(page.Records)-1].ID.String(), nil
		}
	}
	return page.Records, "", nil
}

func (s *mapStore) Barrier(ctx context.Context, app, subject string) (store.Time, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	if s.broken == "hides the watermark" {
		return s.m.barriers[scopedName{s.app(app), s.subject(subject)}], nil
	}
	return s.m.barrier(s.app(app), s.subject(subject)), nil
}

func (s *mapStore) Count(ctx context.Context, app string) (store.Count, error) {
	if err := s.enter(ctx); err != nil {
		return store.Count{}, err
	}
	defer s.leave()
	return s.m.count(s.app(app)), nil
}

// Sweep also works in steps. It ends the sessions that are due in the order of
// their IDs.
func (s *mapStore) Sweep(ctx context.Context, app string, now store.Time, max int) ([]store.Ended, bool, error) {
	if err := s.enter(ctx); err != nil {
		return nil, false, err
	}
	defer s.leave()
	if s.broken == "sweeps early" {
		now++
	}
	var due []scoped
	for k, r := range s.m.sessions {
		if k.app != s.app(app) && s.broken != "sweeps every application" {
			continue
		}
		if reason, _ := r.ExpiredAt(now); reason != "" && !s.m.ended(k.app, r) {
			due = append(due, k)
		}
		if s.m.forgotten(k.app, k.id, now-1) {
			delete(s.m.sessions, k)
		}
	}
	slices.SortFunc(due, func(a, b scoped) int { return cmp.Or(a.id.Compare(b.id), strings.Compare(a.app, b.app)) })
	var ended []store.Ended
	for _, k := range due[:min(max, len(due))] {
		r := s.m.sessions[k]
		reason, at := r.ExpiredAt(now)
		ended = append(ended, store.Ended{App: k.app, ID: k.id, Subject: r.Subject, Reason: reason, At: at})
		r.Bury(reason, at)
	}
	return ended, len(due) <= max, nil
}

func (s *mapStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
