// Package goback hands sessions back to the library that an application used
// before. It is for an application that has to go back when users have already
// signed in, and changed values, since the move. The adapters' functions GoBack
// use it.
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

// again is how long after its first return a session is returned again: to
// requests that were sent before the first answer arrived, or whose answer was
// lost.
const again = time.Minute

// Take returns what to hand back of a request's session, or nil if there is
// nothing. The response clears the session's cookies. If a request presents the
// session more than a minute after it was first handed back, the session ends.
// Call Take before the response begins, and store what it returns before the
// handler runs.
func Take(s *sojourn.Session) (*Session, error) {
	s.Strict() // a session that has ended on another node must not go on in the old library
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
