package bench

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/session"
	"github.com/valyala/fasthttp"
)

// A fiberSite is a site on fiber, whose handlers run on fasthttp.
type fiberSite struct {
	handler fasthttp.RequestHandler
	store   *session.Store
	doors   *gate
	server  *fasthttp.Server
}

func openFiber() site {
	s := &fiberSite{doors: newGate()}
	app := fiber.New()
	use, store := session.NewWithStore()
	s.store = store
	for o, do := range mapOps(s.doors) {
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

func (s *fiberSite) supports(o op) bool { return mapOps(nil)[o] != nil }
func (s *fiberSite) gate() *gate        { return s.doors }

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
