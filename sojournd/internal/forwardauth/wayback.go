package forwardauth

import (
	"net/http"
	"strings"

	"github.com/sojourn-go/sojourn/internal/peer"
	"github.com/sojourn-go/sojourn/internal/signin"
)

// CheckPage returns the mistake in a LoginURL or StepUpURL.
func CheckPage(address string) error {
	_, err := signin.NewPage(address, "")
	return err
}

// CheckOrigin returns the mistake in one of the ReturnOrigins.
func CheckOrigin(text string) error {
	_, err := signin.ParseOrigin(text)
	return err
}

// redirect returns where to redirect a page view. It is empty if the request is
// not a page view, or if there is no page. The visitor's address is known only
// from a trusted proxy.
func (h *Handler) redirect(r *http.Request, a *app, to *signin.Page) string {
	view := signin.View{Header: r.Header, Method: h.method(r)}
	if to != nil && h.trusted(r) {
		view.URI = signin.Only(r.Header["X-Forwarded-Uri"])
		view.Host = signin.Only(r.Header["X-Forwarded-Host"])
		if to.Elsewhere() {
			view.Origin = strings.ToLower(signin.Only(r.Header["X-Forwarded-Proto"]) + "://" + view.Host)
			view.Listed = a.origins[view.Origin]
		}
	}
	return to.For(&view)
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
	return signin.Only(said)
}

// trusted reports whether a trusted proxy sent the request.
func (h *Handler) trusted(r *http.Request) bool { return peer.Of(r).Trusted(h.proxies) }
