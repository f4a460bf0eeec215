// Package mirror keeps public preferences, such as the theme and the language, in
// the browser's local storage too. So a page of a static host or a CDN has them
// before its first paint, without a request.
//
// Declare which values are public, and mount the mirror:
//
//	var theme = sojourn.NewKey[string]("theme")
//
//	preferences, err := mirror.New(sessions,
//		mirror.Public(theme, mirror.Key{Attribute: "data-theme", Values: []string{"light", "dark"}}),
//	)
//	mux.Handle("/session/", preferences)
//
// Each page loads its script in the head, before the stylesheets. A page that the
// server makes gets the element from Tag. A static page writes it:
//
//	<script src="/session/mirror.js"></script>
//
// The script sets the attributes of the root element (<html data-theme="dark">),
// and gives the page an API:
//
//	sojourn.mirror.set("theme", "dark")   // here and in all tabs at once; sent to the server
//	sojourn.mirror.get("theme")           // "dark"; null: none
//	sojourn.mirror.signedIn               // what the server said last
//	sojourn.mirror.sync()                 // ask the server, after a sign-in or sign-out by fetch
//
// Events of the document tell what has happened in any tab: "sojourn:change", with
// key and value in its detail, "sojourn:signin" and "sojourn:signout".
//
// # Where the values are
//
// A visitor's values are in local storage only: setting them makes no session, no
// cookie and no record. A user's are also in the user's session, where the
// application reads them as ever (theme.Get), and in the user's profile
// (sojourn.Engine.UpdateProfile, or KeepIn). Every sign-in on any device gets them
// from there. The application may change them in the session too (theme.Set).
// Refresh, or the script's next exchange, carries them to the other places.
//
// Of two changes the later wins, by the server's clock: the browser tells how long
// ago a change was made. At a sign-in, the profile's values win where it has some,
// and the browser's are taken where it has none. At a sign-out the browser forgets
// the values that are personal.
//
// All values that are not declared stay on the server.
package mirror

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/script"
)

// maxBytes limits the keys and the JSON of all values together.
const maxBytes = 1024

// A Mirror is an http.Handler that serves the script and its exchanges: the paths
// that end in "/mirror.js" and "/mirror". Other paths get 404. It needs no
// sojourn.Engine.Handler around it, and works within one. Its methods may be called
// concurrently.
type Mirror struct {
	sessions *sojourn.Engine
	keys     []Key
	script   script.Script
	handler  http.Handler
	now      func() time.Time
	profiles Profiles
}

// New returns the mirror of the given keys. It refuses keys that are not safe to
// mirror, and those whose names and longest values have more than 1 KB together. It
// also refuses a declaration with which the script has more than 2 KB, compressed.
func New(sessions *sojourn.Engine, keys ...Key) (*Mirror, error) {
	if sessions == nil {
		return nil, errors.New("mirror: New needs an engine")
	}
	m := &Mirror{sessions: sessions, keys: keys, now: time.Now, profiles: engineProfiles{sessions}}
	if err := check(keys); err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	var err error
	if m.script, err = newScript(keys); err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	m.handler = sessions.Handler(http.HandlerFunc(m.exchange))
	return m, nil
}

// Must returns m, or panics if err is not nil. It is for keys that are constants of
// the program.
func Must(m *Mirror, err error) *Mirror {
	if err != nil {
		panic(err)
	}
	return m
}

// Integrity returns the script's hash, for the attribute of this name (W3C
// Subresource Integrity). It changes with the keys and with the version of this
// package.
func (m *Mirror) Integrity() string { return m.script.Integrity }

// Tag returns the script's element for a page that the server makes for the session
// s. prefix is the path where the mirror is mounted: "/session/". The element tells
// the script who is signed in and what the session's values are. So a page after a
// sign-in, or after a form that changed a value, is right at its first paint.
//
// With s nil it is the element for a static page. It contains the hash of the
// script: make the page again when the hash changes, or browsers refuse the script.
//
// It reads the session. Errors are those of Session.Load.
func (m *Mirror) Tag(prefix string, s *sojourn.Session) (template.HTML, error) {
	var b strings.Builder
	src := strings.TrimSuffix(prefix, "/") + "/mirror.js?v=" + m.script.Version
	fmt.Fprintf(&b, `<script src="%s" integrity="%s"`, template.HTMLEscapeString(src), m.script.Integrity)
	if s != nil {
		said, err := m.said(s)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, ` data-state="%s"`, template.HTMLEscapeString(string(said)))
	}
	b.WriteString(`></script>`)
	return template.HTML(b.String()), nil
}

// Attribute returns the value that a session has for an attribute of the root
// element, such as "lang", for pages that the server makes. It is empty if no key
// has the attribute, if the session has no value, or if that isn't of the declared
// form. It reads the session. Errors are those of Session.Load.
func (m *Mirror) Attribute(s *sojourn.Session, name string) (string, error) {
	i := slices.IndexFunc(m.keys, func(k Key) bool { return k.Attribute == name })
	if i < 0 || name == "" {
		return "", nil
	}
	raw, ok, err := s.Value(m.keys[i].Name)
	if err != nil || !ok {
		return "", err
	}
	var v any
	if good, bad := m.keys[i].accept(raw); bad == nil {
		_ = decodeStrictly(good, &v) // accept has returned JSON
	}
	text, _ := textOf(v)
	return text, nil
}

// ServeHTTP serves the script and its exchanges.
func (m *Mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch name := path.Base(r.URL.Path); {
	case name == "mirror.js" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		m.script.ServeHTTP(w, r)
	case name == "mirror" && r.Method == http.MethodPost:
		m.handler.ServeHTTP(w, r)
	case name == "mirror.js":
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	case name == "mirror":
		w.Header().Set("Allow", "POST")
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	default:
		http.NotFound(w, r)
	}
}
