package sojourn

import (
	"context"
	"net/http"
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
// Options.TrustedOrigins and AllowCrossOrigin. BoundHandler judges by itself.
//
// Inside another Handler of the same engine it does nothing. Handlers of two
// engines may be nested: Engine.From returns the session of each.
//
// A response that sets a cookie is always Cache-Control: no-store; one for
// which the session was read has Vary: Cookie.
func (e *Engine) Handler(next http.Handler) http.Handler {
	return &handler{e, next}
}

// Strict wraps routes that must never use a cached session, such as payments and
// administration: an end may take a second to reach the caches of all nodes. See
// Session.Strict. Use Strict inside Handler:
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
// (SAML, OpenID Connect's form_post). Put it around Handler: inside
// it has no effect, because Handler refuses before any route is chosen.
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
	if h.engine.opt.Development {
		if err := notDevelopment(r); err != nil {
			h.engine.refuse(w, r, err)
			return
		}
	}
	arrived := h.engine.now()
	if err := h.engine.site.crossOrigin(r); err != nil && r.Context().Value(crossOriginKey{}) == nil && !h.engine.isBoundPath(r.URL.Path) {
		h.engine.refuse(w, r, err)
		return
	}
	x := &exchange{w: w, r: r}
	x.session.e, x.session.arrived, x.session.source = h.engine, arrived, x
	x.session.ctx = r.Context()
	x.request = *r.WithContext((*sessionContext)(&x.session)) // a copy: one allocation serves both
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

// underWay reports whether s is the session of a request that a Handler serves.
func (s *Session) underWay() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.source != nil && !s.finished
}
