package fibersessions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gofiber/fiber/v3/middleware/session"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/anyjson"
)

// Adopt returns what Options.Adopt needs to take over the sessions of fiber's
// session middleware, from any of its storages. old is the store as
// session.NewWithStore returns it, with its types registered (RegisterType).
// cookie is the cookie's name and attributes; the usual name is "session_id".
// The value under the key subject is the user who is signed in; a session without
// it is a visitor's.
//
// All values are kept under their keys, as JSON that a sojourn.Key reads. A
// value that JSON can't hold, or whose key is no string, is left out and named in
// the event. The limits start again. The old session is deleted when it has been
// adopted, or with KeepCookie at the logout. To keep it, set End to nil in what
// Adopt returns.
func Adopt(old *session.Store, cookie sojourn.OldCookie, subject string) *sojourn.Adoption {
	var life time.Duration // zero: an old session lasts as long as it is used
	if old.AbsoluteTimeout > 0 {
		life = max(old.AbsoluteTimeout, time.Minute)
	}
	return &sojourn.Adoption{
		Cookies:  []sojourn.OldCookie{cookie},
		Lifetime: life,
		Read: func(ctx context.Context, cookies map[string]string) (*sojourn.OldSession, error) {
			s, err := old.GetByID(ctx, cookies[cookie.Name])
			switch {
			case errors.Is(err, session.ErrSessionIDNotFoundInStore), errors.Is(err, session.ErrEmptySessionID):
				return nil, nil
			case err != nil:
				return nil, err
			}
			defer s.Release()
			return take(s, subject, old.CookieSessionOnly), nil
		},
		End: func(ctx context.Context, cookies map[string]string) error {
			return old.Delete(ctx, cookies[cookie.Name])
		},
	}
}

// take returns what to keep of a session.
func take(s *session.Session, subject string, sessionOnly bool) *sojourn.OldSession {
	was := &sojourn.OldSession{Subject: anyjson.Subject(s.Get(subject)), Values: map[string]json.RawMessage{}}
	for _, k := range s.Keys() {
		key, isString := k.(string)
		if !isString {
			if fmt.Sprintf("%T", k) != "session.absExpirationKeyType" { // fiber's own
				was.Lost = append(was.Lost, fmt.Sprintf("key \"%v\": it is no string", k))
			}
			continue
		}
		raw, err := anyjson.Plain(s.Get(key))
		if err != nil {
			was.Lost = append(was.Lost, fmt.Sprintf("key %q: %v", key, err))
			continue
		}
		was.Values[key] = raw
	}
	if sessionOnly {
		was.Login = append(was.Login, sojourn.UntilBrowserCloses())
	}
	return was
}
