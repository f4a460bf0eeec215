package scs_test

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

	oldscs "github.com/alexedwards/scs/v2"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/scs"
	"github.com/sojourn-go/sojourn/internal/movetest"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
)

func newManager(t *testing.T) *scs.SessionManager {
	sm := scs.New()
	sm.Subject = "user"
	t.Cleanup(func() { sm.Engine().Close(context.Background()) })
	return sm
}

func TestMoveWithoutChangingTheCode(t *testing.T) {
	old := oldscs.New()
	sm := newManager(t)
	sm.Adopt, sm.KeepCookie = old, true
	movetest.Site{Old: oldShop(old), New: oldShop(sm), Back: oldShop(goingBack{old, sm.Engine()}), LastWins: true, Adopted: func() int64 {
		_, loggedIn, _ := sm.Engine().Count(context.Background())
		return loggedIn
	}}.Run(t)
}

// The same sequence at scs and here.
func TestSignInAndOut(t *testing.T) {
	for name, sm := range map[string]manager{"scs": oldscs.New(), "sojourn": newManager(t), "without Subject": scs.New()} {
		t.Run(name, func(t *testing.T) {
			v := movetest.NewVisitor(t, oldShop(sm))
			v.Want("GET", "/cart", "0")
			if len(v.Cookies) != 0 {
				t.Errorf("a stranger has the cookies %v", v.Cookies)
			}
			v.Want("POST", "/add", "")
			before := v.Twin()
			v.Want("POST", "/login?user=ada", "")
			v.Want("GET", "/cart", "ada 1")
			before.Want("GET", "/cart", "0")
			before = v.Twin()
			v.Want("POST", "/leave", "")
			v.Want("GET", "/cart", "1")
			before.Want("GET", "/cart", "0")
			v.Want("POST", "/flash", "")
			v.Want("GET", "/flash", "hello")
			v.Want("GET", "/flash", "")
			v.Want("POST", "/login?user=eve", "")
			v.Want("GET", "/cart", "eve 1")
			before = v.Twin()
			v.Want("POST", "/logout", "")
			v.Want("GET", "/cart", "0")
			before.Want("GET", "/cart", "0")
		})
	}
}

func TestSubjectIsSignedIn(t *testing.T) {
	sm := newManager(t)
	v := movetest.NewVisitor(t, oldShop(sm))
	v.Want("POST", "/login?user=ada", "")
	list, _, err := sm.Engine().List(context.Background(), "ada", "", 10)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if _, err := sm.Engine().EndSubject(context.Background(), "ada", sojourn.ID{}); err != nil {
		t.Fatal(err)
	}
	v.Want("GET", "/cart", "0")
}

func TestI4LatePutRevivesNothing(t *testing.T) {
	sm := newManager(t)
	read, put := make(chan bool), make(chan bool)
	mux := http.NewServeMux()
	mux.Handle("/", oldShop(sm))
	mux.Handle("POST /late", sm.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sm.GetInt(r.Context(), "items")
		read <- true
		<-put
		sm.Put(r.Context(), "items", 100)
	})))
	v := movetest.NewVisitor(t, mux)
	v.Want("POST", "/login?user=ada", "")
	late, answer := v.Twin(), make(chan *httptest.ResponseRecorder)
	go func() { answer <- late.Do("POST", "/late") }()
	<-read
	v.Want("POST", "/logout", "")
	put <- true
	if w := <-answer; w.Code != http.StatusConflict {
		t.Errorf("%d", w.Code)
	}
	if n, _, _ := sm.Engine().Count(context.Background()); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

func TestParallelPopAndPut(t *testing.T) {
	sm := newManager(t)
	mux := http.NewServeMux()
	mux.Handle("/", oldShop(sm))
	mux.Handle("POST /set", sm.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sm.Put(r.Context(), r.FormValue("key"), true)
	})))
	v := movetest.NewVisitor(t, mux)
	v.Want("POST", "/login?user=ada", "")
	v.Want("POST", "/flash", "")
	var all sync.WaitGroup
	var mu sync.Mutex
	flashes := 0
	for i := range 16 {
		all.Go(func() {
			one := v.Twin()
			one.Want("POST", fmt.Sprint("/set?key=k", i), "")
			if one.Do("GET", "/flash").Body.String() == "hello" {
				mu.Lock()
				flashes++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	list, _, _ := sm.Engine().ListSnapshots(context.Background(), "ada", "", 1)
	if n := strings.Count(string(list[0].Values), ":true"); n != 16 || flashes != 1 {
		t.Errorf("%d of 16 keys, the flash %d times", n, flashes)
	}
}

// in runs do in a request, and returns the answer's status.
func in(sm *scs.SessionManager, v *movetest.Visitor, do func(ctx context.Context)) int {
	h := v.Handler
	defer func() { v.Handler = h }()
	v.Handler = sm.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { do(r.Context()) }))
	return v.Do("POST", "/").Code
}

func TestValuesKeepTheirTypes(t *testing.T) {
	sm := newManager(t)
	v := movetest.NewVisitor(t, nil)
	now := time.Now()
	values := map[string]any{
		"string": "s", "bool": true, "int": -5, "int32": int32(1), "int64": int64(math.MaxInt64), "uint64": uint64(math.MaxUint64), "float": 3.0, "bytes": []byte{0, 255}, "struct": address{"Main Street"}, "hidden": hidden{"x"},
	}
	in(sm, v, func(ctx context.Context) {
		for key, val := range values {
			sm.Put(ctx, key, val)
		}
		sm.Put(ctx, "time", now)
	})
	in(sm, v, func(ctx context.Context) {
		for key, val := range values {
			if got := sm.Get(ctx, key); !reflect.DeepEqual(got, val) || !sm.Exists(ctx, key) {
				t.Errorf("%s: %#v, want %#v", key, got, val)
			}
		}
		if sm.GetString(ctx, "string") != "s" || !sm.GetBool(ctx, "bool") || sm.GetInt(ctx, "int") != -5 || sm.GetInt32(ctx, "int32") != 1 || sm.GetInt64(ctx, "int64") != math.MaxInt64 || sm.GetFloat(ctx, "float") != 3 || string(sm.GetBytes(ctx, "bytes")) != "\x00\xff" || !sm.GetTime(ctx, "time").Equal(now) {
			t.Error("a getter returns something else")
		}
		if sm.GetString(ctx, "int") != "" || sm.GetInt(ctx, "absent") != 0 || sm.Get(ctx, "absent") != nil || sm.Exists(ctx, "absent") {
			t.Error("a getter returns something of another type")
		}
		if got := sm.Keys(ctx); len(got) != 11 || got[0] != "bool" {
			t.Errorf("keys %v", got)
		}
		if sm.PopInt(ctx, "int") != -5 || sm.PopInt(ctx, "int") != 0 || !sm.PopBool(ctx, "bool") || sm.PopFloat(ctx, "float") != 3 || len(sm.PopBytes(ctx, "bytes")) != 2 || !sm.PopTime(ctx, "time").Equal(now) || sm.PopString(ctx, "string") != "s" {
			t.Error("a Pop returns something else")
		}
		if err := sm.Clear(ctx); err != nil || len(sm.Keys(ctx)) != 0 || sm.Keys(ctx) == nil {
			t.Error("Clear left values", err)
		}
	})
	type unknown struct{ A int }
	for val, status := range map[any]int{unknown{1}: 500, strings.Repeat("x", 70<<10): 413} {
		if got := in(sm, v, func(ctx context.Context) { sm.Put(ctx, "bad", val) }); got != status {
			t.Errorf("%T: %d, want %d", val, got, status)
		}
	}
}

func TestIterateAndMerge(t *testing.T) {
	sm := newManager(t)
	var tokens []string
	for i := range 205 {
		ctx, err := sm.Load(context.Background(), "")
		if err != nil {
			t.Fatal(err)
		}
		sm.Put(ctx, "n", i)
		token, until, err := sm.Commit(ctx)
		if err != nil || until.IsZero() || sm.Deadline(ctx) != until || sm.Token(ctx) == "" {
			t.Fatal(err, until)
		}
		w := httptest.NewRecorder()
		w.Header().Set("CDN-Cache-Control", "public, max-age=600")
		sm.WriteSessionCookie(ctx, w, token, until)
		if h := w.Header(); h.Get("CDN-Cache-Control") != "" || h.Get("Cache-Control") != "no-store" {
			t.Fatal("a cache may keep the token: ", h)
		}
		if c := w.Result().Cookies(); len(c) != 1 || c[0].Value != token {
			t.Fatal(c)
		}
		tokens = append(tokens, token)
	}
	sum := 0
	err := sm.Iterate(context.Background(), func(ctx context.Context) error {
		sum += sm.GetInt(ctx, "n")
		if sm.GetInt(ctx, "n")%2 == 0 {
			return sm.Destroy(ctx)
		}
		return nil
	})
	if n, _, _ := sm.Engine().Count(context.Background()); err != nil || sum != 204*205/2 || n != 102 {
		t.Errorf("%v, sum %d, %d left", err, sum, n)
	}
	stop := errors.New("stop")
	if err := sm.Iterate(context.Background(), func(context.Context) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	v := movetest.NewVisitor(t, nil)
	in(sm, v, func(ctx context.Context) {
		for _, token := range []string{tokens[1], tokens[2], "x"} { // tokens[2] was destroyed
			if err := sm.MergeSession(ctx, token); err != nil {
				t.Error(err)
			}
		}
	})
	in(sm, v, func(ctx context.Context) {
		if n := sm.GetInt(ctx, "n"); n != 1 {
			t.Errorf("merged %d", n)
		}
	})
	if n, _, _ := sm.Engine().Count(context.Background()); n != 102 {
		t.Errorf("%d sessions", n)
	}
}

// A merged session's user is signed in, so the engine can list and end the session.
func TestMergeSessionOfAUser(t *testing.T) {
	sm := newManager(t)
	ctx := context.Background()
	other := sm.Engine().Begin(ctx, sojourn.Request{})
	if err := errors.Join(other.Login("ada"), other.SetValue("user", []byte(`"ada"`)), other.SetValue("cart", []byte("1")), other.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	v := movetest.NewVisitor(t, nil)
	in(sm, v, func(ctx context.Context) {
		if err := sm.MergeSession(ctx, other.Token()); err != nil {
			t.Error(err)
		}
	})
	in(sm, v, func(ctx context.Context) {
		if user, cart := sm.GetString(ctx, "user"), sm.GetInt(ctx, "cart"); user != "ada" || cart != 1 {
			t.Errorf("user %q, cart %d", user, cart)
		}
	})
	if list, _, err := sm.Engine().List(ctx, "ada", "", 10); err != nil || len(list) != 1 {
		t.Errorf("ada has %d sessions, %v", len(list), err)
	}
}

func TestRememberMe(t *testing.T) {
	for _, c := range []struct{ persist, remember, maxAge bool }{{true, false, true}, {false, false, false}, {false, true, true}} {
		for _, first := range []bool{false, true} {
			sm := newManager(t)
			sm.Cookie.Persist, sm.Cookie.Name = c.persist, "__Host-shop"
			v := movetest.NewVisitor(t, nil)
			var answer *httptest.ResponseRecorder
			v.Handler = sm.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.remember && first {
					sm.RememberMe(r.Context(), true)
				}
				sm.Put(r.Context(), "user", 17)
				if c.remember && !first {
					sm.RememberMe(r.Context(), true)
				}
			}))
			answer = v.Do("POST", "/")
			cookie := answer.Result().Cookies()[0]
			if cookie.Name != "__Host-shop" || (cookie.MaxAge > 0) != c.maxAge || cookie.MaxAge > 24*3600 {
				t.Errorf("%+v: %s", c, cookie)
			}
		}
	}
}

func TestI9StoreDown(t *testing.T) {
	sm := newManager(t)
	down := false
	sm.Store = driver.Intercept(memstore.New(), func(ctx context.Context, c driver.Call) driver.Result {
		if down && c.Op != driver.Close {
			return driver.Result{Err: errors.New("connection refused")}
		}
		return c.Do(ctx)
	})
	v := movetest.NewVisitor(t, oldShop(sm))
	v.Want("POST", "/login?user=ada", "")
	down = true
	for _, path := range []string{"GET /cart", "POST /add", "GET /flash", "POST /leave"} {
		method, path, _ := strings.Cut(path, " ")
		server := httptest.NewServer(v.Handler)
		r, _ := http.NewRequest(method, server.URL+path, nil)
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: v.Cookies["__Host-session"]})
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if path == "/leave" && res.StatusCode == 500 { // the shop's own answer to an error
			res.StatusCode = 503
		}
		if res.StatusCode != 503 {
			t.Errorf("%s %s: %s", method, path, res.Status)
		}
		server.Close()
	}
	down = false
	v.Want("GET", "/cart", "ada 0")
}

func TestAdoptionKeepsTypes(t *testing.T) {
	old := oldscs.New()
	sm := newManager(t)
	sm.Adopt = old
	token := oldSession(t, old, func(ctx context.Context) {
		old.Put(ctx, "user", 17)
		old.Put(ctx, "home", address{"Main Street"})
		old.Put(ctx, "hidden", hidden{"x"})
	})
	v := &movetest.Visitor{T: t, Handler: nil, Cookies: map[string]string{"session": token}}
	in(sm, v, func(ctx context.Context) {
		if sm.Engine().From(ctx).Subject() != "17" || sm.Get(ctx, "home") != (address{"Main Street"}) || sm.Get(ctx, "hidden") != (hidden{"x"}) {
			t.Errorf("%v", sm.Keys(ctx))
		}
	})
	if v.Cookies["session"] != "" || v.Cookies["__Host-session"] == "" {
		t.Errorf("cookies %v", v.Cookies)
	}
}
