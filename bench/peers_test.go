package bench

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/gob"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
	scsmemory "github.com/alexedwards/scs/v2/memstore"
	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/session"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	"github.com/valyala/fasthttp"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

var (
	themeKey   = sojourn.NewKey[string]("theme")
	noteKey    = sojourn.NewKey[string]("note")
	lateKey    = sojourn.NewKey[string]("late")
	profileKey = sojourn.NewKey[profile]("profile")
	cartKey    = sojourn.NewKey[[]string]("cart")
)

func openSojourn() site { return sojournSite(memstore.New(), sojourn.Options{}) }

// openSealed keeps visitors' sessions in their cookies.
func openSealed() site {
	return sojournSite(memstore.New(), sojourn.Options{Sealed: &sojourn.Sealing{Keys: [][]byte{securecookie.GenerateRandomKey(32)}}})
}

// sojournSite is the application on a store. It closes the store.
func sojournSite(st store.Store, opt sojourn.Options) site {
	e := must(sojourn.New(st, opt))
	s := newHTTPSite()
	s.close = func() error { return errors.Join(e.Close(context.Background()), st.Close()) }
	for o, do := range sojournOps(e) {
		s.handlers[o] = e.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer(w, ok, do(sojourn.From(r.Context()), r))
		}))
	}
	s.handlers[nothing] = e.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, ok, nil) }))
	if opt.Bound != nil {
		s.bound = e.BoundHandler()
		s.handlers[bind] = binds(s.bound)
	}
	s.handlers[readState] = e.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := sojourn.From(r.Context())
		theme, _ := themeKey.Get(v)
		late, _ := lateKey.Get(v)
		cart, _ := cartKey.Get(v)
		answer(w, state{v.Subject(), v.Level(), theme, late, cart}.json(), nil)
	}))
	return s
}

func sojournOps(e *sojourn.Engine) map[op]func(*sojourn.Session, *http.Request) error {
	return map[op]func(*sojourn.Session, *http.Request) error{
		readSubject: func(v *sojourn.Session, _ *http.Request) error { return right(v.Subject() == subject) },
		readTheme: func(v *sojourn.Session, _ *http.Request) error {
			got, err := themeKey.Get(v)
			return cmp.Or(err, right(got == theme))
		},
		readChanged: func(v *sojourn.Session, _ *http.Request) error {
			got, err := themeKey.Get(v)
			return cmp.Or(err, right(isNewTheme(got)))
		},
		readProfile: func(v *sojourn.Session, _ *http.Request) error {
			got, err := profileKey.Get(v)
			return cmp.Or(err, right(got == someone))
		},
		list: func(*sojourn.Session, *http.Request) error {
			infos, _, err := e.List(context.Background(), subject, "", 100)
			return cmp.Or(err, right(len(infos) > 0))
		},
		change:      func(v *sojourn.Session, _ *http.Request) error { return themeKey.Set(v, newTheme()) },
		create:      func(v *sojourn.Session, _ *http.Request) error { return themeKey.Set(v, theme) },
		fillProfile: func(v *sojourn.Session, _ *http.Request) error { return profileKey.Set(v, someone) },
		fillTwenty: func(v *sojourn.Session, _ *http.Request) error {
			for _, name := range twenty {
				check(sojourn.NewKey[string](name).Set(v, twentyValue))
			}
			return themeKey.Set(v, theme)
		},
		fill200: func(v *sojourn.Session, _ *http.Request) error {
			return cmp.Or(noteKey.Set(v, twoHundred), themeKey.Set(v, theme))
		},
		login:    func(v *sojourn.Session, _ *http.Request) error { return v.Login(subject) },
		loginAny: func(v *sojourn.Session, _ *http.Request) error { return v.Login(anyUser()) },
		loginFew: func(v *sojourn.Session, _ *http.Request) error { return v.Login(userID(rand.IntN(100))) },
		elevate:  func(v *sojourn.Session, _ *http.Request) error { return v.Elevate(2, "otp") },
		rotate:   func(v *sojourn.Session, _ *http.Request) error { return v.Rotate() },
		logout:   func(v *sojourn.Session, _ *http.Request) error { return v.Logout() },
		addItem: func(v *sojourn.Session, r *http.Request) error {
			item := r.FormValue("item")
			err := cartKey.Update(v, func(cart *[]string) error { *cart = append(*cart, item); return nil })
			think()
			return err
		},
		slowWrite: func(v *sojourn.Session, _ *http.Request) error {
			_ = v.Subject() // the request is authorised now, and writes later
			waitAtDoors()
			return lateKey.Set(v, "late")
		},
	}
}

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

// mapOps are the handlers for such a library. Each returns its answer's body.
func mapOps() map[op]func(v mapSession) ([]byte, error) {
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
		fill200: func(v mapSession) ([]byte, error) {
			v.set("note", twoHundred)
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
			waitAtDoors()
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
func openSCS() site { return scsSite(scsmemory.NewWithCleanupInterval(0)) }

// scsSite is the application on one of scs's stores.
func scsSite(store scs.Store) *httpSite {
	m := scs.New()
	m.Store = store
	s := newHTTPSite()
	for o, do := range mapOps() {
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
	for o, do := range mapOps() {
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

// A fiberSite is a site on fiber, whose handlers run on fasthttp.
type fiberSite struct {
	handler fasthttp.RequestHandler
	store   *session.Store
	server  *fasthttp.Server
}

func openFiber() site {
	s := new(fiberSite)
	app := fiber.New()
	use, store := session.NewWithStore()
	s.store = store
	for o, do := range mapOps() {
		app.Add([]string{o.method()}, o.path(), use, func(c fiber.Ctx) error {
			body, err := do(fiberSession{session.FromContext(c), c})
			if err != nil {
				return err
			}
			return c.Send(body)
		})
	}
	s.handler = app.Handler()
	return s
}

type fiberSession struct {
	v *session.Middleware
	c fiber.Ctx
}

func (s fiberSession) get(key string) any        { return s.v.Get(key) }
func (s fiberSession) set(key string, value any) { s.v.Set(key, value) }
func (s fiberSession) renew() error              { return s.v.Regenerate() }
func (s fiberSession) end() error                { return s.v.Destroy() }
func (s fiberSession) item() string              { return strings.Clone(s.c.Query("item")) }

func (s *fiberSite) supports(o op) bool { return mapOps()[o] != nil }

// Close empties the store. Nothing can stop its goroutine.
func (s *fiberSite) Close() error {
	if s.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.server.ShutdownWithContext(ctx) // waits for the clients' connections
	}
	return s.store.Reset(context.Background())
}

func (s *fiberSite) listen() string {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	s.server = &fasthttp.Server{Handler: s.handler, CloseOnShutdown: true}
	go func() { _ = s.server.Serve(ln) }()
	return "http://" + ln.Addr().String()
}

// prepare calls the handler of fasthttp, without a connection.
func (s *fiberSite) prepare(o op, query string, cookies jar) (send func() int, answer func() response) {
	c := new(fasthttp.RequestCtx)
	c.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 49152}, nil)
	h := &c.Request.Header
	h.SetMethod(o.method())
	h.SetRequestURI(o.path() + query)
	h.SetHost("shop.example")
	for _, x := range browserHeaders {
		h.Set(x[0], x[1])
	}
	if cookies := cookies.header(); cookies != "" {
		h.Set("Cookie", cookies)
	}
	send = func() int {
		c.Response.Reset()
		c.ResetUserValues()
		s.handler(c)
		return c.Response.StatusCode()
	}
	return send, func() response {
		var lines []string
		for _, line := range c.Response.Header.PeekAll("Set-Cookie") {
			lines = append(lines, string(line))
		}
		return response{c.Response.StatusCode(), c.Response.Body(), lines}
	}
}

func openBare() site {
	s := newHTTPSite()
	s.handlers[nothing] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, ok, nil) })
	return s
}

// A floor does the least that reads a session from a secret token. It has no
// deadlines, limits, events or headers.
type floor struct {
	shards [64]struct {
		sync.RWMutex
		sessions map[[16]byte]floorSession
	}
}

type floorSession struct {
	secret         [32]byte // SHA-256
	subject, theme string
}

func openFloor() site {
	f := new(floor)
	for i := range f.shards {
		f.shards[i].sessions = map[[16]byte]floorSession{}
	}
	s := newHTTPSite()
	for _, o := range []op{login, loginAny, create} {
		s.handlers[o] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			f.create(w)
			answer(w, ok, nil)
		})
	}
	for _, o := range []op{readSubject, readTheme} {
		s.handlers[o] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			v := f.session(r)
			answer(w, ok, right(v.subject == subject && v.theme == theme))
		})
	}
	return s
}

func (f *floor) create(w http.ResponseWriter) {
	var token [48]byte
	_, _ = crand.Read(token[:])
	shard := &f.shards[token[0]%64]
	shard.Lock()
	shard.sessions[[16]byte(token[:16])] = floorSession{sha256.Sum256(token[16:]), subject, theme}
	shard.Unlock()
	http.SetCookie(w, &http.Cookie{Name: "session", Value: base64.RawURLEncoding.EncodeToString(token[:])})
}

func (f *floor) session(r *http.Request) floorSession {
	var text [64]byte
	var token [48]byte
	_, value, _ := strings.Cut(r.Header.Get("Cookie"), "session=")
	value, _, _ = strings.Cut(value, ";")
	if len(value) != len(text) {
		return floorSession{}
	}
	copy(text[:], value)
	if _, err := base64.RawURLEncoding.Decode(token[:], text[:]); err != nil {
		return floorSession{}
	}
	secret := sha256.Sum256(token[16:])
	shard := &f.shards[token[0]%64]
	shard.RLock()
	v := shard.sessions[[16]byte(token[:16])]
	shard.RUnlock()
	if subtle.ConstantTimeCompare(v.secret[:], secret[:]) == 0 {
		return floorSession{}
	}
	return v
}
