package forwardauth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
)

// A mode says how a request is refused.
type mode uint8

const (
	statuses  mode = iota // 401 and 403
	redirects             // page views are redirected
)

// route parses the path of a check. It ignores what follows the requirement,
// which is nil if everybody passes. passive says that the check doesn't count as
// activity.
func (h *Handler) route(path string) (a *app, m mode, need *sojourn.Requirement, passive, ok bool) {
	rest, ok := strings.CutPrefix(path, "/check/")
	name, rest, _ := strings.Cut(rest, "/")
	word, rest, _ := strings.Cut(rest, "/")
	require, _, _ := strings.Cut(rest, "/")
	if a = h.apps[name]; a == nil || !ok {
		return nil, m, nil, false, false
	}
	switch word {
	case "status":
	case "redirect":
		m = redirects
	default:
		return nil, m, nil, false, false
	}
	require, passive = strings.CutSuffix(require, "-passive")
	need, ok = parseRequirement(require)
	return a, m, need, passive, ok
}

var loggedIn = new(sojourn.Requirement) // shared, so that the usual check allocates none

func parseRequirement(text string) (*sojourn.Requirement, bool) {
	switch text {
	case "any":
		return nil, true
	case "login":
		return loggedIn, true
	case "bound":
		return &sojourn.Requirement{Bound: true}, true
	}
	text, bound := strings.CutSuffix(text, "-bound")
	if n, ok := strings.CutPrefix(text, "level-"); ok {
		l := slices.Index(levels[:], n)
		return &sojourn.Requirement{Level: l, Bound: bound}, l >= 0
	}
	if d, ok := strings.CutPrefix(text, "fresh-"); ok {
		within, err := time.ParseDuration(d)
		return &sojourn.Requirement{Fresh: within, Bound: bound}, err == nil && within > 0
	}
	return nil, false
}

// admit returns why a session may not pass, or why it can't be read.
func admit(ctx context.Context, need *sojourn.Requirement, s *sojourn.Session) error {
	if need == nil {
		return s.Load(ctx)
	}
	return need.Check(ctx, s)
}

// verdict returns the status for what admit returned, and says what is missing.
func verdict(err error) (status int, text string) {
	switch {
	case err == nil:
		return http.StatusOK, ""
	case errors.Is(err, sojourn.ErrAnonymous):
		return http.StatusUnauthorized, "sign in first"
	case errors.Is(err, sojourn.ErrUnproven):
		return http.StatusUnauthorized, "your browser must prove that you signed in with it: load the page again"
	case errors.Is(err, sojourn.ErrUnbound):
		return http.StatusForbidden, "that takes a browser that can prove that you signed in with it"
	case errors.Is(err, sojourn.ErrNotFresh):
		return http.StatusForbidden, "confirm that it is you: sign in again"
	case errors.Is(err, sojourn.ErrLevel):
		return http.StatusForbidden, "that takes a further factor: sign in with it"
	}
	return http.StatusServiceUnavailable, ""
}
