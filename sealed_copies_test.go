package sojourn_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http/httptest"
	"reflect"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// A browser may hold several copies of one sealed session, for instance after a
// change of Cookie.Domain. The newest one counts, in whatever order they come.
func TestSealedNewestCopyCounts(t *testing.T) {
	w := newWorld(t, sealedEveryone)
	j := w.loggedIn("ann")
	login := j.session
	w.visit(j, setColor)
	changed := j.session
	w.pass(time.Second)
	late := &jar{session: login}
	for range 3 { // answers to late requests: more changes, but from before the elevation
		w.visit(late, func(s *sojourn.Session) error { return count.Update(s, increment) })
	}
	w.visit(j, func(s *sojourn.Session) error { return s.Elevate(2) })
	for _, list := range [][]string{{login, changed, late.session, j.session}, {j.session, late.session, changed, login}} {
		s := w.Begin(ctx, sojourn.Request{Session: list, Client: home})
		if got, _ := color.Get(s); got != "red" || s.Level() != 2 {
			t.Errorf("color %q, level %d", got, s.Level())
		}
		s = w.Begin(ctx, sojourn.Request{Session: list[:2], Client: home})
		if got, _ := color.Get(s); got != "red" {
			t.Errorf("color of two: %q", got)
		}
	}
}

// A sealed session that becomes a stored one is there for the copies since its last
// login or elevation alone: an older copy gets no more authority than it had.
func TestSealedOlderCopyMeetsTheStored(t *testing.T) {
	for name, renew := range map[string]func(*sojourn.Session) error{
		"elevation": func(s *sojourn.Session) error { return s.Elevate(2) },
		"login":     func(s *sojourn.Session) error { return s.Login("ann", sojourn.Remember()) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			sealing, n := w.on(sealed(sojourn.SealEveryone, 1)), w.on(sealed(sojourn.SealVisitors, 1))
			j := sealing.loggedIn("ann")
			old := *j
			w.pass(time.Hour)
			sealing.visit(j, renew)
			newer := *j
			w.want("ann", n.look(j), "ann")
			w.want("an older copy", n.look(&jar{session: old.session}), "")
			w.want("ann, still", n.look(j), "ann")
			n.visit(j, func(s *sojourn.Session) error { return s.Logout() })
			for range 40 { // no copy comes back, as long as it could live
				w.pass(20 * time.Hour)
				sweepAll(t, w)
				w.want("an older copy after the logout", n.look(&jar{session: old.session}), "")
				w.want("a copy after the logout", n.look(&jar{session: newer.session}), "")
			}
		})
	}
}

// The copy that comes first may be the older one. The session that it becomes
// ends, and the newer copy, which lives longer, doesn't bring it back.
func TestSealedNewerCopyAfterTheEnd(t *testing.T) {
	w := newWorld(t)
	sealing, n := w.on(sealed(sojourn.SealEveryone, 1)), w.on(sealed(sojourn.SealNobody, 1))
	j := sealing.loggedIn("ann")
	old := *j
	w.pass(23 * time.Hour)
	sealing.login(j, "ann", sojourn.Remember())
	w.want("the older copy", n.look(&old), "ann")
	n.visit(&old, func(s *sojourn.Session) error { return s.Logout() })
	for range 85 {
		w.pass(day)
		sweepAll(t, w)
		keep := *j
		if got := n.look(&keep); got != "" {
			t.Fatalf("the newer copy after the logout is %q", got)
		}
		sealing.look(j) // notes the activity
	}
}

func sweepAll(t *testing.T, w *world) {
	for _, app := range []string{"default", "default/adopted"} {
		for done := false; !done; {
			var err error
			if _, done, err = w.store.Sweep(ctx, app, store.TimeOf(w.time()), 100); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A visitor's stream is open when the user logs in, in another tab, with the same
// ID. The login's Done closes at the login's deadline, whatever a copy of the
// visitor's cookie does.
func TestSealedDoneOfALoginBesideTheVisitors(t *testing.T) {
	for _, early := range []bool{false, true} {
		t.Run(fmt.Sprint("Done before the login: ", early), func(t *testing.T) {
			w := newWorld(t, sealedEveryone, options(func(o *sojourn.Options) {
				o.Now, o.Policy.Login = time.Now, sojourn.Lifetime{Idle: time.Second, Absolute: time.Second}
			}))
			w.now = time.Now()
			j := new(jar)
			w.visit(j, setColor)
			visitor := *j
			if early {
				w.begin(&visitor).Done()
			}
			w.login(j, "ann")
			done := w.begin(j).Done()
			w.visit(&visitor, func(s *sojourn.Session) error { return count.Set(s, 1) }) // seals the visitor's again
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Error("Done is open after the login's deadline")
			}
		})
	}
}

// Anybody can send cookies of keys that aren't there. They are no guesses, but
// they don't fill the log.
func TestSealedFloodWithoutKeys(t *testing.T) {
	const n = 5000
	w := newWorld(t, sealedVisitors, watched)
	j := w.loggedIn("ann")
	w.look(j)
	w.calls.made()
	raw := []byte("\x10....")
	for i := range n {
		copy(raw[1:], fmt.Sprintf("%04d", i))
		s := w.begin(&jar{visitor: base64.RawURLEncoding.EncodeToString(append(raw, make([]byte, 100)...))})
		if got := s.RefusalReason(); got != sojourn.RefusedNoKey {
			t.Fatalf("refusal: %q", got)
		}
		if err := s.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		s.Finish()
	}
	if got := len(w.happened(sojourn.EventRefused)); got == 0 || got > 100 {
		t.Errorf("%d events", got)
	}
	w.want("guesses", len(w.happened(sojourn.EventThrottled)), 0)
	w.want("ann", w.look(j), "ann")
	w.pass(time.Minute)
	w.begin(&jar{visitor: base64.RawURLEncoding.EncodeToString(append([]byte("\x10new."), make([]byte, 100)...))}).ID()
	if got := w.happened(sojourn.EventRefused); !got[len(got)-1].Time.Equal(w.time()) {
		t.Error("no event in the next minute")
	}
}

// A stored session that is too large for a cookie stays stored, and its activity is
// noted.
func TestSealedActiveOfALargeSession(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, strings.Repeat("x", 5000)) })
	n := w.on(sealed(sojourn.SealEveryone, 1))
	w.pass(time.Hour)
	s := n.begin(j)
	s.Passive()
	w.want("ann", s.Subject(), "ann")
	s.Active()
	n.flush()
	w.want("last seen", w.record(s.ID()).LastSeenAt, store.TimeOf(w.time()))
	equal(t, "failures", details(w.happened(sojourn.EventWriteFailed)), nil)
}

func details(events []sojourn.Event) (list []string) {
	for _, e := range events {
		list = append(list, e.Detail)
	}
	return list
}

// A session that ended because its client changed ends once, also if two copies of
// it came and the handler logs out.
func TestSealedEndsOnce(t *testing.T) {
	w := newWorld(t, sealedEveryone, options(func(o *sojourn.Options) {
		o.ClientChanged = func(_, _ sojourn.Client) sojourn.Reaction { return sojourn.ReactionEnd }
	}))
	j := w.loggedIn("ann")
	first := j.session
	w.visit(j, setColor)
	s := w.Begin(ctx, sojourn.Request{Session: []string{first, j.session}, Client: sojourn.Client{IP: home.IP, UserAgent: "Browser/2"}})
	if err := s.Logout(); err != nil {
		t.Fatal(err)
	}
	w.answer(j, s)
	w.want("the cookie", j.session, "")
	equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonRevoked})
}

// Without a store, no exported method of an engine or of a session asks one:
// each works, or says why not.
func TestSealedWithoutStoreNeverPanics(t *testing.T) {
	w := newWorld(t, sealedEveryone, options(func(o *sojourn.Options) { o.Bearer = true }))
	robot := w.begin(new(jar))
	if err := errors.Join(robot.Login("robot", sojourn.AsBearer()), robot.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	visitor := new(jar)
	w.visit(visitor, setColor)
	ann, ben := w.loggedIn("ann"), w.loggedIn("ben")
	stored := strings.Repeat("A", 64)
	requests := map[string]sojourn.Request{
		"nothing":         {},
		"a visitor":       {Visitor: []string{visitor.visitor}},
		"a login":         {Session: []string{ann.session}},
		"both":            {Session: []string{ann.session}, Visitor: []string{visitor.visitor}},
		"two logins":      {Session: []string{ann.session, ben.session}, Visitor: []string{visitor.visitor}},
		"one and garbage": {Session: []string{stored, ann.session, "E"}},
		"a stored one":    {Session: []string{stored}},
		"a bearer":        {Bearer: robot.Token()},
		"a stored bearer": {Bearer: stored},
		"a token":         {Token: ann.session},
		"a revision":      {Token: ann.session, IfRevision: 1},
		"a key":           {Key: "key"},
		"idempotent":      {IdempotencyKey: "key"},
	}
	call := func(name string, m reflect.Value) {
		t.Helper()
		defer func() {
			err, failed := recover().(error)
			if failed && !errors.Is(err, sojourn.ErrUnsupported) && !errors.Is(err, sojourn.ErrFinished) { // an accessor
				t.Errorf("%s: %v\n%s", name, err, debug.Stack())
			}
		}()
		args := make([]reflect.Value, m.Type().NumIn())
		for i := range args {
			args[i] = argument(m.Type().In(i))
		}
		if m.Type().IsVariadic() {
			m.Call(args[:len(args)-1])
			return
		}
		m.Call(args)
	}
	engine := reflect.ValueOf(w.Engine)
	for name, r := range requests {
		r.Client = home
		session := reflect.TypeFor[*sojourn.Session]()
		for i := range session.NumMethod() {
			for _, before := range [][]string{nil, {"SetValue"}, {"Login"}, {"Regenerate"}, {"Logout"}, {"Login", "Commit"}, {"Finish"}} {
				s := reflect.ValueOf(w.Begin(ctx, r))
				for _, first := range before {
					call(name+": "+first, s.MethodByName(first))
				}
				call(fmt.Sprint(name, ": ", before, session.Method(i).Name), s.Method(i))
				call(name+": Commit", s.MethodByName("Commit"))
				call(name+": Done", s.MethodByName("Done"))
				call(name+": Finish", s.MethodByName("Finish"))
			}
		}
	}
	for i := range engine.NumMethod() {
		if name := engine.Type().Method(i).Name; name != "Close" {
			call(name, engine.Method(i))
		}
	}
	w.flush()
}

// argument returns something to call a method with.
func argument(of reflect.Type) reflect.Value {
	for _, v := range []any{ctx, "color", 2, time.Minute, httptest.NewRequest("GET", "/", nil)} {
		if reflect.TypeOf(v).AssignableTo(of) {
			return reflect.ValueOf(v)
		}
	}
	if of == reflect.TypeFor[any]() {
		return reflect.ValueOf("red")
	}
	if of.Kind() == reflect.Func {
		return reflect.MakeFunc(of, func([]reflect.Value) []reflect.Value {
			out := make([]reflect.Value, of.NumOut())
			for i := range out {
				out[i] = reflect.Zero(of.Out(i))
			}
			return out
		})
	}
	if of.Kind() == reflect.Map {
		return reflect.MakeMap(of)
	}
	return reflect.Zero(of)
}
