package sojourn

import (
	"context"
	"time"
)

// A Requirement says what a visitor needs for a route. The zero Requirement
// demands a login. Wrap routes in its Handler, or call Check in a handler:
//
//	var member = sojourn.Requirement{SignIn: "/login"}
//	var careful = sojourn.Requirement{Fresh: 10 * time.Minute, SignIn: "/login", StepUp: "/confirm"}
//
//	mux.Handle("/account/", member.Handler(account))
//	mux.Handle("/account/password", careful.Handler(password))
//
// Forward-auth, the check of sojournd for proxies, follows the same rules.
type Requirement struct {
	// Level is the lowest level of the login that suffices, 0 to 3. Default 0.
	Level int

	// Fresh is the longest time since the user authenticated. Default 0: any time.
	// See Session.Fresh.
	Fresh time.Duration

	// Bound demands a session that is bound to its browser (Options.Bound), from
	// which the request carries a proof. Options.Bound.RequireLevel demands it
	// for all requirements of that level. Default false.
	Bound bool

	// SignIn is the page that signs users in: a path of this site ("/login"), or
	// a whole URL, of at most 1024 bytes. Page views of visitors who aren't signed
	// in are redirected there. Default: they get 401.
	SignIn string

	// StepUp is the page to which page views are redirected if the login is too
	// old or its level too low. It must not be a page that sends signed-in users
	// straight back. Default: they get 403.
	StepUp string

	// ReturnParam is the query parameter with the way back, for the two pages.
	// Default "return_to". Check it with LocalPath.
	ReturnParam string
}

// Check returns nil if the session meets the requirement. ErrAnonymous: nobody
// is logged in. ErrUnproven: the session is bound to a browser, from which the
// request carries no proof. ErrLevel: the level is too low. ErrNotFresh: the user
// authenticated too long ago. ErrUnbound: the session is not bound to a browser.
// ErrUnavailable: the store can't answer.
//
// If more than a login is required, the session is read strictly
// (Session.Strict), so an end on another node is seen at once.
func (q Requirement) Check(ctx context.Context, s *Session) error {
	bound := s.e.opt.Bound.demands(q)
	if q.Level > 0 || q.Fresh != 0 || bound {
		s.Strict()
	}
	if err := s.Load(ctx); err != nil {
		return err
	}
	switch {
	case s.Subject() == "" && s.RefusalReason() == RefusedUnproven:
		return ErrUnproven
	case s.Subject() == "":
		return ErrAnonymous
	case s.Level() < q.Level: // before Fresh, because a further factor makes the login fresh too
		return ErrLevel
	case q.Fresh != 0 && !s.Fresh(q.Fresh):
		return ErrNotFresh
	case bound:
		return s.proves()
	}
	return nil
}
