package sojourn_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

func TestRegenerate(t *testing.T) {
	w := newWorld(t)
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error { return s.Regenerate("color") })
	w.want("the cookies without a session", *j, jar{})

	w.visit(j, func(s *sojourn.Session) error {
		return errors.Join(s.Login("ann"), color.Set(s, "red"), count.Set(s, 1))
	})
	old, first := w.id(j), *j
	s := w.begin(j)
	if err := s.Regenerate("color", "absent", "color"); err != nil {
		t.Fatal(err)
	}
	w.want("the subject", s.Subject(), "")
	w.want("a new session", s.ID() != old && !s.ID().IsZero(), true)
	w.want("Start", s.Start(), nil)
	if err := s.Elevate(2, "otp"); !errors.Is(err, sojourn.ErrAnonymous) {
		t.Errorf("Elevate: %v", err)
	}
	w.want("the values", string(s.Snapshot().Values), `{"color":"red"}`)
	id := s.ID()
	if err := s.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	// The visitor's cookie is set, and the session's is cleared.
	w.want("cookies", strings.Count(strings.Join(s.SetCookies(), "\n"), "__Host-session=; Max-Age=0"), 2)
	w.take(j, s)
	w.want("the jar", j.session == "" && j.visitor != "", true)
	w.want("the new session", w.id(j), id)
	w.want("the old one", w.id(&first), sojourn.ID{})
	s = w.begin(&first)
	w.want("its end", s.EndReason(), sojourn.ReasonLogout)
	if err := color.Set(s, "blue"); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrEnded) { // it arrived in the same millisecond
		t.Errorf("a request of the old one: %v", err)
	}
	equal(t, "ends", w.endings(), []sojourn.Reason{sojourn.ReasonLogout})
	w.want("created", len(w.happened(sojourn.EventCreated)), 2)

	// A visitor's session is replaced too, and without keys no value is kept.
	w.visit(j, func(s *sojourn.Session) error { return errors.Join(s.Regenerate(), count.Set(s, 5)) })
	w.want("the values", w.valuesOf(j), `{"count":5}`)
	w.want("another one", w.id(j) != id && !w.id(j).IsZero(), true)

	// With all values, and a login in the same request.
	w.visit(j, func(s *sojourn.Session) error {
		keys, err := s.Keys()
		return errors.Join(err, s.Regenerate(keys...), s.Login("bob"))
	})
	w.want("who", w.look(j), "bob")
	w.want("the values", w.valuesOf(j), `{"count":5}`)
	w.want("logins", len(w.happened(sojourn.EventAuthenticated)), 2)
	n, _, err := w.Count(ctx)
	if err != nil || n != 1 {
		t.Errorf("%d sessions, %v", n, err)
	}

	// A login before the Regenerate in the same request has no effect.
	w.visit(j, func(s *sojourn.Session) error { return errors.Join(s.Login("eve"), s.Regenerate("count")) })
	w.want("who", w.look(j), "")
	w.want("the values", w.valuesOf(j), `{}`) // those of bob's session were gone with eve's login
	w.want("logins", len(w.happened(sojourn.EventAuthenticated)), 2)
	n, _, err = w.Count(ctx)
	if err != nil || n != 1 {
		t.Errorf("%d sessions, %v", n, err)
	}
}

// A bearer's session is followed by another bearer's.
func TestRegenerateBearer(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.Bearer = true }))
	s := w.Begin(ctx, sojourn.Request{})
	if err := errors.Join(s.Login("ann", sojourn.AsBearer()), count.Set(s, 1), s.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	old := s.Token()
	s = w.Begin(ctx, sojourn.Request{Bearer: old})
	if err := errors.Join(s.Regenerate("count"), s.Login("bob"), s.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	w.want("cookies", len(s.SetCookies()), 0)
	w.want("with the new token", w.Begin(ctx, sojourn.Request{Bearer: s.Token()}).Subject(), "bob")
	w.want("with the old one", w.Begin(ctx, sojourn.Request{Bearer: old}).Subject(), "")
}

// I4: a request in flight brings nothing of the old session back, and nothing
// that it was told is stored gets lost.
func TestI4RegenerateBesideRequestsInFlight(t *testing.T) {
	w := newWorld(t)
	nodes := []*world{w, w.node(), w.node()}
	const n, rounds = 24, 8
	for round := range rounds {
		j := w.loggedIn("ann")
		keep, old := *j, w.id(j)
		var ready, wg sync.WaitGroup
		ready.Add(n)
		var mu sync.Mutex
		stored := 0
		for i := range n {
			wg.Go(func() {
				s := nodes[i%len(nodes)].begin(&keep)
				var err error
				switch i {
				case n / 2:
					err = s.Regenerate("count")
				default:
					err = count.Update(s, increment)
				}
				ready.Done()
				ready.Wait() // all have read the old session
				err = errors.Join(err, s.Commit(ctx))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case i == n/2 && err == nil:
					w.take(j, s)
				case err == nil:
					stored++
				case i == n/2 || !errors.Is(err, sojourn.ErrEnded) && !errors.Is(err, sojourn.ErrSuperseded):
					t.Errorf("request %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if id := w.id(j); id == old || id.IsZero() {
			t.Errorf("the new session is %v", id)
		}
		want := fmt.Sprintf(`{"count":%d}`, stored)
		if stored == 0 {
			want = `{}`
		}
		w.want(fmt.Sprintf("round %d: the values", round), w.valuesOf(j), want)
		w.want("the old one", w.look(&keep), "")
	}
}

// I4: if an end and a Regenerate, or two Regenerates, run in parallel, the first
// one wins. No values outlive an end that came first.
func TestI4RegenerateAfterAnEnd(t *testing.T) {
	for name, first := range map[string]func(w *world, s *sojourn.Session) error{
		"logout":      func(_ *world, s *sojourn.Session) error { return errors.Join(s.Logout(), s.Commit(ctx)) },
		"regenerate":  func(_ *world, s *sojourn.Session) error { return errors.Join(s.Regenerate("color"), s.Commit(ctx)) },
		"elevate":     func(_ *world, s *sojourn.Session) error { return errors.Join(s.Elevate(2), s.Commit(ctx)) },
		"end":         func(w *world, s *sojourn.Session) error { return w.End(ctx, s.ID()) },
		"end subject": func(w *world, _ *sojourn.Session) error { _, err := w.EndSubject(ctx, "ann", sojourn.ID{}); return err },
		"end all":     func(w *world, _ *sojourn.Session) error { return w.EndAll(ctx) },
		"expiry":      func(w *world, _ *sojourn.Session) error { w.pass(24 * time.Hour); return nil },
	} {
		for _, login := range []string{"", "ann", "bob"} {
			w := newWorld(t)
			j := w.loggedIn("ann")
			w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
			s := w.begin(j)
			if err := s.Regenerate("color"); err != nil {
				t.Fatal(err)
			}
			if err := first(w, w.node().begin(j)); err != nil {
				t.Fatal(err)
			}
			if login != "" { // goes on without the old session
				w.pass(time.Second)
				if err := s.Login(login); err != nil {
					t.Fatal(err)
				}
			}
			err := s.Commit(ctx)
			ended := errors.Is(err, sojourn.ErrEnded) || errors.Is(err, sojourn.ErrSuperseded)
			barrier := strings.HasPrefix(name, "end ") && (login == "ann" || name == "end all") || name == "expiry" && login != ""
			switch {
			case login == "" || barrier:
				if !ended {
					t.Errorf("%s, login %q: %v", name, login, err)
				}
				continue
			case err != nil:
				t.Errorf("%s, login %q: %v", name, login, err)
				continue
			}
			w.take(j, s)
			w.want(name+": who", w.look(j), login)
			if name != "elevate" || login == "bob" { // ann's own second login takes over what lives
				w.want(name+", login "+login+": the values", w.valuesOf(j), `{}`)
			}
		}
	}
}

// I4: an end may come between the writes of a Regenerate. Then the session has no
// successor.
func TestI4RegenerateMeetsAnEnd(t *testing.T) {
	var w *world
	meddle := false
	w = newWorld(t, onCalls(func(ctx context.Context, c driver.Call) driver.Result {
		if c.Op == driver.End && meddle {
			meddle = false
			if err := w.End(ctx, c.ID); err != nil {
				t.Error(err)
			}
		}
		return c.Do(ctx)
	}))
	j := w.loggedIn("ann")
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
	s := w.begin(j)
	if err := s.Regenerate("color"); err != nil {
		t.Fatal(err)
	}
	meddle = true
	if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrEnded) {
		t.Errorf("commit: %v", err)
	}
	n, _, err := w.Count(ctx)
	if err != nil || n != 0 {
		t.Errorf("%d sessions, %v", n, err)
	}
}

// Whatever call of the store fails, nobody is logged in afterwards, unless
// nothing was changed. What the request was to set is not stored.
func TestRegenerateWhereTheStoreFails(t *testing.T) {
	down := errors.New("down")
	for _, login := range []bool{false, true} {
		for _, cause := range []error{down, store.ErrUncertain} {
			for _, after := range []bool{false, true} { // the call was made
				for k := 1; ; k++ {
					w := newWorld(t, watched)
					j := w.loggedIn("ann")
					w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
					s := w.begin(j)
					err := s.Regenerate("color")
					if login {
						err = errors.Join(err, s.Login("bob"))
					}
					if err != nil {
						t.Fatal(err)
					}
					calls, failed := 0, ""
					fail := func(name string, _ int) error {
						if calls++; calls == k {
							failed = name
							return cause
						}
						return nil
					}
					if after {
						w.calls.fail(nil, fail)
					} else {
						w.calls.fail(fail, nil)
					}
					err = s.Commit(ctx)
					w.calls.fail(nil, nil)
					if failed == "" {
						w.want("the commit", err, nil)
						w.want("calls", k > 3, true) // Update, End, Create
						break
					}
					if err == nil || sojourn.StatusCode(err) != 503 {
						t.Errorf("%s failed: %v", failed, err)
					}
					w.want(failed+" failed: cookies", len(s.SetCookies()), 0)
					untouched := !after && k == 1
					w.want(fmt.Sprintf("%s failed, made %v: who", failed, after), w.look(j), map[bool]string{true: "ann"}[untouched])
					list, _, err := w.List(ctx, "bob", "", 10)
					if err != nil || len(list) > 0 && !(after && failed == "Create") { // nobody got its token
						t.Errorf("%s failed: %v, %v", failed, list, err)
					}
				}
			}
		}
	}
}

// Over HTTP the browser goes on with the new cookie.
func TestRegenerateInAHandler(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		var err error
		switch r.URL.Path {
		case "/fill":
			err = errors.Join(count.Set(s, 3), color.Set(s, "red"))
		case "/leave":
			err = s.Regenerate("count")
		case "/fail":
			err = s.Regenerate()
			rw.WriteHeader(http.StatusInternalServerError)
		}
		if err != nil {
			t.Error(err)
		}
	})
	b := w.surfer().login("alice")
	b.post("/fill").wantStatus(t, 200)
	b.post("/fail").wantStatus(t, 500)
	w.want("after a handler that failed", b.who(), "alice")
	b.post("/leave").wantStatus(t, 200)
	w.want("who", b.who(), "nobody")
	w.want("count", b.get("/count").body, "3")
	equal(t, "cookies", slices.Sorted(maps.Keys(b.cookies)), []string{"__Host-visitor"})
}

// A request with two live cookies of one name reads as a visitor's. Regenerate
// ends both sessions all the same, as a logout does.
func TestRegenerateEndsAllThatThePresentedCookiesName(t *testing.T) {
	for _, login := range []string{"", "bob"} {
		for _, visits := range []bool{false, true} {
			w := newWorld(t)
			a, b, v := w.loggedIn("ann"), w.loggedIn("ann"), new(jar)
			r := sojourn.Request{Session: []string{a.session, b.session}, Client: home, Arrived: w.time()}
			if visits {
				w.visit(v, func(s *sojourn.Session) error { return color.Set(s, "red") })
				r.Visitor = []string{v.visitor}
			}
			s := w.Begin(ctx, r)
			err := s.Regenerate("color")
			if login != "" {
				err = errors.Join(err, s.Login(login))
			}
			if err := errors.Join(err, s.Commit(ctx)); err != nil {
				t.Fatal(err)
			}
			what := fmt.Sprintf("login %q, visitor's cookie %v: ", login, visits)
			w.want(what+"the first session", w.look(a), "")
			w.want(what+"the second", w.look(b), "")
			cleared := 0
			for _, line := range s.SetCookies() {
				if strings.HasPrefix(line, "__Host-session=; Max-Age=0") {
					cleared++
				}
			}
			w.want(what+"the session's cookie is cleared", cleared > 0, true)
			j := new(jar)
			w.take(j, s)
			w.want(what+"who", w.look(j), login)
			if visits {
				w.want(what+"the values", w.valuesOf(j), `{"color":"red"}`)
			}
		}
	}
}
