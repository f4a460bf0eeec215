// Package goback hands sessions back to the library that an application used
// before, where it has to go back although users have signed in, and changed
// values, since the move. The adapters' functions GoBack stand on it.
package goback

import (
	"encoding/json"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/anyjson"
)

// A Session is what to put into a session of the old library.
type Session struct {
	Subject    string
	Remembered bool
	Values     map[string]any // as anyjson.Decode returns them
}

// returned is the key of the time when a session was first handed back.
var returned = sojourn.NewKey[time.Time]("sojourn.returned")

// again is how long a session is handed back again: to requests that were sent
// before the first answer arrived, or whose answer got lost.
const again = time.Minute

// Take returns what to hand back of a request's session; nil: nothing. The
// response clears the session's cookies. A minute after it was first handed
// back, the session ends when somebody presents it. Call Take before the response
// begins, and store what it returns before the handler runs.
func Take(s *sojourn.Session) (*Session, error) {
	at, before, err := returned.Lookup(s)
	switch {
	case err != nil:
		return nil, err
	case s.ID().IsZero():
		return nil, nil
	case before && time.Since(at) > again:
		return nil, s.Logout()
	}
	if err := s.Forget(); err != nil {
		return nil, err
	}
	back := &Session{Subject: s.Subject(), Remembered: s.Info().Remembered, Values: map[string]any{}}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(s.Snapshot().Values, &values); err != nil {
		return nil, err
	}
	delete(values, "sojourn.returned")
	for key, raw := range values {
		if back.Values[key], err = anyjson.Decode(raw); err != nil {
			return nil, err
		}
	}
	if !before {
		err = returned.Set(s, time.Now())
	}
	return back, err
}
