package sojourn

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// What operators and an application's own pages call: they name a session by
// its ID or its subject, and present no token.

// Info describes a session, without its secrets and values.
type Info struct {
	ID                 ID        `json:"id"`
	Subject            string    `json:"subject"`
	CreatedAt          time.Time `json:"created_at"`
	AuthenticatedAt    time.Time `json:"authenticated_at,omitzero"` // last login or elevation
	LastSeenAt         time.Time `json:"last_seen_at"`
	IdleExpiresAt      time.Time `json:"idle_expires_at"`
	ExpiresAt          time.Time `json:"expires_at"`
	AMR                []string  `json:"amr,omitempty"` // how the user authenticated (RFC 8176)
	Level              int       `json:"level"`
	Remembered         bool      `json:"remembered"`           // the user asked to be kept signed in
	UntilBrowserCloses bool      `json:"until_browser_closes"` // the cookie has no Max-Age
	Created            Client    `json:"-"`                    // the client at creation; zero for a sealed session
	LastSeen           Client    `json:"-"`                    // the client at LastSeenAt
	Revision           uint64    `json:"revision"`
	Bound              bool      `json:"bound"`            // to the key of its browser, and it needs proofs (Options.Bound)
	Sealed             bool      `json:"sealed,omitempty"` // it is in its cookie (Options.Sealed), and a change makes a new token
}

// A Snapshot is a session at one revision.
type Snapshot struct {
	Info
	Values  json.RawMessage // an object
	Secrets []SecretTimes   // oldest first, the current one last; only Engine.Get sets them
}

// SecretTimes says when one secret of a session was issued, first seen and
// confirmed. It doesn't hold the secret. A time that has not come yet is zero.
type SecretTimes struct {
	IssuedAt    time.Time
	Login       bool      // issued by a login, not by a rotation or an elevation
	FirstSeenAt time.Time // when the first request presented it
	ConfirmedAt time.Time // when it was certain that the browser keeps it
	GoodUntil   time.Time // later requests with it are refused; zero for the current one
}

func secretsOf(r *store.Record) []SecretTimes {
	var list []SecretTimes
	for _, s := range append(r.Good[:len(r.Good):len(r.Good)], r.Secret) {
		list = append(list, SecretTimes{s.IssuedAt.Time(), s.Login, s.FirstSeenAt.Time(), s.ConfirmedAt.Time(), s.Until.Time()})
	}
	return list
}

func infoOf(r *store.Record) Info {
	idle := r.LastSeenAt.Add(r.Idle)
	if r.ID.IsZero() {
		idle = 0
	}
	return Info{
		ID: r.ID, Subject: r.Subject,
		CreatedAt: r.CreatedAt.Time(), AuthenticatedAt: r.AuthenticatedAt.Time(), LastSeenAt: r.LastSeenAt.Time(),
		IdleExpiresAt: min(idle, r.ExpiresAt).Time(), ExpiresAt: r.ExpiresAt.Time(),
		AMR: splitAMR(r.AMR), Level: int(r.Level), Remembered: r.Remembered, UntilBrowserCloses: r.UntilBrowserCloses,
		Created: r.Client, LastSeen: r.LastClient, Revision: r.Revision, Bound: needsProof(r),
	}
}

func snapshotOf(r *store.Record) Snapshot {
	return Snapshot{Info: infoOf(r), Values: appendObject(nil, r.Values)}
}

// List returns a page of the live sessions of a subject, or of the whole
// application if subject is empty, and the cursor of the next page. The cursor
// is empty after the last page. A page has at most limit sessions, 1 to 1000,
// and may have fewer although another follows. Values are not read: use Get, or
// ListSnapshots.
func (e *Engine) List(ctx context.Context, subject, cursor string, limit int) ([]Info, string, error) {
	return list(ctx, e, store.ListOptions{Subject: subject, Cursor: cursor, Limit: limit}, infoOf)
}

// ListSnapshots is List with the values of the sessions. It takes as much memory
// as the page's sessions: a page has at most 4 MiB of values, and so may have
// fewer sessions than limit although another page follows.
func (e *Engine) ListSnapshots(ctx context.Context, subject, cursor string, limit int) ([]Snapshot, string, error) {
	return list(ctx, e, store.ListOptions{Subject: subject, Cursor: cursor, Limit: limit, Values: true}, snapshotOf)
}

func list[T any](ctx context.Context, e *Engine, opt store.ListOptions, of func(*store.Record) T) ([]T, string, error) {
	if err := e.needsStore("List"); err != nil {
		return nil, "", err
	}
	opt.Now = e.now()
	recs, next, err := e.store.List(ctx, e.opt.App, opt)
	if err != nil {
		return nil, "", wrap("list sessions", err)
	}
	page := make([]T, len(recs))
	for i := range recs {
		page[i] = of(&recs[i])
	}
	return page, next, nil
}

// EndedInfo describes a session that has ended.
type EndedInfo struct {
	ID        ID        `json:"id"`
	Subject   string    `json:"subject"`
	CreatedAt time.Time `json:"created_at"`
	EndedAt   time.Time `json:"ended_at"`
	Reason    Reason    `json:"reason"`
	LastSeen  Client    `json:"-"` // the client at the last activity
}

// ListEnded returns the sessions of a user that ended within the last hour, the
// latest end first, at most limit (1 to 1000). Stores keep the last 100 of each
// user. Anonymous sessions and those that EndAll has ended are not listed. A
// session that expires is listed when a sweep has found it, within about a minute.
func (e *Engine) ListEnded(ctx context.Context, subject string, limit int) ([]EndedInfo, error) {
	if err := e.needsStore("ListEnded"); err != nil {
		return nil, err
	}
	if err := checkSubject(subject); err != nil {
		return nil, err
	}
	recs, _, err := e.store.List(ctx, e.opt.App, store.ListOptions{Subject: subject, Limit: limit, Now: e.now(), Ended: true})
	if err != nil {
		return nil, wrap("list ended sessions", err)
	}
	list := make([]EndedInfo, len(recs))
	for i, r := range recs {
		list[i] = EndedInfo{r.ID, r.Subject, r.CreatedAt.Time(), r.EndAt.Time(), r.End, r.LastClient}
	}
	return list, nil
}

// Count returns the number of sessions, and how many of them are logged in.
// Expired sessions may count for up to a minute.
func (e *Engine) Count(ctx context.Context) (sessions, loggedIn int64, err error) {
	if err := e.needsStore("Count"); err != nil {
		return 0, 0, err
	}
	c, err := e.store.Count(ctx, e.opt.App)
	return c.Sessions, c.LoggedIn, wrap("count sessions", err)
}

// Get returns the live session of an ID. ErrNotFound: there is none. It isn't an
// activity of the session.
func (e *Engine) Get(ctx context.Context, id ID) (Snapshot, error) {
	if err := e.needsStore("Get"); err != nil {
		return Snapshot{}, err
	}
	rec, err := e.live(ctx, id)
	if err != nil {
		return Snapshot{}, byID("read a session", err)
	}
	snap := snapshotOf(rec)
	snap.Secrets = secretsOf(rec)
	return snap, nil
}

// Touch notes activity of the live session with an ID, as a request that reads the
// session does. It is for activity that comes without a token, such as a message
// on a WebSocket, or a visit that another system reports. The activity is stored
// when Touch returns, unless one is stored already that is less than a minute old
// (or a twentieth of the idle limit, if that is shorter). The client that was seen
// last stays. Touch returns the session as it is now. ErrNotFound: there is none.
func (e *Engine) Touch(ctx context.Context, id ID) (Info, error) {
	if err := e.needsStore("Touch"); err != nil {
		return Info{}, err
	}
	return e.touch(ctx, id)
}

// touch is Touch for a session that is known to be stored.
func (e *Engine) touch(ctx context.Context, id ID) (Info, error) {
	rec, err := e.live(ctx, id)
	if err != nil {
		return Info{}, byID("touch a session", err)
	}
	now := e.now()
	if touchDue(rec, &rec.LastClient, now) {
		if err := e.store.Touch(ctx, e.opt.App, id, now, now, rec.LastClient); err != nil {
			return Info{}, byID("touch a session", err)
		}
		rec.LastSeenAt = max(rec.LastSeenAt, now)
	}
	return infoOf(rec), nil
}

// SetValues changes values of the live session of an ID, if it is at the given
// revision; 0: at any. A nil value removes the key. ErrRevision: the session is at another
// revision. ErrNotFound: there is none. Other errors are those of
// Session.Commit. It isn't an activity of the session.
func (e *Engine) SetValues(ctx context.Context, id ID, revision uint64, values map[string]json.RawMessage) (Snapshot, error) {
	return e.changeByID(ctx, id, revision, func(s *Session) error {
		type step struct {
			op     op
			growth int // of the session, in bytes
		}
		var steps []step
		for key, value := range values {
			had, _, err := s.Value(key)
			if err != nil {
				return err
			}
			o := op{kind: opDelete, key: key}
			if value != nil {
				o.kind = opSet
				if o.json, err = encodeRaw(key, value); err != nil {
					return err
				}
			}
			steps = append(steps, step{o, len(o.json) - len(had)})
		}
		// First what makes room: so the session is at no time larger than before
		// or afterwards.
		slices.SortFunc(steps, func(a, b step) int { return cmp.Compare(a.growth, b.growth) })
		for _, step := range steps {
			if err := s.do(step.op); err != nil {
				return err
			}
		}
		return nil
	})
}

// ReplaceValues is like SetValues, but replaces all values: afterwards the session
// has exactly these. A nil value is ErrValue.
func (e *Engine) ReplaceValues(ctx context.Context, id ID, revision uint64, values map[string]json.RawMessage) (Snapshot, error) {
	return e.changeByID(ctx, id, revision, func(s *Session) error { return s.ReplaceValues(values) })
}

// changeByID changes the live session with an ID, if it is at the given revision,
// or at any revision if that is 0.
func (e *Engine) changeByID(ctx context.Context, id ID, revision uint64, change func(*Session) error) (Snapshot, error) {
	if err := e.needsStore("SetValues and ReplaceValues"); err != nil {
		return Snapshot{}, err
	}
	rec, err := e.live(ctx, id)
	if err != nil {
		return Snapshot{}, byID("read a session", err)
	}
	s := e.Begin(ctx, Request{IfRevision: revision})
	defer s.Finish()
	s.vouch(rec)
	if err := change(s); err != nil {
		return Snapshot{}, err
	}
	if revision != 0 && rec.Revision != revision {
		return Snapshot{}, ErrRevision
	}
	if err := s.Commit(ctx); err != nil {
		return Snapshot{}, err
	}
	return s.Snapshot(), nil
}

// vouch makes rec the request's session without a secret, so there is nothing to
// rotate or to confirm.
func (s *Session) vouch(rec *store.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passive, s.keepSecret, s.loaded = true, true, true
	s.found.vouch(rec)
}

// End ends the session of an ID. ErrNotFound: there is none, or it has ended
// before. For users who end their own sessions, use EndOwn.
func (e *Engine) End(ctx context.Context, id ID) error {
	if err := e.needsStore("End"); err != nil {
		return err
	}
	ended, err := e.store.End(ctx, e.opt.App, id, ReasonRevoked, e.now())
	e.reportEnded(Client{}, ended)
	if err == nil && len(ended) == 0 {
		return ErrNotFound
	}
	return byID("end a session", err)
}

// EndOwn ends the session of an ID if it is the subject's. ErrNotFound: it is
// not, or there is none. So nobody learns whether another user's session exists.
func (e *Engine) EndOwn(ctx context.Context, subject string, id ID) error {
	if err := e.needsStore("EndOwn"); err != nil {
		return err
	}
	rec, err := e.live(ctx, id)
	switch {
	case err != nil:
		return byID("end a session", err)
	case subject == "" || rec.Subject != subject:
		return ErrNotFound
	}
	return e.End(ctx, id)
}

// byID wraps a store's error about the session of an ID.
func byID(doing string, err error) error {
	if gone(err) {
		return ErrNotFound
	}
	return wrap(doing, err)
}

// EndSubject ends all sessions of a user except keep, and returns how many it
// ended. The zero ID keeps none. A login that is under way fails with ErrEnded,
// also one of the request that calls EndSubject: Commit it first. It doesn't reach
// sealed logins that are left from SealEveryone: Sealing.NotBefore ends them.
func (e *Engine) EndSubject(ctx context.Context, subject string, keep ID) (int, error) {
	if err := checkSubject(subject); err != nil {
		return 0, err
	}
	if err := e.needsStore("EndSubject (use Sealing.NotBefore)"); err != nil {
		return 0, err
	}
	ended, err := e.store.EndSubject(ctx, e.opt.App, subject, keep, ReasonRevoked, e.now())
	e.reportEnded(Client{}, ended)
	return len(ended), wrap("end a subject's sessions", err)
}

// Barrier returns when EndSubject of a user, or EndAll, was last called. A login of
// the user whose request arrived at or before that time fails with ErrEnded. The
// time is zero if it is more than an hour ago: no login takes that long. A store
// may return the time of another user's EndSubject instead, if that is later.
func (e *Engine) Barrier(ctx context.Context, subject string) (time.Time, error) {
	if err := e.needsStore("Barrier"); err != nil {
		return time.Time{}, err
	}
	if err := checkSubject(subject); err != nil {
		return time.Time{}, err
	}
	at, err := e.store.Barrier(ctx, e.opt.App, subject)
	if err != nil {
		return time.Time{}, wrap("read a subject's barrier", err)
	}
	if e.now().Sub(at) > store.BarrierLife {
		return time.Time{}, nil
	}
	return at.Time(), nil
}

// EndAll ends every session of the application, anonymous ones too, in constant
// time. Sessions created by a node with a fast clock may carry a later time and
// survive: if clocks may differ, call EndAll again after that difference. Sealed
// sessions are not in the store: Sealing.AllNotBefore ends them.
func (e *Engine) EndAll(ctx context.Context) error {
	if err := e.needsStore("EndAll (use Sealing.AllNotBefore)"); err != nil {
		return err
	}
	now := e.now()
	if err := e.store.EndAll(ctx, e.opt.App, now); err != nil {
		return wrap("end all sessions", err)
	}
	e.emit(Event{Kind: EventEndedAll, Time: now.Time(), Reason: ReasonRevoked})
	return nil
}
