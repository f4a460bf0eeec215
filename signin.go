package sojourn

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sojourn-go/sojourn/internal/signin"
)

// Handler wraps a route: next runs if the session meets the requirement;
// otherwise Refuse answers. Use it inside Engine.Handler; of two engines it asks
// the inner one (see From). It panics if the requirement has a mistake, such as a
// page that isn't an address, because requirements are constants of the program.
//
// Don't wrap the sign-in page itself. Visitors would get 401 there.
func (q Requirement) Handler(next http.Handler) http.Handler {
	signIn, stepUp, err := q.pages()
	if err != nil {
		panic("sojourn: Requirement: " + strings.TrimPrefix(err.Error(), "sojourn: "))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := q.Check(r.Context(), From(r.Context())); err != nil {
			refuse(w, r, err, signIn, stepUp)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Refuse answers a request for which Check returned an error. It panics if the
// request did not come through Engine.Handler, as From does.
//
// Page views, which are what a browser loads into a tab (by Sec-Fetch-Mode,
// Sec-Fetch-Dest and Accept), are redirected with 303 to the page SignIn or
// StepUp. That page gets the way back in its query: the address of the page view.
// If a form was sent, it is the address of the page with the form (by Referer),
// because a form can't be sent again. Scripts get 401 (ErrAnonymous, ErrUnproven)
// or 403, and so do page views if SignIn or StepUp is empty. Error writes that
// answer, and the one to any other error.
//
// If the browser must prove that the session is its own (ErrUnproven, ErrUnbound),
// page views are redirected to Options.Bound.Path, whose page does that and leads
// back.
//
// The way back is a path. If the page is on another host, it is a URL of one of
// Options.Origins: of the one with the request's Host, or of the only one. An
// address that browsers could take for another site's, or that is longer than
// 2048 bytes when encoded, is left out.
func (q Requirement) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	signIn, stepUp, _ := q.pages() // a wrong one is nil
	refuse(w, r, err, signIn, stepUp)
}

func refuse(w http.ResponseWriter, r *http.Request, err error, signIn, stepUp *signin.Page) {
	s := From(r.Context())
	var page *signin.Page
	switch {
	case errors.Is(err, ErrAnonymous):
		page = signIn
		w.Header().Set("WWW-Authenticate", s.e.challenge()) // RFC 9110, section 15.5.2
	case errors.Is(err, ErrUnproven):
		page = s.e.site.waiting
		w.Header().Set("WWW-Authenticate", s.e.challenge())
	case errors.Is(err, ErrUnbound):
		page = s.e.site.waiting
	case errors.Is(err, ErrLevel), errors.Is(err, ErrNotFresh):
		page = stepUp
	}
	target := page.For(s.e.site.view(r, page))
	if target == "" {
		Error(w, r, err)
		return
	}
	h := w.Header()
	h.Del("WWW-Authenticate")
	forbidStorage(h)
	h.Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}

// LocalPath returns the address if it is a path of this site, with or without a
// query, of at most 2048 bytes. Otherwise it returns the fallback. Use it for the
// address to which a sign-in page leads back, because anybody can write a link to
// that page with another site's address in it (an open redirect, CWE-601).
//
//	http.Redirect(w, r, sojourn.LocalPath(r.FormValue("return_to"), "/"), http.StatusSeeOther)
func LocalPath(address, fallback string) string {
	if len(address) > maxLocalPath || !signin.LocalPath(address) {
		return fallback
	}
	return address
}

const maxLocalPath = 2048

// pages returns the requirement's pages, or an error that says what is wrong
// with it.
func (q Requirement) pages() (signIn, stepUp *signin.Page, err error) {
	if err := checkLevel(q.Level); err != nil {
		return nil, nil, err
	}
	if q.Fresh < 0 {
		return nil, nil, fmt.Errorf("%w: Fresh is %v: use 0 or more", ErrValue, q.Fresh)
	}
	if q.ReturnParam == "" {
		q.ReturnParam = "return_to"
	}
	if signIn, err = signin.NewPage(q.SignIn, q.ReturnParam); err != nil {
		return nil, nil, fmt.Errorf("%w: SignIn %w", ErrValue, err)
	}
	if stepUp, err = signin.NewPage(q.StepUp, q.ReturnParam); err != nil {
		return nil, nil, fmt.Errorf("%w: StepUp %w", ErrValue, err)
	}
	return signIn, stepUp, nil
}

// view returns what is known of a request that is refused.
func (s *site) view(r *http.Request, page *signin.Page) *signin.View {
	v := &signin.View{Header: r.Header, Method: r.Method, Host: r.Host, URI: r.RequestURI}
	if !strings.HasPrefix(v.URI, "/") { // the absolute form, or a request that no server has read
		v.URI = r.URL.RequestURI()
	}
	if page != nil && page.Elsewhere() {
		v.Origin, v.Listed = s.origin(r)
	}
	return v
}

// origin returns the public origin of a request: the one with the request's Host
// in Options.Origins or in the server's list, or else the only one in
// Options.Origins.
func (s *site) origin(r *http.Request) (origin string, listed bool) {
	for _, own := range slices.Concat(s.own, signin.Origins(r.Context())) {
		if u, err := url.Parse(own); err == nil && strings.EqualFold(u.Host, r.Host) {
			return own, true
		}
	}
	if len(s.own) == 1 { // the proxy replaces Host
		return s.own[0], true
	}
	return "", false
}

// challenge says how to authenticate, for a 401.
func (e *Engine) challenge() string {
	if e.opt.Bearer {
		return `Cookie realm="` + e.opt.App + `", Bearer realm="` + e.opt.App + `"`
	}
	return `Cookie realm="` + e.opt.App + `"`
}
