// The chi example is a guest book on the chi router. Visitors can write without
// logging in. Users who sign in can see their devices.
//
//	go run ./examples/chi
package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

var lines = sojourn.NewKey[[]string]("lines")

// member lets only signed-in users pass, and shows others the page with the
// sign-in form.
var member = sojourn.Requirement{SignIn: "/"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	store := memstore.New()
	defer store.Close()
	sessions, err := sojourn.New(store, sojourn.Options{OnEvent: sojourn.LogEvents(slog.Default())})
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close(context.Background())

	server := http.Server{Addr: "127.0.0.1:8080", Handler: routes(sessions), ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(stopped)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // after 5 s the rest is aborted
	})
	fmt.Println("http://localhost:8080")
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	<-stopped
}

func routes(sessions *sojourn.Engine) http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.Recoverer)
	r.Use(sessions.Handler)
	r.Get("/", book)
	r.Post("/sign", sign)
	r.Post("/login", login)
	r.Post("/logout", logout)
	r.With(member.Handler).Get("/devices", devices(sessions))
	return r
}

func book(w http.ResponseWriter, r *http.Request) {
	s := sojourn.From(r.Context())
	all, err := lines.Get(s)
	if err != nil {
		sojourn.Error(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, "<!doctype html><title>Guest book</title><p>You are %q.<ul>", html.EscapeString(s.Subject()))
	for _, line := range all {
		fmt.Fprintf(w, "<li>%s", html.EscapeString(line))
	}
	fmt.Fprintf(w, `</ul>
<form method="post" action="/sign"><input name="line" aria-label="Line" maxlength="200"><button>Sign</button></form>
<form method="post" action="/login"><input name="user" aria-label="User"><input type="hidden" name="return_to" value="%s"><button>Sign in</button></form>
<form method="post" action="/logout"><button>Sign out</button></form>
<p><a href="/devices">Your devices</a>`, html.EscapeString(sojourn.LocalPath(r.FormValue("return_to"), "/")))
}

func sign(w http.ResponseWriter, r *http.Request) {
	line := r.FormValue("line")
	if line == "" || len(line) > 200 {
		http.Error(w, "a line has 1 to 200 bytes", http.StatusUnprocessableEntity)
		return
	}
	err := lines.Update(sojourn.From(r.Context()), func(all *[]string) error {
		*all = append(*all, line)
		return nil
	})
	answer(w, r, err, "/")
}

func login(w http.ResponseWriter, r *http.Request) {
	// A real application checks a password here.
	answer(w, r, sojourn.From(r.Context()).Login(r.FormValue("user")), sojourn.LocalPath(r.FormValue("return_to"), "/"))
}

func logout(w http.ResponseWriter, r *http.Request) {
	answer(w, r, sojourn.From(r.Context()).Logout(), "/")
}

func answer(w http.ResponseWriter, r *http.Request, err error, next string) {
	if err != nil {
		sojourn.Error(w, r, err)
		return
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func devices(sessions *sojourn.Engine) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		list, _, err := sessions.List(r.Context(), sojourn.From(r.Context()).Subject(), "", 100)
		if err != nil {
			sojourn.Error(w, r, err)
			return
		}
		for _, s := range list {
			fmt.Fprintln(w, s.ID, s.LastSeenAt, s.LastSeen.IP)
		}
	}
}
