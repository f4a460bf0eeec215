// Package forwardauth answers reverse proxies that ask, before they let a request through, whose it is: nginx (auth_request), Caddy (forward_auth),
// Traefik (ForwardAuth) and Envoy (ext_authz).
//
// A proxy asks at
//
//	/check/{app}/{mode}/{require}
//
// with the headers of the visitor's request, by any method. Nothing that follows is read, neither path nor query, since Envoy appends the
// visitor's own.
//
//   - {mode} is status or redirect. Both answer 200 if the request may pass, 401 if the visitor must sign in, 403 if the login doesn't suffice. In the mode
//     redirect page views get a 302 to the sign-in page instead of a 401. nginx takes only 2xx, 401 and 403 for answers, so the
//     mode status gives no others; for page views the header Sojourn-Login then says where the 302 would lead.
//   - {require} is any, login, fresh-10m (an authentication within that time) or level-2 (a login of at least this level).
//
// A 200 tells the application who it is: Sojourn-Subject, percent-encoded, Sojourn-Session and Sojourn-Level. All three are always sent,
// empty when nobody is logged in. If the store can't answer, nobody passes: 503.
package forwardauth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn"
)

// Options say whom to answer for.
type Options struct {
	Apps []App

	// TrustedProxies are the peers whose X-Forwarded-Method, -Proto, -Host and -Uri are believed. They tell the way back after a login, and the
	// original method; without them a check is answered all the same. With any, peers on a Unix socket, which have no address, are believed too.
	TrustedProxies []netip.Prefix

	// Observe is told of each check, for metrics. App is empty if none was
	// found; the status is StatusGone if the proxy gave the check up. It may be
	// called concurrently, and must not block. Default: nobody.
	Observe func(app string, status int, took time.Duration)

	Log *slog.Logger // of stores that can't answer, once a second at most. Default: nowhere
}

// An App is an application whose requests are checked.
type App struct {
	Name     string          // in the path; letters, digits, '.', '_' and '-'
	Sessions *sojourn.Engine // its options shape the cookies, and name the proxies whose X-Forwarded-For is believed

	// LoginURL is where page views of anonymous visitors are sent: a path of the application's own site ("/login"), or a whole URL. The way back is
	// added as the query parameter ReturnParam ("return_to" by default). Without LoginURL nobody is redirected.
	LoginURL    string
	ReturnParam string

	// StepUpURL is where page views go whose login isn't fresh enough, or of too low a level. Default: they get 403. It must not be a page
	// that sends everyone who is signed in straight back.
	StepUpURL string

	// ReturnOrigins are the sites to which a way back may lead when LoginURL is a whole URL: "https://shop.example.com". To others there is none.
	ReturnOrigins []string

	// RelaysCookies says that the proxy hands Set-Cookie of a 200 on to the browser. Only then does a check rotate secrets.
	RelaysCookies bool
}

// A Handler answers checks. It must see paths as they were sent: an http.ServeMux would redirect those that it calls unclean.
type Handler struct {
	apps    map[string]*app
	proxies []netip.Prefix
	observe func(app string, status int, took time.Duration)
	log     *slog.Logger
	logged  atomic.Int64 // when, in Unix seconds
}

// An app is an App, made ready.
type app struct {
	name      string
	sessions  *sojourn.Engine
	login     *page
	stepUp    *page
	origins   map[string]bool
	relays    bool
	challenge []string
}

// New returns the handler, or an error that says what to change.
func New(o Options) (*Handler, error) {
	h := &Handler{apps: make(map[string]*app), proxies: o.TrustedProxies, observe: o.Observe, log: o.Log}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	for _, a := range o.Apps {
		made, err := newApp(a)
		if err != nil {
			return nil, fmt.Errorf("forwardauth: application %q: %w", a.Name, err)
		}
		if h.apps[a.Name] != nil {
			return nil, fmt.Errorf("forwardauth: there are two applications %q", a.Name)
		}
		h.apps[a.Name] = made
	}
	return h, nil
}

func newApp(o App) (*app, error) {
	if o.Name == "" || strings.ContainsAny(o.Name, "/?#%\"\\") || o.Sessions == nil {
		return nil, errors.New("an application has a name of letters, digits, '.', '_' and '-', and an engine")
	}
	if o.ReturnParam == "" {
		o.ReturnParam = "return_to"
	}
	a := &app{name: o.Name, sessions: o.Sessions, origins: make(map[string]bool), relays: o.RelaysCookies}
	a.challenge = []string{`Cookie realm="` + o.Name + `"`}
	var err error
	if a.login, err = newPage(o.LoginURL, o.ReturnParam); err != nil {
		return nil, fmt.Errorf("the login URL %w", err)
	}
	if a.stepUp, err = newPage(o.StepUpURL, o.ReturnParam); err != nil {
		return nil, fmt.Errorf("the step-up URL %w", err)
	}
	for _, text := range o.ReturnOrigins {
		origin, err := parseOrigin(text)
		if err != nil {
			return nil, fmt.Errorf("the return origin %w", err)
		}
		a.origins[origin] = true
	}
	return a, nil
}

// ServeHTTP answers a check.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.observe == nil {
		h.check(w, r)
		return
	}
	began := time.Now()
	name, status := h.check(w, r)
	h.observe(name, status, time.Since(began))
}

// check returns whose check it was, and the answer's status.
func (h *Handler) check(w http.ResponseWriter, r *http.Request) (name string, status int) {
	w.Header()["Cache-Control"] = noStore
	a, mode, need, ok := h.route(r.URL.Path)
	if !ok {
		return "", refuse(w, http.StatusNotFound, "there is no such check: ask at /check/{app}/{status|redirect}/{any|login|fresh-10m|level-2}, with the name of an application of the configuration")
	}
	s := a.sessions.Begin(r.Context(), a.sessions.RequestFrom(r))
	defer s.Finish()
	if need.strict() {
		s.Strict()
	}
	if err := s.Load(r.Context()); err != nil {
		return a.name, h.fail(w, r, a, mode, err)
	}
	outcome := need.judge(s)
	if outcome != passes || !a.relays || !h.mayRotate(r) {
		s.KeepSecret()
	}
	if err := s.Commit(r.Context()); err != nil {
		return a.name, h.fail(w, r, a, mode, err)
	}
	switch outcome {
	case passes:
		return a.name, pass(w, a, s)
	case signIn:
		return a.name, h.send(w, r, a, mode, a.login, http.StatusUnauthorized, "sign in first")
	default:
		return a.name, h.send(w, r, a, mode, a.stepUp, http.StatusForbidden, need.text())
	}
}

// mayRotate reports whether the application's answer surely sets no session cookie of its own, for of two the browser
// keeps the later: logins and logouts are no safe methods (RFC 9110, section 9.2.1).
func (h *Handler) mayRotate(r *http.Request) bool {
	method := h.method(r)
	return method == http.MethodGet || method == http.MethodHead
}

// identity is the memory of the headers of a 200. The slices live in the response, which outlives the handler.
type identity struct{ subject, session, level [1]string }

var (
	noStore = []string{"no-store"}
	levels  = [...]string{"0", "1", "2", "3"}
)

// pass lets the request through.
func pass(w http.ResponseWriter, a *app, s *sojourn.Session) int {
	h, id := w.Header(), new(identity)
	if subject := s.Subject(); subject != "" {
		id.subject[0] = escape(subject)
		id.session[0] = s.ID().String()
		id.level[0] = levels[s.Level()]
	}
	h["Sojourn-Subject"], h["Sojourn-Session"], h["Sojourn-Level"] = id.subject[:], id.session[:], id.level[:]
	if a.relays {
		if cookies := s.SetCookies(); len(cookies) > 0 {
			h["Set-Cookie"] = cookies
		}
	}
	w.WriteHeader(http.StatusOK)
	return http.StatusOK
}

// send refuses a request, or sends a page view to a page where its visitor may get what is missing.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, a *app, mode mode, to *page, status int, text string) int {
	header := w.Header()
	if target := h.redirect(r, a, to); target != "" {
		if mode == redirects {
			header.Set("Location", target)
			return refuse(w, http.StatusFound, text)
		}
		header["Sojourn-Login"] = []string{target}
	}
	if status == http.StatusUnauthorized {
		header["Www-Authenticate"] = a.challenge
	}
	return refuse(w, status, text)
}

// StatusGone is what counts for a check whose proxy didn't wait for the answer.
// nginx has the same number for it. Nobody is answered with it.
const StatusGone = 499

// fail answers when the session can't be told.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, a *app, mode mode, err error) int {
	header := w.Header()
	gone := r.Context().Err() != nil
	if now := time.Now().Unix(); !gone && h.logged.Swap(now) != now {
		h.log.Warn("a check got 503: the session can't be told", "app", a.name, "error", err)
	}
	header.Set("Retry-After", "5")
	status := refuse(w, http.StatusServiceUnavailable, "sessions are unavailable at the moment; try again later")
	if gone {
		return StatusGone
	}
	return status
}

func refuse(w http.ResponseWriter, status int, text string) int {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // the proxy has gone
	return status
}

// escape percent-encodes all but the unreserved characters (RFC 3986, section 2.3), so that any subject is a header's value, and decodes
// by any language's usual function.
func escape(s string) string {
	n := 0
	for i := range len(s) {
		if !unreserved(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if c := s[i]; unreserved(c) {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}
