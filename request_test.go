package sojourn_test

import (
	"errors"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
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
		w.want("the next one's subject", s.Subject(), "ben")
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
