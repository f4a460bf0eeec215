// Package api serves the API for applications: /v1 and its description, /openapi.json.
//
//	a, err := api.New(api.Options{Events: hub, Log: log})
//	a.Set(apps)                        // at the start, and again at each reload
//	http.ListenAndServe(address, a)
//
// An application shows its key with each request, and sees its own sessions alone. What a browser's request may do is
// done with the browser's token, and so judged by what that is good for at that moment; what an operator does, by the session's ID.
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

	// Events streams what happens. Default: there is no /v1/events.
	Events Events

	// Audit is told of each change that isn't a browser's own. Default: nobody is.
	Audit func(app, key, action, target, result, ip string)

	// Observe is told of each request, for metrics: its route, or "" if there
	// is none. The status is StatusGone if the client didn't wait for the
	// answer. It must not block. Default: nobody is.
	Observe func(route string, status int, took time.Duration)

	// Log is told of requests that fail for the server's own sake, and at debug level of all. Default: nobody is.
	Log *slog.Logger

	// Now is the clock of the engines. Default time.Now.
	Now func() time.Time

	// Version is told by the description. Default "dev".
	Version string
}

// Events are a stream of what happens to an application's sessions.
type Events interface {
	// Stream answers a request, until its context is done, with the events after the one named by lastID, or with the last few.
	// An error means that nothing was written.
	Stream(w http.ResponseWriter, r *http.Request, app, lastID string, last int, follow bool) error
}

// An App is an application, and who may speak for it.
type App struct {
	Name     string
	Sessions *sojourn.Engine
	Keys     []Key
}

// A Key opens an application.
type Key struct {
	Name string // for logs
	Hash [32]byte
}

// An API answers requests of applications. Its methods may be called concurrently.
type API struct {
	opt     Options
	log     *slog.Logger
	mux     *http.ServeMux
	paths   map[string]map[string]func(*call) // by path, as the mux has it, and method
	methods map[string][]string               // by path
	doc     *huma.OpenAPI
	openapi []byte

	keys atomic.Pointer[keyring]
	set  sync.Mutex
}

// New returns an API that knows no keys.
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

// A keyring finds the application of a key. By the first bytes of its hash, which tell nothing about the key; the rest is
// compared in constant time.
type keyring map[[8]byte]*opened

type opened struct {
	hash    [32]byte
	name    string
	app     *App
	revoked context.Context // done when the key isn't good any more
	revoke  context.CancelFunc
}

// Set says which applications there are. When it returns, no request begins with a key that isn't among theirs, and streams that were opened
// with one are cut off. Requests under way go on.
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

var errRevoked = errors.New("the key isn't good any more")

// open returns what the request's key opens; nil if nothing.
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
	// What isn't clean has no meaning, and the mux would send the client elsewhere.
	if p := r.URL.Path; p == "" || p[0] != '/' || strings.Contains(p, "//") || strings.Contains(p+"/", "/./") || strings.Contains(p+"/", "/../") {
		c.problem(problemOf(codeNotFound))
		return
	}
	a.mux.ServeHTTP(&c, r)
}
