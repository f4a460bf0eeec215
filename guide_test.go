package sojourn_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// The tests in this file prove what docs/guide.md says under "What surprises".

// Parallel requests without a cookie each create a session.
func TestGuideParallelFirstRequests(t *testing.T) {
	basket := sojourn.NewKey[map[string]int]("basket")
	add := func(s *sojourn.Session) error {
		return basket.Update(s, func(b *map[string]int) error { *b = map[string]int{"tent": (*b)["tent"] + 1}; return nil })
	}
	ten := func(w *world, first jar) int64 {
		t.Helper()
		for range 10 { // no request has another's answer
			j := first
			s := w.begin(&j)
			if err := add(s); err != nil {
				t.Fatal(err)
			}
			w.answer(&j, s)
		}
		n, _, err := w.Count(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := ten(newWorld(t), jar{}); n != 10 {
		t.Errorf("%d sessions, want 10", n)
	}
	w := newWorld(t)
	var page jar
	s := w.begin(&page)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	w.answer(&page, s)
	if n := ten(w, page); n != 1 {
		t.Errorf("%d sessions after a page that starts one, want 1", n)
	}
	s = w.begin(&page)
	if b, err := basket.Get(s); err != nil || b["tent"] != 10 {
		t.Errorf("%v, %v", b, err)
	}
}

// A user's login is stored but its answer is lost. The user is refused until
// that session ends.
func TestGuideRefuseLocksOut(t *testing.T) {
	login := func(w *world, j jar) error {
		s := w.begin(&j)
		defer s.Finish()
		if err := s.Login("ann"); err != nil {
			return err
		}
		return s.Commit(t.Context()) // the answer is lost
	}
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxSessions, o.RefuseOverLimit = 1, true }))
	if err := login(w, jar{}); err != nil {
		t.Fatal(err)
	}
	if err := login(w, jar{}); !errors.Is(err, sojourn.ErrLimit) {
		t.Errorf("the second login: %v, want ErrLimit", err)
	}
	if _, err := w.EndSubject(t.Context(), "ann", sojourn.ID{}); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second)
	if err := login(w, jar{}); err != nil {
		t.Errorf("after EndSubject: %v", err)
	}
	w.pass(25 * time.Hour)
	if err := login(w, jar{}); err != nil {
		t.Errorf("after the idle limit: %v", err)
	}

	// A browser that had a visitor's session repeats the same login.
	w = newWorld(t, options(func(o *sojourn.Options) { o.MaxSessions, o.RefuseOverLimit = 1, true }))
	var visitor jar
	s := w.begin(&visitor)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	w.answer(&visitor, s)
	for range 2 {
		if err := login(w, visitor); err != nil {
			t.Errorf("with a visitor's session: %v", err)
		}
	}
}

// Two applications on one host get each other's cookies, even on different
// ports.
func TestGuideDefaultCookieNames(t *testing.T) {
	name := func(o sojourn.Options) string {
		e, err := sojourn.New(memstore.New(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close(t.Context())
		r := httptest.NewRecorder()
		e.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := sojourn.From(r.Context()).Login("ann"); err != nil {
				t.Error(err)
			}
		})).ServeHTTP(r, httptest.NewRequest("POST", "https://localhost/", nil))
		name, _, _ := strings.Cut(r.Header().Get("Set-Cookie"), "=")
		return name
	}
	if a, b := name(sojourn.Options{App: "a"}), name(sojourn.Options{App: "b"}); a != b || a != "__Host-session" {
		t.Errorf("%q and %q", a, b)
	}
	if a := name(sojourn.Options{App: "a", Cookie: sojourn.Cookie{Name: "__Host-a-session", Visitor: "__Host-a-visitor"}}); a != "__Host-a-session" {
		t.Errorf("%q", a)
	}
}

// encoding/json reads a number into any as a float64.
func TestGuideLargeIntegers(t *testing.T) {
	w := newWorld(t)
	s := w.begin(&jar{})
	defer s.Finish()
	if err := s.SetValue("order", json.RawMessage(`{"id":9007199254740993}`)); err != nil {
		t.Fatal(err)
	}
	exact := sojourn.NewKey[map[string]json.Number]("order")
	if v, err := exact.Get(s); err != nil || v["id"] != "9007199254740993" {
		t.Errorf("%v, %v", v, err)
	}
	if err := sojourn.NewKey[map[string]any]("order").Update(s, func(v *map[string]any) error { (*v)["paid"] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if v, err := sojourn.NewKey[struct{ ID int64 }]("order").Get(s); err != nil || v.ID != 9007199254740992 {
		t.Errorf("%v, %v", v, err)
	}
}

// Update passes the zero value if there is no value.
func TestGuideNilMap(t *testing.T) {
	w := newWorld(t)
	s := w.begin(&jar{})
	defer s.Finish()
	seen := sojourn.NewKey[map[string]bool]("seen")
	for _, wasNil := range []bool{true, false} {
		err := seen.Update(s, func(m *map[string]bool) error {
			if (*m == nil) != wasNil {
				t.Errorf("nil: %v, want %v", *m == nil, wasNil)
			}
			if *m == nil {
				*m = map[string]bool{}
			}
			(*m)["tent"] = true
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
