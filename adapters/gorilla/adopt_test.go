package gorilla_test

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/adapters/gorilla"
	"github.com/sojourn-go/sojourn/internal/movetest"
)

// shop is a shop on gorilla/sessions.
func shop(st sessions.Store) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, do func(*sessions.Session, *http.Request) string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s, err := st.Get(r, "shop")
			if err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			text := do(s, r)
			if r.Method == "POST" {
				if err := s.Save(r, w); err != nil {
					http.Error(w, err.Error(), sojourn.StatusCode(err))
					return
				}
			}
			fmt.Fprintln(w, text)
		})
	}
	handle("POST /login", func(s *sessions.Session, r *http.Request) string {
		s.Values["user"] = r.FormValue("user")
		return ""
	})
	handle("POST /add", func(s *sessions.Session, r *http.Request) string {
		n, _ := s.Values["items"].(int)
		s.Values["items"] = n + 1
		return ""
	})
	handle("GET /cart", func(s *sessions.Session, r *http.Request) string {
		n, _ := s.Values["items"].(int)
		return fmt.Sprint(s.Values["user"], " ", n)
	})
	handle("POST /logout", func(s *sessions.Session, r *http.Request) string {
		s.Options.MaxAge = -1
		return ""
	})
	return mux
}

var key = []byte("0123456789abcdef0123456789abcdef")

func TestMoveAndGoBack(t *testing.T) {
	for name, old := range map[string]sessions.Store{
		"cookies": sessions.NewCookieStore(key, key),
		"files":   sessions.NewFilesystemStore(t.TempDir(), key),
	} {
		t.Run(name, func(t *testing.T) {
			adoption := gorilla.Adopt(old, "user", "shop")
			adoption.KeepCookie = true
			e, back := movetest.NewEngines(t, adoption)
			movetest.Site{Old: shop(old), New: movetest.NewShop(e), Back: gorilla.GoBack(old, back, "user", "shop")(shop(old)), Adopted: func() int64 {
				n, _, _ := e.Count(context.Background())
				return n
			}}.Run(t)
		})
	}
}

// A hidden is a type whose fields only gob sees.
type hidden struct{ text string }

func (h hidden) GobEncode() ([]byte, error) { return []byte(h.text), nil }
func (h *hidden) GobDecode(b []byte) error  { h.text = string(b); return nil }

type address struct{ Street string }

type typedKey int

func init() {
	gob.Register(hidden{})
	gob.Register(address{})
	gob.Register(time.Time{})
	gob.Register(typedKey(0))
	gob.Register(map[string]any{})
}

// oldCookie returns the cookie of a session.
func oldCookie(t *testing.T, st sessions.Store, name string, values map[any]any) string {
	t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	s, err := st.New(r, name)
	if err != nil {
		t.Fatal(err)
	}
	s.Values = values
	w := httptest.NewRecorder()
	if err := st.Save(r, w, s); err != nil {
		t.Fatal(err)
	}
	return w.Result().Cookies()[0].Value
}

func bring(e *sojourn.Engine, cookies ...string) *sojourn.Session {
	old := map[string]string{}
	for i := 0; i < len(cookies); i += 2 {
		old[cookies[i]] = cookies[i+1]
	}
	return e.Begin(context.Background(), sojourn.Request{Safe: true, Old: old})
}

func TestAdoptValues(t *testing.T) {
	old := sessions.NewCookieStore(key)
	old.Options.Path, old.Options.Domain = "/shop", "shop.example"
	var adopted []sojourn.Event
	e := movetest.NewEngine(t, gorilla.Adopt(old, "user", "login", "cart"), func(o *sojourn.Options) {
		o.OnEvent = func(e sojourn.Event) {
			if e.Kind == sojourn.EventAdopted {
				adopted = append(adopted, e)
			}
		}
	})
	login := oldCookie(t, old, "login", map[any]any{
		"user": 17, "home": address{"Main Street"}, "since": time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), "bytes": []byte{1, 2}, "large": uint64(math.MaxUint64),
		"hidden": hidden{"x"}, typedKey(5): "typed", "_flash": []any{"hello"},
	})
	cart := oldCookie(t, old, "cart", map[any]any{"items": 3, "home": "twice"})
	s := bring(e, "login", login, "cart", cart)
	if got := s.Subject(); got != "17" {
		t.Errorf("subject %q", got)
	}
	want := `{"_flash":["hello"],"bytes":"AQI=","home":{"Street":"Main Street"},"items":3,"large":18446744073709551615,"since":"2026-03-01T12:00:00Z","user":17}`
	if got := string(s.Snapshot().Values); got != want {
		t.Errorf("values\n%s, want\n%s", got, want)
	}
	if err := s.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	cookies := strings.Join(s.SetCookies(), "\n")
	for _, name := range []string{"login", "cart"} {
		if !strings.Contains(cookies, name+"=; Path=/shop; Domain=shop.example; Max-Age=0") {
			t.Errorf("the cookie %s isn't cleared: %s", name, cookies)
		}
	}
	if err := e.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, lost := range []string{`key "hidden"`, `key "5"`, `key "home" of session "cart"`} {
		if len(adopted) != 1 || !strings.Contains(adopted[0].Detail, lost) {
			t.Errorf("%s isn't named in %+v", lost, adopted)
		}
	}

	// The cart alone is a visitor's.
	if n, _ := movetest.Items.Get(bring(e, "cart", oldCookie(t, old, "cart", map[any]any{"items": 4}))); n != 4 {
		t.Errorf("%d items", n)
	}
}

func TestAdoptNothing(t *testing.T) {
	dir := t.TempDir()
	for name, old := range map[string]sessions.Store{
		"cookies": sessions.NewCookieStore(key, key),
		"files":   sessions.NewFilesystemStore(dir, key),
		"rotated": sessions.NewCookieStore(key, key, []byte("another key"), nil),
	} {
		e := movetest.NewEngine(t, gorilla.Adopt(old, "user", "shop"))
		good := oldCookie(t, old, "shop", map[any]any{"user": "ada"})
		other := oldCookie(t, old, "other", map[any]any{"user": "ada"})
		stranger := oldCookie(t, sessions.NewCookieStore([]byte("stranger")), "shop", map[any]any{"user": "ada"})
		bad := map[string]string{"empty": "", "forged": strings.Repeat("A", 100), "no base64": "!?", "truncated": good[:len(good)-7], "of another name": other, "signed by a stranger": stranger, "huge": strings.Repeat("x", 1<<16)}
		if name == "files" {
			ended := oldCookie(t, old, "shop", map[any]any{"user": "ada"})
			r := httptest.NewRequest("GET", "/", nil)
			r.AddCookie(&http.Cookie{Name: "shop", Value: ended})
			s, _ := old.New(r, "shop")
			s.Options.MaxAge = -1
			if err := old.Save(r, httptest.NewRecorder(), s); err != nil {
				t.Fatal(err)
			}
			bad["ended"] = ended
		}
		for what, cookie := range bad {
			s := bring(e, "shop", cookie)
			if err := s.Load(context.Background()); err != nil || s.Subject() != "" {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		if n, _, _ := e.Count(context.Background()); n != 0 {
			t.Errorf("%s: %d sessions", name, n)
		}
		if got := bring(e, "shop", good).Subject(); got != "ada" {
			t.Errorf("%s: the good one is %q", name, got)
		}
		if name == "files" {
			if left, _ := os.ReadDir(dir); len(left) != 1 { // that of the other name
				t.Errorf("%d old sessions are left", len(left))
			}
		}
	}
	expired := sessions.NewCookieStore(key)
	cookie := oldCookie(t, expired, "shop", map[any]any{"user": "ada"})
	for _, c := range expired.Codecs {
		c.(*securecookie.SecureCookie).MaxAge(1).MinAge(3600)
	}
	if s := bring(movetest.NewEngine(t, gorilla.Adopt(expired, "user", "shop")), "shop", cookie); s.Load(context.Background()) != nil || s.Subject() != "" {
		t.Error("a cookie out of its time was taken")
	}
}

// A downStore can't answer.
type downStore struct{ sessions.Store }

func (s downStore) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	session.IsNew = true
	if len(r.Cookies()) == 0 {
		return session, nil
	}
	return session, errors.New("connection refused")
}

func TestOldStoreDown(t *testing.T) {
	unreadable := t.TempDir() + "/file"
	if err := os.WriteFile(unreadable, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		old    sessions.Store
		cookie string
	}{
		"down":            {downStore{}, "x"},
		"not a directory": {sessions.NewFilesystemStore(unreadable, key), oldCookie(t, sessions.NewFilesystemStore(t.TempDir(), key), "shop", map[any]any{"user": "ada"})},
		"a lost type":     {&sessions.CookieStore{Codecs: withSerializer(key), Options: &sessions.Options{}}, oldCookie(t, sessions.NewCookieStore(key), "shop", map[any]any{"user": "ada"})},
	} {
		h := movetest.NewShop(movetest.NewEngine(t, gorilla.Adopt(c.old, "user", "shop")))
		r := httptest.NewRequest("GET", "https://shop.example/cart", nil)
		r.AddCookie(&http.Cookie{Name: "shop", Value: c.cookie})
		w := httptest.NewRecorder()
		func() {
			defer func() { _ = recover() }()
			h.ServeHTTP(w, r)
		}()
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// withSerializer returns codecs for which every value is of an unknown type.
func withSerializer(key []byte) []securecookie.Codec {
	return []securecookie.Codec{securecookie.New(key, nil).SetSerializer(forgetful{})}
}

type forgetful struct{ securecookie.GobEncoder }

func (forgetful) Deserialize([]byte, any) error {
	return errors.New("gob: name not registered for interface: main.Cart")
}

// I4: gorilla accepts a copy of a cookie for longer than Options.MaxAge, which is
// for the browser. The engine remembers the adoption for that long.
func TestI4CopiedCookieAfterItsMaxAge(t *testing.T) {
	old := sessions.NewCookieStore(key)
	old.Options.MaxAge = 30 // not old.MaxAge(30), which tells securecookie too
	var late time.Duration
	e := movetest.NewEngine(t, gorilla.Adopt(old, "user", "shop"), func(o *sojourn.Options) {
		o.Now = func() time.Time { return time.Now().Add(late) }
	})
	cookie := oldCookie(t, old, "shop", map[any]any{"user": "ada"})
	s := bring(e, "shop", cookie)
	if err := errors.Join(s.Logout(), s.Commit(context.Background())); err != nil {
		t.Fatal(err)
	}
	for _, late = range []time.Duration{0, time.Hour, 29 * 24 * time.Hour} {
		if got := bring(e, "shop", cookie).Subject(); got != "" {
			t.Errorf("after %v it is %q", late, got)
		}
	}
}
