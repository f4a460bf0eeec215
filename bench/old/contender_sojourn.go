package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// The application's keys.
var (
	themeKey   = sojourn.NewKey[string]("theme")
	lateKey    = sojourn.NewKey[string]("late")
	profileKey = sojourn.NewKey[profile]("profile")
	cartKey    = sojourn.NewKey[[]string]("cart")
)

func openSojourn() (site, error) { return sojournSite(memstore.New()) }

// sojournSite is the application on a store, which it closes with itself.
func sojournSite(st store.Store) (site, error) {
	e, err := sojourn.New(st, sojourn.Options{})
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	s := newHTTPSite()
	s.close = func() error { return errors.Join(e.Close(context.Background()), st.Close()) }
	on := func(o op, h http.HandlerFunc) { s.handlers[o] = e.Handler(h) }
	write := func(o op, do func(*http.Request, *sojourn.Session) error) {
		on(o, func(w http.ResponseWriter, r *http.Request) {
			if err := do(r, sojourn.From(r.Context())); err != nil {
				http.Error(w, err.Error(), sojourn.StatusCode(err))
				return
			}
			answer(w, true)
		})
	}

	on(nothing, func(w http.ResponseWriter, r *http.Request) { answer(w, true) })
	on(readSubject, func(w http.ResponseWriter, r *http.Request) {
		answer(w, sojourn.From(r.Context()).Subject() == subject)
	})
	on(readTheme, func(w http.ResponseWriter, r *http.Request) {
		v, err := themeKey.Get(sojourn.From(r.Context()))
		answer(w, err == nil && v == theme)
	})
	on(readChanged, func(w http.ResponseWriter, r *http.Request) {
		v, err := themeKey.Get(sojourn.From(r.Context()))
		answer(w, err == nil && isNewTheme(v))
	})
	on(readProfile, func(w http.ResponseWriter, r *http.Request) {
		v, err := profileKey.Get(sojourn.From(r.Context()))
		answer(w, err == nil && v == someone)
	})
	write(change, func(_ *http.Request, v *sojourn.Session) error { return themeKey.Set(v, newTheme()) })
	write(create, func(_ *http.Request, v *sojourn.Session) error { return themeKey.Set(v, theme) })
	write(fillProfile, func(_ *http.Request, v *sojourn.Session) error { return profileKey.Set(v, someone) })
	write(fillTwenty, func(_ *http.Request, v *sojourn.Session) error {
		for _, name := range twenty {
			if err := sojourn.NewKey[string](name).Set(v, twentyValue); err != nil {
				return err
			}
		}
		return themeKey.Set(v, theme)
	})
	write(login, func(_ *http.Request, v *sojourn.Session) error { return v.Login(subject) })
	write(elevate, func(_ *http.Request, v *sojourn.Session) error { return v.Elevate(2, "otp") })
	write(rotate, func(_ *http.Request, v *sojourn.Session) error { return v.Rotate() })
	write(logout, func(_ *http.Request, v *sojourn.Session) error { return v.Logout() })
	write(addItem, func(r *http.Request, v *sojourn.Session) error {
		item := r.FormValue("item")
		err := cartKey.Update(v, func(cart *[]string) error { *cart = append(*cart, item); return nil })
		think()
		return err
	})
	write(slowWrite, func(_ *http.Request, v *sojourn.Session) error {
		_ = v.Subject() // the request is authorised now, and writes later
		s.doors.wait()
		return lateKey.Set(v, "late")
	})
	on(readState, func(w http.ResponseWriter, r *http.Request) {
		v := sojourn.From(r.Context())
		theme, _ := themeKey.Get(v)
		late, _ := lateKey.Get(v)
		cart, _ := cartKey.Get(v)
		state{v.Subject(), v.Level(), theme, late, cart}.write(w)
	})
	return s, nil
}
