package scs_test

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	oldscs "github.com/alexedwards/scs/v2"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/scs"
	"github.com/sojourn-go/sojourn/internal/movetest"
)

// A manager is what scs and this package share.
type manager interface {
	LoadAndSave(http.Handler) http.Handler
	RenewToken(context.Context) error
	Destroy(context.Context) error
	Put(ctx context.Context, key string, val any)
	GetInt(ctx context.Context, key string) int
	GetString(ctx context.Context, key string) string
	PopString(ctx context.Context, key string) string
	Remove(ctx context.Context, key string)
}

var (
	_ manager = (*oldscs.SessionManager)(nil)
	_ manager = (*scs.SessionManager)(nil)
)

// oldShop is a shop on scs.
func oldShop(sm manager) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if err := sm.RenewToken(r.Context()); err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		sm.Put(r.Context(), "user", r.FormValue("user"))
	})
	mux.HandleFunc("POST /add", func(w http.ResponseWriter, r *http.Request) {
		sm.Put(r.Context(), "items", sm.GetInt(r.Context(), "items")+1)
	})
	mux.HandleFunc("GET /cart", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, sm.GetString(r.Context(), "user"), sm.GetInt(r.Context(), "items"))
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := sm.Destroy(r.Context()); err != nil {
			http.Error(w, err.Error(), 500)
		}
	})
	mux.HandleFunc("POST /leave", func(w http.ResponseWriter, r *http.Request) { // signs out, and keeps the cart
		if err := sm.RenewToken(r.Context()); err != nil {
			http.Error(w, err.Error(), 500)
		}
		sm.Remove(r.Context(), "user")
	})
	mux.HandleFunc("POST /flash", func(w http.ResponseWriter, r *http.Request) {
		sm.Put(r.Context(), "flash", "hello")
	})
	mux.HandleFunc("GET /flash", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, sm.PopString(r.Context(), "flash"))
	})
	return sm.LoadAndSave(mux)
}

// goingBack is scs with GoBack in place of LoadAndSave.
type goingBack struct {
	*oldscs.SessionManager
	e *sojourn.Engine
}

func (g goingBack) LoadAndSave(next http.Handler) http.Handler {
	return scs.GoBack(g.SessionManager, g.e, "user")(next)
}

func TestMoveAndGoBack(t *testing.T) {
	old := oldscs.New()
	old.HashTokenInStore = true
	adoption := scs.Adopt(old, "user")
	adoption.KeepCookie = true
	e, back := movetest.NewEngines(t, adoption)
	movetest.Site{Old: oldShop(old), New: movetest.NewShop(e), Back: oldShop(goingBack{old, back}), Adopted: func() int64 {
		n, _, _ := e.Count(context.Background())
		return n
	}}.Run(t)
}

// GoBack leaves a session of scs as it is, also its token.
func TestGoBackLeavesOldSessionsAlone(t *testing.T) {
	old := oldscs.New()
	adoption := scs.Adopt(old, "user")
	adoption.KeepCookie = true
	e, back := movetest.NewEngines(t, adoption)
	w := httptest.NewRecorder()
	oldShop(old).ServeHTTP(w, httptest.NewRequest("POST", "/login?user=ann", nil))
	app := oldShop(goingBack{old, back})
	for range 3 {
		r := httptest.NewRequest("GET", "/cart", nil)
		r.AddCookie(w.Result().Cookies()[0])
		answer := httptest.NewRecorder()
		app.ServeHTTP(answer, r)
		if len(answer.Result().Cookies()) > 0 || strings.TrimSpace(answer.Body.String()) != "ann 0" {
			t.Errorf("%s, %v", answer.Body, answer.Header())
		}
	}
	if n, _, err := e.Count(t.Context()); n != 0 || err != nil {
		t.Errorf("%d sessions, %v", n, err)
	}
}

// A hidden is a type whose fields only gob sees.
type hidden struct{ text string }

func (h hidden) GobEncode() ([]byte, error) { return []byte(h.text), nil }
func (h *hidden) GobDecode(b []byte) error  { h.text = string(b); return nil }

type address struct{ Street string }

func init() {
	gob.Register(hidden{})
	gob.Register(address{})
	gob.Register(time.Time{})
}

// oldSession stores a session in scs, and returns its token.
func oldSession(t *testing.T, sm *oldscs.SessionManager, fill func(context.Context)) string {
	t.Helper()
	ctx, err := sm.Load(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	fill(ctx)
	token, _, err := sm.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func bring(e *sojourn.Engine, token string) *sojourn.Session {
	return e.Begin(context.Background(), sojourn.Request{Safe: true, Old: map[string]string{"session": token}})
}

func TestAdoptValues(t *testing.T) {
	old := oldscs.New()
	old.Cookie.Persist = false
	var adopted []sojourn.Event
	e := movetest.NewEngine(t, scs.Adopt(old, "user"), func(o *sojourn.Options) {
		o.OnEvent = func(e sojourn.Event) {
			if e.Kind == sojourn.EventAdopted {
				adopted = append(adopted, e)
			}
		}
	})
	token := oldSession(t, old, func(ctx context.Context) {
		old.Put(ctx, "user", int64(math.MaxInt64))
		old.Put(ctx, "home", address{"Main Street"})
		old.Put(ctx, "since", time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		old.Put(ctx, "bytes", []byte{1, 2})
		old.Put(ctx, "large", uint64(math.MaxUint64))
		old.Put(ctx, "hidden", hidden{"x"})
		old.Put(ctx, "nan", math.NaN())
		old.RememberMe(ctx, true)
	})
	s := bring(e, token)
	if got := s.Subject(); got != "9223372036854775807" {
		t.Errorf("subject %q", got)
	}
	want := `{"bytes":"AQI=","home":{"Street":"Main Street"},"large":18446744073709551615,"since":"2026-03-01T12:00:00Z","user":9223372036854775807}`
	if got := string(s.Snapshot().Values); got != want {
		t.Errorf("values\n%s, want\n%s", got, want)
	}
	if i := s.Info(); !i.Remembered || i.UntilBrowserCloses {
		t.Errorf("remembered %v, until the browser closes %v", i.Remembered, i.UntilBrowserCloses)
	}
	if err := e.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(adopted) != 1 || !strings.Contains(adopted[0].Detail, `key "hidden"`) || !strings.Contains(adopted[0].Detail, `key "nan"`) {
		t.Errorf("events %+v", adopted)
	}
	if _, found, _ := old.Store.Find(token); found {
		t.Error("the old session is still in its store")
	}

	visitor := oldSession(t, old, func(ctx context.Context) { old.Put(ctx, "items", 2) })
	s = bring(e, visitor)
	if n, _ := movetest.Items.Get(s); n != 2 || s.Subject() != "" {
		t.Errorf("a visitor has %d items, and is %q", n, s.Subject())
	}
	if err := s.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	if c := strings.Join(s.SetCookies(), "\n"); !strings.Contains(c, "session=; Path=/; Max-Age=0; HttpOnly") {
		t.Errorf("the old cookie isn't cleared: %s", c)
	}

	user := oldSession(t, old, func(ctx context.Context) { old.Put(ctx, "user", "ada") })
	if !bring(e, user).Info().UntilBrowserCloses {
		t.Error("a cookie without Max-Age got one")
	}
}

func TestAdoptNothing(t *testing.T) {
	old := oldscs.New()
	e := movetest.NewEngine(t, scs.Adopt(old, "user"))
	good := oldSession(t, old, func(ctx context.Context) { old.Put(ctx, "user", "ada") })
	expired := oldSession(t, old, func(ctx context.Context) {
		old.Put(ctx, "user", "ada")
		old.SetDeadline(ctx, time.Now().Add(-time.Second))
	})
	destroyed := oldSession(t, old, func(ctx context.Context) { old.Put(ctx, "user", "ada") })
	if err := old.Store.Delete(destroyed); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"empty": "", "forged": strings.Repeat("A", 43), "truncated": good[:40], "longer": good + "A", "expired": expired, "destroyed": destroyed, "huge": strings.Repeat("x", 1<<16)} {
		if got := bring(e, token).Subject(); got != "" {
			t.Errorf("%s: subject %q", name, got)
		}
	}
	if n, _, _ := e.Count(context.Background()); n != 0 {
		t.Errorf("%d sessions", n)
	}
	if got := bring(e, good).Subject(); got != "ada" {
		t.Errorf("the good one is %q", got)
	}
}

// A downStore is a store of scs that can't answer, or answers nonsense.
type downStore struct {
	oldscs.Store
	b   []byte
	err error
}

func (s downStore) Find(string) ([]byte, bool, error) { return s.b, true, s.err }

func TestOldStoreDown(t *testing.T) {
	for name, st := range map[string]downStore{"refused": {err: errors.New("connection refused")}, "garbage": {b: []byte("garbage")}, "empty": {}} {
		old := oldscs.New()
		old.Store = st
		shop := movetest.NewShop(movetest.NewEngine(t, scs.Adopt(old, "user")))
		r := httptest.NewRequest("GET", "https://shop.example/cart", nil)
		r.AddCookie(&http.Cookie{Name: "session", Value: "x"})
		w := httptest.NewRecorder()
		func() {
			defer func() { _ = recover() }()
			shop.ServeHTTP(w, r)
		}()
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// A refusingStore can't write.
type refusingStore struct {
	oldscs.Store
	down *bool
}

func (s refusingStore) Commit(token string, b []byte, expiry time.Time) error {
	if *s.down {
		return errors.New("connection refused")
	}
	return s.Store.Commit(token, b, expiry)
}

// While the store of scs is down, no session that must go back is lost.
func TestGoBackWhileTheOldStoreIsDown(t *testing.T) {
	old, down := oldscs.New(), true
	old.Store = refusingStore{old.Store, &down}
	e := movetest.NewEngine(t, nil)
	v := movetest.NewVisitor(t, movetest.NewShop(e))
	v.Want("POST", "/login?user=ada", "")
	v.Want("POST", "/add", "")
	v.Handler = oldShop(goingBack{old, e})
	for range 2 {
		if w := v.Do("GET", "/cart"); w.Code < 500 || len(w.Result().Cookies()) > 0 {
			t.Errorf("%d, cookies %v", w.Code, w.Result().Cookies())
		}
	}
	down = false
	twin := v.Twin() // a request that was sent at the same time
	v.Want("GET", "/cart", "ada 1")
	twin.Want("GET", "/cart", "ada 1")
	for _, one := range []*movetest.Visitor{v, twin} {
		if one.Cookies["__Host-session"] != "" || one.Cookies["session"] == "" {
			t.Errorf("cookies %v", one.Cookies)
		}
		one.Want("GET", "/cart", "ada 1")
	}
	stranger := &movetest.Visitor{T: t, Handler: v.Handler, Cookies: map[string]string{"__Host-session": strings.Repeat("A", 64)}}
	stranger.Want("GET", "/cart", "0")
}
