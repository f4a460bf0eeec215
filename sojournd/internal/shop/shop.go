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
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/mirror"
	"github.com/sojourn-go/sojourn/pages"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
	"github.com/sojourn-go/sojourn/sojournd/internal/useragent"
	"github.com/sojourn-go/sojourn/sojournd/internal/webui"
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
		Require: careful, Site: "Wayfare", Stylesheet: static.Path("devices.css"), Device: useragent.Name, Now: o.Now, Mirror: sh.mirror,
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

	sh.mux.Handle("GET /static/", static)
	handle("/", (*visit).notFound)
}

func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		webui.Restrict(w.Header())
		next.ServeHTTP(w, r)
	})
}

//go:embed static
var staticFiles embed.FS

var static = webui.NewStatic(staticFiles)
