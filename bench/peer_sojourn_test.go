package bench

import (
	"cmp"
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
	for o, do := range sojournOps(e, s.doors) {
		s.handlers[o] = e.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer(w, ok, do(sojourn.From(r.Context()), r))
		}))
	}
	s.handlers[nothing] = e.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, ok, nil) }))
	s.handlers[readState] = e.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := sojourn.From(r.Context())
		theme, _ := themeKey.Get(v)
		late, _ := lateKey.Get(v)
		cart, _ := cartKey.Get(v)
		answer(w, state{v.Subject(), v.Level(), theme, late, cart}.json(), nil)
	}))
	return s
}

func sojournOps(e *sojourn.Engine, doors *gate) map[op]func(*sojourn.Session, *http.Request) error {
	return map[op]func(*sojourn.Session, *http.Request) error{
		readSubject: func(v *sojourn.Session, _ *http.Request) error { return right(v.Subject() == subject) },
		readTheme: func(v *sojourn.Session, _ *http.Request) error {
			got, err := themeKey.Get(v)
			return cmp.Or(err, right(got == theme))
		},
		readChanged: func(v *sojourn.Session, _ *http.Request) error {
			got, err := themeKey.Get(v)
			return cmp.Or(err, right(isNewTheme(got)))
		},
		readProfile: func(v *sojourn.Session, _ *http.Request) error {
			got, err := profileKey.Get(v)
			return cmp.Or(err, right(got == someone))
		},
		list: func(*sojourn.Session, *http.Request) error {
			infos, _, err := e.List(context.Background(), subject, "", 100)
			return cmp.Or(err, right(len(infos) > 0))
		},
		change:      func(v *sojourn.Session, _ *http.Request) error { return themeKey.Set(v, newTheme()) },
		create:      func(v *sojourn.Session, _ *http.Request) error { return themeKey.Set(v, theme) },
		fillProfile: func(v *sojourn.Session, _ *http.Request) error { return profileKey.Set(v, someone) },
		fillTwenty: func(v *sojourn.Session, _ *http.Request) error {
			for _, name := range twenty {
				check(sojourn.NewKey[string](name).Set(v, twentyValue))
			}
			return themeKey.Set(v, theme)
		},
		login:    func(v *sojourn.Session, _ *http.Request) error { return v.Login(subject) },
		loginAny: func(v *sojourn.Session, _ *http.Request) error { return v.Login(anyUser()) },
		loginFew: func(v *sojourn.Session, _ *http.Request) error { return v.Login(userID(rand.IntN(100))) },
		elevate:  func(v *sojourn.Session, _ *http.Request) error { return v.Elevate(2, "otp") },
		rotate:   func(v *sojourn.Session, _ *http.Request) error { return v.Rotate() },
		logout:   func(v *sojourn.Session, _ *http.Request) error { return v.Logout() },
		addItem: func(v *sojourn.Session, r *http.Request) error {
			item := r.FormValue("item")
			err := cartKey.Update(v, func(cart *[]string) error { *cart = append(*cart, item); return nil })
			think()
			return err
		},
		slowWrite: func(v *sojourn.Session, _ *http.Request) error {
			_ = v.Subject() // the request is authorised now, and writes later
			doors.wait()
			return lateKey.Set(v, "late")
		},
	}
}
