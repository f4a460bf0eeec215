package mirror_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/mirror"
)

// Without a store, the values are in the session alone: in the browser's cookie.
func TestSealedForEveryone(t *testing.T) {
	sessions, err := sojourn.New(nil, sojourn.Options{Sealed: &sojourn.Sealing{
		Keys: [][]byte{bytes.Repeat([]byte{7}, 32)}, For: sojourn.SealEveryone,
		NotBefore: func(context.Context, string) (time.Time, error) { return time.Time{}, nil },
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close(t.Context())
	m := mirror.Must(mirror.New(sessions, mirror.Public(theme, mirror.Key{Attribute: "data-theme", Values: []string{"light", "dark"}})))
	jar := map[string]string{}
	do := func(h http.Handler, body string) string {
		t.Helper()
		r := httptest.NewRequest("POST", "/mirror", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		for name, value := range jar {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		for _, c := range w.Result().Cookies() {
			if jar[c.Name] = c.Value; c.MaxAge < 0 {
				delete(jar, c.Name)
			}
		}
		if w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	in := func(f func(*sojourn.Session) error) string {
		t.Helper()
		return do(sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := sojourn.From(r.Context())
			if err := f(s); err != nil {
				t.Error(err)
			}
			value, err := theme.Get(s)
			fmt.Fprint(w, value, err)
		})), "")
	}
	if do(m, `{"values":{"theme":{"value":"dark","age":1}}}`); len(jar) > 0 {
		t.Errorf("a visitor's cookies: %v", jar)
	}
	in(func(s *sojourn.Session) error { return s.Login("ann") })
	var a answer
	ask := func(body string) {
		t.Helper()
		if err := json.Unmarshal([]byte(do(m, body)), &a); err != nil {
			t.Fatal(err)
		}
	}
	ask(`{"values":{"theme":{"value":"dark"}}}`)
	if a.User == "" || a.Values["theme"].Value != "dark" {
		t.Errorf("after the sign-in: %+v", a)
	}
	ask(`{"user":"` + a.User + `","values":{"theme":{"value":"light","age":0}}}`)
	if a.Values["theme"].Value != "light" {
		t.Errorf("after a change: %+v", a)
	}
	ask(`{"user":"` + a.User + `","values":{"theme":{"value":"dark","age":60000}}}`)
	if a.Values["theme"].Value != "light" {
		t.Errorf("after an earlier change: %+v", a)
	}
	if got := in(func(*sojourn.Session) error { return nil }); got != "light<nil>" {
		t.Errorf("the session has %s", got)
	}
}
