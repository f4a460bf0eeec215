package bench

import (
	"context"
	"encoding/gob"
	"net/http"
	"os"
	"strconv"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

func init() {
	gob.Register(profile{})
	gob.Register([]string(nil))
}

// A mapSession is a session of a library that keeps a map of values.
type mapSession interface {
	get(key string) any
	set(key string, value any)
	renew() error // gives the session a new token, if the library can
	end() error
	item() string // the query's "item"
}

// mapOps are the application's handlers for such a library. Each returns the
// body of its answer.
func mapOps(doors *gate) map[op]func(v mapSession) ([]byte, error) {
	text := func(v mapSession, key string) string { s, _ := v.get(key).(string); return s }
	set := func(key string, value any) func(mapSession) ([]byte, error) {
		return func(v mapSession) ([]byte, error) { v.set(key, value); return ok, nil }
	}
	renew := func(key string, value func() any) func(mapSession) ([]byte, error) {
		return func(v mapSession) ([]byte, error) {
			if err := v.renew(); err != nil {
				return nil, err
			}
			v.set(key, value())
			return ok, nil
		}
	}
	return map[op]func(v mapSession) ([]byte, error){
		nothing:     func(mapSession) ([]byte, error) { return ok, nil },
		readSubject: func(v mapSession) ([]byte, error) { return ok, right(text(v, "subject") == subject) },
		readTheme:   func(v mapSession) ([]byte, error) { return ok, right(text(v, "theme") == theme) },
		readChanged: func(v mapSession) ([]byte, error) { return ok, right(isNewTheme(text(v, "theme"))) },
		readProfile: func(v mapSession) ([]byte, error) { return ok, right(v.get("profile") == someone) },
		change:      func(v mapSession) ([]byte, error) { v.set("theme", newTheme()); return ok, nil },
		create:      set("theme", theme),
		fillProfile: set("profile", someone),
		fillTwenty: func(v mapSession) ([]byte, error) {
			for _, key := range twenty {
				v.set(key, twentyValue)
			}
			v.set("theme", theme)
			return ok, nil
		},
		fillSample: func(v mapSession) ([]byte, error) {
			i, err := strconv.Atoi(v.item())
			v.set("subject", userID(i))
			v.set("data", someValue(i))
			return ok, err
		},
		login:    renew("subject", func() any { return subject }),
		loginAny: renew("subject", func() any { return anyUser() }),
		elevate:  renew("level", func() any { return 2 }),
		logout:   func(v mapSession) ([]byte, error) { return ok, v.end() },
		addItem: func(v mapSession) ([]byte, error) {
			cart, _ := v.get("cart").([]string)
			v.set("cart", append(cart, v.item()))
			think()
			return ok, nil
		},
		slowWrite: func(v mapSession) ([]byte, error) {
			_ = v.get("subject") // the request is authorised now, and writes later
			doors.wait()
			v.set("late", "late")
			return ok, nil
		},
		readState: func(v mapSession) ([]byte, error) {
			cart, _ := v.get("cart").([]string)
			level, _ := v.get("level").(int)
			return state{text(v, "subject"), level, text(v, "theme"), text(v, "late"), cart}.json(), nil
		},
	}
}

// openSCS disables the cleanup, which has a benchmark of its own.
func openSCS() site { return scsSite(memstore.NewWithCleanupInterval(0)) }

// scsSite is the application on one of scs's stores.
func scsSite(store scs.Store) *httpSite {
	m := scs.New()
	m.Store = store
	s := newHTTPSite()
	for o, do := range mapOps(s.doors) {
		s.handlers[o] = m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := do(scsSession{m, r})
			answer(w, body, err)
		}))
	}
	return s
}

type scsSession struct {
	m *scs.SessionManager
	r *http.Request
}

func (s scsSession) ctx() context.Context      { return s.r.Context() }
func (s scsSession) get(key string) any        { return s.m.Get(s.ctx(), key) }
func (s scsSession) set(key string, value any) { s.m.Put(s.ctx(), key, value) }
func (s scsSession) renew() error              { return s.m.RenewToken(s.ctx()) }
func (s scsSession) end() error                { return s.m.Destroy(s.ctx()) }
func (s scsSession) item() string              { return s.r.FormValue("item") }

// openGorillaCookie removes the limit of the cookie's length. With the
// default, 20 keys of 2 KB fail.
func openGorillaCookie() site {
	store := sessions.NewCookieStore(securecookie.GenerateRandomKey(32))
	for _, c := range store.Codecs {
		c.(*securecookie.SecureCookie).MaxLength(0)
	}
	return gorillaSite(store)
}

// openGorillaFiles removes the limit of the length, too.
func openGorillaFiles() site {
	dir := must(os.MkdirTemp("", "sojourn-bench-"))
	store := sessions.NewFilesystemStore(dir, securecookie.GenerateRandomKey(32))
	store.MaxLength(0)
	s := gorillaSite(store)
	s.close = func() error { return os.RemoveAll(dir) }
	return s
}

// gorillaSite saves in its handlers, as gorilla's users do. gorilla has no
// middleware, and nothing that renews a session.
func gorillaSite(store sessions.Store) *httpSite {
	s := newHTTPSite()
	s.copies = true
	for o, do := range mapOps(s.doors) {
		s.handlers[o] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			v := gorillaSession{store, r}
			body, err := do(v)
			if err == nil && !o.reads() {
				err = v.session().Save(r, w)
			}
			answer(w, body, err)
		})
	}
	return s
}

type gorillaSession struct {
	store sessions.Store
	r     *http.Request
}

// session ignores the error, as gorilla's README does: a token that can't be
// read gives a new session and an error.
func (s gorillaSession) session() *sessions.Session {
	v, _ := s.store.Get(s.r, "session")
	return v
}

func (s gorillaSession) get(key string) any        { return s.session().Values[key] }
func (s gorillaSession) set(key string, value any) { s.session().Values[key] = value }
func (s gorillaSession) renew() error              { return nil }
func (s gorillaSession) end() error                { s.session().Options.MaxAge = -1; return nil }
func (s gorillaSession) item() string              { return s.r.FormValue("item") }
