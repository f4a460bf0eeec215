package sojourn

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Handler gives every request a session: From(r.Context()). The store is read when a handler first asks the session something, and not
// before; changes are written before the first byte of the response. If that fails, the handler's response is withheld and the
// client gets the error's status (StatusCode), unless the response is itself an error (400 or above). A handler that panics, or answers with 500 or above, changes nothing, except by a
// Commit of its own.
//
// Unsafe requests from pages of other origins get 403 (http.CrossOriginProtection), WebSocket handshakes too.
//
// A response that sets a cookie is always Cache-Control: no-store; one for which the session was read has Vary: Cookie.
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

type handler struct {
	engine *Engine
	next   http.Handler
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	arrived := h.engine.now()
	if err := h.engine.site.crossOrigin(r); err != nil {
		h.engine.refuse(w, r, err)
		return
	}
	x := &exchange{w: w, r: r}
	x.session.e, x.session.arrived, x.session.source = h.engine, arrived, x
	x.session.ctx = r.Context()
	x.request = *r.WithContext((*sessionContext)(&x.session)) // in the exchange, so that one allocation does for both
	defer x.finish()
	h.next.ServeHTTP(x, &x.request)
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
	if key == (contextKey{}) {
		return (*Session)(c)
	}
	return c.ctx.Value(key)
}

// read fills in what the request presents.
func (x *exchange) read(into *Request) {
	e := x.session.e
	into.Client = e.site.client(x.r)
	if e.opt.Bearer {
		into.Bearer = bearer(x.r)
	}
	into.Session, into.Visitor = e.site.cookie.readCookies(x.r.Header["Cookie"], x.session.tokens[0:0:1], x.session.tokens[1:1:2])
}

// Request returns what a net/http request presents, for callers that answer without Handler, as a proxy's check does: the tokens of its cookies, or
// with Options.Bearer that of its Authorization header, and the client. Nothing is said about where the request came from: Handler refuses other origins' pages.
func (e *Engine) Request(r *http.Request) Request {
	p := Request{Client: e.site.client(r)}
	if e.opt.Bearer {
		p.Bearer = bearer(r)
	}
	p.Session, p.Visitor = e.site.cookie.readCookies(r.Header["Cookie"], nil, nil)
	return p
}

// bearer returns the token of an Authorization header (RFC 6750, section 2.1).
func bearer(r *http.Request) string {
	const scheme = "Bearer "
	if h := r.Header["Authorization"]; len(h) == 1 && hasPrefixFold(h[0], scheme) {
		return strings.TrimLeft(h[0][len(scheme):], " ")
	}
	return ""
}

// Error answers a request with an error of this package, in place of the
// handler's response: with the status of StatusCode, a text that tells the
// visitor nothing of the inside, and headers that keep the answer out of caches.
// Where a request came through Handler, Options.OnError writes the answer, if it
// is set. Return from the handler afterwards:
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

// answerError answers with err: by onError, unless that is nil, is the caller, or
// writes nothing.
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

// statuses is the one place where errors become statuses.
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
	{ErrCommitted, http.StatusInternalServerError, ""},
	{ErrFinished, http.StatusInternalServerError, ""},
	{ErrLimit, http.StatusConflict, "you are signed in in too many places; sign out in one of them"},
	{ErrTooLarge, http.StatusRequestEntityTooLarge, "that is too much to keep in a session"},
	{ErrValue, http.StatusUnprocessableEntity, "that can't be kept in a session"},
	{ErrSubject, http.StatusUnprocessableEntity, "that is no user ID"},
	{ErrAnonymous, http.StatusUnauthorized, "sign in first"},
	{ErrNotFound, http.StatusNotFound, "no such session"},
	{ErrThrottled, http.StatusTooManyRequests, "too many bad session tokens from your network; delete this site's cookies, or wait a minute"},
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
