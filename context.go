package sojourn

import (
	"context"
	"time"
)

// From returns the session of a request that came through Handler. It panics if
// the request did not. If the request came through Handlers of two engines, it
// returns the inner one's session: see Engine.From.
func From(ctx context.Context) *Session {
	s, ok := Lookup(ctx)
	if !ok {
		panic("sojourn: no session in this context: wrap the handler in Engine.Handler")
	}
	return s
}

// Lookup is From for code that also runs outside Handler: ok tells whether the
// context has a session.
func Lookup(ctx context.Context) (s *Session, ok bool) {
	s, _ = ctx.Value(contextKey{}).(*Session)
	return s, s != nil
}

// From returns the engine's session of a request that came through its Handler.
// It panics if the request did not. Most applications have one engine, and use
// the function From.
func (e *Engine) From(ctx context.Context) *Session {
	s, ok := e.Lookup(ctx)
	if !ok {
		panic("sojourn: no session of this engine in this context: wrap the handler in its Handler")
	}
	return s
}

// Lookup is From for code that also runs outside the engine's Handler: ok tells
// whether the context has a session of the engine.
func (e *Engine) Lookup(ctx context.Context) (s *Session, ok bool) {
	s, _ = ctx.Value(engineKey{e}).(*Session)
	return s, s != nil
}

// NewContext returns a context that carries s, for callers that don't use
// Handler.
func NewContext(ctx context.Context, s *Session) context.Context {
	return carrier{ctx, s}
}

type carrier struct {
	context.Context
	session *Session
}

func (c carrier) Value(key any) any {
	if c.session.answersTo(key) {
		return c.session
	}
	return c.Context.Value(key)
}

// contextKey finds the innermost session of a context, engineKey that of an
// engine.
type (
	contextKey struct{}
	engineKey  struct{ engine *Engine }
)

// answersTo reports whether s is what a context's key asks for.
func (s *Session) answersTo(key any) bool {
	switch key := key.(type) {
	case contextKey:
		return true
	case engineKey:
		return key.engine == s.e
	}
	return false
}

// sessionContext is the context of a session's request, with the session in it.
type sessionContext Session

func (c *sessionContext) Deadline() (time.Time, bool) { return c.ctx.Deadline() }
func (c *sessionContext) Done() <-chan struct{}       { return c.ctx.Done() }
func (c *sessionContext) Err() error                  { return c.ctx.Err() }

func (c *sessionContext) Value(key any) any {
	if (*Session)(c).answersTo(key) {
		return (*Session)(c)
	}
	return c.ctx.Value(key)
}
