// Package shop is a small web shop on the public API of the sojourn library. It
// shows what sessions are for:
//
//   - Identity: users sign in, stay signed in, confirm the password before
//     important actions, see their devices, and sign them out.
//   - Data: a cart exists before the login and survives it.
//   - Preferences: the first paint has the visitor's language and theme, also on a
//     page that a CDN could serve.
//
// A visitor who only looks gets no cookie.
package shop

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/mirror"
	"github.com/sojourn-go/sojourn/pages"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
	"github.com/sojourn-go/sojourn/sojournd/internal/useragent"
)

// Options are the parts of a shop.
type Options struct {
	Sessions  *sojourn.Engine  // required
	Users     *Users           // required
	Passwords *password.Hasher // required
	Demo      []Account        // accounts that the sign-in page shows; they must exist. Default none
	Log       *slog.Logger     // gets internal errors. Default slog.Default()
	Now       func() time.Time
	Story     *Story // adds the page /story. Default none
}

// An Account is an e-mail address and its password.
type Account struct{ Email, Password string }

// A Shop is the handler of the whole site.
type Shop struct {
	Options
	mux      *http.ServeMux
	handler  http.Handler
	mirror   *mirror.Mirror
	attempts password.Attempts
	story    *story // nil: the shop has none
	closing  chan struct{}
	close    sync.Once
}

// New returns the shop.
func New(o Options) (*Shop, error) {
	if o.Sessions == nil || o.Users == nil || o.Passwords == nil {
		return nil, errors.New("shop: New needs Sessions, Users and Passwords")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	sh := &Shop{Options: o, mux: http.NewServeMux(), closing: make(chan struct{})}
	var err error
	if sh.mirror, err = sh.newMirror(); err != nil {
		return nil, err
	}
	delivery, err := deliveryPage(sh.mirror)
	if err != nil {
		return nil, err
	}
	sh.mux.HandleFunc("GET /delivery", delivery)
	devices, err := pages.New(o.Sessions, pages.Options{
		Require: careful, Site: "Wayfare", Stylesheet: static["devices.css"], Device: useragent.Name, Now: o.Now, Mirror: sh.mirror,
		EndAll:   func(ctx context.Context, subject string) error { return o.Users.SetNotBefore(ctx, subject, o.Now()) },
		Language: func(r *http.Request) string { return sh.prefers(r).Language },
		Theme:    func(r *http.Request) string { return sh.prefers(r).Theme },
	})
	if err != nil {
		return nil, err
	}
	sh.mux.Handle("/session/", devices)
	if o.Story != nil {
		sh.story = newStory(o.Story)
	}
	sh.routes()
	sh.handler = secureHeaders(o.Sessions.Handler(sh.mux))
	return sh, nil
}

// ServeHTTP answers a request.
func (sh *Shop) ServeHTTP(w http.ResponseWriter, r *http.Request) { sh.handler.ServeHTTP(w, r) }

// Close ends the live streams, which would block the shutdown of a server.
func (sh *Shop) Close() { sh.close.Do(func() { close(sh.closing) }) }

func (sh *Shop) routes() {
	handle := func(pattern string, h func(*visit) error, need ...sojourn.Requirement) {
		sh.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { sh.serve(w, r, h, need) })
	}
	handle("GET /{$}", (*visit).front)
	handle("GET /cart", (*visit).cartPage)
	handle("GET /cart.json", (*visit).cartPage)
	handle("POST /cart", (*visit).addToCart)

	handle("GET /login", (*visit).loginPage)
	handle("POST /login", (*visit).login)
	handle("GET /signup", (*visit).signupPage)
	handle("POST /signup", (*visit).signup)
	handle("POST /logout", (*visit).logout)
	handle("GET /reauth", (*visit).reauthPage, member)
	handle("POST /reauth", (*visit).reauth, member)
	handle("GET /me.json", (*visit).me)

	handle("POST /preferences", (*visit).preferences)

	handle("GET /account", (*visit).accountPage, member)
	handle("GET /account/email", (*visit).emailPage, careful)
	handle("POST /account/email", (*visit).changeEmail, careful)
	handle("GET /live", (*visit).live, member)

	if sh.story != nil {
		sh.storyRoutes(handle)
	}

	sh.mux.HandleFunc("GET /static/", serveStatic)
	handle("/", (*visit).notFound)
}

// secureHeaders restricts the pages: only files of this site, nothing inline,
// no frames.
func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

//go:embed static
var staticFiles embed.FS

// static is the path of each static file, by name. The path has the hash of the
// content, so browsers may cache the file for ever.
var static = func() map[string]string {
	paths := map[string]string{}
	entries, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		content, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(content)
		paths[e.Name()] = "/static/" + hex.EncodeToString(sum[:6]) + "/" + e.Name()
	}
	return paths
}()

func serveStatic(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if static[name] == "" || static[name] != r.URL.Path {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeFileFS(w, r, staticFiles, "static/"+name)
}
