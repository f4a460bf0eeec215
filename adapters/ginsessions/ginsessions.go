// Package ginsessions keeps the sessions of code that is written for
// github.com/gin-contrib/sessions: only the store changes.
//
//	router.Use(sessions.Sessions("session", ginsessions.NewStore(engine, "userID")))
//
// Package gorilla says what gets better, and what can't be kept. Two things are
// different here. If a session can't be read, gin-contrib/sessions logs it and
// goes on with an empty one, as if nobody were signed in. This store panics
// instead: the answer is gin.Recovery's 500, or 503 with Engine.Handler around
// the router. Store.Options has no effect, because the engine's Options shape the
// cookie. In Session.Options only a negative MaxAge counts: it ends the session.
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
// key whose value is the user who is signed in (gorilla.Store.Subject). If it is
// empty, the engine knows no users.
func NewStore(e *sojourn.Engine, subject string) Store {
	return Store{gorilla.NewStore(e, subject)}
}

// Options has no effect.
func (Store) Options(sessions.Options) {}

// Get returns the session with a name. It panics if the session can't be read.
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
