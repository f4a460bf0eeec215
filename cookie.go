package sojourn

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/internal/dbsc"
	"github.com/sojourn-go/sojourn/store"
)

// Cookie shapes the two cookies of an application: one of logged-in sessions and
// one of anonymous sessions. They are separate, so that a late answer to an
// anonymous request can't replace a login. Both are Secure, except in
// Options.Development, and HttpOnly, with Path=/.
type Cookie struct {
	// Name is the name of the logged-in session's cookie, Visitor that of the
	// anonymous session's. Default "__Host-session" and "__Host-visitor"; if
	// Domain is set, "__Secure-session" and "__Secure-visitor". A browser accepts the
	// prefix "__Host-" only from the host itself, over HTTPS or from localhost
	// (draft-ietf-httpbis-rfc6265bis, section 4.1.3).
	Name    string
	Visitor string

	// Domain shares the cookies with all hosts below a domain, such as
	// "example.com". Each of these hosts can then read and plant them, and so can
	// anybody who takes one over. Default: this host alone.
	//
	// New refuses a single label ("com", "localhost") and an IP address. It
	// does not check whether the site lies below the domain, nor whether the
	// domain is a public suffix of several labels ("co.uk", "github.io"):
	// browsers drop the cookies then, and nobody can sign in.
	Domain string

	// SameSite is http.SameSiteLaxMode by default.
	SameSite http.SameSite

	// UntilBrowserCloses leaves Max-Age out of both cookies, so that a browser
	// drops them when it closes. The cookie of a login with Remember still has it.
	// A browser that restores its windows may keep the cookies; the session's
	// deadlines on the server don't depend on them. It takes effect when a session
	// begins or logs in. Default: the cookies last as long as the session can.
	UntilBrowserCloses bool

	// Partitioned gives each embedding site its own cookie jar (CHIPS). It needs
	// SameSite: http.SameSiteNoneMode. Most applications don't need it.
	Partitioned bool

	insecure bool   // by Options.Development
	proof    string // what the names of proofs begin with; empty: Options.Bound is nil
}

// Limits that browsers set (draft-ietf-httpbis-rfc6265bis, sections 5.5 and 5.6).
const (
	maxCookiePair = 4096
	maxCookieAge  = 400 * day
)

func (c Cookie) withDefaults(development bool) (Cookie, error) {
	prefix := "__Host-"
	if c.Domain != "" {
		prefix = "__Secure-"
	}
	setDefault(&c.Name, prefix+"session")
	setDefault(&c.Visitor, prefix+"visitor")
	if c.SameSite == 0 || c.SameSite == http.SameSiteDefaultMode {
		c.SameSite = http.SameSiteLaxMode
	}
	if c.SameSite > http.SameSiteNoneMode || c.SameSite < 0 {
		return c, fmt.Errorf("sojourn: Cookie.SameSite is %d: use http.SameSiteLaxMode, http.SameSiteStrictMode or http.SameSiteNoneMode", c.SameSite)
	}
	if development {
		var err error
		if c, err = c.plain(); err != nil {
			return c, err
		}
	}
	if c.Name == c.Visitor {
		return c, fmt.Errorf("sojourn: Cookie.Name and Cookie.Visitor are both %q: they must differ", c.Name)
	}
	if err := checkDomain(c.Domain); err != nil {
		return c, err
	}
	for _, name := range []string{c.Name, c.Visitor} {
		trial := http.Cookie{Name: name, Domain: c.Domain, Secure: !c.insecure, SameSite: c.SameSite, Partitioned: c.Partitioned}
		switch err := trial.Valid(); {
		case err != nil:
			return c, fmt.Errorf("sojourn: Cookie %q: %w", name, err)
		case len(name) > maxCookiePair-tokenSize:
			return c, fmt.Errorf("sojourn: Cookie name of %d bytes: name and value together have at most %d", len(name), maxCookiePair)
		case c.Domain != "" && hasPrefixFold(name, "__Host-"):
			return c, fmt.Errorf("sojourn: Cookie %q with Domain: browsers refuse it; choose a name that begins with __Secure-", name)
		}
	}
	if c.Partitioned && c.SameSite != http.SameSiteNoneMode {
		return c, errors.New("sojourn: Cookie.Partitioned needs SameSite: http.SameSiteNoneMode: without it the cookie isn't sent to embedded pages at all")
	}
	return c, nil
}

// checkDomain refuses a Domain that no browser accepts. http.Cookie.Valid
// checks its characters.
func checkDomain(domain string) error {
	if domain == "" {
		return nil
	}
	name := strings.TrimPrefix(domain, ".")
	if _, err := netip.ParseAddr(name); err == nil {
		return fmt.Errorf("sojourn: Cookie.Domain is the IP address %q: an address has no hosts below it; leave Domain empty", domain)
	}
	if !strings.Contains(strings.TrimSuffix(name, "."), ".") || strings.HasSuffix(name, ".") {
		return fmt.Errorf("sojourn: Cookie.Domain is %q: browsers refuse a single label and a dot at the end; use a domain such as example.com, or leave it empty for this host alone", domain)
	}
	return nil
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// attributes returns what follows the value and Max-Age in Set-Cookie.
func (c *Cookie) attributes() string {
	var b strings.Builder
	b.WriteString("; Path=/")
	if c.Domain != "" {
		b.WriteString("; Domain=" + strings.TrimPrefix(c.Domain, "."))
	}
	b.WriteString("; HttpOnly")
	if !c.insecure {
		b.WriteString("; Secure")
	}
	b.WriteString("; SameSite=")
	switch c.SameSite {
	case http.SameSiteStrictMode:
		b.WriteString("Strict")
	case http.SameSiteNoneMode:
		b.WriteString("None")
	default:
		b.WriteString("Lax")
	}
	if c.Partitioned {
		b.WriteString("; Partitioned")
	}
	return b.String()
}

// forms returns the attributes with which the cookie is set. After them it
// returns those of other configurations, with and without Domain and
// Partitioned, whose cookies a browser may still hold. To a browser these are
// different cookies of the same name.
func (c *Cookie) forms() []string {
	if c.insecure { // a browser would drop the others
		return []string{c.attributes()}
	}
	var list []string
	for _, domain := range slices.Compact([]string{c.Domain, ""}) {
		for _, partitioned := range []bool{c.Partitioned, !c.Partitioned} {
			form := *c
			form.Domain, form.Partitioned = domain, partitioned
			list = append(list, form.attributes())
		}
	}
	return list
}

// cookieChange is what a commit wants of the client's cookies.
type cookieChange struct {
	setSession   bool
	setVisitor   bool
	clearSession bool
	clearVisitor bool
	clearOld     bool  // those of Adoption.Cookies that the client sent
	setProof     bool  // the one of state.proof
	clearProof   bool  // of the unproven session
	maxAge       int32 // seconds; 0: the cookie is set without Max-Age
}

func (c cookieChange) any() bool {
	return c.setSession || c.setVisitor || c.clearSession || c.clearVisitor || c.clearOld || c.setProof || c.clearProof
}

// set asks for the cookie of r, which must not be a bearer's session.
func (c *cookieChange) set(r *store.Record, visitorSent bool) {
	c.setSession = r.Subject != ""
	c.setVisitor = !c.setSession
	c.clearVisitor = c.setSession && visitorSent
	if !r.UntilBrowserCloses {
		c.maxAge = int32(min(r.ExpiresAt.Sub(r.Secret.IssuedAt), maxCookieAge) / time.Second)
	}
}

// clear asks for cookies to be deleted.
func (c *cookieChange) clear(session, visitor bool) {
	c.clearSession, c.clearVisitor = session, visitor
}

// AddCookies adds the cookies that the commit asks for to the header of the
// response, and those of BoundHeaders, for callers that don't use Handler. If there
// are any, it keeps the response out of every cache, as Handler does: Cache-Control
// becomes no-store, and Expires and the headers that only some caches read
// (CDN-Cache-Control and the like) are removed.
func (s *Session) AddCookies(h http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == nil {
		return
	}
	cookies := s.setCookies(nil)
	if len(cookies) > 0 {
		h["Set-Cookie"] = append(h["Set-Cookie"], cookies...)
	}
	if s.askBrowser(h) || len(cookies) > 0 {
		forbidStorage(h)
	}
}

// SetCookies returns the values of the Set-Cookie headers that the commit asks
// for, for callers that can't use AddCookies. They hold a secret: send them to the
// client alone, with Cache-Control: no-store.
func (s *Session) SetCookies() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == nil {
		return nil
	}
	return s.setCookies(nil)
}

// setCookies appends them to list. Session.mu is held.
func (s *Session) setCookies(list []string) []string {
	c, site := s.outcome.cookies, s.e.site
	if c.setSession || c.setVisitor {
		name, sent := site.cookie.Name, s.request.Session
		if c.setVisitor {
			name, sent = site.cookie.Visitor, s.request.Visitor
		}
		if len(sent) > 1 { // clear before setting: to a browser without Partitioned all are one cookie
			list = appendClear(list, name, site.forms[1:])
		}
		var age [30]byte
		maxAge := age[:0]
		if c.maxAge > 0 {
			maxAge = strconv.AppendInt(append(maxAge, "; Max-Age="...), int64(c.maxAge), 10)
		}
		list = append(list, name+"="+s.outcome.issued+string(maxAge)+site.forms[0])
	}
	if c.setProof {
		age := strconv.Itoa(int(s.e.opt.Bound.ProofLife / time.Second))
		list = append(list, site.cookie.proofName(s.challenged.ID)+"="+s.proof+"; Max-Age="+age+site.forms[0])
	}
	if c.clearProof && s.found.unproven != nil { // Strict drops it after the commit
		list = appendClear(list, site.cookie.proofName(s.found.unproven.ID), site.forms)
	}
	if c.clearSession {
		list = appendClear(list, site.cookie.Name, site.forms)
		for _, id := range s.proofsSent() {
			list = appendClear(list, site.cookie.proofName(id), site.forms)
		}
	}
	if c.clearVisitor {
		list = appendClear(list, site.cookie.Visitor, site.forms)
	}
	if c.clearOld {
		for i := range s.e.opt.Adopt.Cookies {
			old := &s.e.opt.Adopt.Cookies[i]
			if _, sent := s.request.Old[old.Name]; sent {
				list = append(list, old.deletion())
			}
		}
	}
	return list
}

func appendClear(list []string, name string, forms []string) []string {
	for _, attributes := range forms {
		list = append(list, name+"=; Max-Age=0"+attributes)
	}
	return list
}

// check returns what is wrong with the cookie.
func (c *OldCookie) check() error { return c.expired().Valid() }

// deletion returns the value of a Set-Cookie header that deletes the cookie.
func (c *OldCookie) deletion() string { return c.expired().String() }

func (c *OldCookie) expired() *http.Cookie {
	secure := c.Partitioned || strings.HasPrefix(c.Name, "__") // else browsers refuse it
	return &http.Cookie{Name: c.Name, Path: c.Path, Domain: c.Domain, MaxAge: -1, HttpOnly: true, Secure: secure, Partitioned: c.Partitioned}
}

// readCookies appends the values of the two cookies, and of proofs, in the lines
// of a Cookie header. Names compare exactly: "__host-session" is another cookie,
// which any page may set.
func (c *Cookie) readCookies(lines []string, p *Request) {
	for _, line := range lines {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			for pair != "" && (pair[0] == ' ' || pair[0] == '\t') {
				pair = pair[1:]
			}
			for pair != "" && (pair[len(pair)-1] == ' ' || pair[len(pair)-1] == '\t') {
				pair = pair[:len(pair)-1]
			}
			name, value, ok := strings.Cut(pair, "=")
			switch {
			case !ok:
			case name == c.Name:
				p.Session = append(p.Session, value)
			case name == c.Visitor:
				p.Visitor = append(p.Visitor, value)
			case c.proof != "" && strings.HasPrefix(name, c.proof):
				if len(p.Proofs) == maxPresented { // the newest session's comes last (RFC 6265, section 5.4)
					p.Proofs = p.Proofs[:copy(p.Proofs, p.Proofs[1:])]
				}
				p.Proofs = append(p.Proofs, value)
			}
		}
	}
}

// proofName returns the name of the cookie with the proof of a session. Each
// session has its own, so that a late answer to an earlier one replaces nothing.
func (c *Cookie) proofName(id ID) string {
	text := id.String()
	return c.proof + text[len(text)-8:]
}

// BoundHeaders returns the headers that ask the browser to bind its session to a
// key, or to prove that it holds that key (Options.Bound), for callers that can't
// use AddCookies. Call it after the commit. They hold challenges, so they go out
// with Cache-Control: no-store. Nil: there is nothing to ask for.
func (s *Session) BoundHeaders() http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := http.Header{}
	if s.state == nil || !s.askBrowser(h) {
		return nil
	}
	return h
}

// askBrowser sets the headers of BoundHeaders, and reports whether there are any.
// Session.mu is held.
func (s *Session) askBrowser(h http.Header) (asked bool) {
	if r := s.asked(); r != nil {
		if text, ok := challenge(r, s.e.now()); ok {
			h.Set(dbsc.HeaderChallenge, dbsc.Challenge(text, r.ID.String()))
			asked = true
		}
	}
	if s.offers() {
		s.e.bad.toldBound(s.current().ID, offered, s.e.now())
		if text, ok := challenge(s.current(), s.e.now()); ok {
			h.Set(dbsc.HeaderRegistration, dbsc.Registration(s.e.opt.Bound.Path+registerPath, text))
			asked = true
		}
	}
	return asked
}
