package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// A sign-in service on another site sends the browser back with a form, as SAML
// does, from a page without a referrer. The test follows the guide: the route
// is allowed, its own cookie shows that this browser asked, and the login
// happens after one more redirect, which has the visitor's session again.
func TestBrowserCallback(t *testing.T) {
	browsertest.Need(t)
	st := memstore.New()
	defer st.Close()
	sessions := sojourn.Must(sojourn.New(st, sojourn.Options{}))
	defer sessions.Close(t.Context())
	cart := sojourn.NewKey[string]("cart")

	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form method=post action=%q><input name=state value=%q></form><script>document.forms[0].submit()</script>`, r.FormValue("back"), r.FormValue("state"))
	}))
	defer service.Close()

	var root http.ServeMux
	server := httptest.NewServer(&root)
	defer server.Close()
	home := strings.Replace(server.URL, "127.0.0.1", "localhost", 1) // another site than the service
	var site http.ServeMux
	site.HandleFunc("GET /leave", func(w http.ResponseWriter, r *http.Request) {
		if err := cart.Set(sojourn.From(r.Context()), "tent"); err != nil {
			sojourn.Error(w, r, err)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "__Host-saml", Value: "r1", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode, MaxAge: 600})
		http.Redirect(w, r, service.URL+"/?state=r1&back="+home+r.FormValue("to"), http.StatusSeeOther)
	})
	site.HandleFunc("GET /finish", func(w http.ResponseWriter, r *http.Request) {
		s := sojourn.From(r.Context())
		if err := s.Login("alice"); err != nil {
			sojourn.Error(w, r, err)
			return
		}
		items, _ := cart.Get(s)
		io.WriteString(w, s.Subject()+" has a "+items)
	})
	site.HandleFunc("POST /closed", func(w http.ResponseWriter, r *http.Request) { t.Error("the site is open to other origins") })
	root.Handle("/", sessions.Handler(&site))
	root.Handle("POST /acs", sojourn.AllowCrossOrigin(sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if origin := r.Header.Get("Origin"); origin != "null" {
			t.Errorf("Origin %q", origin)
		}
		if _, err := r.Cookie("__Host-visitor"); err == nil {
			t.Error("the Lax cookie came with another site's POST")
		}
		if c, err := r.Cookie("__Host-saml"); err != nil || c.Value != r.FormValue("state") {
			t.Errorf("the cookie that binds the browser: %v, %v", c, err)
		}
		http.Redirect(w, r, "/finish", http.StatusSeeOther)
	}))))

	b := browsertest.Open(t, home, filepath.Join("..", "out", "browser"))
	b.Visit("/leave?to=/acs")
	b.See("body", "alice has a tent")
	b.Visit("/leave?to=/closed")
	b.See("body", "Forbidden")
}
