package sojourn_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// RequestFrom returns what Handler sees in the same HTTP request.
func TestRequestOfHTTP(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		o.Bearer = true
	}))
	r := httptest.NewRequest("POST", "http://localhost/", nil)
	r.RemoteAddr = "10.0.0.1:1234"
	r.Header["X-Forwarded-For"] = []string{"198.51.100.1, 203.0.113.7"}
	r.Header["User-Agent"] = []string{"Browser/2"}
	r.Header["Origin"] = []string{"https://elsewhere.example"}
	r.Header["Authorization"] = []string{"Bearer b"}
	r.Header["Cookie"] = []string{"__Host-session=s; other=1; __Host-visitor=v", "__Host-session=t"}
	got := w.RequestFrom(r)
	equal(t, "session cookies", got.Session, []string{"s", "t"})
	equal(t, "visitor cookies", got.Visitor, []string{"v"})
	w.want("bearer", got.Bearer, "b")
	w.want("address", got.Client.IP.String(), "203.0.113.7")
	w.want("user agent", got.Client.UserAgent, "Browser/2")

	plain := newWorld(t).RequestFrom(r)
	w.want("bearer where it isn't accepted", plain.Bearer, "")
	w.want("address behind an unknown proxy", plain.Client.IP.String(), "10.0.0.1")
}

// If a due rotation can't be sent in this response, the secret stays. The next
// response rotates it.
func TestKeepSecret(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	w.confirm(j)
	before := *j
	w.pass(15 * time.Minute)
	w.visit(j, func(s *sojourn.Session) error { s.KeepSecret(); return s.Load(t.Context()) })
	if *j != before {
		t.Error("the secret was rotated")
	}
	w.want("rotations", len(w.happened(sojourn.EventRotated)), 0)
	w.visit(j, func(s *sojourn.Session) error { s.KeepSecret(); return s.Rotate() })
	if *j == before {
		t.Error("the application's own rotation was refused")
	}
	w.confirm(j)
	before = *j
	w.pass(15 * time.Minute)
	w.look(j)
	if *j == before {
		t.Error("the next request doesn't rotate either")
	}
}

// After Finish, a session shows nothing of later requests that reuse its
// memory.
func TestFinish(t *testing.T) {
	w := newWorld(t)
	ann, ben := w.loggedIn("ann"), w.loggedIn("ben")
	w.visit(ann, func(s *sojourn.Session) error { return color.Set(s, "red") })
	w.visit(ben, func(s *sojourn.Session) error { return color.Set(s, "blue") })

	first := w.begin(ann)
	w.want("subject", first.Subject(), "ann")
	if err := first.Rotate(); err != nil {
		t.Fatal(err)
	}
	w.answer(ann, first)
	first.Finish()
	first.Finish()
	for range 3 {
		s := w.begin(ben)
		w.want("subject of the next session", s.Subject(), "ben")
		w.want("the finished one's subject", first.Subject(), "ann")
		if _, err := color.Get(first); !errors.Is(err, sojourn.ErrFinished) {
			t.Errorf("a value of the finished one: %v", err)
		}
		if first.Token() != "" || len(first.SetCookies()) > 0 || s.Token() != "" || len(s.SetCookies()) > 0 {
			t.Error("a secret was left behind")
		}
		if err := s.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Finish()
	}
	unused := w.begin(ann)
	unused.Finish()
	if err := unused.Load(t.Context()); !errors.Is(err, sojourn.ErrFinished) {
		t.Errorf("a finished session was read: %v", err)
	}
}

// present starts a request with a token in Request.Token.
func (w *world) present(token string) *sojourn.Session {
	return w.Begin(context.Background(), sojourn.Request{Token: token, Client: home})
}

// answered commits, and returns the token that was issued.
func (w *world) answered(s *sojourn.Session) string {
	w.Helper()
	if err := s.Commit(context.Background()); err != nil {
		w.Fatalf("commit: %v", err)
	}
	return s.Token()
}

// Request.Token is enough, whichever cookie or header the token belongs to, and
// no event reports a refused token.
func TestRequestToken(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.Bearer = true }))
	visitor, user := &jar{}, w.loggedIn("ann")
	w.visit(visitor, func(s *sojourn.Session) error { return color.Set(s, "red") })
	bearer := w.present("")
	if err := bearer.Login("bot", sojourn.AsBearer()); err != nil {
		t.Fatal(err)
	}
	bearerToken := w.answered(bearer)
	for token, subject := range map[string]string{visitor.visitor: "", user.session: "ann", bearerToken: "bot"} {
		s := w.present(token)
		if s.Subject() != subject || s.ID() == (sojourn.ID{}) || s.RefusalReason() != "" {
			t.Errorf("subject %q, want %q; refused %q", s.Subject(), subject, s.RefusalReason())
		}
	}
	w.want("refusals", len(w.happened(sojourn.EventRefused)), 0)

	// A login clears the visitor's cookie, and only that.
	s := w.present(visitor.visitor)
	if err := s.Login("ben"); err != nil {
		t.Fatal(err)
	}
	w.answered(s)
	if c := strings.Join(s.SetCookies(), "\n"); len(s.SetCookies()) != 3 || !strings.Contains(c, "__Host-visitor=; Max-Age=0") || !strings.Contains(c, "__Host-session="+s.Token()) {
		t.Errorf("login's cookies: %s", c)
	}
	s = w.present(user.session)
	if err := s.Logout(); err != nil {
		t.Fatal(err)
	}
	w.answered(s)
	if c := s.SetCookies(); len(c) != 2 || !strings.HasPrefix(c[0], "__Host-session=; Max-Age=0") || c[1] != c[0]+"; Partitioned" {
		t.Errorf("logout's cookies: %s", c)
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	former := *j
	w.pass(time.Hour)
	w.login(j, "ann")
	ended := w.loggedIn("ben")
	w.visit(&jar{session: ended.session}, func(s *sojourn.Session) error { return s.Logout() })
	for token, want := range map[string]sojourn.Refusal{
		j.session: "", "": "", "x": sojourn.RefusedMalformed, strings.Repeat("A", 64): sojourn.RefusedUnknown,
		former.session: sojourn.RefusedFormer, ended.session: sojourn.RefusedEnded,
	} {
		s := w.present(token)
		if got := s.RefusalReason(); got != want {
			t.Errorf("refused as %q, want %q", got, want)
		}
		if (s.EndReason() == sojourn.ReasonLogout) != (want == sojourn.RefusedEnded) {
			t.Errorf("%q: ended by %q", want, s.EndReason())
		}
	}
}

func TestStart(t *testing.T) {
	w := newWorld(t)
	s := w.present("")
	if err := errors.Join(s.Start(), s.Start()); err != nil {
		t.Fatal(err)
	}
	token := w.answered(s)
	again := w.present(token)
	if err := again.Start(); err != nil || again.ID() != s.ID() || s.ID() == (sojourn.ID{}) {
		t.Errorf("%v, %v, %v", again.ID(), s.ID(), err)
	}
	if w.answered(again) != "" || again.Info().Revision != s.Info().Revision {
		t.Error("Start changes an existing session")
	}
	w.want("created", len(w.happened(sojourn.EventCreated)), 1)
}

// A repeated creation finds the first one's session, and the tokens of both
// answers work.
func TestIdempotency(t *testing.T) {
	w := newWorld(t)
	create := func(key string, body byte, subject string) (*sojourn.Session, error) {
		s := w.Begin(t.Context(), sojourn.Request{Client: home, IdempotencyKey: key, IdempotencyBody: [32]byte{body}})
		if err := errors.Join(s.Login(subject), color.Set(s, "red")); err != nil {
			t.Fatal(err)
		}
		return s, s.Commit(t.Context())
	}
	first, err := create("k", 1, "ann")
	if err != nil {
		t.Fatal(err)
	}
	w.visit(&jar{session: first.Token()}, func(s *sojourn.Session) error { return color.Set(s, "blue") })
	again, err := create("k", 1, "ann")
	if err != nil || again.ID() != first.ID() || again.Token() == first.Token() || again.Token() == "" || len(again.SetCookies()) != 1 {
		t.Fatalf("the repeat: %v, session %v, want %v", err, again.ID(), first.ID())
	}
	if c, _ := color.Get(again); c != "blue" {
		t.Errorf("the repeat returns subject %q: the session as requested, not as stored", c)
	}
	for range 2 { // whichever of the two answers arrived
		for name, token := range map[string]string{"first": first.Token(), "second": again.Token()} {
			w.want("the "+name+" token's subject", w.look(&jar{session: token}), "ann")
		}
	}
	w.want("sessions", len(w.happened(sojourn.EventCreated)), 1)
	w.want("logins", len(w.happened(sojourn.EventAuthenticated)), 1)
	w.want("rotations", len(w.happened(sojourn.EventRotated)), 1)

	if _, err := create("k", 2, "ben"); !errors.Is(err, sojourn.ErrKeyReused) || sojourn.StatusCode(err) != 422 {
		t.Errorf("another body: %v", err)
	}
	if other, err := create("l", 1, "ann"); err != nil || other.ID() == first.ID() {
		t.Errorf("another key: %v", err)
	}
	if err := w.End(t.Context(), first.ID()); err != nil {
		t.Fatal(err)
	}
	if _, err := create("k", 1, "ann"); !errors.Is(err, sojourn.ErrEnded) {
		t.Errorf("the session has ended: %v", err)
	}
	w.pass(25 * time.Hour)
	for done := false; !done; {
		_, done, err = w.store.Sweep(t.Context(), "default", store.TimeOf(w.time()), 1000)
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := create("k", 1, "ann"); err != nil {
		t.Errorf("the same key a day later: %v", err)
	}
}

// I13: a repeat gives no authority that the first request didn't have. Somebody
// who knows the key and the body is not the user who has logged in since.
func TestI13RepeatedCreate(t *testing.T) {
	for name, c := range map[string]struct {
		create, renew func(*sojourn.Session) error
	}{
		"login":           {(*sojourn.Session).Start, func(s *sojourn.Session) error { return s.Login("ann") }},
		"elevation":       {func(s *sojourn.Session) error { return s.Login("ann") }, func(s *sojourn.Session) error { return s.Elevate(2) }},
		"a further login": {func(s *sojourn.Session) error { return s.Login("ann") }, func(s *sojourn.Session) error { return s.Login("ann") }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			create := func() (*sojourn.Session, error) {
				s := w.Begin(t.Context(), sojourn.Request{Client: home, IdempotencyKey: "k"})
				if err := c.create(s); err != nil {
					t.Fatal(err)
				}
				return s, s.Commit(t.Context())
			}
			first, err := create()
			if err != nil {
				t.Fatal(err)
			}
			user := w.present(first.Token())
			if err := c.renew(user); err != nil {
				t.Fatal(err)
			}
			token := w.answered(user)

			again, err := create()
			if !errors.Is(err, sojourn.ErrSuperseded) || sojourn.StatusCode(err) != 409 {
				t.Errorf("the repeat: %v", err)
			}
			w.want("its token", again.Token(), "")
			w.want("its cookies", len(again.SetCookies()), 0)
			w.want("the user's token's subject", w.present(token).Subject(), "ann")
			w.want("revision", w.present(token).Info().Revision, user.Info().Revision)
		})
	}
}

// Many parallel repeats make one session. Each token that was answered works
// for the grace. Repeats beyond the limit are refused, and invalidate no
// earlier token.
func TestIdempotencyInParallel(t *testing.T) {
	for _, requests := range []int{6, 24} {
		w := newWorld(t)
		type answer struct {
			token string
			err   error
		}
		answers := make(chan answer, requests)
		for range requests {
			go func() {
				s := w.Begin(context.Background(), sojourn.Request{Client: home, IdempotencyKey: "k"})
				err := errors.Join(s.Login("ann"), s.Commit(context.Background()))
				answers <- answer{s.Token(), err}
			}()
		}
		var tokens []string
		for range requests {
			switch a := <-answers; {
			case errors.Is(a.err, sojourn.ErrRepeats) && sojourn.StatusCode(a.err) == 429 && a.token == "":
			case a.err != nil:
				t.Error(a.err)
			default:
				tokens = append(tokens, a.token)
			}
		}
		w.want("answers", len(tokens), min(requests, 17)) // the first, and sixteen repeats
		for i := range 10 {                               // nobody confirms one of them, so all stay good
			ids := map[sojourn.ID]bool{}
			for _, token := range tokens {
				s := w.present(token)
				w.want("subject", s.Subject(), "ann")
				ids[s.ID()] = true
			}
			w.want("sessions", len(ids), 1)
			w.pass(time.Minute)
			if i == 5 { // a rotation is due, and drops none that was issued within the grace
				w.answered(w.present(tokens[0]))
			}
		}
		w.want("endings", len(w.endings()), 0)
	}
}

// I12: a thief who holds the first token is noticed after a repeat too, whether
// the thief or the user continues.
func TestI12TheftAfterARepeat(t *testing.T) {
	for name, order := range map[string][2]int{"the thief comes late": {1, 0}, "the user comes late": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var tokens [2]string
			for i := range tokens {
				s := w.Begin(ctx, sojourn.Request{Client: home, IdempotencyKey: "k"})
				if err := errors.Join(s.Login("ann"), s.Commit(ctx)); err != nil {
					t.Fatal(err)
				}
				tokens[i] = s.Token()
			}
			active, late := tokens[order[0]], tokens[order[1]]
			for range 12 { // long enough to get and confirm a successor
				w.pass(3 * time.Minute)
				s := w.Begin(ctx, sojourn.Request{Session: []string{active}, Client: home})
				w.want("the one who continues", s.Subject(), "ann")
				if token := w.answered(s); token != "" {
					active = token
				}
			}
			w.want("the one who comes late", w.look(&jar{session: late}), "")
			equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonTheft})
			w.want("the one who continued", w.look(&jar{session: active}), "")
		})
	}
}

func TestIfRevision(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	seen := w.present(j.session).Info().Revision
	set := func(revision uint64, before func()) error {
		s := w.Begin(context.Background(), sojourn.Request{Token: j.session, Client: home, IfRevision: revision})
		if err := color.Set(s, "red"); err != nil {
			t.Fatal(err)
		}
		before()
		return s.Commit(t.Context())
	}
	between := func() { w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "blue") }) }
	if err := set(seen+1, func() {}); !errors.Is(err, sojourn.ErrRevision) || sojourn.StatusCode(err) != 412 {
		t.Errorf("another revision: %v", err)
	}
	if err := set(seen, between); !errors.Is(err, sojourn.ErrRevision) {
		t.Errorf("changed in between: %v", err)
	}
	if err := set(seen+1, func() {}); err != nil {
		t.Errorf("the revision: %v", err)
	}
}

func TestSnapshot(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	w.visit(j, func(s *sojourn.Session) error {
		return errors.Join(s.SetValue(`say "\`, json.RawMessage(` {"b": [1, 2]} `)), s.SetValue("a", json.RawMessage("null")), s.SetValue("gone", json.RawMessage("1")), s.DeleteValue("gone"))
	})
	snap := w.present(j.session).Snapshot()
	w.want("values", string(snap.Values), `{"a":null,"say \"\\":{"b":[1,2]}}`)
	if snap.Subject != "ann" || !json.Valid(snap.Values) {
		t.Errorf("%+v", snap)
	}
	if nobody := w.present("").Snapshot(); string(nobody.Values) != "{}" || nobody.ID != (sojourn.ID{}) {
		t.Errorf("snapshot without a session: %+v", nobody)
	}
	for key, value := range map[string]string{"": "1", "a\x00": "1", "a\xff": "1", strings.Repeat("k", 256): "1", "a": "{", "b": "\"\xff\"", "c": `"\u0000"`, "d": ""} {
		if err := w.present(j.session).SetValue(key, json.RawMessage(value)); !errors.Is(err, sojourn.ErrValue) {
			t.Errorf("%q = %q: %v", key, value, err)
		}
	}
}
