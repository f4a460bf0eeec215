package scs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/anyjson"
)

// Adopt returns what Options.Adopt needs to take over the sessions of scs, from
// any of its stores. old is the manager as the application has configured it:
// its Store, Codec, Cookie and HashTokenInStore count. The value under the key
// subject is the user who is signed in; a session without it is a visitor's.
//
//	sessions, err := sojourn.New(store, sojourn.Options{Adopt: scs.Adopt(old, "userID")})
//
// To keep other things, wrap Read in what Adopt returns.
//
// All values are kept under their keys, as JSON that a sojourn.Key reads. A
// value that JSON can't hold is left out and named in the event. The types of
// the values must be registered with encoding/gob as before: if one isn't, scs
// can't read the session, and requests get 503 until it is.
//
// A session that scs remembers (RememberMe) becomes a remembered login. Where scs
// set no Max-Age, the new cookie has none either. The limits start again. The old
// session is deleted when it has been adopted, or with KeepCookie at the logout.
// To keep it, set End to nil in what Adopt returns.
func Adopt(old *scs.SessionManager, subject string) *sojourn.Adoption {
	return adopt(old, subject, anyjson.Plain)
}

func adopt(old *scs.SessionManager, subject string, encode func(any) (json.RawMessage, error)) *sojourn.Adoption {
	c := old.Cookie
	return &sojourn.Adoption{
		Cookies:  []sojourn.OldCookie{{Name: c.Name, Path: c.Path, Domain: c.Domain, Partitioned: c.Partitioned}},
		Lifetime: max(old.Lifetime, time.Minute),
		Read: func(ctx context.Context, cookies map[string]string) (*sojourn.OldSession, error) {
			ctx, err := old.Load(ctx, cookies[c.Name])
			if err != nil || old.Token(ctx) == "" {
				return nil, err
			}
			return take(ctx, old, subject, encode), nil
		},
		End: func(ctx context.Context, cookies map[string]string) error {
			ctx, err := old.Load(ctx, cookies[c.Name])
			if err != nil || old.Token(ctx) == "" {
				return err
			}
			return old.Destroy(ctx)
		},
	}
}

// take returns what to keep of the session in ctx.
func take(ctx context.Context, old *scs.SessionManager, subject string, encode func(any) (json.RawMessage, error)) *sojourn.OldSession {
	was := &sojourn.OldSession{Values: map[string]json.RawMessage{}}
	for _, key := range old.Keys(ctx) {
		if key == rememberMe {
			continue
		}
		raw, err := encode(old.Get(ctx, key))
		if err != nil {
			was.Lost = append(was.Lost, fmt.Sprintf("key %q: %v", key, err))
			continue
		}
		was.Values[key] = raw
	}
	was.Subject = anyjson.Subject(old.Get(ctx, subject))
	switch {
	case old.GetBool(ctx, rememberMe):
		was.Login = append(was.Login, sojourn.Remember())
	case !old.Cookie.Persist:
		was.Login = append(was.Login, sojourn.UntilBrowserCloses())
	}
	return was
}

// rememberMe is the key of RememberMe in scs.
const rememberMe = "__rememberMe"
