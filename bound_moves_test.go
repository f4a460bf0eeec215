package sojourn_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// What an unproven request sends is meant for the bound session, so it lands nowhere:
// neither there, nor in a visitor's session, old or new. A safe request may begin a
// visitor's session.
func TestI14UnprovenRequestsChangeNothing(t *testing.T) {
	changes := map[string]func(*sojourn.Session) error{
		"set":        setColor,
		"update":     func(s *sojourn.Session) error { return count.Update(s, increment) },
		"pop":        func(s *sojourn.Session) error { _, _, err := color.Pop(s); return err },
		"clear":      (*sojourn.Session).Clear,
		"start":      (*sojourn.Session).Start,
		"rotate":     (*sojourn.Session).Rotate,
		"regenerate": func(s *sojourn.Session) error { return s.Regenerate("color") },
	}
	for name, change := range changes {
		for _, visitor := range []bool{false, true} {
			w := newWorld(t, bound)
			d := w.bound("ann")
			thief := d.stolen()
			var before, beside store.Record
			if visitor {
				other := new(jar)
				w.visit(other, setColor)
				thief.visitor = other.visitor
				if sealedFor == "" {
					beside = w.record(w.id(other))
				}
			}
			before = d.record()
			jars := *thief
			s := w.begin(thief)
			err := change(s)
			if err == nil {
				err = s.Commit(ctx)
			}
			idle := !visitor && (name == "pop" || name == "clear" || name == "rotate") // there is nothing to change
			if idle = idle || visitor && name == "start"; idle && err != nil || !idle && !errors.Is(err, sojourn.ErrUnproven) {
				t.Errorf("%s, visitor %v: %v", name, visitor, err)
			}
			w.take(thief, s)
			w.want(name+": cookies", *thief, jars)
			w.flush()
			if after := d.record(); !after.Equal(&before) {
				t.Errorf("%s: the bound session has changed", name)
			}
			if visitor && sealedFor == "" {
				if after := w.record(beside.ID); !after.Equal(&beside) {
					t.Errorf("%s: the visitor's session has changed", name)
				}
			}
			if n, _, err := w.Count(ctx); err == nil && sealedFor == "" && (n == 2) != visitor {
				t.Errorf("%s, visitor %v: %d sessions", name, visitor, n)
			}
		}
	}
}

func TestBoundSafeRequestsBeginAVisitor(t *testing.T) {
	w := newWorld(t, bound)
	d := w.bound("ann")
	s := w.Begin(ctx, sojourn.Request{Session: []string{d.jar.session}, Arrived: w.time(), Client: home, Safe: true})
	if err := color.Set(s, "red"); err != nil {
		t.Fatal(err)
	}
	j := d.stolen()
	w.answer(j, s)
	w.want("the visitor's cookie", j.visitor != "", true)
	w.want("the user", w.look(d.jar), "ann")
	s = w.begin(&jar{session: d.jar.session, visitor: j.visitor})
	if got, err := color.Get(s); got != "red" || err != nil {
		t.Errorf("the visitor's value: %q, %v", got, err)
	}
	w.want("the refusal beside a visitor's session", s.RefusalReason(), sojourn.RefusedUnproven)
}

// A login without a proof begins a new session, and ends the one that it presents. A
// login with a proof renews the session, whose binding stays.
func TestBoundLogins(t *testing.T) {
	for _, subject := range []string{"ann", "bob"} {
		w := newWorld(t, bound)
		d := w.bound("ann")
		d.visit(setColor)
		w.pass(time.Second)
		thief := d.stolen()
		s := w.begin(thief)
		if err := s.Login(subject); err != nil {
			t.Fatal(err)
		}
		w.answer(thief, s)
		if got, _ := color.Get(w.begin(thief)); got != "" {
			t.Errorf("the new session has the values of the bound one: %q", got)
		}
		w.want("the new session is another", w.id(thief) != d.session, true)
		w.want("the new session is bound", w.begin(thief).Info().Bound, false)
		w.want("its answer offers a registration", s.BoundHeaders().Get("Secure-Session-Registration") != "", true)
		w.want("its answer carries a challenge", s.BoundHeaders().Get("Secure-Session-Challenge"), "")
		w.want("the bound session", w.look(d.jar), "")
		equal(t, "ends", w.endings(), []sojourn.Reason{sojourn.ReasonLogout})
	}

	w := newWorld(t, bound)
	d := w.bound("ann")
	d.visit(setColor)
	w.pass(time.Second)
	d.offered = ""
	for name, change := range map[string]func(*sojourn.Session) error{
		"login":   func(s *sojourn.Session) error { return s.Login("ann", sojourn.Remember()) },
		"elevate": func(s *sojourn.Session) error { return s.Elevate(2, "otp") },
		"rotate":  (*sojourn.Session).Rotate,
	} {
		d.visit(change)
		w.want(name+": the session", w.id(d.jar), d.session)
		w.want(name+": bound", w.begin(d.jar).Info().Bound, true)
		w.want(name+": offered", d.offered, "")
		w.want(name+": a copy of the new cookie", w.look(d.stolen()), "")
		d.refresh()
	}
	w.pass(time.Second)
	d.visit(func(s *sojourn.Session) error { return s.Login("bob") })
	w.want("after a login as another", w.begin(d.jar).Info().Bound, false)
	w.want("the new user", w.look(d.jar), "bob")
	w.want("the new user's browser is asked", d.offered != "", true)
}

// A logout needs no proof.
func TestBoundLogout(t *testing.T) {
	for _, proof := range []bool{true, false} {
		w := newWorld(t, bound)
		d := w.bound("ann")
		j := d.stolen()
		if proof {
			j = d.copied()
		}
		s := w.begin(j)
		if err := s.Logout(); err != nil {
			t.Fatal(err)
		}
		w.answer(j, s)
		w.want("the cookie", j.session+j.proof, "")
		w.want("the user", w.look(d.jar), "")
		equal(t, "ends", w.endings(), []sojourn.Reason{sojourn.ReasonLogout})
		w.want("headers", len(s.BoundHeaders()), 0)
		forms := map[string]int{}
		for _, line := range s.SetCookies() {
			name, _, _ := strings.Cut(line, "=")
			forms[name]++
		}
		want := forms["__Host-session"] // with and without Partitioned
		if !proof {
			want = 0
		}
		w.want("deletions of the proof", forms[d.jar.proofName], want)
		w.want("deletions of the session's", forms["__Host-session"], 2)
	}
}

// A login that repeats one, because its answer was lost, re-enters a bound session
// only with a proof.
func TestBoundReentry(t *testing.T) {
	for _, proof := range []bool{true, false} {
		w := newWorld(t, bound)
		d := w.bound("ann")
		d.visit(setColor)
		early := d.copied()
		d.visit(func(s *sojourn.Session) error { return s.Login("ann") }) // whose answer early doesn't get
		if !proof {
			early.proof = ""
		}
		s := w.begin(early)
		if err := s.Login("ann"); err != nil {
			t.Fatal(err)
		}
		w.want("the same session", s.ID() == d.session, proof)
		got, _ := color.Get(s)
		w.want("its values", got == "red", proof)
		w.answer(early, s)
		w.want("the user's browser", w.look(d.jar), "ann")
	}
}

// A registration that was under way during an elevation, a login, a logout or an end
// gives nothing. A refresh gives nothing if the session is over. It gives a proof if
// the session lives, but that takes the session's new token.
func TestI13LateRegistrationsAndRefreshes(t *testing.T) {
	between := map[string]struct {
		change func(*world, *device)
		want   error
	}{
		"elevation":        {func(w *world, d *device) { d.visit(func(s *sojourn.Session) error { return s.Elevate(2) }) }, sojourn.ErrSuperseded},
		"login":            {func(w *world, d *device) { d.login("ann") }, sojourn.ErrSuperseded},
		"login as another": {func(w *world, d *device) { d.login("bob") }, sojourn.ErrEnded},
		"logout":           {func(w *world, d *device) { d.visit((*sojourn.Session).Logout) }, sojourn.ErrEnded},
		"end": {func(w *world, d *device) {
			if err := w.End(ctx, d.id()); err != nil {
				w.Fatal(err)
			}
		}, sojourn.ErrEnded},
	}
	for name, b := range between {
		for _, read := range []bool{false, true} { // before the change, or after it
			t.Run(name, func(t *testing.T) {
				w := newWorld(t, bound)
				d, r := w.device("ann"), w.bound("ann")
				late := *d
				late.jar = d.copied()
				late.session = d.id()
				registers, refreshes := w.begin(late.jar), w.begin(r.copied())
				challenge, tokens := r.challenge, []string{r.jar.session}
				if read {
					registers.Load(ctx)
					refreshes.Load(ctx)
				}
				w.pass(time.Second)
				d.session = late.session
				b.change(w, d)
				b.change(w, r)
				var before store.Record
				if b.want == sojourn.ErrSuperseded { //nolint:errorlint // the value itself
					before = r.record()
				}
				if err := sojourn.Register(registers, late.offered, []byte("late")); !errors.Is(err, b.want) {
					t.Errorf("register: %v, want %v", err, b.want)
				}
				want := b.want
				if before.Revision != 0 { // the same browser's session, with the same key
					want = nil
				}
				if err := sojourn.Refresh(refreshes, r.session, challenge, r.signs); !errors.Is(err, want) {
					t.Errorf("refresh: %v, want %v", err, want)
				}
				if cookies := registers.SetCookies(); len(cookies) > 0 {
					t.Errorf("cookies: %q", cookies)
				}
				if before.Revision == 0 {
					if cookies := refreshes.SetCookies(); len(cookies) > 0 {
						t.Errorf("cookies: %q", cookies)
					}
				} else { // a proof is worth nothing without the new token
					late := &jar{session: tokens[0], proof: proofOf(t, refreshes)}
					w.want("the old token with a new proof", w.look(late), "")
					after := r.record()
					after.Binding, after.Revision = before.Binding, before.Revision
					if !after.Equal(&before) {
						t.Error("the refresh has changed more than the binding")
					}
				}
				for _, e := range w.happened(sojourn.EventEnded) {
					if e.Reason == sojourn.ReasonTheft {
						t.Error("theft")
					}
				}
			})
		}
	}
}

func proofOf(t *testing.T, s *sojourn.Session) string {
	t.Helper()
	for _, line := range s.SetCookies() {
		if c, err := http.ParseSetCookie(line); err == nil && strings.Contains(c.Name, "-bound-") {
			return c.Value
		}
	}
	t.Error("no proof in the answer")
	return ""
}

// The answer to a refresh that was under way during a login as another replaces no
// proof of the new session.
func TestI14LateProofsReplaceNothing(t *testing.T) {
	w := newWorld(t, bound)
	d := w.bound("ann")
	s := w.begin(d.jar)
	if err := sojourn.Refresh(s, d.session, d.challenge, d.signs); err != nil {
		t.Fatal(err)
	}
	late := s.SetCookies()
	w.pass(time.Second)
	d.session = sojourn.ID{}
	d.login("bob")
	d.register()
	d.refresh()
	if len(late) != 1 || strings.HasPrefix(late[0], d.jar.proofName+"=") || !strings.HasPrefix(late[0], "__Host-session-bound-") {
		t.Errorf("the late cookie is %q, bob's proof is in %s", late, d.jar.proofName)
	}
}

// A rotation changes nothing for the proof. That of an unbound session offers a
// registration again.
func TestBoundRotation(t *testing.T) {
	w := newWorld(t, bound)
	d := w.bound("ann")
	plain := w.device("bob")
	for range 5 {
		for range 2 { // the second request confirms the secret
			w.pass(2 * time.Minute)
			w.look(d.jar)
			w.look(plain.jar)
		}
		w.pass(16 * time.Minute)
		d.forgets()
		d.refresh()
		plain.offered, d.offered = "", ""
		before := d.jar.session
		d.visit(func(s *sojourn.Session) error { return s.Load(ctx) })
		plain.visit(func(s *sojourn.Session) error { return s.Load(ctx) })
		w.want("the user", w.look(d.jar), "ann")
		w.want("rotated", d.jar.session != before, true)
		w.want("offered to a bound session", d.offered, "")
		w.want("offered to an unbound one", plain.offered != "", true)
	}
	plain.register()
	w.want("the user", w.look(plain.jar), "bob")
}

// A sealed visitor's login is stored, and is bound like any other.
func TestBoundWithSealedVisitors(t *testing.T) {
	w := newWorld(t, sealedVisitors, bound)
	d := &device{jar: new(jar), w: w, key: "k"}
	w.visit(d.jar, setColor)
	d.login("ann")
	d.register()
	d.refresh()
	w.pass(2 * time.Minute)
	d.confirmed(true)
	got, err := color.Get(w.begin(d.jar))
	if got != "red" || err != nil {
		t.Errorf("the visitor's value: %q, %v", got, err)
	}
	d.refresh()
	w.want("after a refresh", w.look(d.jar), "ann")
	thief := d.stolen()
	s := w.Begin(ctx, sojourn.Request{Session: []string{thief.session}, Client: home, Safe: true})
	setColor(s)
	w.answer(thief, s) // a sealed visitor's session of its own
	s = w.begin(thief)
	if err := color.Set(s, "blue"); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); !errors.Is(err, sojourn.ErrUnproven) {
		t.Errorf("an unsafe request of the thief: %v", err)
	}
}

// Of several cookies with one name, an unproven session doesn't count, so the one
// that lives does. A logout ends both.
func TestBoundSeveralCookies(t *testing.T) {
	w := newWorld(t, bound)
	d, plain := w.bound("ann"), w.device("bob")
	request := func(safe bool) sojourn.Request {
		return sojourn.Request{Session: []string{d.jar.session, plain.jar.session}, Client: home, Arrived: w.time(), Safe: safe}
	}
	s := w.Begin(ctx, request(true))
	w.want("the subject", s.Subject(), "bob")
	w.want("a refusal", s.RefusalReason(), sojourn.Refusal(""))
	proven := request(true)
	proven.Proofs = []string{"short", strings.Repeat("A", 43), d.jar.proof}
	w.want("two live ones", w.Begin(ctx, proven).RefusalReason(), sojourn.RefusedAmbiguous)
	other := w.bound("eve")
	both := sojourn.Request{Session: []string{d.jar.session, other.jar.session}, Client: home, Arrived: w.time()}
	w.want("two unproven ones", w.Begin(ctx, both).RefusalReason(), sojourn.RefusedUnproven)
	both.Proofs = []string{other.jar.proof}
	w.want("one of which gets its proof", w.Begin(ctx, both).Subject(), "eve")
	s = w.Begin(ctx, request(false))
	if err := s.Logout(); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	w.want("ann", w.look(d.jar), "")
	w.want("bob", w.look(plain.jar), "")
}

// Neither secrets nor proofs nor challenges are in a store or an event.
func TestI1NoProofAtRest(t *testing.T) {
	w := newWorld(t, bound)
	d := w.bound("ann")
	raw := string(d.record().Binding)
	for _, secret := range []string{d.jar.proof, d.challenge, d.jar.session} {
		if secret == "" || strings.Contains(raw, secret) {
			t.Errorf("%q is in the record", secret)
		}
	}
	w.look(d.stolen())
	d.key = "wrong"
	d.tryRefresh(w)
	for _, e := range w.happened(sojourn.EventRefused) {
		if e.Detail != "" {
			t.Errorf("%+v", e)
		}
	}
}

// With Domain, the proof's cookie is shaped like the session's.
func TestBoundCookieForms(t *testing.T) {
	w := newWorld(t, bound, options(func(o *sojourn.Options) { o.Cookie.Domain = "example.com"; o.Bound.ProofLife = 5 * time.Minute }))
	s := w.begin(new(jar))
	if err := s.Login("ann"); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	d := &device{w: w, jar: &jar{session: s.Token()}}
	d.heed(s)
	r := w.begin(d.jar)
	id := r.ID().String()
	if err := sojourn.Register(r, d.offered, []byte("key")); err != nil {
		t.Fatal(err)
	}
	w.want("cookies of a registration", len(r.SetCookies()), 0)
	d.session = r.ID()
	d.heed(r)
	r = w.begin(d.jar)
	if err := sojourn.Refresh(r, d.session, d.challenge, func([]byte) bool { return true }); err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	r.AddCookies(h)
	name := "__Secure-session-bound-" + id[len(id)-8:]
	cookies := h["Set-Cookie"]
	if len(cookies) != 1 || !strings.HasPrefix(cookies[0], name+"=") || !strings.HasSuffix(cookies[0], "; Max-Age=300; Path=/; Domain=example.com; HttpOnly; Secure; SameSite=Lax") {
		t.Fatalf("%q", cookies)
	}
	w.want("Cache-Control", h.Get("Cache-Control"), "no-store")
	w.want("the next challenge", h.Get("Secure-Session-Challenge") != "", true)
	_, proof, _ := strings.Cut(strings.Split(cookies[0], ";")[0], "=")
	out := w.Begin(ctx, sojourn.Request{Session: []string{d.jar.session}, Proofs: []string{proof}, Client: home})
	out.Logout()
	if err := out.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, line := range out.SetCookies() {
		if strings.HasPrefix(line, name+"=; Max-Age=0") {
			n++
		}
	}
	w.want("deletions", n, 4) // with and without Domain and Partitioned
}

// A read of a bound session allocates nothing more than one of another.
func TestBoundAllocations(t *testing.T) {
	if raceEnabled() {
		t.Skip("the race detector makes sync.Pool drop values")
	}
	w := newWebUnstarted(t, nil, bound)
	d, plain := w.world.bound("ann"), w.device("bob")
	h := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if sojourn.From(r.Context()).Subject() == "" {
			t.Error("nobody is signed in")
		}
	}))
	count := func(cookie string) float64 {
		r := httptest.NewRequest("GET", "http://localhost/", nil)
		r.Header.Set("Cookie", cookie)
		rw := &discard{header: http.Header{}}
		least := 100.0
		for range 5 {
			least = min(least, testing.AllocsPerRun(200, func() { clear(rw.header); h.ServeHTTP(rw, r) }))
		}
		return least
	}
	unbound := count("__Host-session=" + plain.jar.session)
	if n := count("__Host-session=" + d.jar.session + "; " + d.jar.proofName + "=" + d.jar.proof); n > unbound {
		t.Errorf("%v allocations for a bound session, %v for an unbound one", n, unbound)
	}
}
