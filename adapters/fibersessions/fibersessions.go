// Package fibersessions gives fiber v3 applications Sojourn's sessions. There are
// two ways.
//
// New is the middleware, in place of fiber's own: handlers take the session by
// From and use Sojourn's API. Parallel requests lose nothing, an end is final,
// strangers cost nothing, and a user's sessions can be listed and ended. It does
// what Engine.Handler does: changes are written when the handlers have returned,
// before anything is sent. An error takes the response's place, and a handler
// that fails with 500 or above changes nothing.
//
//	app.Use(fibersessions.New(engine))
//	app.Post("/login", func(c fiber.Ctx) error { return fibersessions.From(c).Login(user.ID) })
//
// What can't be kept: session.FromContext, and Set and Get with keys of any type.
// Keys are typed (sojourn.Key). Errors go to fiber's ErrorHandler, as a
// *fiber.Error, and not to Options.OnError. A stream (SendStreamWriter) can use
// Done and read values, but change nothing.
//
// NewStorage is a Storage for fiber's own session middleware, for code that must
// not change. Adopt takes over the sessions that browsers already have.
package fibersessions

import (
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/sojourn-go/sojourn"
)

// New returns a middleware that gives every request a session. Use it before the
// handlers, and outside fiber's recover middleware, if there is one.
func New(e *sojourn.Engine) fiber.Handler {
	return func(c fiber.Ctx) error {
		r := requestOf(c)
		if err := e.CheckOrigin(r); err != nil {
			return answer(c, err)
		}
		s := e.Begin(c.Context(), e.RequestFrom(r))
		c.SetContext(sojourn.NewContext(c.Context(), s))
		outlives := false // a stream or a hijacked connection still uses the session
		defer func() {
			if !outlives {
				s.Finish()
			}
		}()
		err := handle(c, s)
		if status := statusOf(c, err); status >= http.StatusInternalServerError {
			return err // the changes are dropped
		} else if failed := commit(c, s, status); failed != nil && err == nil && status < http.StatusBadRequest {
			return answer(c, failed)
		}
		outlives = c.Response().IsBodyStream() || c.RequestCtx().Hijacked()
		return err
	}
}

// From returns the session of a request that came through New.
func From(c fiber.Ctx) *sojourn.Session { return sojourn.From(c.Context()) }

// handle runs the handlers. If an accessor can't read the session, handle answers
// with the reason.
func handle(c fiber.Ctx, s *sojourn.Session) (err error) {
	defer func() {
		if p := recover(); p != nil {
			e, isError := p.(error)
			cause := s.Load(c.Context())
			if !isError || cause == nil || !errors.Is(e, cause) {
				panic(p)
			}
			err = answer(c, cause)
		}
	}()
	if err = c.Next(); statusOf(c, err) < http.StatusInternalServerError {
		return err
	}
	if cause := s.Load(c.Context()); cause != nil { // a recoverer may have taken the panic
		return answer(c, cause)
	}
	return err
}

// commit writes the session, and sets the response's headers.
func commit(c fiber.Ctx, s *sojourn.Session, status int) error {
	cacheControl := strings.ToLower(c.GetRespHeader(fiber.HeaderCacheControl))
	cacheable := cacheControl != "" && !strings.Contains(cacheControl, "no-store") && !strings.Contains(cacheControl, "private") && !strings.Contains(cacheControl, "no-cache")
	if cacheable || status == http.StatusSwitchingProtocols || c.RequestCtx().Hijacked() {
		s.KeepSecret()
	}
	if err := s.Commit(c.Context()); err != nil {
		return err
	}
	c.Vary(fiber.HeaderCookie)
	addCookies(c, s)
	return nil
}

// addCookies does with fasthttp's header what Session.AddCookies does with
// net/http's.
func addCookies(c fiber.Ctx, s *sojourn.Session) {
	header, names := &c.Response().Header, http.Header{}
	for name := range header.All() {
		names[string(name)] = nil
	}
	had := maps.Clone(names)
	s.AddCookies(names)
	for name := range had {
		if _, stays := names[name]; !stays {
			header.Del(name)
		}
	}
	for _, line := range names[fiber.HeaderSetCookie] {
		header.Add(fiber.HeaderSetCookie, line)
	}
	if lines := names[fiber.HeaderCacheControl]; lines != nil {
		header.Set(fiber.HeaderCacheControl, lines[0])
	}
}

// lastOutage is when an outage was logged, in nanoseconds since 1970. In an outage
// every request fails, and the log must not grow with them.
var lastOutage atomic.Int64

// answer drops the response, and returns the error for fiber's ErrorHandler.
func answer(c fiber.Ctx, err error) error {
	status := sojourn.StatusCode(err)
	switch {
	case status == http.StatusInternalServerError:
		slog.Error("fibersessions: a request failed", "error", err)
	case status == http.StatusServiceUnavailable && !errors.Is(err, sojourn.ErrClosed):
		last, now := lastOutage.Load(), time.Now().UnixNano()
		if since := time.Duration(now - last); (since < 0 || since >= 10*time.Second) && lastOutage.CompareAndSwap(last, now) {
			slog.Error("fibersessions: requests get 503 (this is logged once in ten seconds)", "error", err)
		}
	}
	c.Response().Reset()
	c.Set(fiber.HeaderCacheControl, "no-store")
	if status == http.StatusServiceUnavailable {
		c.Set(fiber.HeaderRetryAfter, "60")
	}
	return failure{fiber.NewError(status), err}
}

// A failure is an error of the engine as fiber's ErrorHandler sees it. Its text
// tells the client no details.
type failure struct {
	public *fiber.Error
	cause  error
}

func (f failure) Error() string   { return f.public.Message }
func (f failure) Unwrap() []error { return []error{f.public, f.cause} }

// statusOf returns the status that the response will have.
func statusOf(c fiber.Ctx, err error) int {
	if err == nil {
		return c.Response().StatusCode()
	}
	var e *fiber.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return http.StatusInternalServerError
}

// requestOf returns what the engine asks of a request. The strings are copies,
// because fasthttp reuses its buffers.
func requestOf(c fiber.Ctx) *http.Request {
	r := &http.Request{Method: strings.Clone(c.Method()), Host: string(c.Request().Host()), RemoteAddr: c.RequestCtx().RemoteAddr().String(), Header: http.Header{}}
	if c.RequestCtx().IsTLS() {
		r.TLS = c.RequestCtx().TLSConnectionState()
	}
	for name, value := range c.Request().Header.All() {
		r.Header.Add(string(name), string(value))
	}
	return r.WithContext(c.Context())
}
