package gorilla

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/sessions"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/goback"
)

// GoBack is a middleware for an application that has used Sojourn, and goes back to
// gorilla/sessions or a library on top of it. A request with a cookie of the
// engine gets sessions of the old store, with the user and the values that the
// engine's session has now. The answer clears the engine's cookie. GoBack does
// nothing to other requests.
//
// e must have the store and the options of the engine that the application used,
// but no Adopt: otherwise it would adopt each old session again, and hand it back,
// at every request. subject is the key of the user. names are the names of the
// sessions; the first gets the values that belong to no name.
//
// If a Store of this package has stored the values, they have their Go types.
// Otherwise they have the types of anyjson.Decode; to convert them, put a
// middleware of your own inside.
//
//	handler := gorilla.GoBack(old, engine, "userID", "session")(router) // was router
func GoBack(old sessions.Store, e *sojourn.Engine, subject string, names ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return e.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			back, err := goback.Take(e.From(r.Context()))
			if err == nil && back != nil {
				err = fill(w, r, old, back, subject, names)
			}
			if err != nil {
				sojourn.Error(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		}))
	}
}

// fill stores what goes back in sessions of the old store.
func fill(w http.ResponseWriter, r *http.Request, old sessions.Store, back *goback.Session, subject string, names []string) error {
	if !says(back, subject, names) && back.Subject != "" {
		back.Values[subject] = back.Subject
	}
	for i, name := range names {
		session, err := old.Get(r, name)
		if err != nil && !forged(err) {
			return fmt.Errorf("%w: hand a session back to gorilla: %w", sojourn.ErrUnavailable, err)
		}
		session.ID, session.Values = "", map[any]any{}
		for key, value := range back.Values {
			in, k, named := strings.Cut(key, "/")
			switch {
			case named && in == name:
				decoded, err := decodeKey(k)
				if err != nil {
					return err
				}
				session.Values[decoded] = value
			case i == 0 && (!named || !slices.Contains(names, in)):
				session.Values[key] = value
			}
		}
		if len(session.Values) == 0 && session.IsNew {
			continue
		}
		if err := session.Save(r, w); err != nil {
			return fmt.Errorf("%w: hand a session back to gorilla: %w", sojourn.ErrUnavailable, err)
		}
	}
	return nil
}

// says reports whether the values say who is signed in.
func says(back *goback.Session, subject string, names []string) bool {
	_, plain := back.Values[subject]
	return plain || slices.ContainsFunc(names, func(name string) bool {
		_, says := back.Values[name+"/"+subject]
		return says
	})
}
