package sojourn_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// Only logins in cookies are bound.
func TestBoundOnlyLoginsInCookies(t *testing.T) {
	w := newWorld(t, bound, options(func(o *sojourn.Options) { o.Bearer = true }))
	refuses := func(what string, s *sojourn.Session) {
		t.Helper()
		if err := sojourn.Register(s, "", []byte("key")); !errors.Is(err, sojourn.ErrAnonymous) {
			t.Errorf("%s: %v", what, err)
		}
		if h := s.BoundHeaders(); h != nil {
			t.Errorf("%s: %v", what, h)
		}
	}
	visitor := new(jar)
	s := w.begin(visitor)
	setColor(s)
	w.answer(visitor, s)
	w.want("headers for a new visitor", len(s.BoundHeaders()), 0)
	refuses("a visitor", w.begin(visitor))
	refuses("nobody", w.begin(new(jar)))

	s = w.begin(new(jar))
	if err := s.Login("ann", sojourn.AsBearer()); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	w.want("headers for a bearer", len(s.BoundHeaders()), 0)
	refuses("a bearer", w.Begin(ctx, sojourn.Request{Bearer: s.Token(), Client: home}))

	keyed := func() *sojourn.Session { return w.Begin(ctx, sojourn.Request{Key: "k", Client: home}) }
	s = keyed()
	if err := s.Login("ann"); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	w.want("headers under a key", len(s.BoundHeaders()), 0)
	refuses("under a key", keyed())
}

// A binding that this version can't read is never proven.
func TestBoundFailsClosed(t *testing.T) {
	w := newWorld(t, bound)
	for _, cut := range []func([]byte) []byte{
		func(b []byte) []byte { return append([]byte{2}, b[1:]...) },
		func(b []byte) []byte { return b[:1] },
		func(b []byte) []byte { return b[:54] },
		func(b []byte) []byte { b[53] = 5; return b },
	} {
		d := w.bound("ann")
		rec := d.record()
		rec.Binding = cut(rec.Binding)
		if _, err := w.store.Update(ctx, "default", &rec, store.UpdateOptions{Now: store.TimeOf(w.time())}); err != nil {
			t.Fatal(err)
		}
		s := w.begin(d.jar)
		w.want("the refusal", s.RefusalReason(), sojourn.RefusedUnproven)
		w.want("headers", len(s.BoundHeaders()), 0)
		if err := d.tryRefresh(w); !errors.Is(err, sojourn.ErrChallenge) {
			t.Errorf("refresh: %v", err)
		}
		if err := sojourn.Register(w.begin(d.jar), d.offered, []byte("key")); !errors.Is(err, sojourn.ErrRebound) {
			t.Errorf("register: %v", err)
		}
		d.login("ann")
		w.want("after a new login", w.look(d.jar), "ann")
	}
}

// A requirement of a bound session takes a proof, not a reason why none is needed.
func TestBoundRequirement(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.Bound = &sojourn.Binding{RequireLevel: 2} }))
	check := func(what string, j *jar, q sojourn.Requirement, want error) {
		t.Helper()
		if err := q.Check(ctx, w.begin(j)); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	need := sojourn.Requirement{Bound: true}
	check("nobody", new(jar), need, sojourn.ErrAnonymous)
	d := w.device("ann")
	check("unbound, a login", d.jar, sojourn.Requirement{}, nil)
	check("unbound, level 1", d.jar, sojourn.Requirement{Level: 1}, nil)
	check("unbound", d.jar, need, sojourn.ErrUnbound)
	check("unbound, the level is too low too", d.jar, sojourn.Requirement{Level: 2}, sojourn.ErrLevel)
	d.visit(func(s *sojourn.Session) error { return s.Elevate(2, "otp") })
	check("unbound, level 2", d.jar, sojourn.Requirement{Level: 2}, sojourn.ErrUnbound)
	d.register()
	check("pending, without a proof", d.stolen(), need, sojourn.ErrUnproven)
	check("pending, without a proof, a login", d.stolen(), sojourn.Requirement{}, nil)
	d.refresh()
	check("the first proof", d.jar, need, nil)
	check("within the grace, without a proof", d.stolen(), need, sojourn.ErrUnproven)
	check("within the grace, without a proof, a login", d.stolen(), sojourn.Requirement{}, nil)
	w.pass(2 * time.Minute)
	check("without a proof, a login", d.stolen(), sojourn.Requirement{}, sojourn.ErrUnproven)
	check("with a proof, level 2", d.jar, sojourn.Requirement{Level: 2}, nil)

	without := newWorld(t)
	j := without.loggedIn("ann")
	if err := need.Check(ctx, without.begin(j)); !errors.Is(err, sojourn.ErrUnbound) {
		t.Errorf("without Options.Bound: %v", err)
	}
}

// Over HTTP: an answer to an unproven request carries a challenge, whatever comes of
// the request, and no cache keeps it. Page views go to the page that proves them.
func TestBoundOverHTTP(t *testing.T) {
	need := sojourn.Requirement{Bound: true, SignIn: "/login"}
	routes := http.NewServeMux()
	routes.Handle("/needs", need.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, who(sojourn.From(r.Context()))) })))
	routes.HandleFunc("/public", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "public, max-age=60")
		writeWho(rw, r, sojourn.From(r.Context()))
	})
	routes.HandleFunc("/broken", func(rw http.ResponseWriter, r *http.Request) {
		who(sojourn.From(r.Context()))
		rw.WriteHeader(500)
	})
	routes.HandleFunc("/static", func(rw http.ResponseWriter, r *http.Request) {})
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) { routes.ServeHTTP(rw, r) }, bound)
	b := w.surfer()
	a := b.post("/login?user=ann")
	offer := a.Header.Get("Secure-Session-Registration")
	if !strings.HasPrefix(offer, `(ES256 RS256);path="/session/bound/register";challenge="`) || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("the login's answer: %v", a.Header)
	}
	b.get("/needs").wantStatus(t, 403)
	b.get("/needs", "Accept", html).wantRedirect(t, "/session/bound/?return_to=%2Fneeds")

	d := &device{jar: &jar{session: b.cookies["__Host-session"]}, w: w.world, key: "k"}
	_, d.offered, _ = strings.Cut(strings.TrimSuffix(offer, `"`), `challenge="`)
	d.register()
	d.refresh()
	thief := b.fork()
	b.cookies[d.jar.proofName] = d.jar.proof
	w.want("with the first proof", b.get("/needs").body, "ann")
	w.pass(2 * time.Minute)
	challenged := func(what string, a *reply, status int, want bool) {
		t.Helper()
		a.wantStatus(t, status)
		h := a.Header.Get("Secure-Session-Challenge")
		w.want(what+": a challenge", strings.HasSuffix(h, `";id="`+d.session.String()+`"`), want)
		if want {
			w.want(what+": Cache-Control", a.Header.Get("Cache-Control"), "no-store")
		}
	}
	challenged("the user", b.get("/who"), 200, false)
	challenged("a page", thief.get("/who"), 200, true)
	challenged("a change", thief.post("/count"), 401, true)
	challenged("a guarded page", thief.get("/needs"), 401, true)
	w.want("WWW-Authenticate", thief.get("/needs").Header.Get("WWW-Authenticate"), `Cookie realm="default"`)
	view := thief.get("/needs?a=b", "Accept", html)
	challenged("a guarded page view", view, 303, true)
	view.wantRedirect(t, "/session/bound/?return_to=%2Fneeds%3Fa%3Db")
	challenged("an answer for caches", thief.get("/public"), 200, false)
	w.want("an answer for caches", thief.get("/public").Header.Get("Cache-Control"), "public, max-age=60")
	challenged("an error", thief.get("/broken"), 500, false)
	challenged("a request that doesn't ask", thief.get("/static"), 200, false)
	challenged("a login", thief.fork().post("/login?user=bob"), 303, false)
}

func (a *reply) wantRedirect(t *testing.T, to string) {
	t.Helper()
	a.wantStatus(t, http.StatusSeeOther)
	if got := a.Header.Get("Location"); got != to {
		t.Errorf("%s leads to %q, want %q", a.Request.URL, got, to)
	}
}
