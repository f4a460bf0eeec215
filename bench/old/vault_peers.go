package main

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"
	scsmemory "github.com/alexedwards/scs/v2/memstore"
	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/session"
	"github.com/valyala/fasthttp"
)

// scsVault stores a user ID and a value; scs keeps no client. Its store cleans up at a fixed interval, counted from its opening.
type scsVault struct {
	manager *scs.SessionManager
	store   *scsmemory.MemStore
	opened  time.Time
	tokens  []string // of the sessions that will expire
}

// The default is a minute; the work is the same.
const scsCleanup = 15 * time.Second

func openSCSVault() (vault, error) {
	v := &scsVault{manager: scs.New(), store: scsmemory.NewWithCleanupInterval(scsCleanup), opened: time.Now()}
	v.manager.Store = v.store
	return v, nil
}

func (v *scsVault) fill(jar *manyCookies, from, to int) error {
	for i := from; i < to; i++ {
		ctx, err := v.manager.Load(context.Background(), "")
		if err != nil {
			return err
		}
		v.manager.Put(ctx, "subject", userID(i))
		v.manager.Put(ctx, "data", someValue(i))
		token, _, err := v.manager.Commit(ctx)
		if err != nil {
			return err
		}
		jar.set(i, v.manager.Cookie.Name, token)
	}
	return nil
}

func (v *scsVault) age(*manyCookies, int, func(string)) error { return nil }

func (v *scsVault) reader() func(string) bool {
	var found bool
	h := v.manager.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found = v.manager.GetString(r.Context(), "subject") != ""
		_, _ = w.Write(ok)
	}))
	return httpReader(h, &found)
}

func (v *scsVault) finder() func(string) bool {
	return func(cookie string) bool {
		_, found, err := v.store.Find(cookie[len(v.manager.Cookie.Name)+1:])
		return found && err == nil
	}
}

// httpReader returns a function that reads through h, which sets found.
func httpReader(h http.Handler, found *bool) func(string) bool {
	r := (&httpVisitor{}).request(readSubject)
	cookies := []string{""}
	r.Header["Cookie"] = cookies
	w := &lightWriter{header: http.Header{}}
	return func(cookie string) bool {
		w.reset()
		cookies[0] = cookie
		*found = false
		h.ServeHTTP(w, r)
		return *found
	}
}

func (v *scsVault) expiring(jar *manyCookies, n int, progress func(string)) error {
	if err := fillAll(v, jar, n, progress); err != nil {
		return err
	}
	for i := 0; i < n; i += 2 {
		v.tokens = append(v.tokens, string(append([]byte(nil), jar.get(i)[len(v.manager.Cookie.Name)+1:]...)))
	}
	return nil
}

func fillAll(v vault, jar *manyCookies, n int, progress func(string)) error {
	const step = 50_000
	for from := 0; from < n; from += step {
		progress(count(from) + " filled")
		if err := v.fill(jar, from, min(from+step, n)); err != nil {
			return err
		}
	}
	return nil
}

func (v *scsVault) untilCleanup() time.Duration { return scsCleanup - time.Since(v.opened)%scsCleanup }

func (v *scsVault) quiet(d time.Duration) {
	if next := v.untilCleanup(); next < d {
		time.Sleep(next + time.Second)
	}
}

// arm writes the expiring half anew, with a deadline that has passed when the next cleanup comes.
func (v *scsVault) arm() error {
	v.quiet(5 * time.Second)
	for _, token := range v.tokens {
		b, found, err := v.store.Find(token)
		if err != nil {
			return err
		}
		if found {
			if err := v.store.Commit(token, b, time.Now().Add(time.Second)); err != nil {
				return err
			}
		}
	}
	if next := v.untilCleanup(); next > 2*time.Second {
		time.Sleep(next - 2*time.Second)
	}
	return nil
}

// sweep waits for the cleanup, and a second longer.
func (v *scsVault) sweep() (sweepFacts, error) {
	start := time.Now()
	time.Sleep(v.untilCleanup() + time.Second)
	return sweepFacts{Took: time.Since(start), Ended: len(v.tokens)}, nil
}

// fiberVault is measured for its memory only.
type fiberVault struct {
	handler fasthttp.RequestHandler
	next    int
	token   string
	found   bool
}

func openFiberVault() (vault, error) {
	v := &fiberVault{}
	app := fiber.New()
	use, _ := session.NewWithStore(session.Config{IdleTimeout: 24 * time.Hour})
	app.Post("/", use, func(c fiber.Ctx) error {
		s := session.FromContext(c)
		s.Set("subject", userID(v.next))
		s.Set("data", someValue(v.next))
		v.token = s.ID()
		return nil
	})
	app.Get("/", use, func(c fiber.Ctx) error {
		v.found = session.FromContext(c).Get("subject") != nil
		return nil
	})
	v.handler = app.Handler()
	return v, nil
}

func (v *fiberVault) fill(jar *manyCookies, from, to int) error {
	c := new(fasthttp.RequestCtx)
	c.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 49152}, nil)
	c.Request.Header.SetMethod("POST")
	c.Request.SetRequestURI("/")
	for i := from; i < to; i++ {
		c.Response.Reset()
		c.ResetUserValues()
		v.next = i
		v.handler(c)
		jar.set(i, "session_id", v.token)
	}
	return nil
}

func (v *fiberVault) age(*manyCookies, int, func(string)) error { return nil }

func (v *fiberVault) reader() func(string) bool {
	c := new(fasthttp.RequestCtx)
	c.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 49152}, nil)
	return func(cookie string) bool {
		c.Request.Reset()
		c.Request.SetRequestURI("/")
		c.Request.Header.Set("Cookie", cookie)
		c.Response.Reset()
		c.ResetUserValues()
		v.found = false
		v.handler(c)
		return v.found
	}
}

func (v *fiberVault) finder() func(string) bool                      { return nil }
func (v *fiberVault) expiring(*manyCookies, int, func(string)) error { panic("not measured") }
func (v *fiberVault) quiet(time.Duration)                            { panic("not measured") }
func (v *fiberVault) arm() error                                     { panic("not measured") }
func (v *fiberVault) sweep() (sweepFacts, error)                     { panic("not measured") }
