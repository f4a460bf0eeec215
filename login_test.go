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
	w.want("at", s.Info().AuthenticatedAt, epoch)
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
	w.want("the lost one", w.look(&lost), "")
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
		t.Errorf("bearer: %v", err)
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

func TestEndSubjectExcept(t *testing.T) {
	w := newWorld(t)
	here, there, bob := w.loggedIn("ann"), w.loggedIn("ann"), w.loggedIn("bob")
	n, err := w.EndSubject(ctx, "ann", w.id(here))
	if n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	w.want("here", w.look(here), "ann")
	w.want("there", w.look(there), "")
	w.want("bob", w.look(bob), "bob")
	if err := w.EndOwn(ctx, "ann", w.id(bob)); !errors.Is(err, sojourn.ErrNotFound) {
		t.Errorf("ann ends bob's: %v", err)
	}
	if err := w.EndOwn(ctx, "bob", w.id(bob)); err != nil {
		t.Error(err)
	}
	w.want("bob", w.look(bob), "")
	if err := w.End(ctx, w.id(bob)); !errors.Is(err, sojourn.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
}

func TestEndAll(t *testing.T) {
	w := newWorld(t)
	visitor := new(jar)
	w.visit(visitor, func(s *sojourn.Session) error { return color.Set(s, "red") })
	j := w.loggedIn("ann")
	if err := w.EndAll(ctx); err != nil {
		t.Fatal(err)
	}
	w.want("ann", w.look(j), "")
	w.want("the visitor", w.begin(visitor).ID(), sojourn.ID{})
	w.want("reason", w.begin(j).EndReason(), sojourn.ReasonRevoked)
	sessions, loggedIn, err := w.Count(ctx)
	if sessions != 0 || loggedIn != 0 || err != nil {
		t.Error(sessions, loggedIn, err)
	}
	w.pass(time.Second)
	w.want("a new login", w.look(w.loggedIn("ann")), "ann")
	w.want("event", len(w.happened(sojourn.EventEndedAll)), 1)
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

func TestPresets(t *testing.T) {
	for _, test := range []struct {
		name           string
		policy         sojourn.Policy
		idle, absolute time.Duration
	}{ // SP 800-63B-4, sections 2.1.3, 2.2.3, 2.3.3
		{"AAL1", sojourn.AAL1(), 30 * 24 * time.Hour, 30 * 24 * time.Hour},
		{"AAL2", sojourn.AAL2(), time.Hour, 24 * time.Hour},
		{"AAL3", sojourn.AAL3(), 15 * time.Minute, 12 * time.Hour},
	} {
		for _, life := range []sojourn.Lifetime{test.policy.Login, test.policy.Remembered} {
			if life.Idle > test.idle || life.Absolute > test.absolute {
				t.Errorf("%s: %v", test.name, life)
			}
		}
		w := newWorld(t, options(func(o *sojourn.Options) { o.Policy = test.policy }))
		j := w.loggedIn("ann", sojourn.Remember())
		w.pass(test.policy.Login.Idle)
		w.want(test.name, w.look(j), "")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*sojourn.Options){
		"App":         func(o *sojourn.Options) { o.App = "a b" },
		"Login":       func(o *sojourn.Options) { o.Policy.Login = sojourn.Lifetime{Idle: time.Hour, Absolute: time.Minute} },
		"Anonymous":   func(o *sojourn.Options) { o.Policy.Anonymous.Idle = -1 },
		"RotateEvery": func(o *sojourn.Options) { o.Policy.RotateEvery = time.Second },
		"Grace":       func(o *sojourn.Options) { o.Policy.Grace = time.Second },
		"MaxSession":  func(o *sojourn.Options) { o.MaxSession = 2 << 20 },
		"MaxValue":    func(o *sojourn.Options) { o.MaxValue = 1 << 20 },
	} {
		o := sojourn.Options{}
		change(&o)
		if _, err := sojourn.New(newWorld(t).store, o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := sojourn.New(nil, sojourn.Options{}); err == nil {
		t.Error("no store is accepted")
	}
}

func TestPassiveRequestsAreNoActivity(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	for range 24 {
		w.pass(time.Hour)
		s := w.begin(j)
		s.Passive()
		s.Subject()
		w.answer(j, s)
	}
	w.want("ann", w.look(j), "")
}

func TestClientChange(t *testing.T) {
	elsewhere := home
	elsewhere.UserAgent = "Browser/2"
	for _, reaction := range []sojourn.Reaction{sojourn.ReactionAllow, sojourn.ReactionStepUp, sojourn.ReactionEnd} {
		var was, is sojourn.Client
		w := newWorld(t, options(func(o *sojourn.Options) {
			o.ClientChanged = func(a, b sojourn.Client) sojourn.Reaction { was, is = a, b; return reaction }
		}))
		j := w.loggedIn("ann")
		w.pass(time.Second)
		s := w.Begin(ctx, sojourn.Request{Session: []string{j.session}, Client: elsewhere})
		subject, fresh := s.Subject(), s.Fresh(time.Minute)
		w.answer(j, s)
		w.flush()
		w.want("was", was, home)
		w.want("is", is, elsewhere)
		w.want("subject", subject, map[bool]string{true: "", false: "ann"}[reaction == sojourn.ReactionEnd])
		w.want("fresh", fresh, reaction == sojourn.ReactionAllow)
		w.want("events", len(w.happened(sojourn.EventClientChanged)), 1)
		if reaction == sojourn.ReactionEnd {
			equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonRevoked})
			continue
		}
		w.want("last seen by", w.record(s.ID()).LastClient, elsewhere)
		s = w.Begin(ctx, sojourn.Request{Session: []string{j.session}, Client: elsewhere})
		w.want("fresh, next time", s.Fresh(time.Minute), reaction == sojourn.ReactionAllow)
		w.login(j, "ann")
		w.want("fresh after a login", w.begin(j).Fresh(time.Minute), true)
	}
}

func TestListInPages(t *testing.T) {
	w := newWorld(t)
	for range 7 {
		w.loggedIn("ann")
		w.loggedIn("bob")
		w.pass(time.Millisecond)
	}
	for subject, want := range map[string]int{"ann": 7, "": 14, "carl": 0} {
		seen := map[sojourn.ID]bool{}
		cursor, pages := "", 0
		for {
			page, next, err := w.List(ctx, subject, cursor, 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range page {
				seen[i.ID] = true
				if subject != "" {
					w.want("subject", i.Subject, subject)
				}
				w.want("client", i.Created, home)
			}
			if pages++; next == "" || pages > 100 {
				break
			}
			cursor = next
		}
		w.want("sessions of "+subject, len(seen), want)
	}
}

// Without good randomness, the engine creates no session.
func TestRandomnessThatFails(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	sojourn.SetRand(w.Engine, io.LimitReader(strings.NewReader("too little"), 10))
	s := w.begin(new(jar))
	if err := s.Login("bob"); !errors.Is(err, sojourn.ErrUnavailable) {
		t.Errorf("login: %v", err)
	}
	s.Commit(ctx)
	w.want("cookies", len(s.SetCookies()), 0)
	s = w.begin(j)
	if err := s.Elevate(2); !errors.Is(err, sojourn.ErrUnavailable) {
		t.Errorf("elevate: %v", err)
	}
	w.want("ann", s.Level(), 1)
	s.Commit(ctx)
	w.want("epoch", w.record(w.id(j)).Epoch, uint32(1))
}

func TestTombstonesAndSweep(t *testing.T) {
	w := newWorld(t)
	w.loggedIn("ann")
	w.pass(24 * time.Hour)
	for done := false; !done; {
		var ended []store.Ended
		var err error
		if ended, done, err = w.store.Sweep(ctx, "default", store.TimeOf(w.time()), 256); err != nil {
			t.Fatal(err)
		}
		for _, e := range ended {
			w.want("reason", e.Reason, store.ReasonIdle)
		}
	}
	sessions, _, _ := w.Count(ctx)
	w.want("sessions", sessions, int64(0))
}

// A page may request a login for a program. The page's own session stays as it
// is.
func TestBearerBesideACookie(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.Bearer = true }))
	j := w.loggedIn("ann")
	s := w.begin(j)
	if err := errors.Join(s.Login("ann", sojourn.AsBearer()), s.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	w.want("cookies", len(s.SetCookies()), 0)
	w.want("the page", w.look(j), "ann")
	api := w.Begin(ctx, sojourn.Request{Bearer: s.Token()})
	w.want("the program", api.Subject(), "ann")
	w.want("one session", api.ID() == w.id(j), false)
	w.want("the token as a cookie", w.look(&jar{session: s.Token()}), "")
	w.want("the cookie as a token", w.Begin(ctx, sojourn.Request{Bearer: j.session}).Subject(), "")
}

// Two secrets of one session in cookies of one name are one session.
func TestSeveralCookiesOfOneSession(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	old := j.session
	w.pass(15 * time.Minute)
	w.look(j)
	bob := w.loggedIn("bob")
	for _, tokens := range [][]string{{old, j.session}, {j.session, old}, {"x", j.session, j.session}} {
		s := w.Begin(ctx, sojourn.Request{Session: tokens})
		w.want("subject", s.Subject(), "ann")
	}
	s := w.Begin(ctx, sojourn.Request{Session: []string{j.session, bob.session}})
	w.want("two sessions", s.Subject(), "")
	equal(t, "endings", w.endings(), nil)
}

// A visitor whose session cookie is bad has the visitor's session, also at an
// address that sends guesses.
func TestThrottleSparesTheVisitor(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxBadTokens = 3 }))
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
	for i := range 100 {
		j.session = unknownToken(i)
		v, err := color.Get(w.begin(j))
		w.want("value", v, "red")
		w.want("error", err, nil)
	}
	w.want("throttled", len(w.happened(sojourn.EventThrottled)), 1)
}

// Authentication methods are returned as they were given. A method that another
// reader would see as another word, or as two words, is refused.
func TestAMRWords(t *testing.T) {
	for _, bad := range []string{
		"", " ", "pwd otp", "pwd\totp", "pwd\notp", "pwd\x00", "pwd\x7f", "pwd\u00a0otp", "pwd\u2003otp", "pwd\u3000otp", "pwd\u0085otp", "pwd\u2028otp",
		"pwd\u200botp", "pässword", "\xff", " pwd", "pwd ",
	} {
		w := newWorld(t)
		s := w.begin(new(jar))
		if err := s.Login("ann", sojourn.AMR("mfa", bad)); !errors.Is(err, sojourn.ErrValue) {
			t.Errorf("Login with the method %q: %v", bad, err)
		}
		if err := s.Login("ann", sojourn.AMR("mfa")); err != nil {
			t.Fatal(err)
		}
		if err := s.Elevate(2, bad); !errors.Is(err, sojourn.ErrValue) {
			t.Errorf("Elevate with the method %q: %v", bad, err)
		}
		equal(t, "methods", s.Info().AMR, []string{"mfa"})
		if err := s.Elevate(2, "urn:example:x=1;y", "~"); err != nil {
			t.Error(err)
		}
		equal(t, "methods", s.Info().AMR, []string{"mfa", "urn:example:x=1;y", "~"})
	}
	w := newWorld(t)
	if err := w.begin(new(jar)).Login("ann", sojourn.AMR(strings.Repeat("x", 256))); !errors.Is(err, sojourn.ErrValue) {
		t.Errorf("a long method: %v", err)
	}
}

// The engine stores the step-up of a changed client, whatever the handler does.
// A thief who causes one gains nothing from a response that drops the handler's
// changes.
func TestStepUpSurvivesTheHandler(t *testing.T) {
	for name, h := range map[string]handler{
		"500": func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
			s.Subject()
			rw.WriteHeader(http.StatusInternalServerError)
		},
		"500 after a change": func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
			color.Set(s, "red")
			rw.WriteHeader(http.StatusInternalServerError)
		},
		"read late": func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
			rw.WriteHeader(http.StatusOK)
			s.Subject()
		},
		"read after a 500": func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
			rw.WriteHeader(http.StatusInternalServerError)
			s.Subject()
		},
		"panic": func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
			s.Subject()
			panic(http.ErrAbortHandler)
		},
		"a failed change": func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
			count.Update(s, func(*int) error { return errors.New("no") })
		},
		"strict, late": func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
			s.Subject()
			s.Strict()
			s.Subject()
			rw.WriteHeader(http.StatusInternalServerError)
		},
		"commit by the handler": func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
			s.Subject()
			s.Commit(r.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			var now, later bool
			w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
				switch r.URL.Path {
				case "/fresh":
					later = s.Fresh(time.Hour)
				case "/now":
					now = s.Fresh(time.Hour)
				default:
					h(rw, r, s)
				}
			}, options(trustLoopback), options(func(o *sojourn.Options) {
				o.ClientChanged = func(was, is sojourn.Client) sojourn.Reaction { return sojourn.ReactionStepUp }
			}))
			b := w.surfer("User-Agent", "Browser/1").login("alice")
			w.pass(time.Second)
			if b.get("/now"); !now {
				t.Fatal("not fresh after the login")
			}
			thief := b.fork()
			thief.headers = []string{"User-Agent", "Browser/2"}
			thief.try("GET", "/", "")
			w.flush()
			w.pass(time.Second)
			if thief.get("/fresh"); later {
				t.Error("the session is fresh for the new client")
			}
			if b.get("/fresh"); later {
				t.Error("the session is fresh for the old client")
			}
		})
	}
}

// A step-up that meets another write of the session is stored all the same. One
// that meets the session's end changes nothing.
func TestStepUpMeetsOthers(t *testing.T) {
	away := home
	away.UserAgent = "Browser/2"
	for _, what := range []string{"a write", "the end"} {
		w := newWorld(t, watched, options(func(o *sojourn.Options) {
			o.ClientChanged = func(was, is sojourn.Client) sojourn.Reaction { return sojourn.ReactionStepUp }
		}))
		j := w.loggedIn("ann")
		id := w.id(j)
		w.pass(time.Second)
		w.calls.fail(func(name string, _ int) error {
			if name != "Update" {
				return nil
			}
			w.calls.fail(nil, nil)
			if what == "a write" {
				w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
			} else if err := w.End(ctx, id); err != nil {
				t.Error(err)
			}
			return nil
		}, nil)
		s := w.Begin(ctx, sojourn.Request{Session: []string{j.session}, Client: away})
		w.want("subject", s.Subject(), map[bool]string{true: "ann"}[what == "a write"])
		w.want("fresh", s.Fresh(time.Minute), false)
		w.want("events", len(w.happened(sojourn.EventClientChanged)), 1)
		if what == "a write" {
			rec := w.record(id)
			w.want("stale", rec.Stale, true)
			w.want("client", rec.LastClient, away)
		} else {
			w.want("ended", s.EndReason(), sojourn.ReasonRevoked)
		}
	}
}

// A thief who sends a body slowly is judged like any other, although the user
// made a request after the thief's arrived.
func TestClientChangeOfASlowRequest(t *testing.T) {
	away := home
	away.UserAgent = "Browser/2"
	for _, reaction := range []sojourn.Reaction{sojourn.ReactionAllow, sojourn.ReactionStepUp, sojourn.ReactionEnd} {
		w := newWorld(t, options(func(o *sojourn.Options) {
			o.ClientChanged = func(was, is sojourn.Client) sojourn.Reaction { return reaction }
		}))
		j := w.loggedIn("ann")
		id := w.id(j)
		w.pass(time.Second)
		arrived := w.time()
		w.pass(2 * time.Minute)
		w.look(j)
		w.pass(time.Second)
		w.want("seen", w.record(id).LastSeenAt.Time().After(arrived), true)
		for range 2 {
			s := w.Begin(ctx, sojourn.Request{Session: []string{j.session}, Client: away, Arrived: arrived})
			w.want("subject", s.Subject(), map[bool]string{true: "", false: "ann"}[reaction == sojourn.ReactionEnd])
			w.want("fresh", s.Fresh(time.Hour), reaction == sojourn.ReactionAllow)
			w.answer(j, s)
		}
		if reaction == sojourn.ReactionEnd {
			equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonRevoked})
			continue
		}
		rec := w.record(id)
		w.want("stale", rec.Stale, reaction == sojourn.ReactionStepUp)
		w.want("last seen by", rec.LastClient, home)
		w.want("last seen later", rec.LastSeenAt.Time().After(arrived), true)
		if n := len(w.happened(sojourn.EventClientChanged)); (n > 0) != (reaction == sojourn.ReactionStepUp) {
			t.Errorf("%d events", n)
		}
		w.login(j, "ann")
		w.want("fresh after a login", w.begin(j).Fresh(time.Minute), true)
	}
}

// A full store doesn't keep a step-up, but this request and the next one are
// stepped up.
func TestStepUpInAFullStore(t *testing.T) {
	away := home
	away.UserAgent = "Browser/2"
	w := newWorld(t, watched, options(func(o *sojourn.Options) {
		o.ClientChanged = func(was, is sojourn.Client) sojourn.Reaction { return sojourn.ReactionStepUp }
	}))
	j := w.loggedIn("ann")
	w.pass(time.Second)
	w.calls.fail(always(store.ErrFull, "Update"), nil)
	for range 2 {
		s := w.Begin(ctx, sojourn.Request{Session: []string{j.session}, Client: away})
		w.want("subject", s.Subject(), "ann")
		w.want("fresh", s.Fresh(time.Minute), false)
		w.answer(j, s)
		w.pass(time.Second)
	}
	w.calls.fail(always(errors.New("broken"), "Update"), nil) // any other failure fails the request
	s := w.Begin(ctx, sojourn.Request{Session: []string{j.session}, Client: away})
	if err := s.Load(ctx); !errors.Is(err, sojourn.ErrUnavailable) {
		t.Errorf("Load: %v", err)
	}
}
