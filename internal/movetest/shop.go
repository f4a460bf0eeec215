package movetest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// Items is the key of the number of items in the cart of NewShop.
var Items = sojourn.NewKey[int]("items")

// NewShop returns a Site's application on Sojourn's own API.
func NewShop(e *sojourn.Engine) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if err := sojourn.From(r.Context()).Login(r.FormValue("user")); err != nil {
			sojourn.Error(w, r, err)
		}
	})
	mux.HandleFunc("POST /add", func(w http.ResponseWriter, r *http.Request) {
		if err := Items.Update(sojourn.From(r.Context()), func(n *int) error { *n++; return nil }); err != nil {
			sojourn.Error(w, r, err)
		}
	})
	mux.HandleFunc("GET /cart", func(w http.ResponseWriter, r *http.Request) {
		s := sojourn.From(r.Context())
		n, err := Items.Get(s)
		if err != nil {
			sojourn.Error(w, r, err)
			return
		}
		fmt.Fprintln(w, s.Subject(), n)
	})
	return e.Handler(mux)
}

// NewEngine returns an engine on an empty store in memory, for one test.
func NewEngine(t *testing.T, adopt *sojourn.Adoption, change ...func(*sojourn.Options)) *sojourn.Engine {
	t.Helper()
	e, _ := NewEngines(t, adopt, change...)
	return e
}

// NewEngines returns two engines on an empty store in memory, for one test. The
// second one, which is for GoBack, adopts nothing.
func NewEngines(t *testing.T, adopt *sojourn.Adoption, change ...func(*sojourn.Options)) (e, back *sojourn.Engine) {
	t.Helper()
	opt := sojourn.Options{Adopt: adopt}
	for _, f := range change {
		f(&opt)
	}
	st := memstore.New()
	t.Cleanup(func() { st.Close() }) //nolint:errcheck // in memory
	start := func() *sojourn.Engine {
		e, err := sojourn.New(st, opt)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close(context.Background()) }) //nolint:errcheck // in memory
		return e
	}
	e, opt.Adopt = start(), nil
	return e, start()
}

// A Visitor is a browser at a handler.
type Visitor struct {
	*testing.T
	Handler http.Handler
	Cookies map[string]string
}

// NewVisitor returns a visitor without cookies.
func NewVisitor(t *testing.T, h http.Handler) *Visitor {
	return &Visitor{t, h, map[string]string{}}
}

// Do sends a request with the visitor's cookies, and keeps those of the answer.
func (v *Visitor) Do(method, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(v.Context(), method, path, nil)
	for name, value := range v.Cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	v.Handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(v.Cookies, c.Name)
		} else {
			v.Cookies[c.Name] = c.Value
		}
	}
	return w
}

// Want makes a request, and compares the answer's body.
func (v *Visitor) Want(method, path, body string) {
	v.Helper()
	if w := v.Do(method, path); w.Code != 200 || strings.TrimSpace(w.Body.String()) != body {
		v.Errorf("%s %s: %d %s, want %q", method, path, w.Code, w.Body, body)
	}
}

// Twin returns another visitor with the same cookies.
func (v *Visitor) Twin() *Visitor { return &Visitor{v.T, v.Handler, maps.Clone(v.Cookies)} }
