package sojourn

import "net/http"

// Cookie shapes the two cookies of an application: that of logged-in sessions and that of anonymous ones. They are separate so that
// a late answer to a stranger's request can't replace a login. Both are HttpOnly and Secure, always.
type Cookie struct {
	// Name is the session cookie's name, Visitor the other's. Default "__Host-session" and "__Host-visitor", or "__Secure-session" and
	// "__Secure-visitor" with Domain. A browser accepts the prefix "__Host-" only from the host itself, over HTTPS (or from localhost).
	Name    string
	Visitor string

	// Domain shares the cookies with all hosts below a domain. The price: every one of these hosts, and whoever takes over
	// one, can read and plant them. Default: this host alone.
	Domain string

	// SameSite is http.SameSiteLaxMode by default.
	SameSite http.SameSite

	// Partitioned gives each embedding site a cookie jar of its own (CHIPS). It needs SameSiteNoneMode to be of use.
	Partitioned bool
}

// Cookies returns the cookies that the commit wants set, for callers that don't use Handler.
func (s *Session) Cookies() []*http.Cookie { panic("todo") }
