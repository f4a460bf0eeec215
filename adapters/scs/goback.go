package scs

import (
	"context"
	"fmt"
	"net/http"

	"github.com/alexedwards/scs/v2"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/goback"
)

// GoBack takes the place of LoadAndSave in an application that has used Sojourn,
// and goes back to scs. A request with a cookie of the engine gets a session of
// scs, with the user and the values that the engine's session has now. The answer
// clears the engine's cookie. For other requests GoBack is LoadAndSave.
//
// e must have the store and the options of the engine that the application used,
// but no Adopt: otherwise it would adopt each old session again, and hand it back,
// at every request. subject is the key of the user. If the SessionManager of this
// package has stored the values, they have their Go types. Otherwise they have the
// types of anyjson.Decode; to convert them, put a middleware of your own inside.
//
//	handler := scs.GoBack(old, engine, "userID")(mux) // was old.LoadAndSave(mux)
func GoBack(old *scs.SessionManager, e *sojourn.Engine, subject string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return old.LoadAndSave(e.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			back, err := goback.Take(e.From(r.Context()))
			if err == nil && back != nil {
				err = fill(r.Context(), old, subject, back)
			}
			if err != nil {
				sojourn.Error(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})))
	}
}

// fill stores what goes back in the session of scs in ctx, under a new token.
func fill(ctx context.Context, old *scs.SessionManager, subject string, back *goback.Session) error {
	err := old.Clear(ctx)
	if err == nil {
		err = old.RenewToken(ctx)
	}
	for key, value := range back.Values {
		old.Put(ctx, key, value)
	}
	if back.Subject != "" && !old.Exists(ctx, subject) {
		old.Put(ctx, subject, back.Subject)
	}
	if back.Remembered {
		old.RememberMe(ctx, true)
	}
	if err == nil { // stored before our cookie is cleared
		_, _, err = old.Commit(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: hand a session back to scs: %w", sojourn.ErrUnavailable, err)
	}
	return nil
}
