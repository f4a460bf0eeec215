// Package pages is the part of a site that shows users their own sessions:
// "your devices". It is one http.Handler, which an application mounts at a path
// of its choice:
//
//	devices, err := pages.New(sessions, pages.Options{
//		Require: sojourn.Requirement{SignIn: "/login", StepUp: "/confirm"},
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	mux.Handle("/session/", devices)
//
// Link to /session/devices. A user sees there where the account is signed in,
// can sign out one device or all others, and sees what ended lately. Signing out
// another device requires a sign-in within the last 10 minutes (Require).
//
// The pages are in English, German and French (Options.Language, Options.Texts).
// They follow the system's dark or light theme, and take the site's colours from
// a stylesheet of the application (Options.Stylesheet). They need no script. With
// scripts, the list follows what happens on other devices.
//
// Programs that send Accept: application/json get the same data as JSON:
//
//	GET    /session/devices                  lists them, a page at a time (?cursor=…)
//	DELETE /session/devices/{id}             signs one out
//	DELETE /session/devices/others           signs out all others
//	POST   /session/devices/{id}/end         does the same as DELETE
//	POST   /session/devices/others/end
//
// Errors in JSON are problem details (RFC 9457) with a member code.
package pages

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/signin"
	"github.com/sojourn-go/sojourn/mirror"
)

// Options configure a Handler. The zero value works, but then it doesn't redirect
// visitors to a page where they sign in.
type Options struct {
	// Path is where browsers reach the handler: a path that begins and ends with
	// a slash. Default "/session/". Requests come with their whole path, so don't
	// use http.StripPrefix.
	Path string

	// Require says what a user needs to end another session: by default a login
	// within the last 10 minutes. With a negative Fresh, any login will do. SignIn
	// and StepUp are the site's pages to which visitors are redirected, with the
	// way back. To see the list, and to sign this session out, any login will do.
	Require sojourn.Requirement

	// Home is the path of the site to which the pages link, and to which a user
	// comes after signing out. It must not redirect to another host, except that of
	// Require.SignIn or StepUp: Chrome doesn't follow a form to a host that the
	// pages' policy doesn't name. Default "/".
	Home string

	// Site is the name of the site, for the top of the page and its title. Default:
	// none.
	Site string

	// Stylesheet is a path of the site. The stylesheet there is loaded after the
	// package's own. It can set the variables at the top of static/pages.css, or
	// change any rule. Default: none.
	Stylesheet string

	// Language chooses the language of a request, by a tag like "de" or "de-AT". If
	// it returns a language without texts, or is nil, Mirror or the header
	// Accept-Language decides.
	Language func(r *http.Request) string

	// Theme chooses the colours of a request: "light" or "dark". It is the value of
	// the attribute data-theme of the root element. If it returns anything else, or
	// is nil, Mirror or the system's setting decides.
	Theme func(r *http.Request) string

	// Texts replace texts of the pages or add languages: language tag, then the
	// name of the text. Names and English texts are in lang/en.json. Texts that a
	// new language lacks are in English.
	Texts map[string]map[string]string

	// Device names a device by its user agent, for people. A name of the form
	// "Firefox on Linux" is put into the language of the page. Invisible characters
	// are left out, and long names are cut. If it returns "", the device is
	// "Unknown device". It must be safe for concurrent calls. Default: simple rules
	// for the browsers and systems that most people use.
	Device func(userAgent string) string

	// Mirror is served on the same path, as mirror.js and mirror (package mirror),
	// and its script is in each page. The pages follow the values that it has for
	// lang and data-theme. Default: none.
	Mirror *mirror.Mirror

	// EndAll ends all sessions of a user, this one too. It is for engines that can't
	// list them (sojourn.SealEveryone), and sets the time that Sealing.NotBefore
	// returns. Default: none. Then such a page offers only to sign out here.
	EndAll func(ctx context.Context, subject string) error

	// Now is the clock, for tests. Default time.Now.
	Now func() time.Time
}

// freshness is the default of Options.Require.Fresh.
const freshness = 10 * time.Minute

// A Handler serves the pages. It may be used concurrently.
type Handler struct {
	sessions *sojourn.Engine
	opt      Options
	see      sojourn.Requirement // for the list
	end      sojourn.Requirement // to end another session
	texts    map[string]map[string]string
	policy   string // Content-Security-Policy
	inner    http.Handler
	bound    *bound // nil: no session is bound

	lastOutage atomic.Int64 // when an outage was logged last, in seconds since 1970
}

// New returns the handler. It uses the engine's own Handler, so it works inside
// that one or alone, and it refuses forms of other origins. An error says
// which option is wrong.
func New(sessions *sojourn.Engine, opt Options) (*Handler, error) {
	if sessions == nil {
		return nil, errors.New("pages: New needs an engine")
	}
	setDefault(&opt.Path, "/session/")
	setDefault(&opt.Home, "/")
	if opt.Device == nil {
		opt.Device = deviceName
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if !strings.HasSuffix(opt.Path, "/") || strings.ContainsAny(opt.Path, "?#%") || sojourn.LocalPath(opt.Path, "") == "" {
		return nil, fmt.Errorf("pages: Path is %q: use a path that begins and ends with a slash, like /session/", opt.Path)
	}
	if sojourn.LocalPath(opt.Home, "") == "" {
		return nil, fmt.Errorf("pages: Home is %q: use a path of the site, like /account", opt.Home)
	}
	if opt.Stylesheet != "" && sojourn.LocalPath(opt.Stylesheet, "") == "" {
		return nil, fmt.Errorf("pages: Stylesheet is %q: use a path of the site, like /site.css", opt.Stylesheet)
	}
	texts, err := mergeTexts(opt.Texts)
	if err != nil {
		return nil, err
	}
	h := &Handler{sessions: sessions, opt: opt, texts: texts}
	if err := h.require(opt.Require); err != nil {
		return nil, err
	}
	if h.bound, err = newBound(sessions, opt.Path); err != nil {
		return nil, err
	}
	h.inner = sessions.Handler(http.HandlerFunc(h.serve))
	return h, nil
}

func setDefault(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

// require checks Options.Require, and prepares what depends on it.
func (h *Handler) require(q sojourn.Requirement) error {
	switch {
	case q.Fresh == 0:
		q.Fresh = freshness
	case q.Fresh < 0:
		q.Fresh = 0
	}
	if q.Level < 0 || q.Level > 3 {
		return fmt.Errorf("pages: Require: Level is %d: use 0 to 3", q.Level)
	}
	targets := "'self'"
	for name, address := range map[string]string{"SignIn": q.SignIn, "StepUp": q.StepUp} {
		page, err := signin.NewPage(address, "return_to")
		if err != nil {
			return fmt.Errorf("pages: Require: %s %w", name, err)
		}
		if page != nil && page.Elsewhere() {
			u, err := url.Parse(address)
			if err != nil {
				return fmt.Errorf("pages: Require: %s: %w", name, err)
			}
			targets += " " + u.Scheme + "://" + u.Host // browsers check the redirect of a form, too
		}
	}
	h.policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; " +
		"form-action " + targets + "; base-uri 'none'; frame-ancestors 'none'"
	h.end = q
	h.see = sojourn.Requirement{SignIn: q.SignIn, ReturnParam: q.ReturnParam}
	return nil
}

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", h.policy)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY") // for browsers that don't know frame-ancestors
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	if rest := strings.TrimPrefix(r.URL.Path, h.opt.Path); h.bound != nil && (rest == "bound/register" || rest == "bound/refresh") {
		h.bound.engine.ServeHTTP(w, r) // it has rules of its own for requests of other origins
		return
	}
	h.inner.ServeHTTP(w, r)
}

// serve chooses what a request is for.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, h.opt.Path)
	if ok && h.opt.Mirror != nil && (rest == "mirror" || rest == "mirror.js") {
		h.opt.Mirror.ServeHTTP(w, r)
		return
	}
	if static, ok := files[rest]; ok && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		w.Header().Set("Content-Type", static.kind)
		write(w, http.StatusOK, static.content)
		return
	}
	if ok && rest == "bound/bound.js" && h.bound != nil && h.bound.script != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		h.bound.script.ServeHTTP(w, r)
		return
	}
	v := h.begin(w, r)
	switch target, action, _ := strings.Cut(strings.TrimPrefix(rest, "devices/"), "/"); {
	case !ok && r.URL.Path+"/" != h.opt.Path:
		v.failWith(http.StatusNotFound, "no_such_page")
	case !ok, rest == "", rest == "devices/":
		v.route(handlers{"GET": v.toDevices})
	case h.bound != nil && strings.HasPrefix(rest, "bound/"):
		v.serveBound(strings.TrimPrefix(rest, "bound/"))
	case rest == "devices":
		v.route(handlers{"GET": v.devicesPage})
	case rest == "devices/live":
		v.route(handlers{"GET": v.live})
	case strings.HasPrefix(rest, "devices/") && action == "" && !strings.HasSuffix(rest, "/"):
		v.route(handlers{"DELETE": func() error { return v.endDevices(target) }})
	case strings.HasPrefix(rest, "devices/") && action == "end":
		v.route(handlers{
			"GET":  func() error { return v.confirmPage(target) },
			"POST": func() error { return v.endDevices(target) },
		})
	case files[rest].content != nil:
		v.route(handlers{"GET": nil}) // GET was answered above
	default:
		v.failWith(http.StatusNotFound, "no_such_page")
	}
}

//go:embed static
var staticFiles embed.FS

//go:embed templates/*.html
var templateFiles embed.FS

var templates = template.Must(template.New("").ParseFS(templateFiles, "templates/*.html"))

// A file is a static one that browsers load.
type file struct {
	kind    string
	content []byte
}

// files are the static files, by their path.
var files = map[string]file{
	"pages.css":  {"text/css; charset=utf-8", readStatic("pages.css")},
	"pages.js":   {"text/javascript; charset=utf-8", readStatic("pages.js")},
	"waiting.js": {"text/javascript; charset=utf-8", readStatic("waiting.js")},
}

func readStatic(name string) []byte {
	content, err := staticFiles.ReadFile("static/" + name)
	if err != nil {
		panic(err)
	}
	return content
}
