package sojourn_test

import (
	"errors"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// away is the client of the same user in another browser.
var away = sojourn.Client{IP: home.IP, UserAgent: "Browser/2"}

// beginAway starts a request of away that arrives now.
func (w *world) beginAway(j *jar) *sojourn.Session {
	return w.Begin(ctx, sojourn.Request{Session: []string{j.session}, Client: away})
}

// reacting sets the reaction to every changed client.
func reacting(r sojourn.Reaction) func(*world, *sojourn.Options) {
	return options(func(o *sojourn.Options) {
		o.ClientChanged = func(was, is sojourn.Client) sojourn.Reaction { return r }
	})
}

func TestClientChange(t *testing.T) {
	for _, reaction := range []sojourn.Reaction{sojourn.ReactionAllow, sojourn.ReactionStepUp, sojourn.ReactionEnd} {
		var was, is sojourn.Client
		w := newWorld(t, options(func(o *sojourn.Options) {
			o.ClientChanged = func(a, b sojourn.Client) sojourn.Reaction { was, is = a, b; return reaction }
		}))
		j := w.loggedIn("ann")
		w.pass(time.Second)
		s := w.beginAway(j)
		subject, fresh := s.Subject(), s.Fresh(time.Minute)
		w.answer(j, s)
		w.flush()
		w.want("old client", was, home)
		w.want("new client", is, away)
		w.want("subject", subject, map[bool]string{true: "", false: "ann"}[reaction == sojourn.ReactionEnd])
		w.want("fresh", fresh, reaction == sojourn.ReactionAllow)
		w.want("events", len(w.happened(sojourn.EventClientChanged)), 1)
		if reaction == sojourn.ReactionEnd {
			equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonRevoked})
			continue
		}
		w.want("last seen by", w.record(s.ID()).LastClient, away)
		s = w.beginAway(j)
		w.want("fresh, next time", s.Fresh(time.Minute), reaction == sojourn.ReactionAllow)
		w.login(j, "ann")
		w.want("fresh after a login", w.begin(j).Fresh(time.Minute), true)
	}
}

// A thief who sends a body slowly is judged like any other, although the user
// made a request after the thief's arrived.
func TestClientChangeOfASlowRequest(t *testing.T) {
	for _, reaction := range []sojourn.Reaction{sojourn.ReactionAllow, sojourn.ReactionStepUp, sojourn.ReactionEnd} {
		w := newWorld(t, reacting(reaction))
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
			}, options(trustLoopback), reacting(sojourn.ReactionStepUp))
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
	for _, what := range []string{"a write", "the end"} {
		w := newWorld(t, watched, reacting(sojourn.ReactionStepUp))
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
		s := w.beginAway(j)
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

// A full store doesn't keep a step-up, but this request and the next one are
// stepped up.
func TestStepUpInAFullStore(t *testing.T) {
	w := newWorld(t, watched, reacting(sojourn.ReactionStepUp))
	j := w.loggedIn("ann")
	w.pass(time.Second)
	w.calls.fail(always(store.ErrFull, "Update"), nil)
	for range 2 {
		s := w.beginAway(j)
		w.want("subject", s.Subject(), "ann")
		w.want("fresh", s.Fresh(time.Minute), false)
		w.answer(j, s)
		w.pass(time.Second)
	}
	w.calls.fail(always(errors.New("broken"), "Update"), nil) // any other failure fails the request
	s := w.beginAway(j)
	if err := s.Load(ctx); !errors.Is(err, sojourn.ErrUnavailable) {
		t.Errorf("Load: %v", err)
	}
}

// After a step-up because of a changed client, one authentication is enough.
func TestStepUpOnce(t *testing.T) {
	w := newWorld(t, reacting(sojourn.ReactionStepUp))
	j := w.loggedIn("ann")
	w.pass(time.Second)
	s := w.beginAway(j)
	w.want("fresh", s.Fresh(time.Minute), false)
	w.pass(100 * time.Millisecond) // the time to hash the password
	if err := s.Login("ann"); err != nil {
		t.Fatal(err)
	}
	w.answer(j, s)
	w.pass(time.Second)
	w.want("fresh after the login", w.beginAway(j).Fresh(time.Minute), true)
	w.want("events", len(w.happened(sojourn.EventClientChanged)), 1)
}

// A changed address or user agent is an event. It ends nothing, unless the
// application says so.
func TestSiteClientChange(t *testing.T) {
	for _, test := range []struct {
		name     string
		reaction func(was, is sojourn.Client) sojourn.Reaction
		who      string
		fresh    bool
	}{
		{"default", nil, "alice", true},
		{"allow", func(_, _ sojourn.Client) sojourn.Reaction { return sojourn.ReactionAllow }, "alice", true},
		{"step up", func(_, _ sojourn.Client) sojourn.Reaction { return sojourn.ReactionStepUp }, "alice", false},
		{"end", func(_, _ sojourn.Client) sojourn.Reaction { return sojourn.ReactionEnd }, "nobody", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			fresh := false
			w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) { fresh = s.Fresh(time.Hour) },
				options(func(o *sojourn.Options) {
					o.ClientChanged = test.reaction
					o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
				}))
			b := w.surfer("User-Agent", "Browser/1", "X-Forwarded-For", "203.0.113.7").login("alice")
			w.want("before", b.who(), "alice")
			if n := len(w.happened(sojourn.EventClientChanged)); n != 0 {
				t.Errorf("%d changes before any", n)
			}
			w.pass(time.Second)
			b.headers = []string{"User-Agent", "Browser/2", "X-Forwarded-For", "198.51.100.9"}
			w.want("after", b.who(), test.who)
			list := w.happened(sojourn.EventClientChanged)
			if len(list) != 1 {
				t.Fatalf("%d events", len(list))
			}
			e := list[0]
			if e.Client.UserAgent != "Browser/2" || e.Client.IP.String() != "198.51.100.9" || e.Was.UserAgent != "Browser/1" || e.Was.IP.String() != "203.0.113.7" || e.Subject != "alice" {
				t.Errorf("%+v", e)
			}
			b.get("/")
			if fresh != test.fresh {
				t.Errorf("fresh: %v", fresh)
			}
			w.pass(time.Minute)
			w.want("later", b.who(), test.who)
			if n := len(w.happened(sojourn.EventClientChanged)); n != 1 {
				t.Errorf("%d events for one change", n)
			}
			if test.who == "nobody" {
				equal(t, "ends", w.endings(), []sojourn.Reason{sojourn.ReasonRevoked})
				return
			}
			b.login("alice")
			if b.get("/"); !fresh {
				t.Error("not fresh after a new login")
			}
		})
	}
}
