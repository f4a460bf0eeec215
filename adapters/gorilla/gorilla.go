// Package gorilla keeps the sessions of code that is written for
// github.com/gorilla/sessions, and of labstack/echo-contrib's middleware on top
// of it: NewStore takes the place of their store. Adopt takes over the sessions
// that browsers already have, for such code and for code on Sojourn's own API.
//
// What gets better: parallel requests that save different keys lose nothing. A
// session that was signed out elsewhere, or has ended otherwise, is never saved
// again. If Store.Subject says who is signed in, a sign-in replaces the secret,
// the user's sessions can be listed and ended, and stolen cookies are noticed.
// Values are no longer in cookies, and a session may have 256 KiB of them.
//
// What can't be kept: the sessions of all names are parts of one session, with
// one cookie, whose attributes and lifetime the engine's Options set. In a
// session's own Options only MaxAge counts: a negative one ends the session, and
// 0 at a sign-in leaves Max-Age out of the cookie. If parallel requests save the
// same key, the last one wins, so two requests may show the same flash. Check the
// error of Get: a session that can't be read looks empty, and Save then fails
// too. Without Engine.Handler around the application, a secret rotates only when
// a session is saved, and nothing refuses requests from pages of other origins.
package gorilla

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"weak"

	"github.com/gorilla/sessions"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/anyjson"
)

// A Store is a sessions.Store on an engine. Its methods may be called
// concurrently. It works with and without Engine.Handler around the
// application. With it, Save only notes the changes. They are written before the
// first byte of the response, and an error then takes the response's place.
//
// A session's values are under keys such as "NAME/key" of the engine's session.
type Store struct {
	// Subject is the key whose value is the user who is signed in, in the session
	// of any name. A save that sets it logs the user in. A save that removes it logs
	// the user out, and keeps the other values. Default: the engine knows no users.
	Subject string

	engine *sojourn.Engine
	known  sync.Map // weak.Pointer[sessions.Session] to *binding
	visits sync.Map // weak.Pointer[sessions.Registry] to *visit
}

// NewStore returns a store that keeps its sessions in an engine.
func NewStore(e *sojourn.Engine, subject string) *Store {
	return &Store{Subject: subject, engine: e}
}

// A visit is what a Store knows of a request. The sessions of all names share
// it.
type visit struct {
	handlers *sojourn.Session // from Engine.Handler; nil: there is none around the application
	request  sojourn.Request  // else what the request presents, or presents after a save
	saves    int              // that have changed request
	id       sojourn.ID       // of the engine's session; zero: none
}

// A binding is what a Store knows of a session of gorilla/sessions.
type binding struct {
	*visit
	session *sojourn.Session // for the next save
	after   int              // the saves when session began

	base map[string]json.RawMessage // the values as they were read or saved
	err  error                      // why they couldn't be read
}

// Get returns the session with a name. It is read once in each request.
func (s *Store) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New returns the session with a name. If it returns an error, the session is
// empty and can't be saved.
func (s *Store) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	session.IsNew = true
	session.Options = &sessions.Options{Path: "/", MaxAge: 30 * 24 * 3600, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	b := &binding{visit: s.visitOf(r)}
	b.begin(r.Context(), s.engine)
	b.err = s.read(r.Context(), b, session)
	pointer := weak.Make(session)
	s.known.Store(pointer, b)
	runtime.AddCleanup(session, func(p weak.Pointer[sessions.Session]) { s.known.Delete(p) }, pointer)
	return session, b.err
}

// visitOf returns the visit of a request, which gorilla knows by its registry.
func (s *Store) visitOf(r *http.Request) *visit {
	registry := sessions.GetRegistry(r)
	pointer := weak.Make(registry)
	if v, ok := s.visits.Load(pointer); ok {
		return v.(*visit)
	}
	v := &visit{}
	if v.handlers, _ = s.engine.Lookup(r.Context()); v.handlers == nil {
		v.request = s.engine.RequestFrom(r)
	}
	s.visits.Store(pointer, v)
	runtime.AddCleanup(registry, func(p weak.Pointer[sessions.Registry]) { s.visits.Delete(p) }, pointer)
	return v
}

// begin sets the session for the next save.
func (b *binding) begin(ctx context.Context, e *sojourn.Engine) {
	if b.session, b.after = b.handlers, b.saves; b.session == nil {
		b.session = e.Begin(ctx, b.request)
	}
}

// read fills the session with what the engine keeps.
func (s *Store) read(ctx context.Context, b *binding, session *sessions.Session) error {
	from := b.session
	if b.handlers == nil { // b.session is for the save: it arrives now, and is read when that needs it
		from = s.engine.Begin(ctx, b.request)
		defer from.Finish()
		from.KeepSecret() // a cookie can't be set here
	}
	if err := from.Load(ctx); err != nil {
		return err
	}
	prefix := session.Name() + "/"
	keys, err := from.Keys()
	if err != nil {
		return err
	}
	b.base, b.id = map[string]json.RawMessage{}, from.ID()
	for _, key := range keys {
		text, mine := strings.CutPrefix(key, prefix)
		if !mine {
			continue
		}
		raw, _, err := from.Value(key)
		if err != nil {
			return err
		}
		k, err := decodeKey(text)
		if err == nil {
			session.Values[k], err = anyjson.Decode(raw)
		}
		if err != nil {
			return fmt.Errorf("gorilla: the value %q: %w", key, err)
		}
		b.base[key] = raw
		session.IsNew = false
	}
	if !session.IsNew {
		session.ID = b.id.String()
	}
	if b.handlers == nil {
		return from.Commit(ctx) // notes the activity
	}
	return nil
}

// Save stores what has changed in the session since it was read, and sets the
// cookie. A session that has ended meanwhile is not saved: sojourn.ErrEnded or
// ErrSuperseded. For other errors see Session.Commit; sojourn.StatusCode has
// their HTTP status.
func (s *Store) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	b, err := s.bound(r, session)
	if err != nil {
		return err
	}
	if b.after != b.saves { // another name's session was saved
		b.begin(r.Context(), s.engine)
	}
	next, err := s.change(b, session)
	if err != nil {
		return err
	}
	b.base = next
	if b.handlers != nil {
		b.id = b.session.ID()
	} else if err := s.commit(r.Context(), w, b); err != nil {
		return err
	}
	if session.ID = ""; !b.id.IsZero() {
		session.ID = b.id.String()
	}
	return nil
}

// commit writes the session, sets its cookies, and prepares another save.
func (s *Store) commit(ctx context.Context, w http.ResponseWriter, b *binding) error {
	if err := b.session.Commit(ctx); err != nil {
		return err
	}
	b.session.AddCookies(w.Header())
	w.Header().Add("Vary", "Cookie")
	b.id = b.session.ID()
	if token := b.session.Token(); token != "" {
		b.request.Token = token
		b.saves++
	}
	b.session.Finish()
	b.begin(ctx, s.engine)
	return nil
}

// bound returns the binding of a session.
func (s *Store) bound(r *http.Request, session *sessions.Session) (*binding, error) {
	if b, ok := s.known.Load(weak.Make(session)); ok {
		return b.(*binding), b.(*binding).err
	}
	twin, err := s.New(r, session.Name()) // the application has made the session without New
	if err != nil {
		return nil, err
	}
	b, _ := s.known.Load(weak.Make(twin))
	return b.(*binding), nil
}

// change notes what has changed in the session, and returns its values.
func (s *Store) change(b *binding, session *sessions.Session) (next map[string]json.RawMessage, err error) {
	se, prefix := b.session, session.Name()+"/"
	if session.Options != nil && session.Options.MaxAge < 0 {
		return nil, s.end(b, prefix)
	}
	next = make(map[string]json.RawMessage, len(session.Values))
	for k, v := range session.Values {
		key, err := encodeKey(k)
		if err != nil {
			return nil, err
		}
		if next[prefix+key], err = anyjson.Encode(v); err != nil {
			return nil, fmt.Errorf("gorilla: the value %q: %w", key, err)
		}
	}
	if maps.EqualFunc(b.base, next, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
		return next, nil
	}
	was, is := s.user(b.base, prefix), s.user(next, prefix)
	signsIn := is != "" && is != was
	if !signsIn && !b.id.IsZero() && se.ID() != b.id {
		return nil, fmt.Errorf("%w: it was read before", sojourn.ErrEnded)
	}
	if signsIn {
		var options []sojourn.LoginOption
		if session.Options != nil && session.Options.MaxAge == 0 {
			options = append(options, sojourn.UntilBrowserCloses())
		}
		if err := se.Login(is, options...); err != nil {
			return nil, err
		}
	}
	for key := range b.base {
		if _, stays := next[key]; !stays {
			if err := se.DeleteValue(key); err != nil {
				return nil, err
			}
		}
	}
	for key, raw := range next {
		if had, ok := b.base[key]; ok && bytes.Equal(had, raw) {
			continue
		}
		if err := se.SetValue(key, raw); err != nil {
			return nil, err
		}
	}
	if was != "" && is == "" {
		keys, err := se.Keys()
		if err != nil {
			return nil, err
		}
		return next, se.Regenerate(keys...)
	}
	return next, nil
}

// end removes the values of one name. It ends the whole session if that name says
// who is signed in, or if no other values are left.
func (s *Store) end(b *binding, prefix string) error {
	keys, err := b.session.Keys()
	if err != nil {
		return err
	}
	var mine []string // also what another request has saved since the session was read
	for _, key := range keys {
		if strings.HasPrefix(key, prefix) {
			mine = append(mine, key)
		}
	}
	others := len(mine) < len(keys)
	if _, signedIn := b.base[prefix+s.Subject]; !others || signedIn && s.Subject != "" {
		return b.session.Logout()
	}
	for _, key := range mine {
		if err := b.session.DeleteValue(key); err != nil {
			return err
		}
	}
	return nil
}

// user returns the user who is signed in according to the values.
func (s *Store) user(values map[string]json.RawMessage, prefix string) string {
	raw, ok := values[prefix+s.Subject]
	if !ok || s.Subject == "" {
		return ""
	}
	v, _ := anyjson.Decode(raw) // which was decoded before
	return anyjson.Subject(v)
}

// encodeKey returns the text of a key of session.Values, which may be of any
// type. A text that begins with "=" is JSON; any other is the key itself.
func encodeKey(k any) (string, error) {
	if text, ok := k.(string); ok && !strings.HasPrefix(text, "=") {
		return text, nil
	}
	raw, err := anyjson.Encode(k)
	if err != nil {
		return "", fmt.Errorf("gorilla: the key %v: %w", k, err)
	}
	return "=" + string(raw), nil
}

func decodeKey(text string) (any, error) {
	if raw, ok := strings.CutPrefix(text, "="); ok {
		return anyjson.Decode(json.RawMessage(raw))
	}
	return text, nil
}

// AdoptTo is Adopt for an application that uses a Store of this package. Values
// keep their Go types, and belong to the session with their name.
func AdoptTo(old sessions.Store, subject string, names ...string) *sojourn.Adoption {
	return adopt(old, subject, names, true)
}
