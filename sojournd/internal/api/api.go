// Package api serves the API for applications: /v1 and its description,
// /openapi.json.
//
//	a, err := api.New(api.Options{Events: hub, Log: log})
//	a.Set(apps)                        // at the start, and again at each reload
//	http.ListenAndServe(address, a)
//
// An application sends its key with each request, and sees only its own
// sessions. Operations for a browser take the browser's token. Operations for
// an operator take the session's ID.
package api

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sojourn-go/sojourn"
)

// Options configure an API. The zero value is safe.
type Options struct {
	// MaxBody is the largest body of a request, in bytes. Default 1 MiB.
	MaxBody int64

	// Events serves /v1/events. Default: there is none.
	Events Events

	// Audit gets each change that an operator makes. Default none.
	Audit func(app, key, action, target, result, ip string)

	// Observe gets each request, for metrics: its route, or "" if there is
	// none. The status is StatusGone if the client did not wait for the answer.
	// Observe must not block. Default none.
	Observe func(route string, status int, took time.Duration)

	// Log gets requests that fail because of the server, and at debug level all
	// requests. Default none.
	Log *slog.Logger

	// Now is the clock of the engines. Default time.Now.
	Now func() time.Time

	// Version is the version in the description. Default "dev".
	Version string
}

// Events streams the events of an application's sessions.
type Events interface {
	// Stream answers a request with the events after the one with the ID
	// lastID, or with the last few, until the request's context is done. If it
	// returns an error, it has written nothing.
	Stream(w http.ResponseWriter, r *http.Request, app, lastID string, last int, follow bool) error
}

// An App is an application with its keys.
type App struct {
	Name     string
	Sessions *sojourn.Engine
	Keys     []Key

	VisitorsSealed bool // visitors' sessions are in their cookies
}

// A Key opens an application.
type Key struct {
	Name string // for logs
	Hash [32]byte
}

// An API is the handler of the API. Its methods may be called concurrently.
type API struct {
	opt     Options
	log     *slog.Logger
	mux     *http.ServeMux
	paths   map[string]map[string]func(*call) // by the mux's path, then by method
	methods map[string][]string               // by path
	doc     *huma.OpenAPI
	openapi []byte

	keys atomic.Pointer[keyring]
	set  sync.Mutex // held by Set
}

// New returns an API without keys. Set adds them.
func New(opt Options) (*API, error) {
	if opt.MaxBody == 0 {
		opt.MaxBody = 1 << 20
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Version == "" {
		opt.Version = "dev"
	}
	a := &API{opt: opt, log: opt.Log, mux: http.NewServeMux(), paths: map[string]map[string]func(*call){}, methods: map[string][]string{}}
	a.keys.Store(&keyring{})
	a.describe()
	a.routes()
	return a, a.finish()
}

// A keyring maps the first bytes of a key's hash to its application. They
// reveal nothing about the key. The whole hash is compared in constant time.
type keyring map[[8]byte]*opened

type opened struct {
	hash    [32]byte
	name    string
	app     *App
	revoked context.Context // done when the key is no longer valid
	revoke  context.CancelFunc
}

// Set sets the applications. When it returns, other keys are invalid, and
// streams that were opened with one have ended. Other requests in flight
// continue.
func (a *API) Set(apps []App) {
	a.set.Lock()
	defer a.set.Unlock()
	next, old := keyring{}, *a.keys.Load()
	for i := range apps {
		app := &apps[i]
		for _, k := range app.Keys {
			o := &opened{hash: k.Hash, name: k.Name, app: app}
			if was := old[fingerprint(k.Hash)]; was != nil && was.hash == k.Hash && was.app.Name == app.Name {
				o.revoked, o.revoke = was.revoked, was.revoke
			} else {
				o.revoked, o.revoke = context.WithCancel(context.Background())
			}
			next[fingerprint(k.Hash)] = o
		}
	}
	a.keys.Store(&next)
	for print, was := range old {
		if is := next[print]; is == nil || is.revoked != was.revoked {
			was.revoke()
		}
	}
}

func fingerprint(hash [32]byte) [8]byte { return [8]byte(hash[:8]) }

var errRevoked = errors.New("the key is no longer valid")

// open returns the application of the request's key, or nil.
func (a *API) open(r *http.Request) *opened {
	const scheme = "Bearer "
	h := r.Header["Authorization"]
	if len(h) != 1 || len(h[0]) <= len(scheme) || !strings.EqualFold(h[0][:len(scheme)], scheme) {
		return nil
	}
	hash := HashKey(strings.TrimLeft(h[0][len(scheme):], " "))
	o := (*a.keys.Load())[fingerprint(hash)]
	if o == nil || subtle.ConstantTimeCompare(o.hash[:], hash[:]) != 1 {
		return nil
	}
	return o
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := call{api: a, w: w, r: r, began: time.Now(), arrived: a.opt.Now()}
	defer c.done()
	// The mux would redirect a path that is not clean. An escaped slash or dot may
	// belong to the key of a value.
	if p := r.URL.EscapedPath(); p == "" || p[0] != '/' || strings.Contains(p, "//") || strings.Contains(p+"/", "/./") || strings.Contains(p+"/", "/../") {
		c.problem(problemOf(codeNotFound))
		return
	}
	a.mux.ServeHTTP(&c, r)
}
