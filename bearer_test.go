package sojourn_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

// A page may request a login for a program. The page's own session stays as it
// is.
func TestBearerBesideACookie(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.Bearer = true }))
	j := w.loggedIn("ann")
	s := w.begin(j)
	if err := errors.Join(s.Login("ann", sojourn.AsBearer()), s.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	w.want("cookies", len(s.SetCookies()), 0)
	w.want("the page", w.look(j), "ann")
	api := w.Begin(ctx, sojourn.Request{Bearer: s.Token()})
	w.want("the program", api.Subject(), "ann")
	w.want("one session", api.ID() == w.id(j), false)
	w.want("the token as a cookie", w.look(&jar{session: s.Token()}), "")
	w.want("the cookie as a token", w.Begin(ctx, sojourn.Request{Bearer: j.session}).Subject(), "")
}

// Tokens in a header are off by default. A session is created for one
// transport, and its token works only there.
func TestBearer(t *testing.T) {
	serve := func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		switch r.Method {
		case "POST":
			if err := s.Login("robot", sojourn.AsBearer(), sojourn.AMR("key")); err != nil {
				http.Error(rw, err.Error(), sojourn.StatusCode(err))
				return
			}
			if err := s.Commit(r.Context()); err != nil {
				t.Error(err)
			}
			io.WriteString(rw, s.Token())
		case "DELETE":
			s.Logout()
		default:
			io.WriteString(rw, who(s))
		}
	}
	off := newWeb(t, serve)
	if a := off.surfer().post("/").wantStatus(t, 500); !strings.Contains(a.body, "Options.Bearer") {
		t.Errorf("without the option: %q", a.body)
	}

	w := newWeb(t, serve, options(func(o *sojourn.Options) { o.Bearer = true }))
	b := w.surfer()
	a := b.post("/").wantStatus(t, 200)
	token := a.body
	if len(token) != 64 || len(a.cookies) != 0 || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%q %v", token, a.Header)
	}
	is := func(headers ...string) string { t.Helper(); return w.surfer(headers...).get("/").body }
	w.want("in the header", is("Authorization", "Bearer "+token), "robot")
	w.want("scheme in another case", is("Authorization", "bEARER "+token), "robot")
	w.want("more blanks", is("Authorization", "Bearer   "+token), "robot")
	w.want("as session cookie", is("Cookie", "__Host-session="+token), "nobody")
	w.want("as visitor cookie", is("Cookie", "__Host-visitor="+token), "nobody")
	w.want("two headers", is("Authorization", "Bearer "+token, "Authorization", "Bearer "+token), "nobody")
	w.want("no scheme", is("Authorization", token), "nobody")
	w.want("Basic", is("Authorization", "Basic "+token), "nobody")
	w.want("a list", is("Authorization", "Bearer "+token+", Bearer "+token), "nobody")

	human := w.surfer().login("alice")
	cookie := human.cookies["__Host-session"]
	w.want("a cookie's token in the header", is("Authorization", "Bearer "+cookie), "nobody")
	w.want("header before cookie", is("Authorization", "Bearer "+token, "Cookie", "__Host-session="+cookie), "robot")
	w.want("a bad header, and a good cookie", is("Authorization", "Bearer x", "Cookie", "__Host-session="+cookie), "nobody")
	w.want("another scheme, and a good cookie", is("Authorization", "Basic x", "Cookie", "__Host-session="+cookie), "alice")

	// A bearer token is never rotated, and no response sets a cookie.
	w.pass(time.Hour)
	b = w.surfer("Authorization", "Bearer "+token)
	for range 3 {
		if a := b.get("/"); a.body != "robot" || len(a.cookies) != 0 {
			t.Errorf("%q %v", a.body, a.Header)
		}
		w.pass(time.Hour)
	}
	w.want("rotations", len(w.happened(sojourn.EventRotated)), 0)
	if a := b.do("DELETE", "/", ""); len(a.cookies) != 0 {
		t.Errorf("logout: %v", a.cookies)
	}
	w.want("after logout", b.get("/").body, "nobody")
	w.want("the human", human.who(), "alice")

	// Without the option, the engine doesn't look up a bearer token.
	w.want("a server without the option", off.surfer("Authorization", "Bearer "+token).get("/").body, "nobody")
	off.flush()
	equal(t, "store access", off.calls.made(), nil)
}

// A request with a bearer token ignores its cookies, and so does its answer.
func TestBearerLeavesCookiesAlone(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.Bearer = true }))
	page, program := w.loggedIn("ann"), w.begin(new(jar))
	if err := errors.Join(program.Login("robot", sojourn.AsBearer()), program.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	for name, bearer := range map[string]string{"a good token": program.Token(), "a bad token": "x"} {
		s := w.Begin(ctx, sojourn.Request{Bearer: bearer, Session: []string{page.session}, Visitor: []string{"y"}})
		if err := errors.Join(s.Logout(), s.Commit(ctx)); err != nil {
			t.Fatal(err)
		}
		equal(t, name+": cookies", s.SetCookies(), nil)
	}
	w.want("the page", w.look(page), "ann")
}
