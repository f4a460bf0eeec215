// Package scs keeps the sessions of code that is written for
// github.com/alexedwards/scs/v2: its SessionManager has the same methods, so
// only the import and the Store change. Adopt takes over the sessions that
// browsers already have, for such code and for code on Sojourn's own API.
//
// What gets better: parallel requests that put different keys lose nothing, a
// Pop gives its value to one request only, and a request in flight never brings
// back a session that was destroyed. With Subject, a Put of that key signs the
// user in. Then the user's sessions can be listed and ended, secrets rotate, and
// stolen cookies are noticed. Cookies are always Secure, HttpOnly and on Path=/,
// and requests from pages of other origins are refused.
//
// What can't be kept: a value whose type gob doesn't know fails at Put, not at
// the end of the request, and the answer is a 500. If parallel requests put the
// same key, the last one wins. A sign-in as another user drops the values of the
// user before. After Destroy a request can't put anything. Token returns the
// session's ID, which gives no access. Status, SetDeadline, Codec and
// HashTokenInStore (stores have only hashes) don't exist. Without Subject all
// sessions are visitors'.
package scs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	old "github.com/alexedwards/scs/v2"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/anyjson"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// A SessionManager has the methods of the SessionManager of scs. Set its fields
// before the first request. Its methods may be called concurrently.
type SessionManager struct {
	// IdleTimeout and Lifetime limit sessions. Defaults: no idle limit, and 24
	// hours.
	IdleTimeout time.Duration
	Lifetime    time.Duration

	// Store keeps the sessions. Default: memstore.
	Store store.Store

	Cookie SessionCookie

	// ErrorFunc answers a request whose session can't be read or written. Default:
	// sojourn.Error.
	ErrorFunc func(http.ResponseWriter, *http.Request, error)

	// Subject is the key whose value is the user who is signed in, such as
	// "userID". A Put of it logs in, a Remove of it logs out. Default: none.
	Subject string

	// Adopt is the manager of scs whose sessions are taken over, configured as
	// before. Its cookie must have another name. KeepCookie: see sojourn.Adoption.
	Adopt      *old.SessionManager
	KeepCookie bool

	// Options are further options of the engine. The fields above take precedence.
	Options sojourn.Options

	start  sync.Once
	engine *sojourn.Engine
}

// A SessionCookie shapes the cookies.
type SessionCookie struct {
	Name        string // default "__Host-session"; that of visitors has "-visitor" added
	Domain      string
	SameSite    http.SameSite // default http.SameSiteLaxMode
	Partitioned bool
	Persist     bool // false: browsers drop the cookie when they close, except after RememberMe. New sets it

	// Ignored: the cookies are always HttpOnly and Secure, and on Path=/.
	HttpOnly bool
	Secure   bool
	Path     string
}

// New returns a manager with the defaults.
func New() *SessionManager {
	return &SessionManager{Lifetime: 24 * time.Hour, Cookie: SessionCookie{Persist: true}}
}

// Engine returns the manager's engine, for what scs doesn't have: to list and end
// a user's sessions, and for events. The first call starts it. It panics if the
// fields can't be used.
func (s *SessionManager) Engine() *sojourn.Engine {
	s.start.Do(func() {
		opt, c := s.Options, &s.Cookie
		life := sojourn.Lifetime{Idle: s.IdleTimeout, Absolute: s.Lifetime}
		if life.Absolute == 0 {
			life.Absolute = 24 * time.Hour
		}
		if life.Idle == 0 {
			life.Idle = life.Absolute
		}
		opt.Policy.Anonymous, opt.Policy.Login, opt.Policy.Remembered = life, life, life
		opt.Cookie = sojourn.Cookie{Domain: c.Domain, SameSite: c.SameSite, Partitioned: c.Partitioned, UntilBrowserCloses: !c.Persist}
		if c.Name != "" {
			opt.Cookie.Name, opt.Cookie.Visitor = c.Name, c.Name+"-visitor"
		}
		if s.ErrorFunc != nil {
			opt.OnError = s.ErrorFunc
		}
		if s.Adopt != nil {
			opt.Adopt = adopt(s.Adopt, s.Subject, anyjson.Encode)
			opt.Adopt.KeepCookie = s.KeepCookie
		}
		if s.Store == nil {
			s.Store = memstore.New()
		}
		s.engine = sojourn.Must(sojourn.New(s.Store, opt))
	})
	return s.engine
}

// LoadAndSave gives every request a session. It is Engine.Handler: the changes
// are written before the first byte of the response.
func (s *SessionManager) LoadAndSave(next http.Handler) http.Handler {
	return s.Engine().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch p := recover().(type) {
			case nil:
			case failure:
				sojourn.Error(w, r, p.error)
			default:
				panic(p)
			}
		}()
		next.ServeHTTP(w, r)
	}))
}

// A failure is the panic of a method that scs has without an error.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// must panics with an error, which LoadAndSave answers with. A change that comes
// after the first byte of the response is lost, as in scs.
func must(err error) {
	switch {
	case errors.Is(err, sojourn.ErrCommitted):
		slog.Warn("scs: a session was changed after the response had begun; the change is lost", "error", err)
	case err != nil:
		panic(failure{err})
	}
}

// session returns the session in ctx.
func (s *SessionManager) session(ctx context.Context) *sojourn.Session {
	return s.Engine().From(ctx)
}

// Put stores a value.
func (s *SessionManager) Put(ctx context.Context, key string, val any) {
	if visited(ctx) != nil {
		return // as in scs, where nobody commits it
	}
	se := s.session(ctx)
	raw, err := anyjson.Encode(val)
	if err != nil {
		panic(failure{fmt.Errorf("scs: Put %q: %w", key, err)})
	}
	if key == s.Subject && key != "" {
		s.signIn(ctx, anyjson.Subject(val))
	}
	must(se.SetValue(key, raw))
}

// signIn logs in as a user, or out if there is none.
func (s *SessionManager) signIn(ctx context.Context, user string) {
	se := s.session(ctx)
	switch {
	case user == "" && se.Subject() != "":
		must(se.Regenerate(s.Keys(ctx)...))
	case user != "":
		var options []sojourn.LoginOption
		if s.GetBool(ctx, rememberMe) {
			options = append(options, sojourn.Remember())
		}
		must(se.Login(user, options...))
	}
}

// Get returns a value, or nil if there is none.
func (s *SessionManager) Get(ctx context.Context, key string) any {
	v, _ := s.lookup(ctx, key)
	return v
}

func (s *SessionManager) lookup(ctx context.Context, key string) (v any, ok bool) {
	var raw json.RawMessage
	if snapshot := visited(ctx); snapshot != nil {
		raw, ok = snapshot.values[key]
	} else {
		se := s.session(ctx)
		se.ID() // which doesn't return if the session can't be read
		var err error
		raw, ok, err = se.Value(key)
		must(err)
	}
	if !ok {
		return nil, false
	}
	return decode(key, raw), true
}

func decode(key string, raw json.RawMessage) any {
	v, err := anyjson.Decode(raw)
	if err != nil {
		panic(failure{fmt.Errorf("scs: Get %q: %w", key, err)})
	}
	return v
}

// Pop returns a value and removes it. Only one of several parallel requests gets
// it.
func (s *SessionManager) Pop(ctx context.Context, key string) any {
	if visited(ctx) != nil {
		return s.Get(ctx, key)
	}
	if key == s.Subject && key != "" {
		v := s.Get(ctx, key)
		s.Remove(ctx, key)
		return v
	}
	se := s.session(ctx)
	se.ID()
	raw, ok, err := sojourn.NewKey[json.RawMessage](key).Pop(se)
	if must(err); !ok {
		return nil
	}
	return decode(key, raw)
}

// Remove removes a value.
func (s *SessionManager) Remove(ctx context.Context, key string) {
	if visited(ctx) != nil {
		return
	}
	must(s.session(ctx).DeleteValue(key))
	if key == s.Subject && key != "" {
		s.signIn(ctx, "")
	}
}

// Clear removes all values. With Subject, nobody is logged in afterwards.
func (s *SessionManager) Clear(ctx context.Context) error {
	if visited(ctx) != nil {
		return nil
	}
	se := s.session(ctx)
	if s.Subject != "" && se.Subject() != "" {
		return se.Regenerate()
	}
	return se.Clear()
}

// Exists reports whether there is a value.
func (s *SessionManager) Exists(ctx context.Context, key string) bool {
	_, ok := s.lookup(ctx, key)
	return ok
}

// Keys returns the keys of all values, in order.
func (s *SessionManager) Keys(ctx context.Context) []string {
	if v := visited(ctx); v != nil {
		return v.keys()
	}
	se := s.session(ctx)
	se.ID()
	keys, err := se.Keys()
	must(err)
	if keys == nil {
		keys = []string{}
	}
	return keys
}

// RenewToken gives the session a new secret. The old one is dead at once.
func (s *SessionManager) RenewToken(ctx context.Context) error {
	se := s.session(ctx)
	if err := se.Load(ctx); err != nil {
		return err
	}
	switch {
	case se.ID().IsZero(): // there is none yet
		return nil
	case se.Subject() != "":
		return se.Elevate(se.Level())
	}
	return se.Regenerate(s.Keys(ctx)...)
}

// Destroy ends the session. The request can't change it afterwards.
func (s *SessionManager) Destroy(ctx context.Context) error {
	if v := visited(ctx); v != nil {
		if err := s.Engine().End(ctx, v.ID); !errors.Is(err, sojourn.ErrNotFound) {
			return err
		}
		return nil
	}
	return s.session(ctx).Logout()
}

// RememberMe says whether the cookie stays when the browser closes, if
// Cookie.Persist is false. With Subject it counts for the login. Call it before or
// after the Put.
func (s *SessionManager) RememberMe(ctx context.Context, val bool) {
	if visited(ctx) != nil {
		return
	}
	s.Put(ctx, rememberMe, val)
	if se := s.session(ctx); s.Subject != "" && se.Subject() != "" {
		s.signIn(ctx, se.Subject())
	}
}

// MergeSession adds the values of another session to this one, and ends the other
// one. If they have the key Subject, that user is logged in. token is the engine's
// token of the other one.
func (s *SessionManager) MergeSession(ctx context.Context, token string) error {
	other := s.Engine().Begin(ctx, sojourn.Request{Token: token})
	defer other.Finish()
	if err := other.Load(ctx); err != nil || other.ID() == s.session(ctx).ID() {
		return err
	}
	keys, err := other.Keys()
	if err != nil {
		return err
	}
	if user := other.Subject(); user != "" && slices.Contains(keys, s.Subject) {
		if err := s.session(ctx).Login(user); err != nil { // first, since it may drop values
			return err
		}
	}
	for _, key := range keys {
		raw, _, err := other.Value(key)
		if err == nil {
			err = s.session(ctx).SetValue(key, raw)
		}
		if err != nil {
			return err
		}
	}
	if err := other.Logout(); err != nil {
		return err
	}
	return other.Commit(ctx)
}

// Token returns the session's ID, which is no secret. It is empty if there is no
// session.
func (s *SessionManager) Token(ctx context.Context) string {
	v := visited(ctx)
	if v != nil {
		return v.ID.String()
	}
	id := s.session(ctx).ID()
	if id.IsZero() {
		return ""
	}
	return id.String()
}

// Deadline returns when the session ends, whatever its activity.
func (s *SessionManager) Deadline(ctx context.Context) time.Time {
	if v := visited(ctx); v != nil {
		return v.ExpiresAt
	}
	if at := s.session(ctx).Info().ExpiresAt; !at.IsZero() {
		return at
	}
	return time.Now().Add(s.Lifetime).UTC()
}
