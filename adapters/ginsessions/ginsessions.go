// Package ginsessions keeps the sessions of code that is written for
// github.com/gin-contrib/sessions: only the store changes.
//
//	router.Use(sessions.Sessions("session", ginsessions.NewStore(engine, "userID")))
//
// What gets better, and what can't be kept, is what package gorilla says, with
// two additions. gin-contrib/sessions only logs that a session can't be read, and
// goes on with an empty one, as if nobody were signed in. This store panics
// instead, so the request is a 500 by gin.Recovery, or with Engine.Handler around
// the router a 503. Store.Options has no effect: the engine's Options shape the
// cookie. Of Session.Options a negative MaxAge ends the session.
//
// Code that ignores the error of Session.Save loses the changes of a request
// whose session has ended meanwhile. With Engine.Handler around the router, the
// client gets the error instead.
//
// AdoptTo takes over the sessions that browsers have from the old store:
//
//	old := cookie.NewStore(key)
//	engine, err := sojourn.New(store, sojourn.Options{Adopt: gorilla.AdoptTo(old, "userID", "session")})
package ginsessions

import (
	"fmt"
	"net/http"

	"github.com/gin-contrib/sessions"
	gsessions "github.com/gorilla/sessions"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/gorilla"
)

// A Store is a sessions.Store of gin-contrib on an engine. Its methods may be
// called concurrently.
type Store struct{ *gorilla.Store }

var _ sessions.Store = Store{}

// NewStore returns a store that keeps its sessions in an engine. subject is the
// key whose value is the user who is signed in (gorilla.Store.Subject); empty:
// the engine knows no users.
func NewStore(e *sojourn.Engine, subject string) Store {
	return Store{gorilla.NewStore(e, subject)}
}

// Options has no effect.
func (Store) Options(sessions.Options) {}

// Get returns the session of a name. It panics if the session can't be read.
func (s Store) Get(r *http.Request, name string) (*gsessions.Session, error) {
	session, err := s.Store.Get(r, name)
	if err != nil {
		if own, ok := sojourn.Lookup(r.Context()); ok {
			own.ID() // ends the handler, and Engine.Handler answers with the error
		}
		panic(fmt.Errorf("ginsessions: %w", err))
	}
	return session, nil
}
