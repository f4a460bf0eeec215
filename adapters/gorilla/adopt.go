package gorilla

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/anyjson"
)

// Adopt returns what Options.Adopt needs to take over the sessions of
// gorilla/sessions, from any of its stores and from cookies. old is the store as
// the application has configured it, with its keys. names are those of the
// sessions, which are also their cookies' names. The value under the key subject
// is the user who is signed in; a session without it is a visitor's.
//
//	sessions, err := sojourn.New(store, sojourn.Options{Adopt: gorilla.Adopt(old, "userID", "session")})
//
// To keep other things, wrap Read in what Adopt returns. If the application sets
// a Path or Domain on its sessions that differs from the store's, set it in
// Cookies too.
//
// All values are kept under their keys, as JSON that a sojourn.Key reads. A
// value that JSON can't hold, or whose key is no string, is left out and named in
// the event. If two sessions have the same key, the first counts. The types of the
// values must be registered with encoding/gob as before: if one isn't, gorilla
// can't read the session, and requests get 503 until it is.
//
// The limits start again. The old session is deleted from its store when it has
// been adopted, or with KeepCookie at the logout. To keep it, set End to nil in
// what Adopt returns.
func Adopt(old sessions.Store, subject string, names ...string) *sojourn.Adoption {
	return adopt(old, subject, names, false)
}

func adopt(old sessions.Store, subject string, names []string, exact bool) *sojourn.Adoption {
	a := &sojourn.Adoption{
		Read: func(ctx context.Context, cookies map[string]string) (*sojourn.OldSession, error) {
			return read(requestWith(ctx, cookies), old, subject, names, exact)
		},
		End: func(ctx context.Context, cookies map[string]string) error {
			return end(requestWith(ctx, cookies), old, names)
		},
	}
	for _, name := range names {
		c := sojourn.OldCookie{Name: name}
		if s, err := old.New(requestWith(context.Background(), nil), name); err == nil && s.Options != nil {
			c.Path, c.Domain, c.Partitioned = s.Options.Path, s.Options.Domain, s.Options.Partitioned
		}
		a.Cookies = append(a.Cookies, c)
	}
	return a
}

// requestWith returns a request with the cookies, which is what stores read.
func requestWith(ctx context.Context, cookies map[string]string) *http.Request {
	r := (&http.Request{Method: http.MethodGet, Header: http.Header{}}).WithContext(ctx)
	for name, value := range cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

// read returns what to keep of the sessions that a request names, or nil if there
// are none.
func read(r *http.Request, old sessions.Store, subject string, names []string, exact bool) (*sojourn.OldSession, error) {
	was := &sojourn.OldSession{Values: map[string]json.RawMessage{}}
	persistent, found := false, false
	for _, name := range names {
		session, err := old.New(r, name)
		if err != nil && !forged(err) {
			return nil, err
		}
		if err != nil || session.IsNew {
			continue
		}
		found = true
		persistent = persistent || session.Options != nil && session.Options.MaxAge > 0
		for k, v := range session.Values {
			key, raw, err := convert(name, k, v, exact)
			if _, twice := was.Values[key]; twice {
				err = errors.New("another session has it too")
			}
			if err != nil {
				was.Lost = append(was.Lost, fmt.Sprintf("key %q of session %q: %v", fmt.Sprint(k), name, err))
			} else {
				was.Values[key] = raw
			}
			if k == any(subject) && was.Subject == "" {
				was.Subject = anyjson.Subject(v)
			}
		}
	}
	if !found {
		return nil, nil
	}
	if !persistent {
		was.Login = append(was.Login, sojourn.UntilBrowserCloses())
	}
	return was, nil
}

// convert returns a value of an old session, and its key, as they are kept.
func convert(name string, k, v any, exact bool) (key string, raw json.RawMessage, err error) {
	if exact {
		if key, err = encodeKey(k); err == nil {
			raw, err = anyjson.Encode(v)
		}
		return name + "/" + key, raw, err
	}
	key, isString := k.(string)
	if !isString {
		return "", nil, errors.New("it is no string")
	}
	raw, err = anyjson.Plain(v)
	return key, raw, err
}

// end deletes the sessions that a request names from their store.
func end(r *http.Request, old sessions.Store, names []string) error {
	var errs []error
	for _, name := range names {
		session, err := old.New(r, name)
		switch {
		case err != nil && !forged(err):
			errs = append(errs, err)
		case err == nil && !session.IsNew:
			options := sessions.Options{}
			if session.Options != nil {
				options = *session.Options
			}
			options.MaxAge = -1
			session.Options = &options
			errs = append(errs, old.Save(r, nowhere{}, session))
		}
	}
	return errors.Join(errs...)
}

// nowhere is a response that nobody gets: the engine clears the cookie.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

// forged reports whether a store's error means that the cookie names no session:
// it is forged, truncated or too old, or its session is gone. Any other error is
// a failure of the store or a mistake in the program, such as a type that gob
// doesn't know.
func forged(err error) bool {
	if all, ok := err.(securecookie.MultiError); ok { //nolint:errorlint // it is never wrapped
		for _, one := range all {
			if !forged(one) {
				return false
			}
		}
		return len(all) > 0
	}
	var cookie securecookie.Error
	if errors.As(err, &cookie) {
		var base64Error base64.CorruptInputError
		return cookie.IsDecode() && (cookie.Cause() == nil || errors.As(cookie.Cause(), &base64Error))
	}
	return errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "the value is too long") // of securecookie, without a type
}
