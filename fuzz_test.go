package sojourn_test

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

// fuzzToken is the token of alice, who has the only session. It is the same in
// each run, so that the corpora can contain it.
const fuzzToken = "AZypRQoAfkKUyuiGSQjguMdSDjYKpARCfJBT2aZnvlRMFOafpIIzcDtxWKB2Ec6T"

// fuzzWorld has one session, whose token is fuzzToken. It doesn't throttle the
// fuzzer's guesses.
func fuzzWorld(f testing.TB) *world {
	w := newWorld(f, options(func(o *sojourn.Options) {
		o.MaxBadTokens = -1
		o.OnEvent = nil
	}))
	sojourn.SetRand(w.Engine, rand.NewChaCha8([32]byte{7}))
	s := w.begin(&jar{})
	if err := s.Login("alice"); err != nil {
		f.Fatal(err)
	}
	if err := s.Commit(f.Context()); err != nil {
		f.Fatal(err)
	}
	if s.Token() != fuzzToken {
		f.Fatalf("the token is %s", s.Token())
	}
	return w
}

// FuzzToken checks that only the token itself is alice, and that no input
// causes an error.
func FuzzToken(f *testing.F) {
	w := fuzzWorld(f)
	f.Add(fuzzToken)
	f.Add(fuzzToken[:63])
	f.Add(strings.Repeat("A", 64))
	f.Fuzz(func(t *testing.T, token string) {
		if theft(token) {
			return
		}
		for name, r := range map[string]sojourn.Request{
			"session": {Session: []string{token}},
			"visitor": {Visitor: []string{token}},
			"twice":   {Session: []string{token, token}},
		} {
			r.Client = home
			s := w.Begin(t.Context(), r)
			if err := s.Load(t.Context()); err != nil {
				t.Fatalf("%s %q: %v", name, token, err)
			}
			if want := token == fuzzToken && name != "visitor"; (s.Subject() == "alice") != want || !want && !s.ID().IsZero() {
				t.Fatalf("%s %q: subject %q, ID %s", name, token, s.Subject(), s.ID())
			}
			if err := s.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if list := s.SetCookies(); len(list) > 0 {
				t.Fatalf("%s %q: %q", name, token, list)
			}
		}
	})
}

// theft reports whether a text holds the half of the secret that lasts for the
// epoch, but not the whole. Such a token ends the session, and so the fuzzer's
// world.
func theft(text string) bool {
	return strings.Count(text, fuzzToken[:42]) != strings.Count(text, fuzzToken)
}

// FuzzCookieHeader checks that a Cookie header of any bytes gets a 200 and no
// cookie. The request is alice's only if the header has her token under the
// exact name. If net/http finds that one cookie, this library does too.
func FuzzCookieHeader(f *testing.F) {
	w := fuzzWorld(f)
	h := w.Handler(webRoutes(nil))
	f.Add("__Host-session="+fuzzToken, "")
	f.Add("a=b; __Host-session="+fuzzToken+"; c", "__Host-visitor=x")
	f.Add("__host-session="+fuzzToken, `__Host-session="x"`)
	f.Fuzz(func(t *testing.T, first, second string) {
		if theft(first + "\x00" + second) {
			return
		}
		r := httptest.NewRequest("GET", "http://localhost/who", nil)
		r.Header["Cookie"] = []string{first, second}
		began := time.Now()
		tape := newTape()
		h.ServeHTTP(tape, r)
		if tape.status != http.StatusOK || tape.sent["Set-Cookie"] != nil {
			t.Fatalf("%q %q: %d %v", first, second, tape.status, tape.sent)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("%d bytes took %v", len(first)+len(second), took)
		}
		who := tape.body.String()
		pair := "__Host-session=" + fuzzToken
		if who != "nobody" && (who != "alice" || !strings.Contains(first, pair) && !strings.Contains(second, pair)) {
			t.Fatalf("%q %q is %s", first, second, who)
		}
		both := first + ";" + second
		theirs := r.CookiesNamed("__Host-session")
		if len(theirs) == 1 && !theirs[0].Quoted && theirs[0].Value == fuzzToken && strings.Count(both, "__Host-session") == 1 && who != "alice" {
			t.Fatalf("%q %q is %s, net/http finds the token", first, second, who)
		}
	})
}
