package sojourn

import (
	"net/http"
	"strings"
)

// RequestFrom returns what a net/http request presents, for callers that answer
// without Handler, such as a check that a proxy asks for: the tokens of its
// cookies, the client, and with Options.Bearer the token of its Authorization
// header. It says nothing about where the request came from. Handler refuses
// pages of other origins; callers without Handler call CheckOrigin. With
// Options.Development, a request that shows that the site is in production can't
// load its session (ErrDevelopment).
func (e *Engine) RequestFrom(r *http.Request) (p Request) {
	e.readRequest(r, &p, new([3]string))
	if e.opt.Development {
		p.refused = notDevelopment(r)
	}
	return p
}

// CheckOrigin returns ErrCrossOrigin if an unsafe request, or the handshake of a
// WebSocket, comes from a page of another origin. Handler calls it by itself.
func (e *Engine) CheckOrigin(r *http.Request) error { return e.site.crossOrigin(r) }

// readRequest fills in what a request presents, with room for the usual tokens.
func (e *Engine) readRequest(r *http.Request, p *Request, room *[3]string) {
	p.Client = e.site.client(r)
	p.Safe = r.Method == http.MethodGet || r.Method == http.MethodHead
	if e.opt.Bearer {
		p.Bearer = bearer(r)
	}
	if e.opt.Adopt != nil {
		p.Old = e.opt.Adopt.read(r)
	}
	p.Session, p.Visitor, p.Proofs = room[0:0:1], room[1:1:2], room[2:2:3]
	e.site.cookie.readCookies(r.Header["Cookie"], p)
}

// read returns the old library's cookies of a request, by name, or nil if it has
// none. Of several with the same name it takes the first, as old libraries do.
func (a *Adoption) read(r *http.Request) map[string]string {
	return a.pick(func(name string) (string, bool) {
		c, err := r.Cookie(name)
		if err != nil {
			return "", false
		}
		return c.Value, true
	})
}

// present fills in the request of an exchange.
func (x *exchange) present(p *Request, tokens *[3]string) {
	x.session.e.readRequest(x.r, p, tokens)
}

// bearer returns the token of an Authorization header (RFC 6750, section 2.1).
func bearer(r *http.Request) string {
	const scheme = "Bearer "
	if h := r.Header["Authorization"]; len(h) == 1 && hasPrefixFold(h[0], scheme) {
		return strings.TrimLeft(h[0][len(scheme):], " ")
	}
	return ""
}
