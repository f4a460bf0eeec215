package sojourn_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// An oldLibrary keeps sessions as another library would.
type oldLibrary struct {
	mu       sync.Mutex
	sessions map[string]*sojourn.OldSession // by the value of the cookie "old"
	reads    int
	ended    []string
	down     error
	reading  func() // runs when Read has looked up the session
}

func newOldLibrary() *oldLibrary {
	return &oldLibrary{sessions: map[string]*sojourn.OldSession{
		"ada": {Subject: "ada", Values: map[string]json.RawMessage{"color": json.RawMessage(`"blue"`), "count": json.RawMessage(`7`)}},
		"bob": {Subject: "bob"},
		"-":   {Values: map[string]json.RawMessage{"count": json.RawMessage(`3`)}},
	}}
}

func (l *oldLibrary) adoption() *sojourn.Adoption {
	return &sojourn.Adoption{Cookies: []sojourn.OldCookie{{Name: "old", Path: "/app"}}, Read: l.read, End: l.end}
}

func (l *oldLibrary) read(_ context.Context, cookies map[string]string) (*sojourn.OldSession, error) {
	l.mu.Lock()
	was, down, reading := l.sessions[cookies["old"]], l.down, l.reading
	l.reads++
	l.mu.Unlock()
	if reading != nil {
		reading()
	}
	return was, down
}

func (l *oldLibrary) end(_ context.Context, cookies map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sessions, cookies["old"])
	l.ended = append(l.ended, cookies["old"])
	return l.down
}

func (l *oldLibrary) option(change ...func(*sojourn.Adoption)) func(*world, *sojourn.Options) {
	return options(func(o *sojourn.Options) {
		o.Adopt = l.adoption()
		for _, f := range change {
			f(o.Adopt)
		}
	})
}

func keepCookie(a *sojourn.Adoption) { a.KeepCookie = true }

// bring starts a request with the old library's cookie, and those of j.
func (w *world) bring(j *jar, old string) *sojourn.Session {
	r := sojourn.Request{Arrived: w.time(), Client: home, Safe: true, Old: map[string]string{"old": old}}
	if j.session != "" {
		r.Session = []string{j.session}
	}
	if j.visitor != "" {
		r.Visitor = []string{j.visitor}
	}
	return w.Begin(ctx, r)
}

// finish commits, and returns the names of the cookies that the answer sets and
// clears.
func (w *world) finish(j *jar, s *sojourn.Session) (set, cleared []string) {
	w.Helper()
	if err := s.Commit(ctx); err != nil {
		w.Fatal(err)
	}
	seen := map[string]bool{}
	for _, line := range s.SetCookies() {
		c, err := http.ParseSetCookie(line)
		switch {
		case err != nil:
			w.Fatalf("%q: %v", line, err)
		case c.MaxAge < 0 && !seen[c.Name]:
			cleared = append(cleared, c.Name)
			seen[c.Name] = true
			if c.Name == "old" && c.Path != "/app" {
				w.Errorf("the old cookie is cleared with the path %q", c.Path)
			}
		case c.Name == "__Host-session":
			j.session = c.Value
			set = append(set, c.Name)
		case c.Name == "__Host-visitor":
			j.visitor = c.Value
			set = append(set, c.Name)
		}
	}
	return set, cleared
}

func TestAdoption(t *testing.T) {
	old := newOldLibrary()
	w := newWorld(t, old.option())
	j := new(jar)
	s := w.bring(j, "ada")
	w.want("subject", s.Subject(), "ada")
	w.want("fresh", s.Fresh(time.Hour), false)
	c, _ := color.Get(s)
	w.want("value", c, "blue")
	if err := count.Update(s, increment); err != nil {
		t.Fatal(err)
	}
	set, cleared := w.finish(j, s)
	equal(t, "set", set, []string{"__Host-session"})
	equal(t, "cleared", cleared, []string{"old"})
	equal(t, "ended", old.ended, []string{"ada"})
	s = w.begin(j)
	w.want("subject", s.Subject(), "ada")
	n, _ := count.Get(s)
	w.want("value", n, 8)
	w.want("events", len(w.happened(sojourn.EventAdopted)), 1)

	// Ours counts, whatever old cookie comes with it.
	reads := old.reads
	s = w.bring(j, "bob")
	w.want("subject", s.Subject(), "ada")
	w.want("reads", old.reads, reads)

	// A visitor stays one.
	v := new(jar)
	s = w.bring(v, "-")
	n, _ = count.Get(s)
	w.want("visitor's value", n, 3)
	set, cleared = w.finish(v, s)
	equal(t, "set", set, []string{"__Host-visitor"})
	equal(t, "cleared", cleared, []string{"old"})
	w.login(v, "eve")
	n, _ = count.Get(w.begin(v))
	w.want("value after the login", n, 3)
}

// A handler that doesn't ask for the session adopts nothing, and a request whose
// old cookie is good for nothing stays a visitor's.
func TestAdoptionOfNothing(t *testing.T) {
	old := newOldLibrary()
	old.sessions["empty"] = new(sojourn.OldSession)
	w := newWorld(t, watched, old.option())
	s := w.bring(new(jar), "ada")
	if set, cleared := w.finish(new(jar), s); len(set)+len(cleared)+old.reads > 0 {
		t.Errorf("set %v, cleared %v, %d reads", set, cleared, old.reads)
	}
	equal(t, "store", w.calls.reset(), nil)
	for _, value := range []string{"forged", "", "ad", "empty", strings.Repeat("x", 5000)} {
		reads := old.reads
		for range 3 {
			s := w.bring(new(jar), value)
			w.want("subject", s.Subject(), "")
			if set, cleared := w.finish(new(jar), s); len(set)+len(cleared) > 0 {
				t.Errorf("%.10q: set %v, cleared %v", value, set, cleared)
			}
		}
		w.want("reads of a dead cookie", old.reads-reads, 1)
	}
	sessions, _, _ := w.Count(ctx)
	w.want("sessions", sessions, int64(0))
}

// Parallel requests on several nodes, each with a change of its own, adopt one
// session and get one token. The old session may end meanwhile.
func TestAdoptionOnce(t *testing.T) {
	old := newOldLibrary()
	w := newWorld(t, old.option())
	other, err := sojourn.New(w.store, sojourn.Options{Adopt: old.adoption(), Now: w.time})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close(ctx) })
	const requests = 40
	jars := make([]jar, requests)
	var all sync.WaitGroup
	for i := range requests {
		e := w.Engine
		if i%2 == 1 {
			e = other
		}
		all.Go(func() {
			s := e.Begin(ctx, sojourn.Request{Old: map[string]string{"old": "ada"}, Client: home})
			defer s.Finish()
			if err := count.Update(s, increment); err != nil {
				t.Error(err)
			}
			if s.Subject() != "ada" {
				t.Errorf("subject %q", s.Subject())
			}
			w.finish(&jars[i], s)
		})
	}
	all.Wait()
	for _, j := range jars {
		if j.session == "" || j.session != jars[0].session {
			t.Fatal("the answers set different cookies")
		}
	}
	n, _ := count.Get(w.begin(&jars[0]))
	w.want("value", n, 7+requests)
	sessions, _, _ := w.Count(ctx)
	w.want("sessions", sessions, int64(1))
}

// A node reads the old session when another has just adopted and ended it.
func TestAdoptionRacesWithItsEnd(t *testing.T) {
	old := newOldLibrary()
	w := newWorld(t, old.option())
	first := old.sessions["ada"]
	delete(old.sessions, "ada") // so the outer request finds none
	old.reading = func() {
		old.mu.Lock()
		old.sessions["ada"], old.reading = first, nil
		old.mu.Unlock()
		w.want("the other node's subject", w.bring(new(jar), "ada").Subject(), "ada")
	}
	w.want("subject", w.bring(new(jar), "ada").Subject(), "ada")
}

func TestI4AdoptedSessionStaysEnded(t *testing.T) {
	noEnd := func(a *sojourn.Adoption) { a.End = nil }
	logout := func(w *world, s *sojourn.Session) {
		must(w, s, (*sojourn.Session).Logout)
		_, cleared := w.finish(new(jar), s)
		equal(w, "cleared", cleared, []string{"__Host-session", "old"})
	}
	regenerate := func(w *world, s *sojourn.Session) {
		must(w, s, func(s *sojourn.Session) error { return s.Regenerate() })
		_, cleared := w.finish(new(jar), s)
		equal(w, "cleared", cleared, []string{"__Host-session", "old"})
	}
	revoke := func(w *world, s *sojourn.Session) {
		if err := w.End(ctx, s.ID()); err != nil {
			w.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*sojourn.Adoption)
		end    func(*world, *sojourn.Session)
	}{
		{"logout", noEnd, logout},
		{"logout, cookie kept", func(a *sojourn.Adoption) { noEnd(a); keepCookie(a) }, logout},
		{"revoked", noEnd, revoke},
		{"regenerated", noEnd, regenerate},
		{"regenerated, cookie kept", func(a *sojourn.Adoption) { noEnd(a); keepCookie(a) }, regenerate},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := newOldLibrary()
			w := newWorld(t, old.option(c.change))
			j := new(jar)
			s := w.bring(j, "ada")
			w.want("subject", s.Subject(), "ada")
			w.finish(j, s)
			c.end(w, w.bring(j, "ada"))
			for _, d := range []time.Duration{0, time.Minute, 2 * time.Hour, 48 * time.Hour, 30 * 24 * time.Hour} {
				w.pass(d)
				for _, app := range []string{"default", "default/adopted"} {
					for done := false; !done; {
						_, done, _ = w.store.Sweep(ctx, app, store.TimeOf(w.time()), 1000)
					}
				}
				s := w.bring(new(jar), "ada")
				w.want("subject after "+d.String(), s.Subject(), "")
			}
		})
	}
}

// A logout makes an old cookie worthless that came with our cookie and that
// nobody had adopted.
func TestLogoutDropsOldCookie(t *testing.T) {
	old := newOldLibrary()
	w := newWorld(t, old.option(keepCookie))
	j := w.loggedIn("ada")
	s := w.bring(j, "bob")
	if err := s.Logout(); err != nil {
		t.Fatal(err)
	}
	_, cleared := w.finish(j, s)
	equal(t, "cleared", cleared, []string{"__Host-session", "old"})
	equal(t, "ended", old.ended, []string{"bob"})
	old.sessions["bob"] = &sojourn.OldSession{Subject: "bob"} // a copy
	w.want("subject", w.bring(new(jar), "bob").Subject(), "")

	// So does a Regenerate.
	old.sessions["eve"] = &sojourn.OldSession{Subject: "eve"}
	j = w.loggedIn("ada")
	w.finish(j, must(t, w.bring(j, "eve"), func(s *sojourn.Session) error { return s.Regenerate() }))
	w.want("subject", w.bring(new(jar), "eve").Subject(), "")

	// So does the login of another user, but not that of the same.
	for _, c := range []struct {
		user  string
		ended int
	}{{"ada", 0}, {"eve", 1}} {
		old := newOldLibrary()
		w := newWorld(t, old.option(keepCookie))
		j := new(jar)
		w.finish(j, must(t, w.bring(j, "ada"), (*sojourn.Session).Start))
		w.finish(j, must(t, w.bring(j, "ada"), func(s *sojourn.Session) error { return s.Login(c.user) }))
		w.want("ended by the login of "+c.user, len(old.ended), c.ended)
	}
}

func must(t testing.TB, s *sojourn.Session, do func(*sojourn.Session) error) *sojourn.Session {
	t.Helper()
	if err := do(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// The old library gets a bounded time, if it obeys its context.
func TestOldStoreGetsATimeout(t *testing.T) {
	old, bounded := newOldLibrary(), false
	w := newWorld(t, old.option(func(a *sojourn.Adoption) {
		a.Read = func(ctx context.Context, _ map[string]string) (*sojourn.OldSession, error) {
			_, bounded = ctx.Deadline()
			return nil, nil
		}
	}))
	if s := w.bring(&jar{}, "ada"); s.Subject() != "" || !bounded {
		t.Errorf("subject %q, a deadline: %v", s.Subject(), bounded)
	}
}

// An old cookie that comes late, or again, is no theft.
func TestOldCookieIsNoTheft(t *testing.T) {
	old := newOldLibrary()
	w := newWorld(t, old.option(keepCookie))
	j := new(jar)
	first := w.bring(j, "ada")
	w.want("subject", first.Subject(), "ada")
	w.finish(j, first)
	w.want("the answer got lost", w.bring(new(jar), "ada").Subject(), "ada")
	for range 6 { // rotations, each seen and confirmed
		w.pass(16 * time.Minute)
		w.visit(j, func(s *sojourn.Session) error { return count.Update(s, increment) })
		w.pass(2 * time.Minute)
		w.look(j)
		w.pass(2 * time.Minute)
		w.look(j)
	}
	w.want("the old cookie after a rotation", w.bring(new(jar), "ada").Subject(), "")
	w.want("ours", w.look(j), "ada")
	equal(t, "ends", w.endings(), nil)
}

func TestI9OldStoreDown(t *testing.T) {
	old := newOldLibrary()
	w := newWeb(t, nil, old.option())
	s := w.surfer("Cookie", "old=ada; other=1")
	old.down = errors.New("connection refused")
	for range 2 {
		a := s.get("/who")
		w.want("status", a.StatusCode, http.StatusServiceUnavailable)
		w.want("cookies", len(a.cookies), 0)
	}
	old.down = nil
	a := s.get("/who")
	w.want("body", a.body, "ada")
	w.want("cookie", a.Header.Get("Cache-Control"), "no-store")
}

// Every operation of the store fails once. The request then fails, and the next
// one adopts the session. It is never a visitor's.
func TestAdoptionUnderFaults(t *testing.T) {
	for k := 1; ; k++ {
		n, fired, armed := 0, false, true
		old := newOldLibrary()
		w := newWorld(t, old.option(), onCalls(func(ctx context.Context, c driver.Call) driver.Result {
			if armed {
				if n++; n == k {
					fired = true
					r := driver.Result{Err: errors.New("fault")}
					if k%2 == 0 { // it happened all the same
						c.Do(ctx)
						r.Err = store.ErrUncertain
					}
					return r
				}
			}
			return c.Do(ctx)
		}))
		s := w.bring(new(jar), "ada")
		err := s.Load(ctx)
		armed = false
		if fired != (err != nil) {
			t.Fatalf("fault %d: %v", k, err)
		}
		if err != nil && sojourn.StatusCode(err) != http.StatusServiceUnavailable {
			t.Errorf("fault %d: %v", k, err)
		}
		j := new(jar)
		s = w.bring(j, "ada")
		w.want("subject", s.Subject(), "ada")
		w.finish(j, s)
		w.want("ours", w.look(j), "ada")
		sessions, _, _ := w.Count(ctx)
		w.want("sessions", sessions, int64(1))
		if !fired {
			if k < 5 {
				t.Errorf("only %d operations", k)
			}
			return
		}
	}
}

// What can't be kept is left out, and named.
func TestAdoptionNamesWhatIsLost(t *testing.T) {
	old := newOldLibrary()
	old.sessions["ada"] = &sojourn.OldSession{
		Subject: "ada",
		Lost:    []string{`key "job": a channel`},
		Values: map[string]json.RawMessage{
			"color": json.RawMessage(`"blue"`), "large": json.RawMessage(`"` + strings.Repeat("x", 70<<10) + `"`),
			"nul": json.RawMessage(`"\u0000"`), "bad": json.RawMessage(`{`), "": json.RawMessage(`1`), "a\x00b": json.RawMessage(`1`),
		},
	}
	w := newWorld(t, old.option())
	s := w.bring(new(jar), "ada")
	w.want("values", string(s.Snapshot().Values), `{"color":"blue"}`)
	detail := w.happened(sojourn.EventAdopted)[0].Detail
	for _, name := range []string{`"job"`, `"large"`, `"nul"`, `"bad"`, `""`, `"a\x00b"`} {
		if !strings.Contains(detail, "key "+name) {
			t.Errorf("%s isn't named in %s", name, detail)
		}
	}

	// A subject or login that can't be kept is no session at all.
	for name, was := range map[string]*sojourn.OldSession{
		"control": {Subject: "a\x00b"}, "long": {Subject: strings.Repeat("x", 300)},
		"level": {Subject: "ada", Login: []sojourn.LoginOption{sojourn.Level(9)}}, "bearer": {Subject: "ada", Login: []sojourn.LoginOption{sojourn.AsBearer()}},
	} {
		old.sessions[name] = was
		failed := len(w.happened(sojourn.EventWriteFailed))
		w.want(name, w.bring(new(jar), name).Subject(), "")
		w.want("events about "+name, len(w.happened(sojourn.EventWriteFailed))-failed, 1)
	}
}

func TestAdoptionOptions(t *testing.T) {
	good := newOldLibrary().adoption()
	for text, change := range map[string]func(*sojourn.Adoption){
		"Adopt.Read":     func(a *sojourn.Adoption) { a.Read = nil },
		"name the old":   func(a *sojourn.Adoption) { a.Cookies = nil },
		"choose another": func(a *sojourn.Adoption) { a.Cookies = []sojourn.OldCookie{{Name: "__Host-session"}} },
		`"a b"`:          func(a *sojourn.Adoption) { a.Cookies = []sojourn.OldCookie{{Name: "a b"}} },
		"Adopt.Lifetime": func(a *sojourn.Adoption) { a.Lifetime = time.Second },
	} {
		a := *good
		change(&a)
		if _, err := sojourn.New(newWorld(t).store, sojourn.Options{Adopt: &a}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
}

// Answers that can't carry a cookie leave the adoption to the next request.
func TestAdoptionBehindCacheableAnswer(t *testing.T) {
	old := newOldLibrary()
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		rw.Header().Set("Cache-Control", "public, max-age=60")
		writeWho(rw, r, s)
	}, old.option())
	s := w.surfer("Cookie", "old=ada")
	a := s.get("/cached")
	w.want("body", a.body, "ada")
	w.want("cookies", len(a.cookies), 0)
	a = s.get("/who")
	w.want("body", a.body, "ada")
	w.want("cookies", len(a.cookies), 2)
}

// Forget clears the cookies, also those of a visitor, and leaves the session. A
// handler that fails has forgotten nothing.
func TestForget(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		if err := s.Forget(); err != nil {
			t.Error(err)
		}
		if r.URL.Path == "/fail" {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	})
	s := w.surfer().login("ada")
	copied := w.surfer()
	copied.cookies["__Host-session"] = s.cookies["__Host-session"]
	s.get("/fail")
	w.want("after a failure", s.get("/who").body, "ada")
	s.get("/forget")
	w.want("the client", s.get("/who").body, "nobody")
	w.want("a copy", copied.get("/who").body, "ada")
	v := w.surfer()
	v.post("/count")
	v.get("/forget")
	w.want("a visitor", v.get("/count").body, "0")
}
