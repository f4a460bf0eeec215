package sojourn

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// An Adoption takes over the sessions of another library, so that nobody is
// signed out when an application moves. A request that brings a cookie of the
// old library, and no session of ours, gets a session with what Read keeps of
// the old one. A session cookie of ours counts even if its session is over; a
// visitor's only if it lives.
//
// An old cookie is adopted once. If its requests arrive at several nodes at once,
// all of them get the same session. When that session is over, by a logout or
// otherwise, the old cookie starts no other one.
//
// The new session is signed in, but not fresh (Session.Fresh): the user has not
// authenticated now. Engine.EndSubject and EndAll don't know old sessions that
// are not adopted yet: end those in the old library's store too.
//
// The packages below adapters have ready-made ones, for scs, gorilla/sessions
// and fiber.
type Adoption struct {
	// Cookies are the old library's cookies. The first of them that a request
	// brings names the old session. The new session's first secret depends on all
	// of them, so an attacker who has planted one of them can't open the session.
	Cookies []OldCookie

	// Read returns what to keep of the old session, or nil if the cookies name
	// none, because they are forged or the session has ended. An error means that
	// the old store can't answer. The request then gets ErrUnavailable (503), and a
	// later one is adopted. Its context ends after 10 seconds: set a limit in the
	// old store's client too if that ignores the context. Read gets the values of
	// the cookies by name. It may be called concurrently, and more than once for
	// one old session. It must not use the request's session.
	Read func(ctx context.Context, cookies map[string]string) (*OldSession, error)

	// End ends the old session. The engine calls it when the new one has been stored,
	// or with KeepCookie at the logout. A failure is an event (EventWriteFailed) and
	// does no harm, since the engine remembers which old cookies were adopted.
	// Default: the old session stays in its store.
	End func(ctx context.Context, cookies map[string]string) error

	// KeepCookie leaves the old cookie in the browser, and the old session in its
	// store, until the user logs out. So the application can go back to the old
	// library, whose sessions are then as they were when they were adopted. A
	// sign-out there doesn't end the new session, which is used again when the
	// application comes back: end it with EndSubject. By default the answer that sets
	// our cookie clears the old one.
	KeepCookie bool

	// Lifetime is the longest time that an old session can last after its adoption.
	// As long as that, the engine remembers in a small record that it was adopted.
	// Default 400 days.
	Lifetime time.Duration
}

// An OldCookie is a cookie of the library that sessions are adopted from. Path,
// Domain and Partitioned are what the old library set it with: a browser
// deletes a cookie only if they are the same. If several hosts share it by a
// Domain, set Cookie.Domain too.
type OldCookie struct {
	Name        string
	Path        string // default "/"
	Domain      string // default: the host alone
	Partitioned bool
}

// An OldSession is what to keep of a session of another library.
type OldSession struct {
	// Subject is the user who is signed in. Empty: a visitor. A session without a
	// subject and without values is not adopted.
	Subject string

	// Login are the options of the login, such as Remember or Level. AsBearer is
	// refused.
	Login []LoginOption

	// Values are the session's values. One that Session.SetValue refuses is left
	// out.
	Values map[string]json.RawMessage

	// Lost names what could not be kept, and why. EventAdopted reports it, together
	// with the values that the engine refuses, for example because they are too large.
	Lost []string
}

// adoptedApp is the application, in the store, of the records that say which old
// cookies were adopted. No engine can have this name.
func (e *Engine) adoptedApp() string { return e.opt.App + "/adopted" }

// oldName is the name under which the session's ID is in such a record.
const oldName = "session"

// An oldToken is what is derived from an old cookie. Every node derives the same,
// so all answers to parallel requests set the same cookie.
type oldToken struct {
	key    string // idempotency key of the creation
	marker ID     // of the record in adoptedApp
	secret secret // the first one of the new session
}

// oldTokenOf derives key and marker from the first of the old cookies that a
// request brings, and the secret from all of them. Key and marker are stored, and
// don't reveal the secret.
func (a *Adoption) oldTokenOf(cookies map[string]string) (t oldToken) {
	var all []byte
	for _, c := range a.Cookies {
		value, sent := cookies[c.Name]
		if !sent {
			continue
		}
		sum := func(purpose string) [32]byte {
			return sha256.Sum256([]byte("sojourn adoption\x00" + purpose + "\x00" + c.Name + "\x00" + value))
		}
		if all == nil {
			name := sum("name")
			t.key = "adopted " + base64.RawURLEncoding.EncodeToString(name[:])
			t.marker = hashedID(name)
		}
		part := sum("secret")
		all = append(all, part[:]...)
	}
	t.secret = sha256.Sum256(all)
	return t
}

// only returns the cookies that the adoption names, or nil if there are none.
func (a *Adoption) only(cookies map[string]string) map[string]string {
	if a == nil || len(cookies) == 0 {
		return nil
	}
	return a.pick(func(name string) (string, bool) {
		value, sent := cookies[name]
		return value, sent
	})
}

// pick returns the values of the adoption's cookies that were sent, by name, or nil
// if there are none.
func (a *Adoption) pick(value func(name string) (_ string, sent bool)) (picked map[string]string) {
	for i := range a.Cookies {
		name := a.Cookies[i].Name
		if v, sent := value(name); sent {
			if picked == nil {
				picked = make(map[string]string, len(a.Cookies))
			}
			picked[name] = v
		}
	}
	return picked
}

// adopt finds the session of an old cookie, or creates it. It sets the ID and the
// secret of p. none reports that the old cookie names no session.
func (e *Engine) adopt(ctx context.Context, q *query, p *presented) (none bool, err error) {
	old := e.opt.Adopt.oldTokenOf(q.Old)
	p.secret = old.secret
	if p.id, none, err = e.adoptedAs(ctx, &old); err != nil || !none {
		return false, err
	}
	was, err := e.readOld(ctx, q.Old)
	switch {
	case err != nil:
		return false, fmt.Errorf("%w: adopt a session: %w", ErrUnavailable, err)
	case was == nil: // or another request has adopted it since, and ended it
		p.id, none, err = e.adoptedAs(ctx, &old)
		return none, err
	case was.Subject == "" && len(was.Values) == 0:
		p.empty = true
		return true, nil
	}
	detached := newDetached(ctx)
	defer detached.release()
	if p.id, err = e.createAdopted(detached, q, &old, was); err != nil || p.id.IsZero() {
		return p.id.IsZero(), err
	}
	first, err := e.markAdopted(detached, &old, p.id, q.arrived, e.opt.Adopt.Lifetime)
	if err != nil {
		return false, err
	}
	if first != p.id { // meanwhile a logout has dropped the old cookie
		ended, err := e.store.End(detached, e.opt.App, p.id, ReasonLogout, e.now())
		e.reportEnded(q.Client, ended)
		p.id = first
		return false, wrap("end an adopted session", err)
	}
	if !e.opt.Adopt.KeepCookie {
		e.endOld(detached, q.Old, p.id)
	}
	return false, nil
}

func (e *Engine) readOld(ctx context.Context, cookies map[string]string) (*OldSession, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return e.opt.Adopt.Read(ctx, cookies)
}

// adoptedAs returns the session that an old cookie was adopted as. none reports
// that it was not adopted.
func (e *Engine) adoptedAs(ctx context.Context, old *oldToken) (id ID, none bool, err error) {
	var marker store.Record
	switch err := e.store.Get(ctx, e.adoptedApp(), old.marker, true, &marker); {
	case gone(err):
		return id, true, nil
	case err != nil:
		return id, false, wrap("read what was adopted", err)
	}
	if expired, _ := marker.ExpiredAt(e.now()); expired != "" {
		return id, true, nil
	}
	raw, _ := marker.Values.Get(oldName)
	if err := json.Unmarshal(raw, &id); err != nil {
		return id, false, wrap("read what was adopted", err)
	}
	return id, false, nil
}

// markAdopted stores that an old cookie was adopted as the session id. If another
// request came first, it returns the session of that one. It is remembered for
// the given time.
func (e *Engine) markAdopted(ctx context.Context, old *oldToken, id ID, arrived store.Time, life time.Duration) (first ID, err error) {
	now := e.now()
	marker := store.Record{
		ID: old.marker, CreatedAt: now, LastSeenAt: now, Idle: life, ExpiresAt: now.Add(life),
		Values: store.Values(nil).AppendSet(nil, oldName, []byte(strconv.Quote(id.String()))),
	}
	_, err = e.store.Create(ctx, e.adoptedApp(), &marker, store.CreateOptions{Arrived: max(arrived, now), Now: now})
	if errors.Is(err, store.ErrExists) {
		first, none, err := e.adoptedAs(ctx, old)
		if none { // that one has expired, and waits for the sweep
			first = id
		}
		return first, err
	}
	return id, wrap("remember an adoption", err)
}

// createAdopted creates the session, or returns the one that a parallel request
// has created. It returns the zero ID if there must be none.
func (e *Engine) createAdopted(ctx context.Context, q *query, old *oldToken, was *OldSession) (id ID, err error) {
	var d draft
	d.reset()
	t := terms{opt: &e.opt, seal: nil, random: e.rand, found: &found{}, client: q.Client, arrived: q.arrived}
	lost, err := d.adopt(was, old.secret, &t)
	if err == nil {
		var ended []store.Ended
		ended, err = e.store.Create(ctx, e.opt.App, d.rec, store.CreateOptions{Limit: e.limit(), Arrived: q.arrived, Now: t.now(), Key: old.key})
		e.reportEnded(q.Client, ended)
		if errors.Is(err, store.ErrRepeated) {
			return d.rec.ID, nil
		}
		err = wrap("adopt a session", err)
	}
	switch {
	case err == nil:
		e.reportDraft(q.Client, &d)
		e.emit(Event{Kind: EventAdopted, Session: d.rec.ID, Subject: d.rec.Subject, Client: q.Client, Level: int(d.rec.Level), Detail: lostDetail(lost)})
		return d.rec.ID, nil
	case errors.Is(err, ErrEnded): // the subject's sessions were ended after the request arrived
		return id, nil
	case errors.Is(err, ErrLimit), errors.Is(err, ErrSubject), errors.Is(err, ErrValue), errors.Is(err, ErrBearer):
		e.emit(Event{Kind: EventWriteFailed, Client: q.Client, Detail: "adoption: " + err.Error()})
		return id, nil
	}
	return id, err
}

// adopt makes the draft a new session with what is kept of an old one. lost names
// the rest.
func (d *draft) adopt(was *OldSession, first secret, t *terms) (lost []string, err error) {
	if err := d.start(nil, t); err != nil {
		return nil, err
	}
	d.next = first
	d.rec.Secret.Hash, d.rec.EpochHash = first.hash(), first.halfHash()
	lost = slices.Clone(was.Lost)
	for _, key := range slices.Sorted(maps.Keys(was.Values)) {
		raw, err := encodeRaw(key, was.Values[key])
		if err == nil {
			err = d.put(key, raw, t)
		}
		if err != nil {
			lost = append(lost, err.Error())
		}
	}
	if was.Subject == "" {
		return lost, nil
	}
	l, err := newLogin(was.Subject, was.Login)
	if err == nil && l.bearer {
		err = fmt.Errorf("%w: an adopted session is in a cookie", ErrBearer)
	}
	if err == nil {
		err = d.login(l, t)
	}
	d.rec.Stale = true
	return lost, err
}

const maxLost = 10 // values that an event names

func lostDetail(lost []string) string {
	switch n := len(lost); {
	case n == 0:
		return ""
	case n > maxLost:
		lost = append(lost[:maxLost:maxLost], fmt.Sprintf("and %d more", n-maxLost))
	}
	return "left out: " + strings.Join(lost, "; ")
}

// endOld ends an old session in the old store. If that hangs, it takes none of the
// time that ctx has for ours.
func (e *Engine) endOld(ctx context.Context, cookies map[string]string, id ID) {
	if e.opt.Adopt.End == nil {
		return
	}
	detached := newDetached(ctx)
	defer detached.release()
	if err := e.opt.Adopt.End(detached, cookies); err != nil {
		e.emit(Event{Kind: EventWriteFailed, Session: id, Detail: "end an adopted session in the old store: " + err.Error()})
	}
}

// dropOld makes the old cookies of a request worthless, when the user logs out or
// another one logs in. If they name no session, it stores nothing about them. If the
// old store hangs, it takes longer than ctx may allow.
func (s *Session) dropOld(ctx context.Context) error {
	if len(s.request.Old) == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	a, id := s.e.opt.Adopt, s.found.id()
	old := a.oldTokenOf(s.request.Old)
	before, after := newDetached(ctx), newDetached(ctx)
	defer before.release()
	defer after.release()
	_, none, err := s.e.adoptedAs(before, &old)
	if err != nil {
		return err
	}
	s.outcome.cookies.clearOld = true
	if none {
		if was, err := s.e.readOld(ctx, s.request.Old); err == nil && was == nil {
			return nil
		}
		if _, err := s.e.markAdopted(after, &old, id, s.arrived, a.Lifetime); err != nil {
			return err
		}
	}
	s.e.endOld(ctx, s.request.Old, id)
	return nil
}

func (f *found) id() (id ID) {
	if f.rec != nil {
		id = f.rec.ID
	}
	return id
}

// withDefaults returns the adoption with every unset field set, or an error that
// says what to change.
func (a *Adoption) withDefaults(c *Cookie) (*Adoption, error) {
	if a == nil {
		return nil, nil
	}
	b := *a
	setDefault(&b.Lifetime, maxCookieAge)
	if b.Read == nil {
		return nil, errors.New("sojourn: Adopt.Read is missing")
	}
	if len(b.Cookies) == 0 {
		return nil, errors.New("sojourn: Adopt.Cookies: name the old library's cookie")
	}
	if b.Lifetime < time.Minute {
		return nil, fmt.Errorf("sojourn: Adopt.Lifetime is %v: use at least a minute", b.Lifetime)
	}
	b.Cookies = slices.Clone(b.Cookies)
	for i := range b.Cookies {
		old := &b.Cookies[i]
		if err := old.check(); err != nil {
			return nil, fmt.Errorf("sojourn: Adopt.Cookies: %q: %w", old.Name, err)
		}
		if old.Name == c.Name || old.Name == c.Visitor {
			return nil, fmt.Errorf("sojourn: Adopt.Cookies: %q is the name of our own cookie too: choose another one in Options.Cookie", old.Name)
		}
		setDefault(&old.Path, "/")
	}
	return &b, nil
}
