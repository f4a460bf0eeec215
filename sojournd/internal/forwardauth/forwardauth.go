// Package forwardauth answers reverse proxies that ask for each request whether
// it may pass, and who sent it: nginx (auth_request), Caddy (forward_auth),
// HAProxy (a Lua script), Traefik (ForwardAuth) and Envoy (ext_authz).
//
// A proxy asks at
//
//	/check/{app}/{mode}/{require}
//
// with the headers of the visitor's request and any method. The rest of the
// path and the query are ignored, because Envoy appends those of the visitor's
// request.
//
//   - {mode} is status or redirect. Both answer 200 if the request may pass, 401 if
//     the visitor must sign in, and 403 if the login does not suffice. With redirect,
//     page views get a 302 to the sign-in page instead of a 401. nginx accepts only
//     2xx, 401 and 403, so status gives no 302: for page views the header
//     Sojourn-Login has the address instead.
//   - {require} is any, login, fresh-10m (an authentication within that time),
//     level-2 (a login with at least this level) or bound (a login that is bound to
//     its browser). fresh-10m-bound and level-2-bound require both. If it ends with
//     -passive, as in login-passive, the check does not count as activity.
//
// A 200 has the headers Sojourn-Subject (percent-encoded), Sojourn-Session and
// Sojourn-Level for the application, and those of App.Headers. They are empty if
// nobody is logged in. If the store does not answer, no request passes: 503.
//
// A request without a proof for a bound session is a visitor's. The answer to it
// has the header Secure-Session-Challenge, and the answer that rotates an unbound
// session's secret has Secure-Session-Registration. The proxy passes both on to the
// browser.
package forwardauth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/signin"
)

// Options are the applications and the proxies.
type Options struct {
	Apps []App

	// TrustedProxies are the peers whose X-Forwarded-Method, -Proto, -Host and
	// -Uri are trusted. These headers tell the original method, and the address
	// to return to after a login. Checks of other peers are answered without
	// them. If any proxy is named, peers on a Unix socket are trusted too.
	TrustedProxies []netip.Prefix

	// Observe gets each check, for metrics. App is empty if none was found. The
	// status is StatusGone if the proxy did not wait for the answer. Observe
	// may be called concurrently and must not block. Default none.
	Observe func(app string, status int, took time.Duration)

	Log *slog.Logger // gets errors of the store, at most one a second; default none
}

// An App is an application whose requests are checked.
type App struct {
	Name     string          // in the path; letters, digits, '.', '_' and '-'
	Sessions *sojourn.Engine // its options set the cookies, and the proxies whose X-Forwarded-For is trusted

	// LoginURL is where anonymous page views are redirected: a path of the
	// application's site ("/login"), or a whole URL. The query parameter
	// ReturnParam (default "return_to") has the address to return to. Without
	// LoginURL there are no redirects.
	LoginURL    string
	ReturnParam string

	// StepUpURL is where page views are redirected if the login is too old or
	// its level too low. It must not be a page that sends signed-in users
	// straight back. Default: they get 403.
	StepUpURL string

	// WaitingURL is where page views are redirected if the browser must prove that
	// the session began there, or bind the session to its key: the path of
	// Options.Bound. It gets the way back in return_to. Default: they get 401 or
	// 403.
	WaitingURL string

	// ReturnOrigins are the origins to return to if LoginURL is a whole URL,
	// such as "https://shop.example.com".
	ReturnOrigins []string

	// RelaysCookies says that the proxy passes Set-Cookie of a 200 to the
	// browser. Only then a check rotates secrets.
	RelaysCookies bool

	// PassiveHeader names a header of the visitor's request. A check with it,
	// whatever its value is, does not count as activity. Default none.
	PassiveHeader string

	// Headers are further headers of a 200, for the application: name to source.
	// A source is subject, session, level, amr, remembered, bound, created_at,
	// authenticated_at, last_seen_at, idle_expires_at, expires_at, value.KEY, or
	// value.KEY#/POINTER (RFC 6901). There may be at most 16. If they have more than
	// 2048 bytes together, the longest are sent empty.
	Headers map[string]string
}

// A Handler answers checks. Do not put it behind an http.ServeMux, which
// redirects paths that are not clean.
type Handler struct {
	apps    map[string]*app
	proxies []netip.Prefix
	observe func(app string, status int, took time.Duration)
	log     *slog.Logger
	logged  atomic.Int64 // time of the last log entry, in Unix seconds
}

// An app is a checked App.
type app struct {
	name      string
	sessions  *sojourn.Engine
	login     *signin.Page
	stepUp    *signin.Page
	waiting   *signin.Page
	origins   map[string]bool
	relays    bool
	passive   string // App.PassiveHeader, canonical
	headers   []header
	challenge []string
}

// New returns a handler. The error says what to change.
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
	if a.login, err = signin.NewPage(o.LoginURL, o.ReturnParam); err != nil {
		return nil, fmt.Errorf("the login URL %w", err)
	}
	if a.stepUp, err = signin.NewPage(o.StepUpURL, o.ReturnParam); err != nil {
		return nil, fmt.Errorf("the step-up URL %w", err)
	}
	if a.waiting, err = signin.NewPage(o.WaitingURL, "return_to"); err != nil {
		return nil, fmt.Errorf("the waiting URL %w", err)
	}
	for _, text := range o.ReturnOrigins {
		origin, err := signin.ParseOrigin(text)
		if err != nil {
			return nil, fmt.Errorf("the return origin %w", err)
		}
		a.origins[origin] = true
	}
	if o.PassiveHeader != "" {
		if err := CheckHeaderName(o.PassiveHeader); err != nil {
			return nil, fmt.Errorf("the passive header %w", err)
		}
		a.passive = http.CanonicalHeaderKey(o.PassiveHeader)
	}
	if a.headers, err = newHeaders(o.Headers); err != nil {
		return nil, err
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

// check returns the application of the check and the status of the answer.
func (h *Handler) check(w http.ResponseWriter, r *http.Request) (name string, status int) {
	w.Header()["Cache-Control"] = noStore
	a, mode, need, passive, ok := h.route(r.URL.Path)
	if !ok {
		return "", refuse(w, http.StatusNotFound, "there is no such check: ask at /check/{app}/{status|redirect}/{any|login|fresh-10m|level-2|bound}, with the name of an application of the configuration; -bound may follow fresh and level, and -passive all")
	}
	request := a.sessions.RequestFrom(r)
	s := a.sessions.Begin(r.Context(), request)
	defer s.Finish()
	refused := admit(r.Context(), need, s)
	status, text := verdict(refused)
	if status == http.StatusServiceUnavailable {
		return a.name, h.fail(w, r, a, mode, refused)
	}
	if passive || a.passive != "" && len(r.Header[a.passive]) > 0 {
		beSilent(s, request.Client)
	}
	unproven := s.RefusalReason() == sojourn.RefusedUnproven // then there is no secret to rotate, and the answer has a challenge
	if !unproven && (refused != nil || !a.relays || !h.mayRotate(r)) {
		s.KeepSecret()
	}
	if err := s.Commit(r.Context()); err != nil {
		return a.name, h.fail(w, r, a, mode, err)
	}
	for name, values := range s.BoundHeaders() {
		w.Header()[name] = values
	}
	switch {
	case status == http.StatusOK:
		if len(a.headers) > 0 {
			if err := h.setChosen(w, a, s); err != nil {
				return a.name, h.fail(w, r, a, mode, err)
			}
		}
		return a.name, pass(w, a, s)
	case errors.Is(refused, sojourn.ErrUnproven), errors.Is(refused, sojourn.ErrUnbound):
		return a.name, h.send(w, r, a, mode, a.waiting, status, text)
	case status == http.StatusUnauthorized:
		return a.name, h.send(w, r, a, mode, a.login, status, text)
	default:
		return a.name, h.send(w, r, a, mode, a.stepUp, status, text)
	}
}

// beSilent keeps a check from counting as activity, unless the request comes from
// another client than the one that was seen last. Otherwise a thief could stay
// unseen by asking for passive checks.
func beSilent(s *sojourn.Session, client sojourn.Client) {
	if was := s.Info().LastSeen; !client.IP.IsValid() || client == was {
		s.Passive()
	}
}

// mayRotate reports whether the application's answer cannot set a session
// cookie itself. Of two such cookies the browser would keep the later one. A
// login or logout does not use a safe method (RFC 9110, section 9.2.1).
func (h *Handler) mayRotate(r *http.Request) bool {
	method := h.method(r)
	return method == http.MethodGet || method == http.MethodHead
}

// identity holds the headers of a 200, to allocate them at once.
type identity struct{ subject, session, level [1]string }

var (
	noStore = []string{"no-store"}
	levels  = [...]string{"0", "1", "2", "3"}
)

// pass answers that the request may pass.
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

// send refuses a request, or redirects a page view to the page to.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, a *app, mode mode, to *signin.Page, status int, text string) int {
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

// StatusGone is the status in metrics of a check whose proxy did not wait for
// the answer. nginx uses the same number. It is never sent.
const StatusGone = 499

// fail answers if the session cannot be read.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, a *app, mode mode, err error) int {
	header := w.Header()
	gone := r.Context().Err() != nil
	if !gone && h.mayLog() {
		h.log.Warn("a check failed: the session can't be read", "app", a.name, "error", err)
	}
	if errors.Is(err, sojourn.ErrDevelopment) {
		return refuse(w, http.StatusInternalServerError, "the application "+a.name+" is in development mode, where anybody on the way can read its cookies, but the visitor uses HTTPS, or the proxy doesn't send X-Forwarded-Proto; take development: true out of the configuration")
	}
	header.Set("Retry-After", "5")
	status := refuse(w, http.StatusServiceUnavailable, "sessions are unavailable at the moment; try again later")
	if gone {
		return StatusGone
	}
	return status
}

// mayLog reports whether there was no log entry yet in this second.
func (h *Handler) mayLog() bool {
	now := time.Now().Unix()
	return h.logged.Swap(now) != now
}

func refuse(w http.ResponseWriter, status int, text string) int {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // the proxy may be gone
	return status
}

// escape percent-encodes all characters except the unreserved ones (RFC 3986,
// section 2.3), so that any subject can be in a header.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") // QueryEscape writes "+" only for a blank
}
