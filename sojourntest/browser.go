package sojourntest

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/sojourn-go/sojourn"
)

// A Browser sends requests to a handler, without a network, and keeps cookies.
// It follows no redirect: the answer's header has the Location. One goroutine
// may use it at a time.
type Browser struct {
	sessions *Sessions
	handler  http.Handler
	jar      *cookiejar.Jar
	page     string // the last that Get has loaded
}

// siteOf returns the address of the site that browsers use. It must be one for
// which they keep the cookies.
func siteOf(o sojourn.Options) *url.URL {
	site := &url.URL{Scheme: "https", Host: "example.com", Path: "/"}
	if o.Development {
		site.Scheme = "http"
	}
	if o.Cookie.Domain != "" {
		site.Host = strings.TrimPrefix(o.Cookie.Domain, ".")
	}
	if len(o.Origins) > 0 {
		if u, err := url.Parse(o.Origins[0]); err == nil {
			site.Scheme, site.Host = u.Scheme, u.Host
		}
	}
	return site
}

// Browser returns a browser without cookies, of a site that app serves. App is
// the whole application: what Engine.Handler returned, or a router with it. The
// site is the first of Options.Origins, or https://example.com.
func (s *Sessions) Browser(app http.Handler) *Browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // it never fails
	}
	return &Browser{sessions: s, handler: app, jar: jar}
}

// Get loads a page of the site, as a browser's tab does. The path may have a
// query.
func (b *Browser) Get(path string) *httptest.ResponseRecorder {
	b.page = b.origin() + path
	return b.Do(navigation(httptest.NewRequestWithContext(context.Background(), http.MethodGet, b.page, nil)))
}

// Post sends a form, from the page that Get has loaded last.
func (b *Browser) Post(path string, form url.Values) *httptest.ResponseRecorder {
	r := navigation(httptest.NewRequestWithContext(context.Background(), http.MethodPost, b.origin()+path, strings.NewReader(form.Encode())))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", b.origin())
	if b.page != "" {
		r.Header.Set("Referer", b.page)
	}
	return b.Do(r)
}

func (b *Browser) origin() string { return b.sessions.site.Scheme + "://" + b.sessions.site.Host }

// navigation gives a request the headers of a page view.
func navigation(r *http.Request) *http.Request {
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

// Do sends a request with the browser's cookies, and keeps those of the answer.
// The caller sets all other headers. Without any, a request of
// httptest.NewRequest looks like one of a script.
func (b *Browser) Do(r *http.Request) *httptest.ResponseRecorder {
	b.sessions.tick()
	at := b.sessions.site.JoinPath(r.URL.Path)
	for _, c := range b.jar.Cookies(at) {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	b.jar.SetCookies(at, w.Result().Cookies())
	return w
}

// SignIn signs the browser in, without the application's sign-in page. See
// Sessions.SignedIn.
func (b *Browser) SignIn(subject string, options ...sojourn.LoginOption) {
	b.sessions.t.Helper()
	b.Change(func(s *sojourn.Session) error { return s.Login(subject, options...) })
}

// Change changes the browser's session. See Sessions.Change.
func (b *Browser) Change(do func(*sojourn.Session) error) {
	b.sessions.t.Helper()
	cookies, _ := b.sessions.change(b.request(), do)
	b.jar.SetCookies(b.sessions.site, cookies)
}

// Session returns the browser's session, to look at. See Sessions.Session.
func (b *Browser) Session() *sojourn.Session {
	b.sessions.t.Helper()
	return b.sessions.Session(b.request())
}

// request returns a request with the browser's cookies.
func (b *Browser) request() *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, b.origin(), nil)
	for _, c := range b.jar.Cookies(b.sessions.site) {
		r.AddCookie(c)
	}
	return r
}
