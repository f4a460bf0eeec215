package main

import (
	"context"
	"encoding/gob"
	"fmt"
	"net"
	"strings"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/session"
	"github.com/valyala/fasthttp"
)

func init() { gob.Register([]string(nil)) }

// fiberSite is a site on fiber, whose handlers run on fasthttp.
type fiberSite struct {
	handler fasthttp.RequestHandler
	store   *session.Store
	doors   *gate
	has     [ops]bool
	server  *fasthttp.Server
}

func openFiber() (site, error) {
	s := &fiberSite{doors: newGate()}
	app := fiber.New()
	use, store := session.NewWithStore()
	s.store = store
	on := func(o op, h func(fiber.Ctx, *session.Middleware) error) {
		s.has[o] = true
		app.Add([]string{o.method()}, o.path(), use, func(c fiber.Ctx) error { return h(c, session.FromContext(c)) })
	}
	answer := func(c fiber.Ctx, right bool) error {
		if !right {
			return fiber.ErrInternalServerError
		}
		return c.Send(ok)
	}
	read := func(o op, right func(*session.Middleware) bool) {
		on(o, func(c fiber.Ctx, v *session.Middleware) error { return answer(c, right(v)) })
	}
	write := func(o op, do func(*session.Middleware) error) {
		on(o, func(c fiber.Ctx, v *session.Middleware) error {
			if err := do(v); err != nil {
				return err
			}
			return answer(c, true)
		})
	}
	str := func(v *session.Middleware, key string) string { s, _ := v.Get(key).(string); return s }
	set := func(v *session.Middleware, key string, value any) error { v.Set(key, value); return nil }

	read(nothing, func(v *session.Middleware) bool { return true })
	read(readSubject, func(v *session.Middleware) bool { return str(v, "subject") == subject })
	read(readTheme, func(v *session.Middleware) bool { return str(v, "theme") == theme })
	read(readChanged, func(v *session.Middleware) bool { return isNewTheme(str(v, "theme")) })
	read(readProfile, func(v *session.Middleware) bool { return v.Get("profile") == someone })
	write(change, func(v *session.Middleware) error { return set(v, "theme", newTheme()) })
	write(create, func(v *session.Middleware) error { return set(v, "theme", theme) })
	write(fillProfile, func(v *session.Middleware) error { return set(v, "profile", someone) })
	write(fillTwenty, func(v *session.Middleware) error {
		for _, key := range twenty {
			v.Set(key, twentyValue)
		}
		return set(v, "theme", theme)
	})
	renew := func(key string, value any) func(*session.Middleware) error {
		return func(v *session.Middleware) error {
			if err := v.Regenerate(); err != nil {
				return err
			}
			return set(v, key, value)
		}
	}
	write(login, renew("subject", subject))
	write(elevate, renew("level", 2))
	write(logout, func(v *session.Middleware) error { return v.Destroy() })
	on(addItem, func(c fiber.Ctx, v *session.Middleware) error {
		cart, _ := v.Get("cart").([]string)
		v.Set("cart", append(cart, strings.Clone(c.Query("item"))))
		think()
		return answer(c, true)
	})
	write(slowWrite, func(v *session.Middleware) error {
		s.doors.wait()
		return set(v, "late", "late")
	})
	on(readState, func(c fiber.Ctx, v *session.Middleware) error {
		cart, _ := v.Get("cart").([]string)
		level, _ := v.Get("level").(int)
		state{str(v, "subject"), level, str(v, "theme"), str(v, "late"), cart}.write(c)
		return nil
	})
	s.handler = app.Handler()
	return s, nil
}

func (s *fiberSite) supports(o op) bool { return s.has[o] }
func (s *fiberSite) visitor() visitor   { return &fiberVisitor{site: s, cookies: map[string]string{}} }
func (s *fiberSite) gate() *gate        { return s.doors }

// Close empties the store: its goroutine can't be stopped from outside.
func (s *fiberSite) Close() error {
	if s.server != nil {
		_ = s.server.Shutdown()
	}
	return s.store.Reset(context.Background())
}

func (s *fiberSite) listen(ctx context.Context) (string, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s.server = &fasthttp.Server{Handler: s.handler, CloseOnShutdown: true}
	go func() { _ = s.server.Serve(ln) }()
	return "http://" + ln.Addr().String(), nil
}

type fiberVisitor struct {
	site    *fiberSite
	cookies map[string]string
}

func (v *fiberVisitor) request(o op) *fasthttp.RequestCtx {
	c := new(fasthttp.RequestCtx)
	c.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 49152}, nil)
	h := &c.Request.Header
	h.SetMethod(o.method())
	h.SetRequestURI(o.path())
	h.SetHost("shop.example")
	h.SetUserAgent(userAgent)
	h.Set("Accept", "text/html,application/xhtml+xml")
	h.Set("Accept-Language", "en-GB,en;q=0.8")
	h.Set("Accept-Encoding", "gzip, deflate, br")
	h.Set("Sec-Fetch-Site", "same-origin")
	h.Set("Sec-Fetch-Mode", "navigate")
	if cookies := cookieHeader(v.cookies); cookies != "" {
		h.Set("Cookie", cookies)
	}
	return c
}

func (v *fiberVisitor) send(o op) error {
	c := v.request(o)
	v.site.handler(c)
	var lines []string
	for _, line := range c.Response.Header.PeekAll("Set-Cookie") {
		lines = append(lines, string(line))
	}
	keepCookies(v.cookies, lines)
	if status := c.Response.StatusCode(); status != fasthttp.StatusOK {
		return fmt.Errorf("%s: status %d: %s", opNames[o], status, c.Response.Body())
	}
	return nil
}

func (v *fiberVisitor) prepare(o op) func() int {
	c := v.request(o)
	return func() int {
		c.Response.Reset()
		c.ResetUserValues()
		v.site.handler(c)
		return c.Response.StatusCode()
	}
}
