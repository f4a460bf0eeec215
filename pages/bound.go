package pages

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/script"
)

// A bound is what the pages have for sessions that are bound to a browser
// (sojourn.Options.Bound), below "bound/":
//
//	register, refresh   are the engine's
//	(nothing)           is the page where page views wait for a proof
//	again               ends the session, so that the user can sign in again
//	bound.js            binds in browsers that don't by themselves, if the
//	                    engine accepts that (sojourn.Binding.Script)
type bound struct {
	engine http.Handler
	script *script.Script // nil: none is served
}

//go:embed static/bound.js
var boundSource string

func newBound(sessions *sojourn.Engine, path string) (*bound, error) {
	binding := sessions.Bound()
	if binding == nil {
		return nil, nil
	}
	if own := path + "bound/"; binding.Path != own {
		return nil, fmt.Errorf("pages: Path is %q, but the engine's option Bound.Path is %q: set that to %q", path, binding.Path, own)
	}
	b := &bound{engine: sessions.BoundHandler()}
	if binding.Script {
		declaration, err := json.Marshal(map[string]int64{"life": binding.ProofLife.Milliseconds()})
		if err != nil {
			return nil, err
		}
		s, err := script.New(boundSource, declaration)
		if err != nil {
			return nil, fmt.Errorf("pages: %w", err)
		}
		b.script = &s
	}
	return b, nil
}

// serveBound answers what is below "bound/", except the engine's part.
func (v *view) serveBound(rest string) {
	switch {
	case rest == "":
		v.route(handlers{"GET": v.waitingPage})
	case rest == "again":
		v.route(handlers{"POST": v.signInAgain})
	case rest == "bound.js" && v.h.bound.script != nil:
		v.route(handlers{"GET": nil}) // serve has answered GET
	default:
		v.failWith(http.StatusNotFound, "no_such_page")
	}
}

// A waiting is what the waiting page gets.
type waiting struct {
	State string // unproven or unbound
	Over  bool   // it has waited long enough
	Next  string // the page to which a browser without scripts goes
	Again string // where the form leads that signs in again
	Back  string
}

const (
	// maxWaits is how often a browser without scripts loads the waiting page, at
	// intervals of 3 seconds, before the page says what is wrong.
	maxWaits = 3

	// maxBacks is how often in a minute the waiting page leads back. A page that
	// refuses what this page has seen proven would lead here for ever.
	maxBacks = 4

	// backs is the cookie that counts that.
	backs = "sojourn-waited"
)

// waitingPage is GET bound/. Page views are redirected to it if the session is
// bound and the request has no proof, or if it is not bound and must be. It lets
// the browser, or the script, do what is missing, and leads back to the page.
// Programs get the state.
func (v *view) waitingPage() error {
	v.passive = true
	v.session.Passive()
	state := "bound"
	switch err := (sojourn.Requirement{Bound: true}).Check(v.r.Context(), v.session); {
	case errors.Is(err, sojourn.ErrUnproven):
		state = "unproven"
	case errors.Is(err, sojourn.ErrUnbound):
		state = "unbound"
	case errors.Is(err, sojourn.ErrAnonymous):
		state = "anonymous" // the page that was asked for may lead to the sign-in
	case err != nil:
		return err
	}
	if v.json {
		v.writeJSON(http.StatusOK, map[string]string{"state": state})
		return nil
	}
	back := v.back()
	count := 0
	if c, err := v.r.Cookie(backs); err == nil {
		count, _ = strconv.Atoi(c.Value)
	}
	if (state == "bound" || state == "anonymous") && count >= 0 && count < maxBacks {
		http.SetCookie(v.w, &http.Cookie{Name: backs, Value: strconv.Itoa(count + 1), Path: v.At("bound/"), MaxAge: 60, HttpOnly: true, SameSite: http.SameSiteLaxMode})
		v.redirect(back)
		return nil
	}
	waits, err := strconv.Atoi(v.r.URL.Query().Get("waits"))
	if err != nil || waits < 0 {
		waits = 0
	}
	query := url.Values{"return_to": {back}}
	data := waiting{State: state, Back: back, Over: count >= maxBacks || waits >= maxWaits, Again: v.At("bound/again?") + query.Encode()}
	if !data.Over {
		query.Set("waits", strconv.Itoa(waits+1))
		data.Next = v.At("bound/?") + query.Encode()
	}
	v.render(http.StatusOK, "waiting.html", data)
	return nil
}

// back returns the address of the page that the browser asked for.
func (v *view) back() string {
	back := sojourn.LocalPath(v.r.URL.Query().Get("return_to"), v.h.opt.Home)
	if path, _, _ := strings.Cut(back, "?"); strings.HasPrefix(path, v.At("bound/")) {
		return v.h.opt.Home
	}
	return back
}

// signInAgain is POST bound/again. It ends the session, and leads back to the page
// that the browser asked for, which leads to the sign-in.
func (v *view) signInAgain() error {
	if err := v.session.Logout(); err != nil {
		return err
	}
	return v.done(map[string]int{"ended": 1}, v.back())
}

// Script reports whether there is a script for browsers that don't bind by
// themselves.
func (v *view) Script() bool { return v.h.bound != nil && v.h.bound.script != nil }
