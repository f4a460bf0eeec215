package main

import (
	"net/http"
	"os"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

func openGorillaCookie() (site, error) {
	store := sessions.NewCookieStore(securecookie.GenerateRandomKey(32))
	for _, c := range store.Codecs {
		c.(*securecookie.SecureCookie).MaxLength(0)
	}
	return gorillaSite(store), nil
}

func openGorillaFiles() (site, error) {
	dir, err := os.MkdirTemp("", "sojourn-bench-")
	if err != nil {
		return nil, err
	}
	store := sessions.NewFilesystemStore(dir, securecookie.GenerateRandomKey(32))
	store.MaxLength(0)
	s := gorillaSite(store)
	s.close = func() error { return os.RemoveAll(dir) }
	return s, nil
}

// gorillaSite saves by hand, as gorilla's users do; it has no middleware, and nothing that renews a session.
func gorillaSite(store sessions.Store) *httpSite {
	s := newHTTPSite()
	s.copies = true
	// A token that can't be read gives a new session and an error, which applications ignore as its README does.
	get := func(r *http.Request) *sessions.Session { v, _ := store.Get(r, "session"); return v }
	str := func(v *sessions.Session, key string) string { s, _ := v.Values[key].(string); return s }
	on := func(o op, h http.HandlerFunc) { s.handlers[o] = h }
	save := func(w http.ResponseWriter, r *http.Request, v *sessions.Session) {
		if fail(w, v.Save(r, w)) {
			return
		}
		answer(w, true)
	}
	read := func(o op, right func(*sessions.Session) bool) {
		on(o, func(w http.ResponseWriter, r *http.Request) { answer(w, right(get(r))) })
	}
	write := func(o op, do func(*sessions.Session)) {
		on(o, func(w http.ResponseWriter, r *http.Request) {
			v := get(r)
			do(v)
			save(w, r, v)
		})
	}

	on(nothing, func(w http.ResponseWriter, r *http.Request) { answer(w, true) })
	read(readSubject, func(v *sessions.Session) bool { return str(v, "subject") == subject })
	read(readTheme, func(v *sessions.Session) bool { return str(v, "theme") == theme })
	read(readChanged, func(v *sessions.Session) bool { return isNewTheme(str(v, "theme")) })
	read(readProfile, func(v *sessions.Session) bool { return v.Values["profile"] == someone })
	write(change, func(v *sessions.Session) { v.Values["theme"] = newTheme() })
	write(create, func(v *sessions.Session) { v.Values["theme"] = theme })
	write(fillProfile, func(v *sessions.Session) { v.Values["profile"] = someone })
	write(fillTwenty, func(v *sessions.Session) {
		v.Values["theme"] = theme
		for _, key := range twenty {
			v.Values[key] = twentyValue
		}
	})
	write(login, func(v *sessions.Session) { v.Values["subject"] = subject })
	write(elevate, func(v *sessions.Session) { v.Values["level"] = 2 })
	write(logout, func(v *sessions.Session) { v.Options.MaxAge = -1 })
	on(addItem, func(w http.ResponseWriter, r *http.Request) {
		v := get(r)
		cart, _ := v.Values["cart"].([]string)
		v.Values["cart"] = append(cart, r.FormValue("item"))
		think()
		save(w, r, v)
	})
	write(slowWrite, func(v *sessions.Session) {
		s.doors.wait()
		v.Values["late"] = "late"
	})
	on(readState, func(w http.ResponseWriter, r *http.Request) {
		v := get(r)
		cart, _ := v.Values["cart"].([]string)
		level, _ := v.Values["level"].(int)
		state{str(v, "subject"), level, str(v, "theme"), str(v, "late"), cart}.write(w)
	})
	return s
}
