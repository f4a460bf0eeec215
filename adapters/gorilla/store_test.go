package gorilla_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/sessions"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/gorilla"
	"github.com/sojourn-go/sojourn/internal/movetest"
)

func TestMoveWithoutChangingTheCode(t *testing.T) {
	for _, wrapped := range []bool{false, true} {
		t.Run(fmt.Sprint("wrapped=", wrapped), func(t *testing.T) {
			old := sessions.NewCookieStore(key)
			adoption := gorilla.AdoptTo(old, "user", "shop")
			adoption.KeepCookie = true
			e, back := movetest.NewEngines(t, adoption)
			now := shop(gorilla.NewStore(e, "user"))
			if wrapped {
				now = e.Handler(now)
			}
			movetest.Site{Old: shop(old), New: now, Back: gorilla.GoBack(old, back, "user", "shop")(shop(old)), LastWins: true, Adopted: func() int64 {
				n, loggedIn, _ := e.Count(context.Background())
				if n != loggedIn {
					t.Errorf("%d of %d sessions are logged in", loggedIn, n)
				}
				return n
			}}.Run(t)
		})
	}
}

// both runs a test with and without Engine.Handler around the application, and
// with that of another engine within.
func both(t *testing.T, test func(t *testing.T, e *sojourn.Engine, wrap func(http.Handler) http.Handler)) {
	t.Run("alone", func(t *testing.T) {
		test(t, movetest.NewEngine(t, nil), func(h http.Handler) http.Handler { return h })
	})
	t.Run("in Handler", func(t *testing.T) {
		e := movetest.NewEngine(t, nil)
		test(t, e, e.Handler)
	})
	t.Run("in Handlers of two engines", func(t *testing.T) {
		other := movetest.NewEngine(t, nil, func(o *sojourn.Options) { o.Cookie = sojourn.Cookie{Name: "other", Visitor: "other-visitor"} })
		e := movetest.NewEngine(t, nil)
		test(t, e, func(h http.Handler) http.Handler { return e.Handler(other.Handler(h)) })
		if n, _, _ := other.Count(context.Background()); n != 0 {
			t.Errorf("the other engine has %d sessions", n)
		}
	})
}

func TestSignInAndOut(t *testing.T) {
	both(t, func(t *testing.T, e *sojourn.Engine, wrap func(http.Handler) http.Handler) {
		v := movetest.NewVisitor(t, wrap(shop(gorilla.NewStore(e, "user"))))
		v.Want("GET", "/cart", "<nil> 0")
		if n, _, _ := e.Count(context.Background()); n != 0 || len(v.Cookies) != 0 {
			t.Errorf("a stranger has %d sessions, and the cookies %v", n, v.Cookies)
		}
		v.Want("POST", "/add", "")
		before := v.Cookies["__Host-visitor"]
		v.Want("POST", "/login?user=ada", "")
		v.Want("GET", "/cart", "ada 1")
		if v.Cookies["__Host-visitor"] != "" || v.Cookies["__Host-session"] == "" || before == "" {
			t.Errorf("cookies %v", v.Cookies)
		}
		fixed := &movetest.Visitor{T: t, Handler: v.Handler, Cookies: map[string]string{"__Host-visitor": before}}
		fixed.Want("GET", "/cart", "<nil> 0")
		list, _, err := e.List(context.Background(), "ada", "", 10)
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		copied := &movetest.Visitor{T: t, Handler: v.Handler, Cookies: map[string]string{"__Host-session": v.Cookies["__Host-session"]}}
		v.Want("POST", "/login?user=eve", "")
		v.Want("GET", "/cart", "eve 0")
		copied.Want("GET", "/cart", "<nil> 0")
		v.Want("POST", "/add", "")
		copied.Cookies = map[string]string{"__Host-session": v.Cookies["__Host-session"]}
		v.Want("POST", "/login?user=", "") // the key is empty: signed out, the cart stays
		v.Want("GET", "/cart", "1")
		copied.Want("GET", "/cart", "<nil> 0")
		v.Want("POST", "/login?user=ada", "")
		v.Want("GET", "/cart", "ada 1")
		v.Want("POST", "/logout", "")
		v.Want("GET", "/cart", "<nil> 0")
		if n, _, _ := e.Count(context.Background()); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

// An end of one name's session also removes what another request has saved in
// it meanwhile.
func TestEndOfOneNameForgetsAllOfIt(t *testing.T) {
	e := movetest.NewEngine(t, nil)
	st := gorilla.NewStore(e, "user")
	read, end := make(chan bool), make(chan bool)
	v := movetest.NewVisitor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := st.Get(r, r.URL.Query().Get("name"))
		switch r.URL.Path {
		case "/set":
			s.Values[r.URL.Query().Get("key")] = "x"
		case "/end":
			read <- true
			<-end
			s.Options = &sessions.Options{MaxAge: -1}
		case "/has":
			if s.Values["later"] != nil {
				_, _ = w.Write([]byte("it is still there"))
			}
			return
		}
		if err := s.Save(r, w); err != nil {
			w.WriteHeader(sojourn.StatusCode(err))
		}
	}))
	v.Want("POST", "/set?name=other&key=a", "")
	v.Want("POST", "/set?name=shop&key=first", "")
	tab := v.Twin()
	done := make(chan bool)
	go func() { tab.Want("POST", "/end?name=shop", ""); close(done) }()
	<-read
	v.Want("POST", "/set?name=shop&key=later", "")
	end <- true
	<-done
	v.Want("GET", "/has?name=shop", "")
}

// slow serves requests whose session is read when they begin, and saved when the
// test lets them.
func slow(st sessions.Store, read, save chan bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := st.Get(r, "shop")
		read <- true
		<-save
		s.Values["note"] = "late"
		if err := s.Save(r, w); err != nil {
			w.WriteHeader(sojourn.StatusCode(err))
			return
		}
		_, _ = w.Write([]byte("saved"))
	})
}

func TestI4LateSaveRevivesNothing(t *testing.T) {
	both(t, func(t *testing.T, e *sojourn.Engine, wrap func(http.Handler) http.Handler) {
		for _, first := range []string{"/login?user=ada", "/add"} {
			for _, other := range []string{"/logout", "/login?user=eve"} {
				st := gorilla.NewStore(e, "user")
				read, save := make(chan bool), make(chan bool)
				v := movetest.NewVisitor(t, wrap(shop(st)))
				v.Want("POST", first, "")
				late := movetest.NewVisitor(t, wrap(slow(st, read, save)))
				for name, value := range v.Cookies {
					late.Cookies[name] = value
				}
				answer := make(chan *httptest.ResponseRecorder)
				go func() { answer <- late.Do("POST", "/") }()
				<-read
				v.Want("POST", other, "")
				before, _, _ := e.Count(context.Background())
				save <- true
				if w := <-answer; w.Code != http.StatusConflict || len(w.Result().Cookies()) > 0 {
					t.Errorf("after %s and %s a late save got %d, cookies %v", first, other, w.Code, w.Result().Cookies())
				}
				if n, _, _ := e.Count(context.Background()); n != before {
					t.Errorf("a late save made %d sessions of %d", n, before)
				}
			}
		}
	})
}

func TestI5ParallelSavesOfDifferentKeys(t *testing.T) {
	both(t, func(t *testing.T, e *sojourn.Engine, wrap func(http.Handler) http.Handler) {
		st := gorilla.NewStore(e, "user")
		mux := http.NewServeMux()
		mux.Handle("/", shop(st))
		var ready sync.WaitGroup
		const requests = 16
		ready.Add(requests)
		mux.HandleFunc("POST /set", func(w http.ResponseWriter, r *http.Request) {
			s, _ := st.Get(r, "shop")
			ready.Done()
			ready.Wait() // all have read
			s.Values[r.FormValue("key")] = true
			delete(s.Values, "items")
			if err := s.Save(r, w); err != nil {
				t.Error(err)
			}
		})
		v := movetest.NewVisitor(t, wrap(mux))
		v.Want("POST", "/login?user=ada", "")
		v.Want("POST", "/add", "")
		var all sync.WaitGroup
		for i := range requests {
			all.Go(func() {
				one := &movetest.Visitor{T: t, Handler: v.Handler, Cookies: map[string]string{"__Host-session": v.Cookies["__Host-session"]}}
				one.Want("POST", fmt.Sprint("/set?key=k", i), "")
			})
		}
		all.Wait()
		list, _, _ := e.ListSnapshots(context.Background(), "ada", "", 10)
		if got := strings.Count(string(list[0].Values), ":true"); got != requests || strings.Contains(string(list[0].Values), "items") {
			t.Errorf("%d of %d landed: %s", got, requests, list[0].Values)
		}
	})
}

func TestValuesKeepTheirTypes(t *testing.T) {
	e := movetest.NewEngine(t, nil)
	st := gorilla.NewStore(e, "user")
	values := map[any]any{
		"int": 5, "int64": int64(math.MaxInt64), "uint64": uint64(math.MaxUint64), "float": 3.0, "bytes": []byte{0, 255}, "struct": address{"Main Street"}, "hidden": hidden{"x"},
		"map": map[string]any{"a": 1}, typedKey(5): "typed", 7: "seven", "=8": "eight", true: "true", "nil": nil, "nul": "\x00", "latin1": "\xe9",
	}
	r := httptest.NewRequest("POST", "/", nil)
	s, err := st.Get(r, "shop")
	if err != nil || !s.IsNew {
		t.Fatal(err, s.IsNew)
	}
	s.AddFlash("hello")
	for k, v := range values {
		s.Values[k] = v
	}
	w := httptest.NewRecorder()
	if err := s.Save(r, w); err != nil {
		t.Fatal(err)
	}
	next := httptest.NewRequest("GET", "/", nil)
	next.AddCookie(w.Result().Cookies()[0])
	s, err = st.Get(next, "shop")
	if err != nil || s.IsNew || s.ID == "" {
		t.Fatal(err, s.IsNew, s.ID)
	}
	if flashes := s.Flashes(); len(flashes) != 1 || flashes[0] != "hello" {
		t.Errorf("flashes %v", flashes)
	}
	if !reflect.DeepEqual(s.Values, values) {
		t.Errorf("%#v\nwant %#v", s.Values, values)
	}
	// Two saves of one request.
	w = httptest.NewRecorder()
	s.Values["more"] = time.Minute
	for range 2 {
		if err := s.Save(next, w); err != nil {
			t.Fatal(err)
		}
		delete(s.Values, "more")
	}
	s.Values["user"] = "ada"
	for range 2 {
		if err := s.Save(next, w); err != nil {
			t.Fatal(err)
		}
		s.Values["after"] = 1
	}
	last := httptest.NewRequest("GET", "/", nil)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge >= 0 {
			last.AddCookie(c)
		}
	}
	s, _ = st.Get(last, "shop")
	if s.Values["user"] != "ada" || s.Values["after"] != 1 || s.Values["more"] != nil || s.Values["_flash"] != nil {
		t.Errorf("%v", s.Values)
	}
	// Other names are other sessions.
	other, _ := st.Get(last, "other")
	if !other.IsNew || len(other.Values) != 0 {
		t.Errorf("%v", other.Values)
	}
	other.Values["a"] = 1
	other.Options.MaxAge = -1
	if err := other.Save(last, httptest.NewRecorder()); err != nil {
		t.Fatal(err)
	}
	if s, _ = st.New(last, "shop"); s.Values["user"] != "ada" {
		t.Error("the end of another name's session ended this one")
	}
	// Save refuses a type that gob doesn't know, as gorilla's stores do.
	type unknown struct{ A int }
	for _, bad := range []any{unknown{1}, make(chan int), strings.Repeat("x", 70<<10)} {
		s, _ := st.New(last, "shop")
		s.Values["bad"] = bad
		if err := s.Save(last, httptest.NewRecorder()); err == nil {
			t.Errorf("%T was saved", bad)
		}
	}
}

func TestStoreDown(t *testing.T) {
	e := movetest.NewEngine(t, &sojourn.Adoption{Cookies: []sojourn.OldCookie{{Name: "old"}}, Read: func(context.Context, map[string]string) (*sojourn.OldSession, error) {
		return nil, errors.New("connection refused")
	}})
	st := gorilla.NewStore(e, "user")
	r := httptest.NewRequest("POST", "/", nil)
	r.AddCookie(&http.Cookie{Name: "old", Value: "x"})
	s, err := st.Get(r, "shop")
	if !errors.Is(err, sojourn.ErrUnavailable) || s == nil {
		t.Errorf("Get: %v", err)
	}
	s.Values["a"] = 1
	w := httptest.NewRecorder()
	if err := s.Save(r, w); !errors.Is(err, sojourn.ErrUnavailable) || len(w.Result().Cookies()) > 0 {
		t.Errorf("Save: %v", err)
	}
}

func TestBadCookies(t *testing.T) {
	st := gorilla.NewStore(movetest.NewEngine(t, nil), "user")
	for _, value := range []string{"", "x", strings.Repeat("A", 64), strings.Repeat("A", 5000)} {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: value})
		if s, err := st.Get(r, "shop"); err != nil || !s.IsNew {
			t.Errorf("%.10q: %v", value, err)
		}
	}
}

// No cache keeps a response with a token, whatever the application allows it.
func TestNoCacheKeepsACookie(t *testing.T) {
	both(t, func(t *testing.T, e *sojourn.Engine, wrap func(http.Handler) http.Handler) {
		st := gorilla.NewStore(e, "user")
		app := wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, err := st.Get(r, "shop")
			if err != nil {
				t.Error(err)
				return
			}
			s.Values["user"] = "ada"
			w.Header().Set("CDN-Cache-Control", "private")
			w.Header().Set("Expires", "0")
			if err := s.Save(r, w); err != nil {
				t.Error(err)
			}
		}))
		w := httptest.NewRecorder()
		app.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
		h := w.Result().Header
		if len(h["Set-Cookie"]) == 0 || h.Get("CDN-Cache-Control") != "" || h.Get("Expires") != "" || h.Get("Cache-Control") != "no-store" {
			t.Error(h)
		}
	})
}
