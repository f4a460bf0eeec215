package sojourn_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

// maxAge answers a request, and returns the Max-Age of the cookie that it sets.
// 0: the cookie has none.
func (w *world) maxAge(j *jar, do func(*sojourn.Session) error) time.Duration {
	w.Helper()
	s := w.begin(j)
	defer s.Finish()
	if err := do(s); err != nil {
		w.Fatal(err)
	}
	w.answer(j, s)
	for _, line := range s.SetCookies() {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			w.Fatalf("%q: %v", line, err)
		}
		if c.MaxAge >= 0 { // not one that is cleared
			return time.Duration(c.MaxAge) * time.Second
		}
	}
	w.Fatal("no cookie is set")
	return 0
}

func start(s *sojourn.Session) error { return s.Start() }

func read(s *sojourn.Session) error { return s.Load(ctx) }

func loginAs(subject string, o ...sojourn.LoginOption) func(*sojourn.Session) error {
	return func(s *sojourn.Session) error { return s.Login(subject, o...) }
}

// A cookie without Max-Age stays one over rotations and elevations. The
// deadline on the server is the login's.
func TestUntilBrowserCloses(t *testing.T) {
	const day = 24 * time.Hour
	closes, remember := sojourn.UntilBrowserCloses(), sojourn.Remember()
	for _, c := range []struct {
		name    string
		policy  bool
		options []sojourn.LoginOption
		visitor time.Duration
		login   time.Duration
	}{
		{"by default", false, nil, 90 * day, 30 * day},
		{"for one login", false, []sojourn.LoginOption{closes}, 90 * day, 0},
		{"for one login that is remembered", false, []sojourn.LoginOption{closes, remember}, 90 * day, 0},
		{"by policy", true, nil, 0, 0},
		{"by policy, with Remember", true, []sojourn.LoginOption{remember}, 0, 90 * day},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, options(func(o *sojourn.Options) { o.Cookie.UntilBrowserCloses = c.policy }))
			j := new(jar)
			w.want("a visitor's cookie", w.maxAge(j, start), c.visitor)
			w.want("a visitor's cookie, rotated", w.maxAge(j, (*sojourn.Session).Rotate), c.visitor)
			w.want("the login's cookie", w.maxAge(j, loginAs("ann", c.options...)), c.login)
			w.want("Info", w.begin(j).Info().UntilBrowserCloses, c.login == 0)

			w.pass(15 * time.Minute)
			age := w.maxAge(j, read) // rotates
			if (age == 0) != (c.login == 0) {
				t.Errorf("the rotated cookie has a Max-Age of %v", age)
			}
			w.confirm(j)
			age = w.maxAge(j, func(s *sojourn.Session) error { return s.Elevate(2, "otp") })
			if (age == 0) != (c.login == 0) {
				t.Errorf("the elevated cookie has a Max-Age of %v", age)
			}
			w.want("another login's cookie", w.maxAge(j, loginAs("ann", closes)), time.Duration(0))
			w.want("a login's cookie without the option", w.maxAge(j, loginAs("ann", remember)), 90*day)

			last := w.loggedIn("bob", c.options...)
			deadline := w.record(w.id(last)).ExpiresAt.Time()
			w.want("the deadline lies ahead", deadline.After(w.time()), true)
			w.pass(deadline.Sub(w.time()))
			w.want("after the deadline on the server", w.look(last), "")
		})
	}
}

// A login's own limits are never beyond the policy's.
func TestI7LifetimeOfOneLogin(t *testing.T) {
	const h = time.Hour
	policy := sojourn.Policy{Login: sojourn.Lifetime{Idle: 2 * h, Absolute: 10 * h}, Remembered: sojourn.Lifetime{Idle: 20 * h, Absolute: 100 * h}}
	for _, c := range []struct {
		asked, want sojourn.Lifetime
		remember    bool
	}{
		{sojourn.Lifetime{}, sojourn.Lifetime{Idle: 2 * h, Absolute: 10 * h}, false},
		{sojourn.Lifetime{Idle: h}, sojourn.Lifetime{Idle: h, Absolute: 10 * h}, false},
		{sojourn.Lifetime{Absolute: 5 * h}, sojourn.Lifetime{Idle: 2 * h, Absolute: 5 * h}, false},
		{sojourn.Lifetime{Absolute: h}, sojourn.Lifetime{Idle: h, Absolute: h}, false},
		{sojourn.Lifetime{Idle: time.Second, Absolute: time.Second}, sojourn.Lifetime{Idle: time.Second, Absolute: time.Second}, false},
		{sojourn.Lifetime{Idle: 2 * h, Absolute: h}, sojourn.Lifetime{Idle: h, Absolute: h}, false},
		{sojourn.Lifetime{Idle: 3 * h, Absolute: 11 * h}, sojourn.Lifetime{Idle: 2 * h, Absolute: 10 * h}, false},
		{sojourn.Lifetime{Idle: 1<<63 - 1, Absolute: 1<<63 - 1}, sojourn.Lifetime{Idle: 2 * h, Absolute: 10 * h}, false},
		{sojourn.Lifetime{Idle: 3 * h, Absolute: 11 * h}, sojourn.Lifetime{Idle: 3 * h, Absolute: 11 * h}, true},
		{sojourn.Lifetime{Idle: 30 * h, Absolute: 110 * h}, sojourn.Lifetime{Idle: 20 * h, Absolute: 100 * h}, true},
		{sojourn.Lifetime{Idle: time.Second + 1}, sojourn.Lifetime{Idle: time.Second, Absolute: 10 * h}, false},
	} {
		w := newWorld(t, options(func(o *sojourn.Options) { o.Policy = policy }))
		o := []sojourn.LoginOption{sojourn.WithLifetime(c.asked)}
		if c.remember {
			o = append(o, sojourn.Remember())
		}
		j := w.loggedIn("ann", o...)
		info := w.begin(j).Info()
		if got := (sojourn.Lifetime{Idle: info.IdleExpiresAt.Sub(info.LastSeenAt), Absolute: info.ExpiresAt.Sub(info.AuthenticatedAt)}); got != c.want {
			t.Errorf("asked for %v, remembered %v: %v, want %v", c.asked, c.remember, got, c.want)
		}
		w.pass(c.want.Idle)
		w.want("after the idle limit", w.look(j), "")

		if c.want.Idle < c.want.Absolute/100 {
			continue // it takes too many requests to stay active
		}
		// Rotations, elevations, activity and changes move no absolute deadline.
		j = w.loggedIn("bob", o...)
		end := w.time().Add(c.want.Absolute)
		for step := min(c.want.Idle-time.Millisecond, c.want.Absolute/8); w.time().Add(step).Before(end); {
			w.pass(step)
			w.visit(j, func(s *sojourn.Session) error { return s.Elevate(1) })
			w.visit(j, (*sojourn.Session).Rotate)
			w.visit(j, func(s *sojourn.Session) error { return count.Update(s, increment) })
		}
		w.pass(end.Sub(w.time()) - time.Millisecond)
		w.want("a millisecond before the absolute limit", w.look(j), "bob")
		w.pass(time.Millisecond)
		w.want("after the absolute limit", w.look(j), "")
	}
	w := newWorld(t)
	for _, bad := range []sojourn.Lifetime{{Idle: -1}, {Absolute: -time.Hour}, {Idle: time.Second - 1}, {Absolute: time.Millisecond}} {
		s := w.begin(new(jar))
		if err := s.Login("ann", sojourn.WithLifetime(bad)); !errors.Is(err, sojourn.ErrValue) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// Of parallel logins with different limits the last one's hold, as a whole,
// whatever other requests rotate and change meanwhile.
func TestLifetimesOfParallelLogins(t *testing.T) {
	w := newWorld(t)
	j := new(jar)
	w.visit(j, start)
	const n = 24
	nodes := []*world{w, w.node()}
	var ready, wg sync.WaitGroup
	ready.Add(n)
	for i := range n {
		wg.Go(func() {
			s := nodes[i%2].begin(j)
			var err error
			switch i % 3 {
			case 0:
				err = s.Login("ann", sojourn.WithLifetime(sojourn.Lifetime{Idle: time.Minute, Absolute: time.Hour}), sojourn.UntilBrowserCloses())
			case 1:
				err = s.Login("ann", sojourn.Remember())
			default:
				err = s.Rotate()
			}
			ready.Done()
			ready.Wait()
			if err = errors.Join(err, s.Commit(ctx)); err != nil && i%3 < 2 {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	list, _, err := w.List(ctx, "ann", "", 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	rec := w.record(list[0].ID)
	short := rec.Idle == time.Minute && rec.ExpiresAt.Sub(rec.AuthenticatedAt) == time.Hour && rec.UntilBrowserCloses && !rec.Remembered
	long := rec.Idle == 720*time.Hour && rec.ExpiresAt.Sub(rec.AuthenticatedAt) == 2160*time.Hour && !rec.UntilBrowserCloses && rec.Remembered
	if !short && !long {
		t.Errorf("the limits are of two logins: %+v", list[0])
	}
}
