package main

import (
	"encoding/gob"
	"net/http"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
)

func init() { gob.Register(profile{}) }

func openSCS() (site, error) {
	return scsSite(memstore.NewWithCleanupInterval(0)), nil // its cleanup is measured with the pauses; stopping it is a data race
}

// scsSite is the application on one of scs's stores.
func scsSite(store scs.Store) *httpSite {
	m := scs.New()
	m.Store = store
	s := newHTTPSite()
	on := func(o op, h http.HandlerFunc) { s.handlers[o] = m.LoadAndSave(h) }

	on(nothing, func(w http.ResponseWriter, r *http.Request) { answer(w, true) })
	on(readSubject, func(w http.ResponseWriter, r *http.Request) {
		answer(w, m.GetString(r.Context(), "subject") == subject)
	})
	on(readTheme, func(w http.ResponseWriter, r *http.Request) { answer(w, m.GetString(r.Context(), "theme") == theme) })
	on(readChanged, func(w http.ResponseWriter, r *http.Request) { answer(w, isNewTheme(m.GetString(r.Context(), "theme"))) })
	on(readProfile, func(w http.ResponseWriter, r *http.Request) {
		p, _ := m.Get(r.Context(), "profile").(profile)
		answer(w, p == someone)
	})
	on(change, func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "theme", newTheme())
		answer(w, true)
	})
	on(create, func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "theme", theme)
		answer(w, true)
	})
	on(fillTwenty, func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "theme", theme)
		for _, key := range twenty {
			m.Put(r.Context(), key, twentyValue)
		}
		answer(w, true)
	})
	on(fillProfile, func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "profile", someone)
		answer(w, true)
	})
	on(login, func(w http.ResponseWriter, r *http.Request) {
		if fail(w, m.RenewToken(r.Context())) {
			return
		}
		m.Put(r.Context(), "subject", subject)
		answer(w, true)
	})
	on(elevate, func(w http.ResponseWriter, r *http.Request) {
		if fail(w, m.RenewToken(r.Context())) {
			return
		}
		m.Put(r.Context(), "level", 2)
		answer(w, true)
	})
	on(logout, func(w http.ResponseWriter, r *http.Request) {
		if fail(w, m.Destroy(r.Context())) {
			return
		}
		answer(w, true)
	})
	on(addItem, func(w http.ResponseWriter, r *http.Request) {
		cart, _ := m.Get(r.Context(), "cart").([]string)
		m.Put(r.Context(), "cart", append(cart, r.FormValue("item")))
		think()
		answer(w, true)
	})
	on(slowWrite, func(w http.ResponseWriter, r *http.Request) {
		_ = m.GetString(r.Context(), "subject")
		s.doors.wait()
		m.Put(r.Context(), "late", "late")
		answer(w, true)
	})
	on(readState, func(w http.ResponseWriter, r *http.Request) {
		cart, _ := m.Get(r.Context(), "cart").([]string)
		state{m.GetString(r.Context(), "subject"), m.GetInt(r.Context(), "level"), m.GetString(r.Context(), "theme"), m.GetString(r.Context(), "late"), cart}.write(w)
	})
	return s
}
