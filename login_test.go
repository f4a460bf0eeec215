package sojourn_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

func TestLoginKeepsWhatTheVisitorHad(t *testing.T) {
	w := newWorld(t)
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error { return cart.Set(s, map[string]int{"hat": 2}) })
	id := w.id(j)
	w.visit(j, func(s *sojourn.Session) error {
		if err := s.Login("ann", sojourn.AMR("pwd", "otp"), sojourn.Level(2)); err != nil {
			return err
		}
		w.want("seen by the request itself", s.Subject(), "ann")
		return cart.Update(s, func(c *map[string]int) error { (*c)["sock"]++; return nil })
	})
	w.want("visitor's cookie", j.visitor, "")
	s := w.begin(j)
	c, _ := cart.Get(s)
	w.want("hats", c["hat"], 2)
	w.want("socks", c["sock"], 1)
	w.want("ID", s.ID(), id)
	w.want("level", s.Level(), 2)
	w.want("amr", strings.Join(s.Info().AMR, "+"), "pwd+otp")
	w.want("time of the login", s.Info().AuthenticatedAt, epoch)
	w.want("fresh", s.Fresh(time.Minute), true)
	w.pass(time.Minute + time.Millisecond)
	w.want("fresh after that", w.begin(j).Fresh(time.Minute), false)
}

func TestLoginAsAnother(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "ann's") })
	old, id := *j, w.id(j)
	w.visit(j, func(s *sojourn.Session) error {
		if err := s.Login("bob"); err != nil {
			return err
		}
		v, err := color.Get(s)
		w.want("value", v, "")
		return err
	})
	s := w.begin(j)
	w.want("subject", s.Subject(), "bob")
	w.want("same session", s.ID() == id, false)
	w.want("ann", w.look(&old), "")
	equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonLogout})
}

// The second tab knows only the visitor's secret when it logs in. The cookies
// of both tabs' answers must work, whichever the browser keeps.
func TestLoginInTwoTabs(t *testing.T) {
	for _, keep := range []int{0, 1} {
		w := newWorld(t)
		visitor := new(jar)
		w.visit(visitor, func(s *sojourn.Session) error { return color.Set(s, "red") })
		tabs := []jar{*visitor, *visitor}
		sessions := []*sojourn.Session{w.begin(visitor), w.begin(visitor)}
		for i, s := range sessions {
			if err := s.Login("ann"); err != nil {
				t.Fatal(err)
			}
			w.answer(&tabs[i], s)
		}
		w.want("one session", w.id(&tabs[0]), w.id(&tabs[1]))
		j := tabs[keep]
		for range 100 {
			w.pass(7 * time.Minute)
			w.want("ann", w.look(&j), "ann")
		}
		v, _ := color.Get(w.begin(&j))
		w.want("value", v, "red")
		equal(t, "endings", w.endings(), nil)
	}
}

func TestLoginAgainAfterALostAnswer(t *testing.T) {
	w := newWorld(t)
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
	lost := *j
	w.login(&lost, "ann")
	w.pass(time.Hour) // longer than any grace
	w.visit(j, func(s *sojourn.Session) error {
		w.want("before", s.Subject(), "")
		if err := s.Login("ann"); err != nil {
			return err
		}
		v, err := color.Get(s)
		w.want("value", v, "red")
		return err
	})
	list, _, _ := w.List(ctx, "ann", "", 10)
	w.want("sessions", len(list), 1)
	w.want("ann", w.look(j), "ann")
	w.want("with the lost answer's secret", w.look(&lost), "")
}

func TestLoginFromAnothersOldSecret(t *testing.T) {
	w := newWorld(t)
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "ann's") })
	anns := *j
	w.login(&anns, "ann")
	w.visit(j, func(s *sojourn.Session) error { return s.Login("bob") })
	v, _ := color.Get(w.begin(j))
	w.want("bob's value", v, "")
	w.want("ann", w.look(&anns), "ann")
	w.want("bob", w.look(j), "bob")
}

func TestElevateEndsWhatALoginLeft(t *testing.T) {
	w := newWorld(t)
	visitor := new(jar)
	w.visit(visitor, func(s *sojourn.Session) error { return color.Set(s, "red") })
	one, two := *visitor, *visitor
	a, b := w.begin(visitor), w.begin(visitor)
	a.Login("ann")
	w.answer(&one, a)
	b.Login("ann")
	w.answer(&two, b)
	w.want("the first tab", w.look(&one), "ann")
	w.visit(&two, func(s *sojourn.Session) error { return s.Elevate(2, "otp") })
	w.want("the first tab", w.look(&one), "")
	s := w.begin(&two)
	w.want("level", s.Level(), 2)
	w.want("amr", strings.Join(s.Info().AMR, " "), "otp")
	equal(t, "endings", w.endings(), nil)
}

func TestLoginIsRefused(t *testing.T) {
	w := newWorld(t)
	s := w.begin(new(jar))
	for _, subject := range []string{"", strings.Repeat("x", 256), "a\x00b", "a\nb", "a\x7fb", "a\u0085b", "\xff"} {
		if err := s.Login(subject); !errors.Is(err, sojourn.ErrSubject) {
			t.Errorf("%q: %v", subject, err)
		}
	}
	for _, subject := range []string{"x", strings.Repeat("x", 255), "a b", "Ä", "a/b", "%", "{a}"} {
		if err := w.begin(new(jar)).Login(subject); err != nil {
			t.Errorf("%q: %v", subject, err)
		}
	}
	if err := s.Login("ann", sojourn.Level(4)); !errors.Is(err, sojourn.ErrValue) {
		t.Errorf("level 4: %v", err)
	}
	if err := s.Login("ann", sojourn.AsBearer()); !errors.Is(err, sojourn.ErrBearer) {
		t.Errorf("login as bearer without the option: %v", err)
	}
	if err := s.Elevate(2); !errors.Is(err, sojourn.ErrAnonymous) {
		t.Errorf("elevate: %v", err)
	}
	w.want("commit", s.Commit(ctx), nil)
	w.want("cookies", len(s.SetCookies()), 0)
	if err := s.Login("ann"); !errors.Is(err, sojourn.ErrCommitted) {
		t.Errorf("after the commit: %v", err)
	}
}

// A login fails if its request arrived before the subject's sessions were
// ended: it may be the attacker's login.
func TestLoginUnderWayDuringEndSubject(t *testing.T) {
	for name, end := range map[string]func(w *world) error{
		"end subject": func(w *world) error { _, err := w.EndSubject(ctx, "ann", sojourn.ID{}); return err },
		"end all":     func(w *world) error { return w.EndAll(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.begin(new(jar))
			if err := s.Login("ann"); err != nil {
				t.Fatal(err)
			}
			w.pass(time.Second)
			if err := end(w); err != nil {
				t.Fatal(err)
			}
			w.pass(time.Second)
			if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrEnded) || len(s.SetCookies()) > 0 {
				t.Errorf("commit: %v", err)
			}
			w.want("a later login", w.look(w.loggedIn("ann")), "ann")
		})
	}
}

// The store remembers for an hour that a subject's sessions were ended. A login
// that took longer can't be checked, and fails.
func TestLoginThatTookTooLong(t *testing.T) {
	w := newWorld(t)
	s := w.begin(new(jar))
	if err := s.Login("ann"); err != nil {
		t.Fatal(err)
	}
	w.EndSubject(ctx, "ann", sojourn.ID{})
	w.pass(time.Hour + time.Millisecond)
	for done := false; !done; {
		_, done, _ = w.store.Sweep(ctx, "default", store.TimeOf(w.time()), 256)
	}
	if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrEnded) {
		t.Errorf("commit: %v", err)
	}
}

func TestReauthenticationResetsBothLimits(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	for range 40 { // days; the policy allows 30
		w.pass(23 * time.Hour)
		w.login(j, "ann")
	}
	w.want("ann", w.look(j), "ann")
	rec := w.record(w.id(j))
	w.want("absolute", rec.ExpiresAt.Time(), w.time().Add(30*24*time.Hour))
	w.want("earlier epochs kept", len(rec.Epochs), 4)
}

// If the previous user's session can't be ended, a login as another user leaves
// nothing behind.
func TestLoginAsAnotherThatFails(t *testing.T) {
	w := newWorld(t, watched)
	j := w.loggedIn("ann")
	w.calls.fail(func(name string, _ int) error {
		if name != "End" {
			return nil
		}
		w.calls.fail(nil, nil) // only the first End fails
		return errors.New("down")
	}, nil)
	s := w.begin(j)
	if err := s.Login("bob"); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrUnavailable) || s.Token() != "" || len(s.SetCookies()) > 0 {
		t.Errorf("commit: %v", err)
	}
	list, _, _ := w.List(ctx, "bob", "", 10)
	w.want("bob's sessions", len(list), 0)
	w.want("ann", w.look(j), "ann")
}
