package sojourn_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// I3: one of two old cookies may be planted. An attacker who knows only that one
// doesn't know the session's token.
func TestI3PlantedOldCookie(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) {
		o.Adopt = &sojourn.Adoption{
			Cookies: []sojourn.OldCookie{{Name: "cart"}, {Name: "user"}},
			Read: func(_ context.Context, cookies map[string]string) (*sojourn.OldSession, error) {
				return &sojourn.OldSession{Subject: cookies["user"], Values: map[string]json.RawMessage{"count": json.RawMessage("1")}}, nil
			},
			KeepCookie: true,
		}
	}))
	begin := func(cookies map[string]string) *sojourn.Session {
		return w.Begin(ctx, sojourn.Request{Old: cookies, Client: home, Safe: true})
	}
	both := map[string]string{"cart": "planted", "user": "ada"}
	s := begin(both)
	w.want("the victim", s.Subject(), "ada")
	w.want("the victim again", begin(both).ID(), s.ID())
	w.want("the thief's session", begin(map[string]string{"cart": "planted"}).ID(), sojourn.ID{})
	w.want("with another user's cookie", begin(map[string]string{"cart": "planted", "user": "eve"}).ID(), sojourn.ID{})
	w.want("with names that run together", begin(map[string]string{"cart": "planted\x00user\x00ada"}).Subject(), "")
	w.want("the victim at last", begin(both).Subject(), "ada")
}

// I4: a logout makes an old cookie worthless, also for a request in flight that
// has read the old session already.
func TestI4LogoutMeetsAnAdoption(t *testing.T) {
	old := newOldLibrary()
	var w *world
	meddle := false
	w = newWorld(t, old.option(keepCookie), onCalls(func(ctx context.Context, c driver.Call) driver.Result {
		if c.Op == driver.Create && meddle {
			meddle = false
			s := w.bring(w.loggedIn("ada"), "bob") // whose browser brings ours beside it
			if err := errors.Join(s.Logout(), s.Commit(ctx)); err != nil {
				t.Error(err)
			}
		}
		return c.Do(ctx)
	}))
	meddle = true
	w.want("in flight", w.bring(new(jar), "bob").Subject(), "")
	w.want("later", w.bring(new(jar), "bob").Subject(), "")
	n, _, err := w.Count(ctx)
	if err != nil || n != 0 {
		t.Errorf("%d sessions, %v", n, err)
	}
}

// I8, I11: a logout with an old cookie that names no session stores nothing.
func TestI11ForgedOldCookiesAtLogout(t *testing.T) {
	old := newOldLibrary()
	w := newWorld(t, old.option())
	for i := range 5 {
		r := sojourn.Request{Client: home, Old: map[string]string{"old": fmt.Sprint("forged ", i)}}
		if i%2 == 1 {
			r.Session = []string{strings.Repeat("A", 64)}
		}
		s := w.Begin(ctx, r)
		if err := errors.Join(s.Logout(), s.Commit(ctx)); err != nil {
			t.Error(err)
		}
		w.want("the old cookie is cleared", strings.Contains(strings.Join(s.SetCookies(), "\n"), "old=; Path=/app; Max-Age=0"), true)
	}
	n, err := w.store.Count(ctx, "default/adopted")
	if err != nil || n.Sessions != 0 {
		t.Errorf("%d records of adoptions, %v", n.Sessions, err)
	}
	// While the old store is down, nobody knows whether the cookie names a session.
	// The logout counts all the same.
	old.down = errors.New("down")
	s := w.Begin(ctx, sojourn.Request{Client: home, Session: []string{strings.Repeat("A", 64)}, Old: map[string]string{"old": "bob"}})
	if err := errors.Join(s.Logout(), s.Commit(ctx)); err != nil {
		t.Error(err)
	}
	old.down = nil
	old.sessions["bob"] = &sojourn.OldSession{Subject: "bob"}
	w.want("after that logout", w.bring(new(jar), "bob").Subject(), "")
}

// A login as another user drops the old cookie. If that fails, nothing was
// written.
func TestLoginThatCannotDropTheOldCookie(t *testing.T) {
	for _, regenerate := range []bool{false, true} {
		down := false
		old := newOldLibrary()
		w := newWorld(t, old.option(keepCookie), onCalls(func(ctx context.Context, c driver.Call) driver.Result {
			if down && strings.HasSuffix(c.App, "/adopted") {
				return driver.Result{Err: errors.New("down")}
			}
			return c.Do(ctx)
		}))
		j := w.loggedIn("ada")
		s := w.bring(j, "bob")
		var err error
		if regenerate {
			err = s.Regenerate()
		}
		if err := errors.Join(err, s.Login("eve")); err != nil {
			t.Fatal(err)
		}
		down = true
		if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrUnavailable) {
			t.Errorf("commit: %v", err)
		}
		w.want("cookies", len(s.SetCookies()), 0)
		w.want("token", s.Token(), "")
		down = false
		w.want("who", w.look(j), map[bool]string{false: "ada"}[regenerate])
		list, _, err := w.List(ctx, "eve", "", 10)
		if err != nil || len(list) > 0 {
			t.Errorf("regenerate %v: sessions that nobody has: %v, %v", regenerate, list, err)
		}
	}
}

// Cookies don't count beside a bearer's token: its logout leaves the old one.
func TestBearerLeavesOldCookie(t *testing.T) {
	old := newOldLibrary()
	w := newWorld(t, old.option(), options(func(o *sojourn.Options) { o.Bearer = true }))
	s := w.Begin(ctx, sojourn.Request{})
	if err := errors.Join(s.Login("ann", sojourn.AsBearer()), s.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	s = w.Begin(ctx, sojourn.Request{Bearer: s.Token(), Old: map[string]string{"old": "ada"}})
	if err := errors.Join(s.Logout(), s.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	w.want("cookies", len(s.SetCookies()), 0)
	w.want("the old session", w.bring(new(jar), "ada").Subject(), "ada")
}

// A login in the request that adopts a session decides what the cookie is.
func TestLoginInTheAdoptingRequest(t *testing.T) {
	old := newOldLibrary()
	w := newWorld(t, old.option(), options(func(o *sojourn.Options) { o.Bearer = true }))
	s := w.bring(new(jar), "-")
	if err := errors.Join(s.Login("ann", sojourn.UntilBrowserCloses()), s.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	if c := s.SetCookies()[0]; !strings.HasPrefix(c, "__Host-session=") || strings.Contains(c, "Max-Age") {
		t.Errorf("the cookie until the browser closes: %s", c)
	}

	s = w.bring(new(jar), "bob")
	w.want("the adopted session", s.Subject(), "bob")
	if err := errors.Join(s.Login("bob", sojourn.AsBearer()), s.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	token := s.Token()
	w.want("the bearer", w.Begin(ctx, sojourn.Request{Bearer: token}).Subject(), "bob")
	w.want("cookies of the bearer's answer", strings.Join(s.SetCookies(), "\n"), "")
	w.want("the browser", w.bring(new(jar), "bob").Subject(), "bob")
}

// An old cookie of an empty session doesn't count as a guess.
func TestEmptyOldSessionsAreNoGuesses(t *testing.T) {
	old := newOldLibrary()
	w := newWorld(t, old.option(), options(func(o *sojourn.Options) { o.MaxBadTokens = 3 }))
	for i := range 10 {
		name := fmt.Sprint("empty ", i)
		old.sessions[name] = new(sojourn.OldSession)
		w.want("subject", w.bring(new(jar), name).Subject(), "")
	}
	w.want("throttled", len(w.happened(sojourn.EventThrottled)), 0)
	w.want("refused", len(w.happened(sojourn.EventRefused)), 0)
	w.want("a user from the same address", w.bring(new(jar), "ada").Subject(), "ada")
	for i := range 10 {
		w.bring(new(jar), fmt.Sprint("forged ", i)).ID()
	}
	w.want("throttled by forged ones", len(w.happened(sojourn.EventThrottled)), 1)
}

// A marker that has expired, but still exists, blocks no adoption.
func TestAdoptionAfterItsLifetime(t *testing.T) {
	old := newOldLibrary()
	w := newWorld(t, old.option(keepCookie, func(a *sojourn.Adoption) { a.Lifetime = 25 * time.Hour }))
	first := w.bring(new(jar), "ada").ID()
	w.pass(26 * time.Hour)
	s := w.bring(new(jar), "ada")
	w.want("subject", s.Subject(), "ada")
	w.want("another session", s.ID() != first, true)
	var rec store.Record
	if err := w.store.Get(ctx, "default", s.ID(), true, &rec); err != nil {
		t.Error(err)
	}
}

// Every operation of the store fails once during a logout that drops an old
// cookie. A logout that is acknowledged counts, and a repeated one succeeds.
func TestLogoutWithAnOldCookieUnderFaults(t *testing.T) {
	for k := 1; ; k++ {
		n, fired, armed := 0, false, false
		old := newOldLibrary()
		w := newWorld(t, old.option(keepCookie), onCalls(func(ctx context.Context, c driver.Call) driver.Result {
			if armed {
				if n++; n == k {
					fired = true
					if k%2 == 0 { // it happened all the same
						c.Do(ctx)
						return driver.Result{Err: store.ErrUncertain}
					}
					return driver.Result{Err: errors.New("fault")}
				}
			}
			return c.Do(ctx)
		}))
		j := w.loggedIn("ada")
		armed = true
		s := w.bring(j, "bob")
		err := errors.Join(s.Logout(), s.Commit(ctx))
		armed = false
		if err != nil {
			w.want("status", sojourn.StatusCode(err), 503)
			s = w.bring(j, "bob")
			if err := errors.Join(s.Logout(), s.Commit(ctx)); err != nil {
				t.Errorf("fault %d, repeated: %v", k, err)
			}
		}
		if fired != (err != nil) {
			t.Errorf("fault %d vanished", k)
		}
		old.sessions["bob"] = &sojourn.OldSession{Subject: "bob"} // a copy
		w.want(fmt.Sprintf("ours after fault %d", k), w.look(j), "")
		w.want(fmt.Sprintf("the old cookie after fault %d", k), w.bring(new(jar), "bob").Subject(), "")
		if !fired {
			w.want("operations", k > 4, true)
			return
		}
	}
}

// A logout ends the session also if the old library hangs, with a store that heeds
// the context of each call.
func TestI4LogoutWhileTheOldLibraryHangs(t *testing.T) {
	hang := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for _, keep := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			down := false
			w := newWorld(t, options(func(o *sojourn.Options) {
				o.Adopt = &sojourn.Adoption{
					Cookies:    []sojourn.OldCookie{{Name: "old"}},
					KeepCookie: keep,
					Read: func(ctx context.Context, _ map[string]string) (*sojourn.OldSession, error) {
						if down {
							return nil, hang(ctx)
						}
						return &sojourn.OldSession{Subject: "ada"}, nil
					},
					End: func(ctx context.Context, _ map[string]string) error {
						if down {
							return hang(ctx)
						}
						return nil
					},
				}
			}), onCalls(func(ctx context.Context, c driver.Call) driver.Result {
				ctx, cancel := context.WithTimeout(ctx, time.Minute) // as a store across a network does
				defer cancel()
				if err := ctx.Err(); err != nil {
					return driver.Result{Err: err}
				}
				return c.Do(ctx)
			}))
			j := w.loggedIn("ada")
			if keep { // the old cookie was adopted
				w.bring(new(jar), "ada").Subject()
			}
			down = true
			s := w.bring(w.loggedIn("ada"), "ada") // a login as another one replaces the session
			if err := errors.Join(s.Login("bob"), s.Commit(ctx)); err != nil {
				t.Errorf("keep %v: login: %v", keep, err)
			}
			s = w.bring(j, "ada")
			if err := errors.Join(s.Logout(), s.Commit(ctx)); err != nil {
				t.Errorf("keep %v: %v", keep, err)
			}
			w.want("after the logout", w.look(j), "")
		})
	}
}
