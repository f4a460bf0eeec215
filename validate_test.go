package sojourn_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// A value that doesn't decode into the key's type is a clear error, and doesn't
// harm the session.
func TestBadValueTypes(t *testing.T) {
	w := newWeb(t, nil)
	b := &jar{}
	w.visit(b, func(s *sojourn.Session) error {
		if err := color.Set(s, "red"); err != nil {
			return err
		}
		return sojourn.NewKey[string]("cart").Set(s, "not a cart")
	})
	s := w.begin(b)
	v, ok, err := cart.Lookup(s)
	if v != nil || !ok || !errors.Is(err, sojourn.ErrValue) || !strings.Contains(err.Error(), "cart") {
		t.Errorf("Lookup: %v %v %v", v, ok, err)
	}
	if strings.Contains(err.Error(), "not a cart") {
		t.Errorf("the error shows the value: %v", err)
	}
	if err := cart.Update(s, func(*map[string]int) error { return nil }); !errors.Is(err, sojourn.ErrValue) {
		t.Errorf("Update: %v", err)
	}
	if err := count.Update(s, increment); err != nil {
		t.Errorf("another key: %v", err)
	}
	w.answer(b, s)
	s = w.begin(b)
	red, _ := color.Get(s)
	n, _ := count.Get(s)
	raw, err := sojourn.NewKey[string]("cart").Get(s)
	if red != "red" || n != 1 || raw != "not a cart" || err != nil {
		t.Errorf("%q %d %q %v", red, n, raw, err)
	}
	if err := cart.Set(s, map[string]int{"a": 1}); err != nil {
		t.Error(err)
	}
	w.answer(b, s)
	if c, err := cart.Get(w.begin(b)); c["a"] != 1 || err != nil {
		t.Errorf("after Set: %v %v", c, err)
	}
}

// Values are refused that aren't JSON, that some store can't keep, or that
// exceed a limit.
func TestBadValues(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]struct {
		set func(*sojourn.Session) error
		err error
	}{
		"a function":      {func(s *sojourn.Session) error { return sojourn.NewKey[func()]("k").Set(s, func() {}) }, sojourn.ErrValue},
		"a channel":       {func(s *sojourn.Session) error { return sojourn.NewKey[any]("k").Set(s, make(chan int)) }, sojourn.ErrValue},
		"not a number":    {func(s *sojourn.Session) error { return sojourn.NewKey[float64]("k").Set(s, math.NaN()) }, sojourn.ErrValue},
		"U+0000":          {func(s *sojourn.Session) error { return color.Set(s, "a\x00b") }, sojourn.ErrValue},
		"U+0000 in a key": {func(s *sojourn.Session) error { return cart.Set(s, map[string]int{"\x00": 1}) }, sojourn.ErrValue},
		"not UTF-8": {func(s *sojourn.Session) error {
			return sojourn.NewKey[json.RawMessage]("k").Set(s, json.RawMessage("\"\xff\""))
		}, sojourn.ErrValue},
		"not UTF-8 in a field": {func(s *sojourn.Session) error {
			return sojourn.NewKey[struct{ A json.RawMessage }]("k").Update(s, func(v *struct{ A json.RawMessage }) error {
				v.A = json.RawMessage("\"\xff\"")
				return nil
			})
		}, sojourn.ErrValue},
		"too large": {func(s *sojourn.Session) error { return color.Set(s, strings.Repeat("x", 64<<10-1)) }, sojourn.ErrTooLarge},
		"grows too large": {func(s *sojourn.Session) error {
			return color.Update(s, func(v *string) error { *v += strings.Repeat("x", 64<<10); return nil })
		}, sojourn.ErrTooLarge},
		"session too large": {func(s *sojourn.Session) (err error) {
			for i := 0; i < 5 && err == nil; i++ {
				err = sojourn.NewKey[string](fmt.Sprint("k", i)).Set(s, strings.Repeat("x", 60<<10))
			}
			return err
		}, sojourn.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			b := &jar{}
			w.visit(b, func(s *sojourn.Session) error { return color.Set(s, "red") })
			s := w.begin(b)
			err := test.set(s)
			if !errors.Is(err, test.err) {
				t.Fatalf("%v, want %v", err, test.err)
			}
			if len(err.Error()) > 300 {
				t.Errorf("the error is as large as the value: %.300s", err)
			}
			if got, _ := color.Get(s); got != "red" {
				t.Errorf("the request sees %.20q", got)
			}
			if err := s.Commit(t.Context()); err != nil {
				t.Errorf("commit: %v", err)
			}
			if got, _ := color.Get(w.begin(b)); got != "red" {
				t.Errorf("stored: %.20q", got)
			}
		})
	}
	// These values are at the limit, or only look like the escape.
	b := &jar{}
	w.visit(b, func(s *sojourn.Session) error {
		return errors.Join(color.Set(s, strings.Repeat("x", 64<<10-2)), sojourn.NewKey[string]("k").Set(s, `\u0000`))
	})
	if got, _ := sojourn.NewKey[string]("k").Get(w.begin(b)); got != `\u0000` {
		t.Errorf("%q", got)
	}
}

// The client is told that a value is too large.
func TestBadValuesOverHTTP(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		body, _ := io.ReadAll(r.Body)
		if err := color.Set(s, string(body)); err != nil {
			http.Error(rw, "no", sojourn.StatusCode(err))
		}
	})
	b := w.surfer()
	b.do("POST", "/", "red").wantStatus(t, 200)
	b.do("POST", "/", strings.Repeat("x", 64<<10)).wantStatus(t, http.StatusRequestEntityTooLarge)
	b.do("POST", "/", "a\x00b").wantStatus(t, http.StatusUnprocessableEntity)
}

// Any bytes are valid or invalid as a subject or a key's name, and none breaks
// anything.
func TestBadSubjectsAndKeys(t *testing.T) {
	w := newWorld(t)
	for _, subject := range []string{"", strings.Repeat("x", 256), "a\x00", "a\n", "\x7f", "\u0085", "\xff"} {
		if err := w.begin(&jar{}).Login(subject); !errors.Is(err, sojourn.ErrSubject) {
			t.Errorf("Login(%.20q): %v", subject, err)
		}
		if _, err := w.EndSubject(t.Context(), subject, sojourn.ID{}); !errors.Is(err, sojourn.ErrSubject) {
			t.Errorf("EndSubject(%.20q): %v", subject, err)
		}
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, "NewKey") {
					t.Errorf("NewKey(%.20q): panic %q", subject, text)
				}
			}()
			sojourn.NewKey[int](subject)
		}()
	}
	for _, subject := range []string{"x", strings.Repeat("x", 255), "alice@example.com", "'; DROP TABLE--", "Zürich ☃", " ", "a b", "%00", "a:b*?[]{}"} {
		b := w.loggedIn(subject)
		w.want("who", w.look(b), subject)
		list, _, err := w.List(t.Context(), subject, "", 10)
		if err != nil || len(list) != 1 {
			t.Errorf("List(%q): %v %v", subject, list, err)
		}
	}
}

// A clock that steps back or shows nonsense ends no live session, and creates
// none twice.
func TestBadClock(t *testing.T) {
	w := newWeb(t, nil)
	b := w.surfer().login("alice")
	for _, step := range []time.Duration{-time.Hour, -365 * 24 * time.Hour, 365 * 24 * time.Hour, time.Hour, -time.Millisecond} {
		w.pass(step)
		w.want(fmt.Sprint("after ", step), b.who(), "alice")
		b.post("/count").wantStatus(t, 200)
	}
	w.want("count", b.get("/count").body, "5")
	if n := len(w.happened(sojourn.EventEnded)); n != 0 {
		t.Errorf("%d ended", n)
	}
	w.pass(31 * 24 * time.Hour)
	w.want("past every deadline", b.who(), "nobody")
}

// A record with nonsense, such as another program might write to the store,
// breaks one session and no process.
func TestBadRecord(t *testing.T) {
	w := newWeb(t, nil)
	b := w.surfer()
	b.post("/count")
	for _, values := range []store.Values{{0xff}, {5, 'c', 'o'}, []byte("\x05count\x01{"), []byte("\x05count\xff\xff\xff\xff\x0f")} {
		w.calls.corrupt = values
		for _, a := range []*reply{b.get("/count"), b.post("/count"), b.get("/who")} {
			if a.StatusCode != 200 && a.StatusCode != 422 {
				t.Errorf("%q: %s %s", []byte(values), a.Status, a.body)
			}
		}
	}
	w.calls.corrupt = nil
	if text := w.log.String(); text != "" {
		t.Errorf("panics: %s", text)
	}
}

// A value that is nested deeper than the limit is refused before anything is
// stored, in every way to set it. Brackets in strings don't count. A deep value
// that is already stored can be read, replaced and deleted.
func TestI11DepthOfValues(t *testing.T) {
	nested := func(n int) json.RawMessage {
		return json.RawMessage(strings.Repeat(`[{"a":`, n/2) + strings.Repeat("[", n%2) + `"[[{\\\"{["` + strings.Repeat("]", n%2) + strings.Repeat("}]", n/2))
	}
	raw := sojourn.NewKey[json.RawMessage]("raw")
	for _, limit := range []int{0, 7, 1000} {
		w := newWorld(t, options(func(o *sojourn.Options) { o.MaxDepth = limit }))
		if limit == 0 {
			limit = 100
		}
		ways := map[string]func(s *sojourn.Session, v json.RawMessage) error{
			"Set":      func(s *sojourn.Session, v json.RawMessage) error { return raw.Set(s, v) },
			"SetValue": func(s *sojourn.Session, v json.RawMessage) error { return s.SetValue("raw", v) },
			"Update": func(s *sojourn.Session, v json.RawMessage) error {
				return raw.Update(s, func(p *json.RawMessage) error { *p = v; return nil })
			},
		}
		for name, set := range ways {
			j := new(jar)
			s := w.begin(j)
			for _, n := range []int{limit + 1, limit + 2, 9000} {
				if err := set(s, nested(n)); !errors.Is(err, sojourn.ErrValue) {
					t.Errorf("%s of %d levels, the limit is %d: %v", name, n, limit, err)
				}
			}
			w.answer(j, s)
			if *j != (jar{}) {
				t.Errorf("%s made a session", name)
			}
			w.visit(j, func(s *sojourn.Session) error { return set(s, nested(limit)) })
		}
	}
	if _, err := sojourn.New(memstore.New(), sojourn.Options{MaxDepth: 1001}); err == nil {
		t.Error("a limit of 1,001 is accepted")
	}

	w := newWorld(t)
	j := w.loggedIn("ann")
	rec := w.record(w.id(j))
	old := nested(9998)
	rec.Values = rec.Values.AppendSet(nil, "raw", old)
	if _, err := w.store.Update(ctx, "default", &rec, store.UpdateOptions{Now: rec.LastSeenAt, Arrived: rec.LastSeenAt}); err != nil {
		t.Fatal(err)
	}
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
	s := w.begin(j)
	if got, err := raw.Get(s); err != nil || string(got) != string(old) {
		t.Errorf("Get of a stored value: %.50s, %v", got, err)
	}
	if snap := s.Snapshot(); !strings.Contains(string(snap.Values), string(old)) {
		t.Errorf("the snapshot: %.50s", snap.Values)
	}
	w.login(j, "ann")
	w.visit(j, func(s *sojourn.Session) error { return raw.Delete(s) })
	w.visit(j, func(s *sojourn.Session) error { return s.Logout() })
}

// Authentication methods are returned as they were given. A method that another
// reader would see as another word, or as two words, is refused.
func TestAMRWords(t *testing.T) {
	for _, bad := range []string{
		"", " ", "pwd otp", "pwd\totp", "pwd\notp", "pwd\x00", "pwd\x7f", "pwd\u00a0otp", "pwd\u2003otp", "pwd\u3000otp", "pwd\u0085otp", "pwd\u2028otp",
		"pwd\u200botp", "pässword", "\xff", " pwd", "pwd ",
	} {
		w := newWorld(t)
		s := w.begin(new(jar))
		if err := s.Login("ann", sojourn.AMR("mfa", bad)); !errors.Is(err, sojourn.ErrValue) {
			t.Errorf("Login with the method %q: %v", bad, err)
		}
		if err := s.Login("ann", sojourn.AMR("mfa")); err != nil {
			t.Fatal(err)
		}
		if err := s.Elevate(2, bad); !errors.Is(err, sojourn.ErrValue) {
			t.Errorf("Elevate with the method %q: %v", bad, err)
		}
		equal(t, "methods", s.Info().AMR, []string{"mfa"})
		if err := s.Elevate(2, "urn:example:x=1;y", "~"); err != nil {
			t.Error(err)
		}
		equal(t, "methods", s.Info().AMR, []string{"mfa", "urn:example:x=1;y", "~"})
	}
	w := newWorld(t)
	if err := w.begin(new(jar)).Login("ann", sojourn.AMR(strings.Repeat("x", 256))); !errors.Is(err, sojourn.ErrValue) {
		t.Errorf("a long method: %v", err)
	}
}
