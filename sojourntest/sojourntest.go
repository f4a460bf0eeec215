// Package sojourntest tests handlers that use sessions. It gives a test an
// engine on a store in memory, requests of users who are signed in, a clock,
// the events, and a browser:
//
//	func TestAccount(t *testing.T) {
//		sessions := sojourntest.New(t, sojourn.Options{})
//		w := httptest.NewRecorder()
//		r := sessions.SignedIn(httptest.NewRequest("GET", "/account", nil), "ann")
//		sessions.Handler(account).ServeHTTP(w, r)
//		...
//	}
//
// For several requests, use a Browser, which sends the cookies of earlier answers.
package sojourntest

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// Sessions is an engine for one test. Its methods may be called concurrently.
type Sessions struct {
	*sojourn.Engine
	t    testing.TB
	site *url.URL // of browsers

	mu     sync.Mutex // guards all that follows
	now    time.Time
	events []sojourn.Event
	outage error
}

// New returns an engine on an empty store in memory. Both are closed when the
// test ends. The clock stands still at the present second: Options.Now must be
// nil. Options.OnEvent gets the events, too.
func New(t testing.TB, o sojourn.Options) *Sessions {
	t.Helper()
	if o.Now != nil {
		t.Fatal("sojourntest: New has a clock of its own: leave Options.Now empty, and call Advance")
	}
	s := &Sessions{t: t, now: time.Now().Truncate(time.Second), site: siteOf(o)}
	o.Now = s.Now
	onEvent := o.OnEvent
	o.OnEvent = func(e sojourn.Event) {
		s.note(e)
		if onEvent != nil {
			onEvent(e)
		}
	}
	memory := memstore.New()
	engine, err := sojourn.New(driver.Intercept(memory, s.call), o)
	if err != nil {
		t.Fatal(err)
	}
	s.Engine = engine
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := engine.Close(ctx); err != nil {
			t.Errorf("sojourntest: close the engine: %v", err)
		}
		memory.Close() //nolint:errcheck // in memory
	})
	return s
}

// Now is the clock. It stands still, except for the millisecond that each call of
// SignedIn and Change, and each request of a Browser, takes.
func (s *Sessions) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Advance moves the clock forward. Before that, it waits for what the engine
// writes in the background.
func (s *Sessions) Advance(d time.Duration) {
	s.t.Helper()
	s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// tick moves the clock, so that no two requests arrive at the same time: a login
// that arrives together with a call of EndSubject would fail.
func (s *Sessions) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(time.Millisecond)
}

func (s *Sessions) note(e sojourn.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

// Events returns the events so far, in order: those of the given kinds, or all.
func (s *Sessions) Events(kinds ...sojourn.EventKind) []sojourn.Event {
	s.t.Helper()
	s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []sojourn.Event
	for _, e := range s.events {
		if len(kinds) == 0 || slices.Contains(kinds, e.Kind) {
			list = append(list, e)
		}
	}
	return list
}

func (s *Sessions) flush() {
	s.t.Helper()
	if err := s.Flush(context.Background()); err != nil {
		s.t.Errorf("sojourntest: %v", err)
	}
}

// Fail makes the store fail with err from now on, to test what visitors get in
// an outage. Fail(nil) repairs it.
func (s *Sessions) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outage = err
}

func (s *Sessions) call(ctx context.Context, c driver.Call) driver.Result {
	s.mu.Lock()
	err := s.outage
	s.mu.Unlock()
	if err != nil && c.Op != driver.Close {
		return driver.Result{Err: err}
	}
	return c.Do(ctx)
}

// SignedIn signs r in. It logs subject in to the session of r's cookies, or to a
// new session if there is none. Then it puts the cookie into r, and returns r.
// With sojourn.AsBearer it puts the token into the header Authorization instead.
func (s *Sessions) SignedIn(r *http.Request, subject string, options ...sojourn.LoginOption) *http.Request {
	s.t.Helper()
	return s.Change(r, func(session *sojourn.Session) error { return session.Login(subject, options...) })
}

// Change changes the session of r's cookies, or a new session if there is none,
// as a handler would. It puts the session's cookies into r, and returns r. The
// test fails if do or the commit returns an error.
//
//	r = sessions.Change(r, func(s *sojourn.Session) error { return cart.Set(s, full) })
func (s *Sessions) Change(r *http.Request, do func(*sojourn.Session) error) *http.Request {
	s.t.Helper()
	cookies, token := s.change(r, do)
	for _, set := range cookies {
		had := r.Cookies()
		r.Header.Del("Cookie")
		for _, c := range had {
			if c.Name != set.Name {
				r.AddCookie(c)
			}
		}
		if set.MaxAge >= 0 {
			r.AddCookie(set)
		}
	}
	if token != "" && len(cookies) == 0 {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// change changes the session of r, and returns the cookies that a browser would
// get, and the token.
func (s *Sessions) change(r *http.Request, do func(*sojourn.Session) error) (cookies []*http.Cookie, token string) {
	s.t.Helper()
	s.tick()
	session := s.Begin(context.Background(), s.RequestFrom(r))
	defer session.Finish()
	err := do(session)
	if err == nil {
		err = session.Commit(context.Background())
	}
	if err != nil {
		s.t.Fatalf("sojourntest: change the session: %v", err)
	}
	for _, line := range session.SetCookies() {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			s.t.Fatalf("sojourntest: %v", err)
		}
		cookies = append(cookies, c)
	}
	return cookies, session.Token()
}

// Session returns the session of r's cookies, to look at its subject and its
// values. This doesn't count as activity, and changes are not stored. If there is
// no session, the ID is zero.
//
//	c, err := cart.Get(sessions.Session(r))
func (s *Sessions) Session(r *http.Request) *sojourn.Session {
	s.t.Helper()
	session := s.Begin(context.Background(), s.RequestFrom(r))
	session.Passive()
	if err := session.Load(context.Background()); err != nil {
		s.t.Fatalf("sojourntest: read the session: %v", err)
	}
	return session
}
