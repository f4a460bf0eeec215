package forwardauth

import (
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

// A requirement is what a request must have to pass.
type requirement struct {
	kind  kind
	fresh time.Duration
	level int
}

type kind uint8

const (
	anyone kind = iota
	loggedIn
	fresh
	level
)

// An outcome is the result of a check.
type outcome uint8

const (
	passes outcome = iota
	signIn         // nobody is logged in
	stepUp         // the login is too old or its level too low
)

// route parses the path of a check. It ignores what follows the requirement.
func (h *Handler) route(path string) (a *app, m mode, need requirement, ok bool) {
	rest, ok := strings.CutPrefix(path, "/check/")
	name, rest, _ := strings.Cut(rest, "/")
	word, rest, _ := strings.Cut(rest, "/")
	require, _, _ := strings.Cut(rest, "/")
	if a = h.apps[name]; a == nil || !ok {
		return nil, m, need, false
	}
	switch word {
	case "status":
	case "redirect":
		m = redirects
	default:
		return nil, m, need, false
	}
	need, ok = parseRequirement(require)
	return a, m, need, ok
}

func parseRequirement(text string) (requirement, bool) {
	switch text {
	case "any":
		return requirement{kind: anyone}, true
	case "login":
		return requirement{kind: loggedIn}, true
	}
	if n, ok := strings.CutPrefix(text, "level-"); ok {
		l := slices.Index(levels[:], n)
		return requirement{kind: level, level: l}, l >= 0
	}
	if d, ok := strings.CutPrefix(text, "fresh-"); ok {
		within, err := time.ParseDuration(d)
		return requirement{kind: fresh, fresh: within}, err == nil && within > 0
	}
	return requirement{}, false
}

// strict reports whether the session must be read from the store. A session
// that ended on another node must not pass where more than a login is required.
func (r requirement) strict() bool { return r.kind >= fresh }

func (r requirement) judge(s *sojourn.Session) outcome {
	switch {
	case r.kind == anyone:
		return passes
	case s.Subject() == "":
		return signIn
	case r.kind == fresh && !s.Fresh(r.fresh), r.kind == level && s.Level() < r.level:
		return stepUp
	}
	return passes
}

// text says what is missing.
func (r requirement) text() string {
	if r.kind == fresh {
		return "confirm that it is you: sign in again"
	}
	return "that takes a further factor: sign in with it"
}
