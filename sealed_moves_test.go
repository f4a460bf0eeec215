package sojourn_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// on returns an engine on the store of w, with its clock and events, for other
// options.
func (w *world) on(change ...func(*world, *sojourn.Options)) *world {
	n := newWorld(w.TB, append([]func(*world, *sojourn.Options){func(n *world, o *sojourn.Options) {
		n.store.Close()
		n.store, o.Now, o.OnEvent = w.store, w.time, w.observe
	}}, change...)...)
	n.now = time.Time{} // its requests arrive now, by the clock of w
	return n
}

func (w *world) stored() int {
	w.Helper()
	c, err := w.store.Count(ctx, "default")
	if err != nil {
		w.Fatal(err)
	}
	return int(c.Sessions)
}

// A stored visitor's session is sealed at its next change or touch, and its row
// ends, without an event. Reads alone move nothing.
func TestSealedTakesOverStoredVisitors(t *testing.T) {
	for name, move := range map[string]func(*world, *jar){
		"change": func(n *world, j *jar) { n.visit(j, func(s *sojourn.Session) error { return count.Set(s, 1) }) },
		"touch":  func(n *world, j *jar) { n.look(j) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			j := new(jar)
			w.visit(j, setColor)
			old, id := *j, w.id(j)
			n := w.on(sealedVisitors)
			n.look(j)
			w.want("after a read", *j, old)
			w.pass(2 * time.Minute)
			move(n, j)
			if len(j.visitor) <= 64 {
				t.Fatalf("the cookie is %q", j.visitor)
			}
			s := n.begin(j)
			if got, _ := color.Get(s); got != "red" || s.ID() != id {
				t.Errorf("color %q, ID %v, want %v", got, s.ID(), id)
			}
			w.want("stored", w.stored(), 0)
			w.want("the old token", n.id(&old), sojourn.ID{})
			equal(t, "endings", w.endings(), nil)
		})
	}
}

// One that is too large for a cookie stays in the store.
func TestSealedLeavesLargeSessions(t *testing.T) {
	w := newWorld(t)
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, strings.Repeat("x", 5000)) })
	n := w.on(sealedVisitors)
	w.pass(2 * time.Minute)
	n.visit(j, func(s *sojourn.Session) error { return count.Set(s, 1) })
	w.want("the token's length", len(j.visitor), 64)
	n.visit(j, func(s *sojourn.Session) error { return color.Delete(s) })
	w.pass(2 * time.Minute)
	n.look(j)
	if got, _ := count.Get(n.begin(j)); got != 1 || len(j.visitor) <= 64 || w.stored() != 0 {
		t.Errorf("count %d, cookie %q, stored %d", got, j.visitor, w.stored())
	}
}

// A change that another request makes in the store while the session moves is not
// lost.
func TestSealedTakesOverTheNewest(t *testing.T) {
	w := newWorld(t)
	j := new(jar)
	w.visit(j, setColor)
	n := w.on(sealedVisitors)
	s := n.begin(j)
	if err := count.Set(s, 1); err != nil {
		t.Fatal(err)
	}
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "blue") }) // on a node that is not reconfigured yet
	n.answer(j, s)
	s = n.begin(j)
	gotCount, _ := count.Get(s)
	gotColor, _ := color.Get(s)
	if gotCount != 1 || gotColor != "blue" {
		t.Errorf("count %d, color %q", gotCount, gotColor)
	}
}

// A stored login is sealed, too, and a watermark reaches it before that.
func TestSealedTakesOverStoredLogins(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann", sojourn.AMR("pwd"))
	old, id := *j, w.id(j)
	n := w.on(sealed(sojourn.SealEveryone, 1))
	w.pass(2 * time.Minute)
	w.want("ann", n.look(j), "ann")
	w.want("stored", w.stored(), 0)
	s := n.begin(j)
	w.want("ann", s.Subject(), "ann")
	w.want("the ID", s.ID(), id)
	w.want("the old token", n.look(&old), "")
	equal(t, "endings", w.endings(), nil)

	ben := w.loggedIn("ben")
	w.pass(time.Second)
	all := w.on(sealed(sojourn.SealEveryone, 1), options(func(o *sojourn.Options) { o.Sealed.AllNotBefore = w.time() }))
	w.want("ben", all.look(ben), "")
}

// Back to the store: a sealed login becomes a stored session, with its ID, once.
// After its end no copy of the cookie brings it back, however late.
func TestSealedLoginIsStoredOnce(t *testing.T) {
	w := newWorld(t)
	sealing := w.on(sealed(sojourn.SealEveryone, 1))
	for name, back := range map[string]sojourn.SealFor{"visitors": sojourn.SealVisitors, "nobody": sojourn.SealNobody} {
		t.Run(name, func(t *testing.T) {
			n, m := w.on(sealed(back, 1)), w.on(sealed(back, 1))
			j := sealing.loggedIn("ann", sojourn.Remember(), sojourn.AMR("pwd"), sojourn.Level(2))
			sealing.visit(j, setColor)
			before := sealing.begin(j).Info()
			first := *j

			var wait sync.WaitGroup
			jars := make([]jar, 16)
			for i := range jars {
				jars[i] = first
				wait.Go(func() {
					at := n
					if i%2 > 0 {
						at = m
					}
					if got := at.look(&jars[i]); got != "ann" {
						t.Errorf("in parallel: %q", got)
					}
				})
			}
			wait.Wait()
			for i := range jars {
				if jars[i] != jars[0] || len(jars[i].session) != 64 {
					t.Fatalf("cookies: %v, %v", jars[i], jars[0])
				}
			}
			j = &jars[0]
			w.want("stored", w.stored(), 1)
			s := n.begin(j)
			info := s.Info()
			if info.ID != before.ID || info.AuthenticatedAt != before.AuthenticatedAt || info.ExpiresAt != before.ExpiresAt || !info.Remembered || info.Level != 2 {
				t.Errorf("%+v, want %+v", info, before)
			}
			if got, _ := color.Get(s); got != "red" {
				t.Errorf("color: %q", got)
			}
			w.want("a copy, while it lives", n.look(&jar{session: first.session}), "ann")
			n.visit(j, func(s *sojourn.Session) error { return s.Logout() })
			for range 5 {
				w.want("a copy after the logout", n.look(&jar{session: first.session}), "")
				w.want("stored", w.stored(), 0)
				w.pass(40 * time.Minute)
				for done := false; !done; {
					var err error
					if _, done, err = w.store.Sweep(ctx, "default", store.TimeOf(w.time()), 100); err != nil {
						t.Fatal(err)
					}
				}
			}
			if n, err := w.store.Count(ctx, "default/adopted"); n.Sessions == 0 || err != nil {
				t.Errorf("markers: %v, %v", n, err)
			}
		})
	}
}

// A sealed visitor is stored at the next change or touch, for a site that no
// longer seals.
func TestSealedVisitorIsStored(t *testing.T) {
	w := newWorld(t)
	sealing, n := w.on(sealedVisitors), w.on(sealed(sojourn.SealNobody, 1))
	j := new(jar)
	sealing.visit(j, setColor)
	before := sealing.begin(j).Info()
	first := *j
	w.pass(time.Minute)
	n.look(j)
	w.want("after a read", *j, first)
	n.visit(j, func(s *sojourn.Session) error { return count.Set(s, 1) })
	w.want("the token's length", len(j.visitor), 64)
	w.want("stored", w.stored(), 1)
	s := n.begin(j)
	gotColor, _ := color.Get(s)
	gotCount, _ := count.Get(s)
	if gotColor != "red" || gotCount != 1 || !s.Info().ExpiresAt.Equal(before.ExpiresAt) {
		t.Errorf("color %q, count %d, expires %v, want %v", gotColor, gotCount, s.Info().ExpiresAt, before.ExpiresAt)
	}
	touched := first
	w.pass(day)
	n.look(&touched)
	w.want("the token's length after a touch", len(touched.visitor), 64)
	n.login(&first, "ann")
	if got, _ := color.Get(n.begin(&first)); got != "red" {
		t.Errorf("color after a login: %q", got)
	}
}

// A store that is down while a sealed login is to be stored is an error.
func TestI9SealedLoginMeetsAnOutage(t *testing.T) {
	w := newWorld(t, watched)
	sealing, n := w.on(sealed(sojourn.SealEveryone, 1)), w.on(sealed(sojourn.SealNobody, 1))
	j := sealing.loggedIn("ann")
	for _, name := range []string{"Get", "Create"} {
		w.calls.fail(always(errors.New("down"), name), nil)
		if err := n.begin(j).Load(ctx); !errors.Is(err, sojourn.ErrUnavailable) {
			t.Errorf("%s fails: %v", name, err)
		}
	}
	w.calls.fail(nil, nil)
	w.want("ann", n.look(j), "ann")
	w.want("stored", w.stored(), 1)
}

// A sealed session under Done, Pop, Rotate, Regenerate, bearer tokens, revisions
// and a changed client.
func TestSealedDone(t *testing.T) {
	w := newWorld(t, sealedEveryone)
	closed := func(done <-chan struct{}) {
		t.Helper()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Error("the channel isn't closed")
		}
	}
	j := w.loggedIn("ann")
	s, other := w.begin(j), w.begin(j)
	done := s.Done()
	if again := other.Done(); again != done {
		t.Error("two channels for one session")
	}
	s.Active()
	select {
	case <-done:
		t.Error("closed while the session lives")
	default:
	}
	w.visit(j, func(s *sojourn.Session) error { return s.Logout() })
	closed(done)

	real := newWorld(t, sealedEveryone, options(func(o *sojourn.Options) {
		o.Now, o.Policy.Login = time.Now, sojourn.Lifetime{Idle: time.Second, Absolute: time.Second}
	}))
	real.now = time.Now()
	closed(real.begin(real.loggedIn("ann")).Done())
	w.flush()
}

func TestSealedPop(t *testing.T) {
	w := newWorld(t, sealedVisitors, watched)
	j := new(jar)
	w.visit(j, setColor)
	s := w.begin(j)
	if v, ok, err := color.Pop(s); v != "red" || !ok || err != nil {
		t.Errorf("pop: %q, %v, %v", v, ok, err)
	}
	if _, ok, err := color.Pop(s); ok || err != nil {
		t.Errorf("again: %v, %v", ok, err)
	}
	w.answer(j, s)
	if _, ok, err := color.Pop(w.begin(j)); ok || err != nil {
		t.Errorf("in the next request: %v, %v", ok, err)
	}
	equal(t, "calls of the store", w.calls.made(), nil)
}

func TestSealedRotateAndRegenerate(t *testing.T) {
	w := newWorld(t, sealedEveryone)
	j := w.loggedIn("ann")
	w.visit(j, setColor)
	before, id := *j, w.id(j)
	w.visit(j, (*sojourn.Session).Rotate)
	if j.session == before.session || w.id(j) != id {
		t.Errorf("after Rotate: %v, ID %v", j, w.id(j))
	}
	w.want("rotations", len(w.happened(sojourn.EventRotated)), 1)
	w.visit(j, func(s *sojourn.Session) error { return s.Regenerate("color") })
	s := w.begin(j)
	got, _ := color.Get(s)
	if j.session != "" || got != "red" || s.ID() == id || s.Subject() != "" {
		t.Errorf("after Regenerate: cookies %+v, color %q, ID %v, subject %q", j, got, s.ID(), s.Subject())
	}
	equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonLogout})
}

func TestSealedBearer(t *testing.T) {
	w := newWorld(t, sealedEveryone, options(func(o *sojourn.Options) { o.Bearer = true }))
	s := w.begin(new(jar))
	if err := s.Login("robot", sojourn.AsBearer()); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	token := s.Token()
	w.want("cookies", len(s.SetCookies()), 0)
	w.want("in the header", w.Begin(ctx, sojourn.Request{Bearer: token}).Subject(), "robot")
	w.want("by anybody who knows", w.Begin(ctx, sojourn.Request{Token: token}).Subject(), "robot")
	w.want("as a cookie", w.look(&jar{session: token, visitor: token}), "")
	w.want("a cookie as a bearer's", w.Begin(ctx, sojourn.Request{Bearer: w.loggedIn("ann").session}).Subject(), "")
	s = w.Begin(ctx, sojourn.Request{Bearer: token})
	if err := setColor(s); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	got, _ := color.Get(w.Begin(ctx, sojourn.Request{Bearer: s.Token()}))
	w.want("color", got, "red")
}

func TestSealedRevision(t *testing.T) {
	w := newWorld(t, sealedVisitors)
	j := new(jar)
	w.visit(j, setColor)
	w.want("revision", w.begin(j).Info().Revision, uint64(1))
	w.visit(j, func(s *sojourn.Session) error { return count.Set(s, 1) })
	for revision, want := range map[uint64]error{1: sojourn.ErrRevision, 2: nil} {
		s := w.Begin(ctx, sojourn.Request{Visitor: []string{j.visitor}, IfRevision: revision})
		if err := count.Set(s, 2); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(ctx); !errors.Is(err, want) {
			t.Errorf("at revision %d: %v, want %v", revision, err, want)
		}
	}
}

// Several cookies of one name: the one that opens counts, two of different
// sessions are ambiguous, and a login replaces them.
func TestSealedTwoCookies(t *testing.T) {
	w := newWorld(t, sealedEveryone)
	ann, ben := w.loggedIn("ann"), w.loggedIn("ben")
	ask := func(list ...string) *sojourn.Session { return w.Begin(ctx, sojourn.Request{Session: list}) }
	w.want("one and garbage", ask("x", ann.session, "E"+strings.Repeat("x", 200)).Subject(), "ann")
	s := ask(ann.session, ben.session)
	w.want("two", s.Subject(), "")
	w.want("refusal", s.RefusalReason(), sojourn.RefusedAmbiguous)
	if err := s.Login("cleo"); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	w.want("cookies: forms that are cleared, and the new one", len(s.SetCookies()), 2)
	s = ask(ann.session, ben.session)
	if err := s.Logout(); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx); err != nil {
		t.Error(err)
	}
}

func TestSealedClientChanged(t *testing.T) {
	reaction := sojourn.ReactionAllow
	var was []string
	w := newWorld(t, sealedEveryone, options(func(o *sojourn.Options) {
		o.ClientChanged = func(before, _ sojourn.Client) sojourn.Reaction {
			was = append(was, before.IP.String()+" "+before.UserAgent)
			return reaction
		}
	}))
	w.want("sealed before the option was set", w.look(newWorld(t, sealedEveryone).loggedIn("ben")), "ben")
	j := w.loggedIn("ann")
	w.look(j)
	equal(t, "changes", was, nil)
	from := func(agent string) *sojourn.Session {
		return w.Begin(ctx, sojourn.Request{Session: []string{j.session}, Client: sojourn.Client{IP: home.IP, UserAgent: agent}})
	}
	s := from("Browser/2")
	w.want("ann", s.Subject(), "ann")
	w.answer(j, s) // notes the new client
	s = from("Browser/2")
	w.want("ann", s.Subject(), "ann")
	equal(t, "changes", was, []string{"192.0.2.1 Browser/1"})

	reaction = sojourn.ReactionStepUp
	s = from("Browser/3")
	w.want("fresh", s.Fresh(time.Hour), false)
	w.answer(j, s)
	w.want("fresh later", from("Browser/3").Fresh(time.Hour), false)

	reaction = sojourn.ReactionEnd
	s = from("Browser/4")
	w.want("subject", s.Subject(), "")
	w.want("reason", s.EndReason(), sojourn.ReasonRevoked)
	w.answer(j, s)
	w.want("the cookie", j.session, "")
	equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonRevoked})
}

// What a sealed session gives up, as docs/security.md says.
func TestSealedGivesUp(t *testing.T) {
	w := newWorld(t, sealedEveryone)
	j := w.loggedIn("ann")
	copied := *j
	w.visit(j, func(s *sojourn.Session) error { return s.Logout() })
	w.want("a copy after the logout (I4)", w.look(&copied), "ann")

	j = w.loggedIn("ann")
	one, two := w.begin(j), w.begin(j)
	for _, s := range []*sojourn.Session{one, two} {
		if err := count.Update(s, increment); err != nil {
			t.Fatal(err)
		}
	}
	w.answer(j, one)
	w.answer(j, two)
	n, _ := count.Get(w.begin(j))
	w.want("two updates in parallel (I5)", n, 1)

	before := *j
	w.visit(j, func(s *sojourn.Session) error { return s.Elevate(2) })
	w.want("a former cookie (I3, I12)", w.look(&before), "ann")
	w.want("its level", w.begin(&before).Level(), 1)
}

// A flood of visitors who each store a value leaves the store empty, and costs no
// memory. With SOJOURN_SOAK they are a million.
func TestSealedFlood(t *testing.T) {
	n := 5000
	if os.Getenv("SOJOURN_SOAK") != "" {
		n = 1_000_000
	}
	st := memstore.New()
	defer st.Close()
	e, err := sojourn.New(st, sojourn.Options{Sealed: &sojourn.Sealing{Keys: [][]byte{sealKey(1)}}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(ctx)
	before := heapInUse()
	for i := range n {
		s := e.Begin(ctx, sojourn.Request{Client: home})
		if err := count.Set(s, i); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(ctx); err != nil || len(s.SetCookies()) != 1 {
			t.Fatal(err, s.SetCookies())
		}
		s.Finish()
	}
	if c, err := st.Count(ctx, "default"); c.Sessions != 0 || err != nil {
		t.Errorf("the store has %d sessions, %v", c.Sessions, err)
	}
	grown := heapInUse() - before
	if grown > 2<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	t.Logf("%d first requests, %d bytes", n, grown)
}

// heapInUse returns the bytes that a collection leaves.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // which empties pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
