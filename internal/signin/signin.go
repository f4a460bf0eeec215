// Package signin decides where a refused page view is sent, and which address
// the sign-in page gets to lead back to. The library's Requirement and the
// server's forward-auth share it, so they always agree.
package signin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// A Page is where visitors are sent to sign in. The nil Page is none.
type Page struct {
	target string // ends with "return_to="; the address to return to follows
	bare   string // without an address to return to
	origin string // empty: the application's own
	path   string
}

// NewPage returns the page of an address: a path of the application's site, or
// a whole URL. Param is the query parameter for the address to return to. For
// an empty address it returns nil.
func NewPage(address, param string) (*Page, error) {
	if address == "" {
		return nil, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%q is no URL: use a path like /login, or https://login.example.com/", address)
	}
	p := &Page{bare: address, path: u.EscapedPath()}
	switch {
	case len(address) > maxPage:
		return nil, fmt.Errorf("is longer than %d bytes: use a path like /login, or https://login.example.com/", maxPage)
	case !printable(address) || strings.Contains(address, "#") || u.User != nil || u.Opaque != "":
		return nil, fmt.Errorf("%q has parts that are not allowed: use a path like /login, or https://login.example.com/", address)
	case u.Scheme == "":
		if !LocalPath(address) {
			return nil, fmt.Errorf("%q is no path: use one slash, as in /login, or https://login.example.com/", address)
		}
	default:
		if p.origin, err = ParseOrigin(u.Scheme + "://" + u.Host); err != nil {
			return nil, err
		}
		if p.path == "" {
			p.path = "/"
		}
	}
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	p.target = address + separator + url.QueryEscape(param) + "="
	return p, nil
}

// ParseOrigin returns an origin in the form that browsers use.
func ParseOrigin(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || text != u.Scheme+"://"+u.Host || strings.ContainsAny(text, "*\\") || !printable(text) {
		return "", fmt.Errorf("%q is no origin: use scheme and host, and nothing behind, as in https://shop.example.com", text)
	}
	return strings.ToLower(text), nil
}

// WithOrigins returns the context for a request to a site whose server has listed
// these origins, besides those that the engine knows as the site's own. A sign-in
// page elsewhere may lead back to them.
func WithOrigins(ctx context.Context, origins []string) context.Context {
	return context.WithValue(ctx, originsKey{}, origins)
}

// Origins returns the origins of WithOrigins.
func Origins(ctx context.Context) []string {
	origins, _ := ctx.Value(originsKey{}).([]string)
	return origins
}

type originsKey struct{}

// Elsewhere reports whether the page is of another origin than the application,
// so that a path doesn't suffice to lead back.
func (p *Page) Elsewhere() bool { return p.origin != "" }

// A View is a visitor's request that is refused. Empty fields are not known.
type View struct {
	Header http.Header
	Method string
	Host   string
	URI    string // path and query

	// Origin is scheme and host, in lower case. Listed says that the application
	// has named it as one of its own. To lead back from a page on another host, both
	// are needed.
	Origin string
	Listed bool
}

// For returns the address to which a view is redirected: that of the page, with
// the address to return to if that is safe. It is empty if there is no page, if
// the view is no page view, or if it is for the page itself, whose redirect
// would lead to itself for ever.
func (p *Page) For(v *View) string {
	if p == nil || !PageView(v.Header) {
		return ""
	}
	if p.isAt(v.URI, v) {
		return ""
	}
	back := v.URI
	if v.Method != http.MethodGet && v.Method != http.MethodHead {
		back = v.form() // the body is lost, and the address may not answer GET
	}
	if !LocalPath(back) || p.isAt(back, v) || p.Elsewhere() && !v.Listed {
		return p.bare
	}
	if p.Elsewhere() {
		back = v.Origin + back
	}
	if back = url.QueryEscape(back); len(back) > maxWayBack {
		return p.bare
	}
	return p.target + back
}

// isAt reports whether an address of a view's site is that of the page. If the
// site's origin is not known, its host must do.
func (p *Page) isAt(uri string, v *View) bool {
	path, _, _ := strings.Cut(uri, "?")
	_, host, _ := strings.Cut(p.origin, "://")
	return path == p.path && (!p.Elsewhere() || v.Origin == p.origin || v.Origin == "" && strings.EqualFold(v.Host, host))
}

// form returns path and query of the page whose form was sent. A page of another
// host can't make a browser send a Referer of this host.
func (v *View) form() string {
	u, err := url.Parse(Only(v.Header["Referer"]))
	if err != nil || v.Host == "" || !strings.EqualFold(u.Host, v.Host) {
		return ""
	}
	return u.RequestURI()
}

// Limits in bytes, after encoding, which can triple the length of an address.
// With both at their limit the header of an answer fits into the 4 KiB that
// nginx reads by default.
const (
	maxWayBack = 2048
	maxPage    = 1024
)

// LocalPath reports whether browsers resolve a URI, a path with or without a
// query, to the same site. So it must not have a double slash, even after dots
// are removed. Nor may it have a backslash, which browsers take for a slash, or a
// tab or newline, which they ignore (WHATWG URL).
func LocalPath(uri string) bool {
	path, _, _ := strings.Cut(uri, "?")
	return strings.HasPrefix(uri, "/") && printable(uri) && !strings.Contains(path, "//") && !strings.Contains(path, "\\")
}

// printable reports whether s has only visible ASCII characters.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// PageView reports whether a request loads the page that a browser's tab shows.
// Scripts, frames and WebSockets have no use for a redirect to a sign-in page.
// Sec-Fetch-Mode and -Dest (W3C Fetch Metadata) are absent over plain HTTP.
func PageView(h http.Header) bool {
	if mode := h["Sec-Fetch-Mode"]; len(mode) > 0 && Only(mode) != "navigate" {
		return false
	}
	if dest := h["Sec-Fetch-Dest"]; len(dest) > 0 && Only(dest) != "document" {
		return false
	}
	return len(h["X-Requested-With"]) == 0 && acceptsHTML(h["Accept"])
}

// acceptsHTML reports whether Accept names HTML. "*/*" is not enough: scripts
// and tools send it.
func acceptsHTML(lines []string) bool {
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			kind, parameters, _ := strings.Cut(item, ";")
			kind = strings.TrimSpace(kind)
			if (strings.EqualFold(kind, "text/html") || strings.EqualFold(kind, "application/xhtml+xml")) && !refused(parameters) {
				return true
			}
		}
	}
	return false
}

// refused reports whether the parameters of a media type say q=0.
func refused(parameters string) bool {
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(name, "q") {
			return strings.Trim(value, "0.") == ""
		}
	}
	return false
}

// Only returns a header's value if it was sent once. A second value may come
// from the visitor.
func Only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}
