package sojourn

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// A Binding binds logins to the browsers where they began, by Device Bound
// Session Credentials (W3C). The browser makes a key that never leaves the
// device. From then on its session is good only together with a proof, a second
// cookie that lives for minutes. The browser gets the next proof by signing a
// challenge with its key. So a thief of both cookies has minutes, and the user
// goes on undisturbed. docs/security.md says what holds.
//
// Only logins in cookies are bound: no bearer's session and no visitor's. A
// browser that can't bind, or hasn't done so yet, is served as without Binding,
// except where RequireLevel or Requirement.Bound demand it.
type Binding struct {
	// Path is the address below which browsers register and renew proofs, without
	// the host. Engine.BoundHandler serves it; the handler of package pages does so
	// below its own prefix. It begins and ends with a slash. Default
	// "/session/bound/".
	Path string

	// ProofLife is how long a proof lives in the browser. Default 10 minutes, at
	// least 5 minutes, at most 1 hour. Chrome renews a proof that has less than 2
	// minutes left, and signs at most 6 times in 9 minutes for a site.
	ProofLife time.Duration

	// Grace is how much longer the engine accepts a proof, for requests that were
	// under way. Uploads through a proxy that buffers them may need more. Default 1
	// minute, at least 1 second, at most 30 minutes.
	Grace time.Duration

	// RequireLevel is the level, 1 to 3, from which each Requirement demands a bound
	// session too. Default 0: only those with Requirement.Bound do.
	RequireLevel int

	// Script also accepts keys that the script of package pages keeps, for browsers
	// without Device Bound Session Credentials. A script of an attacker in a page can
	// use such a key as long as the page is open; a copied cookie is dead all the
	// same. Default false.
	Script bool
}

// Bound returns a copy of Options.Bound with its defaults; nil: sessions aren't
// bound. It is for handlers that serve browsers below Binding.Path, as package
// pages does.
func (e *Engine) Bound() *Binding {
	if e.opt.Bound == nil {
		return nil
	}
	b := *e.opt.Bound
	return &b
}

// minProofLife keeps browsers far from the number of signatures that they allow a
// site.
const minProofLife = 5 * time.Minute

func (b *Binding) withDefaults() (*Binding, error) {
	if b == nil {
		return nil, nil
	}
	t := *b
	setDefault(&t.Path, "/session/bound/")
	setDefault(&t.ProofLife, 10*time.Minute)
	setDefault(&t.Grace, time.Minute)
	switch {
	case !strings.HasPrefix(t.Path, "/") || !strings.HasSuffix(t.Path, "/") || path.Clean(t.Path)+"/" != t.Path || !plainPath(t.Path):
		return nil, fmt.Errorf("sojourn: Bound.Path is %q: use a path that begins and ends with a slash, of letters, digits, '.', '_', '~' and '-'", t.Path)
	case t.ProofLife < minProofLife || t.ProofLife > time.Hour:
		return nil, fmt.Errorf("sojourn: Bound.ProofLife is %v: use 5 minutes to 1 hour", t.ProofLife)
	case t.Grace < time.Second || t.Grace > 30*time.Minute:
		return nil, fmt.Errorf("sojourn: Bound.Grace is %v: use 1 second to 30 minutes", t.Grace)
	case t.RequireLevel < 0 || t.RequireLevel > 3:
		return nil, fmt.Errorf("sojourn: Bound.RequireLevel is %d: use 0 to 3", t.RequireLevel)
	}
	return &t, nil
}

// plainPath reports whether a path needs no escapes in a URL, and no quoting in a
// header.
func plainPath(p string) bool {
	return !strings.ContainsFunc(p, func(r rune) bool {
		return !strings.ContainsRune("/._~-", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}
