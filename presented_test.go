package sojourn_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

// A token of any length and bytes makes the request anonymous. It causes no
// error and no cookie, and nothing is derived from it.
func TestBadTokens(t *testing.T) {
	w := newWebUnstarted(t, writeWho, options(func(o *sojourn.Options) { o.MaxBadTokens = -1 }))
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
	w.want("the good cookie", w.look(b), "alice")
	w.want("sessions", len(w.happened(sojourn.EventCreated)), 1)
}

// I12: a token with one changed character is another token, or none. A client
// that doesn't know the half of the secret that lasts for the epoch can't end
// the session by guessing. A client that knows this half has, or had, a token
// of the session.
func TestBadTokensOfOneCharacter(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxBadTokens = -1 }))
	b := w.loggedIn("alice")
	for i := range len(b.session) {
		changed := []byte(b.session)
		changed[i] ^= 1 // may also leave the alphabet
		w.want(fmt.Sprintf("character %d", i), w.look(&jar{session: string(changed)}), "")
		if i < 42 { // ID and half are 32 bytes
			w.want(fmt.Sprintf("the session after a guess at character %d", i), w.look(b), "alice")
		}
	}
}

// Cookie headers may be huge, or contain many cookies.
func TestBadCookieHeaders(t *testing.T) {
	w := newWebUnstarted(t, writeWho, options(func(o *sojourn.Options) { o.MaxBadTokens = -1 }))
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

// The same headers over a real connection, as far as net/http accepts them.
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

// Two secrets of one session in cookies of one name are one session.
func TestSeveralCookiesOfOneSession(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	old := j.session
	w.pass(15 * time.Minute)
	w.look(j)
	bob := w.loggedIn("bob")
	for _, tokens := range [][]string{{old, j.session}, {j.session, old}, {"x", j.session, j.session}} {
		s := w.Begin(ctx, sojourn.Request{Session: tokens})
		w.want("subject", s.Subject(), "ann")
	}
	s := w.Begin(ctx, sojourn.Request{Session: []string{j.session, bob.session}})
	w.want("two sessions", s.Subject(), "")
	equal(t, "endings", w.endings(), nil)
}

// Two live sessions in cookies of one name happen to honest browsers, after a
// change of Domain or Partitioned. A login makes the next request unambiguous.
// A logout ends both sessions. Both clear the cookie in every form.
func TestTwoLiveCookies(t *testing.T) {
	two := func(w *web) (a, b *surfer, both string) {
		a, b = w.surfer().login("alice"), w.surfer().login("bob")
		return a, b, "__Host-session=" + a.cookies["__Host-session"] + "; __Host-session=" + b.cookies["__Host-session"]
	}
	t.Run("login", func(t *testing.T) {
		w := newWeb(t, nil)
		a, b, both := two(w)
		crowd := w.surfer("Cookie", both)
		w.want("before", crowd.who(), "nobody")
		reply := crowd.post("/login?user=alice")
		reply.wantStatus(t, http.StatusSeeOther)
		lines := reply.Header["Set-Cookie"]
		if len(lines) != 2 || !strings.HasSuffix(lines[0], "; Partitioned") || !strings.HasPrefix(lines[0], "__Host-session=; Max-Age=0;") ||
			!strings.HasPrefix(lines[1], "__Host-session=A") {
			t.Errorf("cookies: %q", lines)
		}
		fresh := "__Host-session=" + reply.setting(t).Value
		w.want("after, with all three", w.surfer("Cookie", both+"; "+fresh).who(), "alice")
		w.want("the first", a.who(), "nobody")
		w.want("the second", b.who(), "nobody")
		equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonLogout, sojourn.ReasonLogout})
		for range 100 {
			w.surfer("Cookie", both+"; "+fresh).who()
		}
		w.reads()
		w.surfer("Cookie", both+"; "+fresh).who()
		w.want("reads with the dead ones", w.reads(), 1)
	})
	t.Run("login at the limit", func(t *testing.T) {
		w := newWeb(t, nil, options(func(o *sojourn.Options) { o.MaxSessions, o.RefuseOverLimit = 1, true }))
		_, _, both := two(w)
		visitor := w.surfer()
		visitor.post("/count")
		for _, more := range []string{"", "; __Host-visitor=" + visitor.cookies["__Host-visitor"]} {
			reply := w.surfer("Cookie", both+more).post("/login?user=alice")
			reply.wantStatus(t, http.StatusSeeOther)
			fresh := "; __Host-session=" + reply.setting(t).Value
			w.want("after", w.surfer("Cookie", both+fresh).who(), "alice")
			both = fresh[2:] + "; __Host-session=" + w.surfer().login("bob").cookies["__Host-session"]
		}
		w.surfer().post("/login?user=alice").wantStatus(t, http.StatusConflict) // the limit is still one
	})
	t.Run("logout", func(t *testing.T) {
		w := newWeb(t, nil)
		a, b, both := two(w)
		reply := w.surfer("Cookie", both).post("/logout")
		reply.wantStatus(t, http.StatusSeeOther)
		equal(t, "cleared", reply.cleared(), []string{"__Host-session", "__Host-session"})
		w.want("the first", a.who(), "nobody")
		w.want("the second", b.who(), "nobody")
	})
	t.Run("visitors", func(t *testing.T) {
		w := newWeb(t, nil)
		a, b := w.surfer(), w.surfer()
		a.post("/count")
		b.post("/count")
		both := "__Host-visitor=" + a.cookies["__Host-visitor"] + "; __Host-visitor=" + b.cookies["__Host-visitor"]
		reply := w.surfer("Cookie", both).post("/count")
		all := both + "; __Host-visitor=" + reply.setting(t).Value
		w.want("the cart", w.surfer("Cookie", all).get("/count").body, "1")
	})
	t.Run("a logout that fails", func(t *testing.T) {
		w := newWeb(t, nil)
		_, _, both := two(w)
		w.calls.fail(func(name string, _ int) error {
			if name == "End" {
				return errors.New("down")
			}
			return nil
		}, nil)
		w.surfer("Cookie", both).post("/logout").withheld(t, http.StatusServiceUnavailable)
	})
	t.Run("forms", func(t *testing.T) {
		w := newWeb(t, nil, options(func(o *sojourn.Options) { o.Cookie = sojourn.Cookie{Name: "sid", Domain: "example.com"} }))
		b := w.surfer().login("alice")
		var forms []string
		for _, line := range b.post("/logout").Header["Set-Cookie"] {
			if rest, ok := strings.CutPrefix(line, "sid=; Max-Age=0; Path=/"); ok {
				forms = append(forms, rest)
			}
		}
		equal(t, "forms", forms, []string{
			"; Domain=example.com; HttpOnly; Secure; SameSite=Lax", "; Domain=example.com; HttpOnly; Secure; SameSite=Lax; Partitioned",
			"; HttpOnly; Secure; SameSite=Lax", "; HttpOnly; Secure; SameSite=Lax; Partitioned",
		})
	})
}

// I12: a former secret is theft whatever cookies come with it. I14: a late
// request stays late.
func TestI12DecoyCookies(t *testing.T) {
	w := newWorld(t)
	_, old := w.rotated()
	w.pass(11 * time.Minute)
	s := w.Begin(ctx, sojourn.Request{Session: []string{old.session, "x"}, Client: home})
	w.want("subject", s.Subject(), "")
	equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonTheft})

	j := w.loggedIn("bob")
	w.EndSubject(ctx, "bob", sojourn.ID{})
	s = w.Begin(ctx, sojourn.Request{Session: []string{j.session, "x"}, Client: home})
	if err := color.Set(s, "red"); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrEnded) {
		t.Errorf("a late write beside a decoy: %v", err)
	}
}
