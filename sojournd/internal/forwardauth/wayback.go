package forwardauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/sojourn-go/sojourn/internal/peer"
)

// A page is where visitors are sent to sign in.
type page struct {
	target string // ends with "return_to="; the address to return to follows
	bare   string // without an address to return to
	origin string // empty: the application's own
	path   string
}

// CheckPage returns the mistake in a LoginURL or StepUpURL.
func CheckPage(address string) error {
	_, err := newPage(address, "")
	return err
}

// CheckOrigin returns the mistake in one of the ReturnOrigins.
func CheckOrigin(text string) error {
	_, err := parseOrigin(text)
	return err
}

// newPage returns nil for an empty address.
func newPage(address, param string) (*page, error) {
	if address == "" {
		return nil, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%q is no URL: use a path like /login, or https://login.example.com/", address)
	}
	p := &page{bare: address, path: u.EscapedPath()}
	switch {
	case len(address) > maxPage:
		return nil, fmt.Errorf("is longer than %d bytes: use a path like /login, or https://login.example.com/", maxPage)
	case !printable(address) || strings.Contains(address, "#") || u.User != nil || u.Opaque != "":
		return nil, fmt.Errorf("%q has parts that are not allowed: use a path like /login, or https://login.example.com/", address)
	case u.Scheme == "":
		if !localPath(address) {
			return nil, fmt.Errorf("%q is no path: use one slash, as in /login, or https://login.example.com/", address)
		}
	default:
		if p.origin, err = parseOrigin(u.Scheme + "://" + u.Host); err != nil {
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

// parseOrigin returns an origin in the form that browsers use.
func parseOrigin(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || text != u.Scheme+"://"+u.Host || strings.ContainsAny(text, "*\\") || !printable(text) {
		return "", fmt.Errorf("%q is no origin: use scheme and host, and nothing behind, as in https://shop.example.com", text)
	}
	return strings.ToLower(text), nil
}

var errNoWayBack = errors.New("no way back")

// redirect returns where to redirect a page view. It is empty if the request is
// not a page view, or if there is no page.
func (h *Handler) redirect(r *http.Request, a *app, to *page) string {
	if to == nil || !pageView(r.Header) {
		return ""
	}
	back, err := h.wayBack(r, a, to)
	switch {
	case errors.Is(err, errIsPage):
		return ""
	case err != nil:
		return to.bare
	}
	encoded := url.QueryEscape(back)
	if len(encoded) > maxWayBack {
		return to.bare
	}
	return to.target + encoded
}

// errIsPage is the error if the sign-in page itself is behind the check. A redirect
// to it would loop for ever.
var errIsPage = errors.New("the request is for the page itself")

// wayBack returns the address that the visitor requested: a path of the
// application's site, or an address of a listed origin. It is safe to redirect
// to it, whatever the visitor sent.
func (h *Handler) wayBack(r *http.Request, a *app, to *page) (string, error) {
	if !h.trusted(r) {
		return "", errNoWayBack
	}
	uri := only(r.Header["X-Forwarded-Uri"])
	if !localPath(uri) {
		return "", errNoWayBack
	}
	path, _, _ := strings.Cut(uri, "?")
	origin := ""
	if to.origin != "" {
		origin = strings.ToLower(only(r.Header["X-Forwarded-Proto"]) + "://" + only(r.Header["X-Forwarded-Host"]))
	}
	switch method := h.method(r); {
	case origin == to.origin && path == to.path:
		return "", errIsPage
	case method != http.MethodGet && method != http.MethodHead:
		return "", errNoWayBack // the body is lost, and the address may not answer GET
	case to.origin == "":
		return uri, nil
	case a.origins[origin]:
		return origin + uri, nil
	}
	return "", errNoWayBack
}

// Limits in bytes, after encoding, which can triple the length of an address.
// With both at their limit the header of an answer fits into the 4 KiB that
// nginx reads by default.
const (
	maxWayBack = 2048
	maxPage    = 1024
)

// localPath reports whether browsers resolve a URI, a path with or without a
// query, to the same site. So it must not hold a double slash, even after dots
// are removed, or a backslash, tab or newline, which browsers treat alike
// (WHATWG URL).
func localPath(uri string) bool {
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

// pageView reports whether the request is a navigation. Scripts and WebSockets
// have no use for a redirect.
func pageView(h http.Header) bool {
	if fetch := h["Sec-Fetch-Mode"]; len(fetch) > 0 && only(fetch) != "navigate" {
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

// method returns the method of the visitor's request. It is empty if the peer
// is not trusted. nginx, Caddy and Traefik always use GET for the check.
func (h *Handler) method(r *http.Request) string {
	said := r.Header["X-Forwarded-Method"]
	switch {
	case len(said) == 0:
		return r.Method
	case !h.trusted(r):
		return ""
	}
	return only(said)
}

// trusted reports whether a trusted proxy sent the request.
func (h *Handler) trusted(r *http.Request) bool { return peer.Of(r).Trusted(h.proxies) }

// only returns a header's value if it was sent once. A second value may come
// from the visitor.
func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}
