package sojourn_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// A token of any length and bytes makes the request anonymous. It causes no
// error and no cookie, and nothing is derived from it.
func TestBadTokens(t *testing.T) {
	w := newWebUnstarted(t, webRoutesHandler, options(func(o *sojourn.Options) { o.MaxBadTokens = -1 }))
	b := w.loggedIn("alice")
	good := b.session
	bad := []string{
		"", "x", good[:63], good + "A", good + "=", good[:62] + "==", " " + good, good[:32] + "\n" + good[32:], good[:31] + "\n" + good[32:], good[:62] + "\r\n",
		`"` + good + `"`, `"` + good, "%" + good[1:], "+" + good[1:], "/" + good[1:], good[:63] + "\x00", "\x00" + good[1:], good[:63] + "\xff", good[:61] + "é",
		strings.ToLower(good), strings.ToUpper(good), strings.Repeat("A", 64), strings.Repeat("_", 64), strings.Repeat("A", 64<<10), strings.Repeat("\x00", 64),
		"../../../../etc/passwd", "' OR 1=1 --", "${jndi:ldap://evil.example}", "{\"id\":1}", good + "," + good, good + " " + good,
		base64.StdEncoding.EncodeToString(make([]byte, 48)), base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, 48)),
	}
	for _, token := range bad {
		for _, cookie := range []string{"__Host-session", "__Host-visitor"} {
			r := httptest.NewRequest("GET", "http://localhost/", nil)
			r.Header["Cookie"] = []string{cookie + "=" + token}
			tape := newTape()
			w.server.Config.Handler.ServeHTTP(tape, r)
			if tape.status != 200 || tape.body.String() != "nobody" || tape.sent["Set-Cookie"] != nil {
				t.Errorf("%s=%.80q: %d %s %v", cookie, token, tape.status, tape.body.String(), tape.sent)
			}
		}
	}
	w.want("the good one", w.look(b), "alice")
	w.want("sessions", len(w.happened(sojourn.EventCreated)), 1)
}

func webRoutesHandler(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
	io.WriteString(rw, who(s))
}

// Every change of one character is another token, or none. Whoever doesn't know the half of the secret that lasts for the epoch ends
// nothing by guessing; whoever knows it has, or had, a token of the session (I12).
func TestBadTokensOfOneCharacter(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxBadTokens = -1 }))
	b := w.loggedIn("alice")
	for i := range len(b.session) {
		changed := []byte(b.session)
		changed[i] ^= 1 // may leave the alphabet, too
		w.want(fmt.Sprintf("character %d", i), w.look(&jar{session: string(changed)}), "")
		if i < 42 { // ID and half are 32 bytes
			w.want(fmt.Sprintf("the session after a guess at character %d", i), w.look(b), "alice")
		}
	}
}

// Huge and crowded Cookie headers.
func TestBadCookieHeaders(t *testing.T) {
	w := newWebUnstarted(t, webRoutesHandler, options(func(o *sojourn.Options) { o.MaxBadTokens = -1 }))
	alice, bob := w.loggedIn("alice").session, w.loggedIn("bob").session
	dead := w.loggedIn("carol")
	w.visit(dead, func(s *sojourn.Session) error { return s.Logout() })
	garbage := strings.Repeat("g", 64)
	const name = "__Host-session="
	crowd := strings.Repeat("a=b; ", 250)
	for _, test := range []struct {
		what  string
		lines []string
		who   string
	}{
		{"64 KiB of one value", []string{"a=" + strings.Repeat("x", 64<<10)}, "nobody"},
		{"64 KiB beside", []string{"a=" + strings.Repeat("x", 64<<10) + "; " + name + alice}, "alice"},
		{"64 KiB of semicolons", []string{strings.Repeat(";", 64<<10) + name + alice}, "alice"},
		{"64 KiB of equals signs", []string{strings.Repeat("=", 64<<10) + "; " + name + alice}, "alice"},
		{"64 KiB as the session", []string{name + strings.Repeat("x", 64<<10)}, "nobody"},
		{"500 cookies", []string{crowd + name + alice + "; " + crowd}, "alice"},
		{"500 lines", append(strings.Split(crowd, "; "), name+alice), "alice"},
		{"500 of the name, all garbage", []string{strings.Repeat(name+garbage+"; ", 500)}, "nobody"},
		{"500 different of the name", []string{func() (s string) {
			for i := range 500 {
				s += fmt.Sprintf("%s%064d; ", name, i)
			}
			return s + name + alice
		}()}, "nobody"},
		{"the same twice", []string{name + alice + "; " + name + alice}, "alice"},
		{"the same 500 times", []string{strings.Repeat(name+alice+"; ", 500)}, "alice"},
		{"with garbage before", []string{name + garbage + "; " + name + alice}, "alice"},
		{"with garbage after", []string{name + alice + "; " + name + garbage}, "alice"},
		{"with an empty one", []string{name + "; " + name + alice}, "alice"},
		{"with an ended one", []string{name + dead.session + "; " + name + alice}, "alice"},
		{"in two lines", []string{name + garbage, name + alice}, "alice"},
		{"two live ones", []string{name + alice + "; " + name + bob}, "nobody"},
		{"two live ones, the other way", []string{name + bob, name + alice}, "nobody"},
		{"none alive", []string{name + garbage + "; " + name + dead.session}, "nobody"},
		{"NUL", []string{"a=\x00; " + name + alice}, "alice"},
		{"NUL in the name", []string{name[:len(name)-1] + "\x00=" + alice}, "nobody"},
		{"quotes", []string{name + `"` + alice + `"`}, "nobody"},
		{"quotes around a separator", []string{`a="; ` + name + alice + `"`}, "nobody"},
		{"commas", []string{"a=b, " + name + alice}, "nobody"},
		{"line breaks", []string{"a=b\r\n" + name + alice}, "nobody"},
		{"no value", []string{"__Host-session"}, "nobody"},
		{"no name", []string{"=" + alice}, "nobody"},
		{"the attribute of old", []string{"$Version=1; " + name + alice + "; $Path=/"}, "alice"},
		{"nothing", []string{"", ""}, "nobody"},
	} {
		w.calls.reset()
		if got := onTape(w, test.lines...); got != test.who {
			t.Errorf("%s: %s, want %s", test.what, got, test.who)
		}
		w.flush()
		if n := len(w.calls.made()); n > 10 {
			t.Errorf("%s: %d store calls", test.what, n)
		}
	}
	var ambiguous int
	for _, e := range w.happened(sojourn.EventRefused) {
		if e.Refusal == sojourn.RefusedAmbiguous {
			ambiguous++
		}
	}
	w.want("ambiguous", ambiguous, 4) // two live ones, none alive, too many
	w.want("alice in the end", w.look(&jar{session: alice}), "alice")
}

// The same over a real connection, as far as net/http lets it through.
func TestBadCookieHeadersOverTheWire(t *testing.T) {
	w := newWeb(t, nil)
	b := w.surfer().login("alice")
	for _, line := range []string{
		"a=" + strings.Repeat("x", 64<<10), strings.Repeat("a=b; ", 500), strings.Repeat("__Host-visitor=x; ", 500), "__Host-session=\"x\"",
	} {
		a := b.get("/who", "Cookie", line)
		if a.StatusCode != 200 && a.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%.40s: %s", line, a.Status)
		}
	}
}

// A value that doesn't decode into the key's type is a clear error, and the session is unharmed.
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

// Values that can't be JSON, or that not every store can keep, and values above the limits.
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
		"too large":       {func(s *sojourn.Session) error { return color.Set(s, strings.Repeat("x", 64<<10-1)) }, sojourn.ErrTooLarge},
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
	// At the limit, and what looks like the escape but isn't.
	b := &jar{}
	w.visit(b, func(s *sojourn.Session) error {
		return errors.Join(color.Set(s, strings.Repeat("x", 64<<10-2)), sojourn.NewKey[string]("k").Set(s, `\u0000`))
	})
	if got, _ := sojourn.NewKey[string]("k").Get(w.begin(b)); got != `\u0000` {
		t.Errorf("%q", got)
	}
}

// What is too large is told to the client as such.
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

// Any bytes may be a subject's or a key's name, or not, but none breaks anything.
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

// A clock that steps back, or to nonsense, ends nothing that lives and starts nothing twice.
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

// A record that holds nonsense, as a store that others write to might, breaks one session and no process.
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

// A value that is nested deeper than the limit is refused by whatever way it
// comes, before anything is stored. Brackets in strings don't count, and what
// is stored already can be read, replaced and deleted.
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
		t.Error("a limit of 1,001 is taken")
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
		t.Errorf("what was stored: %.50s, %v", got, err)
	}
	if snap := s.Snapshot(); !strings.Contains(string(snap.Values), string(old)) {
		t.Errorf("the snapshot: %.50s", snap.Values)
	}
	w.login(j, "ann")
	w.visit(j, func(s *sojourn.Session) error { return raw.Delete(s) })
	w.visit(j, func(s *sojourn.Session) error { return s.Logout() })
}
