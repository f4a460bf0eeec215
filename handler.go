package sojourn

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Handler gives every request a session: From(r.Context()). The store is read
// when a handler first asks the session something, and not before; changes are
// written before the first byte of the response. If that fails, the handler's
// response is withheld and the client gets the error's status (StatusCode),
// unless the response is itself an error (400 or above). A handler that panics,
// or answers with 500 or above, changes nothing, except by a Commit of its own.
//
// Unsafe requests from pages of other origins get 403
// (http.CrossOriginProtection), WebSocket handshakes too; see Options.Origins,
// Options.TrustedOrigins and AllowCrossOrigin.
//
// Inside another Handler of the same engine it does nothing. Handlers of two
// engines may be nested: Engine.From returns the session of each.
//
// A response that sets a cookie is always Cache-Control: no-store; one for
// which the session was read has Vary: Cookie.
func (e *Engine) Handler(next http.Handler) http.Handler {
	return &handler{e, next}
}

// Strict has the routes of next read sessions strictly, see Session.Strict: for what must not rely on the second that an end may take to
// reach every node, such as payments and administration. It goes inside Handler:
//
//	mux.Handle("/admin/", sojourn.Strict(admin))
func Strict(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		From(r.Context()).Strict()
		next.ServeHTTP(w, r)
	})
}

// Preload reads the session before next runs, and answers with the error if
// that fails (503 if the store can't answer). So in next no accessor of the
// session can fail, on any goroutine. Every request to next reads the store.
// Use Preload inside Handler, and inside Strict:
//
//	mux.Handle("/account/", sojourn.Preload(account))
//
// If next calls Session.Strict, that may read again, and can fail.
func Preload(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := From(r.Context()).Load(r.Context()); err != nil {
			Error(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// AllowCrossOrigin admits requests from pages of other origins to one route.
// Handler would refuse them. Use it for a sign-in service that answers by POST
// (SAML, OpenID Connect's form_post). It goes around Handler, which refuses
// before any route is chosen; inside Handler it has no effect.
//
//	mux.Handle("/", sessions.Handler(site))
//	mux.Handle("POST /saml/acs", sojourn.AllowCrossOrigin(sessions.Handler(acs)))
//
// Any page on the Internet can make a visitor's browser send such a request. So
// the route must check by itself that the request is genuine: its signature,
// that it is new and meant for this site, and, by a cookie that was set when
// the visitor left, that this browser asked for it (login CSRF). The route must
// do nothing else, and nothing that depends on who is signed in.
//
// The session's cookies are SameSite=Lax by default, and browsers don't send
// those with a POST of another site: the session is that of a visitor without a
// cookie. Login works. To use the visitor's own session, redirect the browser
// to a page of the site; it sends the cookies with that request.
func AllowCrossOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), crossOriginKey{}, true)))
	})
}

type crossOriginKey struct{}

type handler struct {
	engine *Engine
	next   http.Handler
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s, _ := r.Context().Value(engineKey{h.engine}).(*Session); s != nil && s.underWay() {
		if From(r.Context()) != s { // another engine's Handler is between the two
			r = r.WithContext(NewContext(r.Context(), s))
		}
		h.next.ServeHTTP(w, r)
		return
	}
	arrived := h.engine.now()
	if err := h.engine.site.crossOrigin(r); err != nil && r.Context().Value(crossOriginKey{}) == nil {
		h.engine.refuse(w, r, err)
		return
	}
	x := &exchange{w: w, r: r}
	x.session.e, x.session.arrived, x.session.source = h.engine, arrived, x
	x.session.ctx = r.Context()
	x.request = *r.WithContext((*sessionContext)(&x.session)) // in the exchange, so that one allocation does for both
	if r.Body != nil && r.Body != http.NoBody && r.ProtoMajor == 1 {
		x.body = &body{ReadCloser: r.Body}
		x.request.Body = x.body
	}
	defer x.finish()
	h.next.ServeHTTP(x.writer(), &x.request)
	x.returned = true
}

// refuse answers in place of a handler whose response must not go out.
func (e *Engine) refuse(w http.ResponseWriter, r *http.Request, err error) {
	h := w.Header()
	h.Del("Set-Cookie")
	h.Del("Clear-Site-Data")
	answerError(w, r, err, e.opt.OnError)
}

// An ErrorFunc answers a request with an error of this package.
type ErrorFunc func(w http.ResponseWriter, r *http.Request, err error)

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

// underWay reports whether s is the session of a request that a Handler serves.
func (s *Session) underWay() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.source != nil && !s.finished
}

// read fills in what the request presents.
func (x *exchange) read(into *Request) {
	e := x.session.e
	into.Client = e.site.client(x.r)
	into.Safe = safe(x.r)
	if e.opt.Bearer {
		into.Bearer = bearer(x.r)
	}
	into.Session, into.Visitor = e.site.cookie.readCookies(x.r.Header["Cookie"], x.session.tokens[0:0:1], x.session.tokens[1:1:2])
}

// RequestFrom returns what a net/http request presents, for callers that answer without Handler, as a proxy's check does: the tokens of its cookies, or
// with Options.Bearer that of its Authorization header, and the client. Nothing is said about where the request came from: Handler refuses other origins' pages.
func (e *Engine) RequestFrom(r *http.Request) Request {
	p := Request{Client: e.site.client(r), Safe: safe(r)}
	if e.opt.Bearer {
		p.Bearer = bearer(r)
	}
	p.Session, p.Visitor = e.site.cookie.readCookies(r.Header["Cookie"], nil, nil)
	return p
}

func safe(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// bearer returns the token of an Authorization header (RFC 6750, section 2.1).
func bearer(r *http.Request) string {
	const scheme = "Bearer "
	if h := r.Header["Authorization"]; len(h) == 1 && hasPrefixFold(h[0], scheme) {
		return strings.TrimLeft(h[0][len(scheme):], " ")
	}
	return ""
}

// Error answers a request with an error of this package, in place of the
// handler's response: with the status of StatusCode, a text without internal
// details, and headers that keep the answer out of caches. If the request came
// through Handler, and Options.OnError is set, that writes the answer. Return
// from the handler afterwards:
//
//	if err := cart.Update(s, add); err != nil {
//		sojourn.Error(w, r, err)
//		return
//	}
//
// Any other error is a 500 without details, and is logged (log/slog).
func Error(w http.ResponseWriter, r *http.Request, err error) {
	var onError ErrorFunc
	if s, _ := r.Context().Value(contextKey{}).(*Session); s != nil {
		onError = s.e.opt.OnError
	}
	answerError(w, r, err, onError)
}

// answerError answers with err. onError writes the answer, unless it is nil, is
// the caller, or writes nothing.
func answerError(w http.ResponseWriter, r *http.Request, err error, onError ErrorFunc) {
	h := w.Header()
	for _, name := range []string{
		"Location", "Refresh", "Link", "Content-Type", "Content-Encoding", "Content-Language",
		"Content-Disposition", "Content-Length", "Content-Range", "Accept-Ranges", "Etag", "Last-Modified", "Expires", "Trailer",
		"X-Accel-Redirect", "X-Sendfile", // a proxy would send what they name instead
	} {
		h.Del(name)
	}
	forbidStorage(h)
	if errors.Is(err, ErrThrottled) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrFull) {
		h.Set("Retry-After", "60")
	}
	if ctx := r.Context(); onError != nil && ctx.Value(answeringKey{}) == nil {
		own := answer{ResponseWriter: w}
		if onError(&own, r.WithContext(context.WithValue(ctx, answeringKey{}, true)), err); own.begun {
			return
		}
	}
	status := StatusCode(err)
	if status == http.StatusInternalServerError {
		slog.ErrorContext(r.Context(), "sojourn: a request failed", "error", err)
	}
	http.Error(w, http.StatusText(status)+": "+publicText(err), status)
}

// answeringKey marks the context of a request that OnError answers, so that Error
// doesn't ask it again.
type answeringKey struct{}

// An answer notes whether OnError wrote one: silence would be a 200.
type answer struct {
	http.ResponseWriter
	begun bool
}

func (a *answer) WriteHeader(status int) {
	a.begun = a.begun || status >= 200
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(p)
}

func (a *answer) Unwrap() http.ResponseWriter {
	a.begun = true // whoever asks for what is below writes there
	return a.ResponseWriter
}

// statuses is the one place of this package where errors become statuses.
var statuses = []struct {
	err    error
	status int
	text   string // for the client, who must not see a store's own message
}{
	{ErrUncertain, http.StatusServiceUnavailable, "it is not known whether your change was saved; look before you try again"},
	{ErrUnavailable, http.StatusServiceUnavailable, "sessions are unavailable at the moment; try again later"},
	{ErrFull, http.StatusServiceUnavailable, "there is no room for another session at the moment; try again later"},
	{ErrClosed, http.StatusServiceUnavailable, "the server is shutting down"},
	{ErrEnded, http.StatusConflict, "your session has ended; nothing was changed"},
	{ErrSuperseded, http.StatusConflict, "you have signed in again since; nothing was changed"},
	{ErrConflict, http.StatusConflict, "somebody changed the same thing; nothing was changed"},
	{ErrRevision, http.StatusPreconditionFailed, "somebody changed the session; nothing was changed"},
	{ErrKeyReused, http.StatusUnprocessableEntity, "the idempotency key was used for something else"},
	{ErrRepeats, http.StatusTooManyRequests, "the same was asked for too often; nothing was changed"},
	{ErrCommitted, http.StatusInternalServerError, ""},
	{ErrFinished, http.StatusInternalServerError, ""},
	{ErrLimit, http.StatusConflict, "you are signed in in too many places; sign out in one of them"},
	{ErrTooLarge, http.StatusRequestEntityTooLarge, "that is too much to keep in a session"},
	{ErrValue, http.StatusUnprocessableEntity, "that can't be kept in a session"},
	{ErrSubject, http.StatusUnprocessableEntity, "that is no user ID"},
	{ErrAnonymous, http.StatusUnauthorized, "sign in first"},
	{ErrNotFound, http.StatusNotFound, "no such session"},
	{ErrThrottled, http.StatusTooManyRequests, "too many bad session tokens from your network; wait a minute"},
	{errOrigin, http.StatusForbidden, "the request comes from another site's page, or the server doesn't know its own public address (Options.Origins)"},
	{ErrCrossOrigin, http.StatusForbidden, "the request comes from another site's page"},
	{ErrBearer, http.StatusInternalServerError, ""},
	{ErrCursor, http.StatusBadRequest, "there is no such page of the list"},
}

// StatusCode returns the HTTP status for an error of this package: 409 for a
// conflict or an ended session, 413, 429, 503 and so on; 500 for an error that
// isn't the package's. Error answers with it.
func StatusCode(err error) int {
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return s.status
		}
	}
	return http.StatusInternalServerError
}

func publicText(err error) string {
	for _, s := range statuses {
		if errors.Is(err, s.err) && s.text != "" {
			return s.text
		}
	}
	return "something went wrong"
}
