package bench

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

var (
	themeKey   = sojourn.NewKey[string]("theme")
	lateKey    = sojourn.NewKey[string]("late")
	profileKey = sojourn.NewKey[profile]("profile")
	cartKey    = sojourn.NewKey[[]string]("cart")
)

func openSojourn() site { return sojournSite(memstore.New(), sojourn.Options{}) }

// sojournSite is the application on a store. It closes the store.
func sojournSite(st store.Store, opt sojourn.Options) site {
	e := must(sojourn.New(st, opt))
	s := newHTTPSite()
	s.close = func() error { return errors.Join(e.Close(context.Background()), st.Close()) }
	on := func(o op, h func(w http.ResponseWriter, r *http.Request, v *sojourn.Session)) {
		s.handlers[o] = e.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h(w, r, sojourn.From(r.Context()))
		}))
	}
	read := func(o op, right func(v *sojourn.Session) bool) {
		on(o, func(w http.ResponseWriter, _ *http.Request, v *sojourn.Session) { answer(w, right(v)) })
	}
	write := func(o op, do func(r *http.Request, v *sojourn.Session) error) {
		on(o, func(w http.ResponseWriter, r *http.Request, v *sojourn.Session) {
			if err := do(r, v); err != nil {
				http.Error(w, err.Error(), sojourn.StatusCode(err))
				return
			}
			answer(w, true)
		})
	}

	s.handlers[nothing] = e.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, true) }))
	read(readSubject, func(v *sojourn.Session) bool { return v.Subject() == subject })
	read(readTheme, func(v *sojourn.Session) bool {
		got, err := themeKey.Get(v)
		return err == nil && got == theme
	})
	read(readChanged, func(v *sojourn.Session) bool {
		got, err := themeKey.Get(v)
		return err == nil && isNewTheme(got)
	})
	read(readProfile, func(v *sojourn.Session) bool {
		got, err := profileKey.Get(v)
		return err == nil && got == someone
	})
	read(list, func(*sojourn.Session) bool {
		infos, _, err := e.List(context.Background(), subject, "", 100)
		return err == nil && len(infos) > 0
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
	write(loginAny, func(_ *http.Request, v *sojourn.Session) error { return v.Login(anyUser()) })
	write(loginFew, func(_ *http.Request, v *sojourn.Session) error { return v.Login(userID(rand.IntN(100))) })
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
	on(readState, func(w http.ResponseWriter, _ *http.Request, v *sojourn.Session) {
		theme, _ := themeKey.Get(v)
		late, _ := lateKey.Get(v)
		cart, _ := cartKey.Get(v)
		_, _ = w.Write(state{v.Subject(), v.Level(), theme, late, cart}.json())
	})
	return s
}
