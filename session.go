package sojourn

import (
	"context"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A Session is one request's view of the visitor's session. It reads the store
// when it is first asked something, gathers the request's changes, and writes
// them all at once at the commit: with the first byte of the response, or
// earlier by Commit. Reads see the request's own changes.
//
// A visitor who stores nothing has no session. Then ID is zero, Subject is
// empty, and every value is absent.
//
// Use it only during the request. Afterwards, ID and Subject of a session that
// was read still answer; values return ErrFinished.
//
// Its methods may be called concurrently. If the store can't answer, methods
// with an error return ErrUnavailable. Accessors, which have no error, don't
// return: a failure must never look like "anonymous".
//
//   - In the handler they panic with http.ErrAbortHandler. Handler answers 503,
//     even if a recoverer within it has written something else.
//   - On another goroutine, where a panic would end the process, they log the
//     failure and end that goroutine as runtime.Goexit does: its deferred calls
//     run. The response becomes a 503 too, if it hasn't begun. Code that waits
//     for the goroutine must not rely on a value: a WaitGroup goes on, but a
//     receive from a channel that only this goroutine sends to waits forever.
//   - Without Handler, on a session from Begin, they panic with an error that
//     wraps ErrUnavailable.
//
// After Load, or inside Preload, none of this happens.
type Session struct {
	e *Engine

	committing sync.Mutex // held through a commit; taken before mu
	mu         sync.Mutex // guards all below

	ctx     context.Context
	source  *exchange // fills view.request when it is needed; nil: it is filled
	arrived store.Time

	loadErr   error
	commitErr error
	loaded    bool // load was tried
	committed bool // commit was tried
	finished  bool // the request is over
	passive   bool
	strict    bool
	noRotate  bool    // the response can't carry a new cookie
	failed    bool    // an accessor couldn't answer: the response is loadErr
	decides   bool    // tokens are looked up by the next field
	budget    *budget // nil: without a limit

	*view               // from load on, until the request is over
	ended chan struct{} // of Done
	watch *watched      // whose channel that is
	conn  *hijacked     // nil: the connection is net/http's

	was struct { // what is left then
		ID      ID
		Subject string
	}
}

// A Request is what a client presented, for callers that don't speak net/http.
type Request struct {
	Session []string  // values of the session cookie, in the order sent
	Visitor []string  // values of the visitor cookie
	Bearer  string    // token of an Authorization header; with it, cookies are not looked at
	Arrived time.Time // zero: now
	Client  Client

	// Safe says that the request's method is GET or HEAD. Shortly after a session
	// has ended, such a request may begin a new one (see ErrEnded); others may not.
	Safe bool

	// Token is a token from the caller, who knows where it came from: it may be of any kind, and nothing else is looked at.
	Token string

	// IdempotencyKey, 1 to 255 bytes, names a request that presents no token and
	// creates a session, so that it can be repeated if its answer got lost. If a
	// request with the same key and IdempotencyBody has created a session within
	// 24 hours, the commit creates none: the session becomes that one, as it is
	// now, with a fresh secret beside the earlier ones. The tokens of all answers
	// stay good for at least Policy.Grace. ErrKeyReused: the key came with another
	// body. ErrSuperseded: a login or elevation has renewed the session since.
	// ErrRepeats: there were sixteen repeats already. Empty: none.
	IdempotencyKey  string
	IdempotencyBody [32]byte // hash of what is asked for

	// IfRevision makes Commit return ErrRevision unless the session is still at
	// this revision (Info.Revision), so that a change overwrites nothing that the
	// caller hasn't seen. The session is read strictly. 0: any revision.
	IfRevision uint64
}

// Begin returns the session of a request. It doesn't touch the store. The context is used for reads; a
// commit goes on when it is cancelled. Call Commit at the end, and before the answer is sent.
//
// Call Finish when the request is over, if there are many.
func (e *Engine) Begin(ctx context.Context, r Request) *Session {
	r.Client.UserAgent = cleanUserAgent(r.Client.UserAgent)
	arrived := store.TimeOf(r.Arrived)
	if arrived == 0 {
		arrived = e.now()
	}
	s := &Session{e: e, ctx: ctx, arrived: arrived, view: e.lendView()}
	s.request, s.strict = r, r.IfRevision != 0
	return s
}

// Finish says that the request of a Session from Begin is over, so that its memory can be used again. Nothing is committed by it. Afterwards, of a
// session that was read, ID and Subject still answer; Token and SetCookies are empty.
func (s *Session) Finish() { s.finish() }

// Load reads the session from the store, if that wasn't done yet.
func (s *Session) Load(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load(ctx)
}

// ID returns the session's public handle, or the zero ID if there is no session. It is no secret, and stays the same
// through login and rotation.
func (s *Session) ID() ID {
	return ask(s, func(r *store.Record) ID { return r.ID })
}

// Subject returns the user that the session is logged in as, empty if nobody.
func (s *Session) Subject() string {
	return ask(s, func(r *store.Record) string { return r.Subject })
}

// Level returns the level of the login, 0 to 3, as given to Login or Elevate.
func (s *Session) Level() int {
	return ask(s, func(r *store.Record) int { return int(r.Level) })
}

// Fresh reports whether the user authenticated within the last d. Ask it before what a
// thief must not do: change the password, the address, the money.
func (s *Session) Fresh(d time.Duration) bool {
	now := s.e.now()
	return ask(s, func(r *store.Record) bool {
		return r.Subject != "" && !r.Stale && now.Sub(r.AuthenticatedAt) <= d
	})
}

// Info returns all that may be told about the session.
func (s *Session) Info() Info {
	return ask(s, func(r *store.Record) Info { return info(r) })
}

// EndReason returns why the session that the visitor presented is over, to tell
// them: "You were signed out because …". It is empty if the session lives, if
// none was presented, or if the token was never good for it.
func (s *Session) EndReason() Reason {
	return ask(s, func(*store.Record) Reason {
		if s.view == nil { // the request is over
			return ""
		}
		return s.endedBy
	})
}

// RefusalReason returns why the token that the request presented is not
// accepted. It is empty if the token is accepted, or if there is none.
// RefusedThrottled means that the token wasn't looked up, because its address
// sends too many bad ones. Such a request reads as a visitor's until it changes
// something.
func (s *Session) RefusalReason() Refusal {
	return ask(s, func(*store.Record) Refusal {
		if s.view == nil || s.rec != nil {
			return ""
		}
		return s.refusal
	})
}

// Start makes a session for a visitor who has none, even if nothing will be stored in it.
func (s *Session) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayChange(); err != nil || s.rec != nil || s.work != nil {
		return err
	}
	return s.change(op{kind: opStart})
}

// Passive keeps this request from counting as activity, for polling: without it, an open page would keep its session from
// ever being idle. Call it before the response begins.
func (s *Session) Passive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passive = true
}

// Strict has this request's session read from the store itself, never from a cache in front of it: an end that was acknowledged
// anywhere before the request came is seen. See the function Strict, for routes. If the session was already read from a cache it is
// read again, unless the request has changed something: then the commit finds out.
func (s *Session) Strict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strict = true
	if s.loaded && !s.finished && s.rec != nil && s.rec.Cached && s.work == nil && !s.logout {
		s.found, s.loaded = found{}, false
	}
}

// KeepSecret keeps the commit from rotating the secret by itself, for an answer that can't carry a new cookie. Login, Elevate and Rotate are
// not affected. Call it before the commit.
func (s *Session) KeepSecret() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noRotate = true
}

// A LoginOption says more about a login.
type LoginOption func(*login)

// Remember makes a remembered login ("keep me signed in"), with the limits of Policy.Remembered.
func Remember() LoginOption { return func(l *login) { l.remember = true } }

// AMR records how the user authenticated, in the words of RFC 8176: "pwd",
// "otp", "hwk". Each word must be visible ASCII without blanks, or Login
// returns ErrValue.
func AMR(methods ...string) LoginOption { return func(l *login) { l.methods = methods } }

// Level records the level of the authentication, 0 to 3. Default 1.
func Level(level int) LoginOption { return func(l *login) { l.level = level } }

// AsBearer issues the token for use in an Authorization header, where cookies can't be: take it from
// Token after Commit. No cookie is set. A session that the request's cookie names stays as it is: the bearer's is another. Needs
// Options.Bearer.
func AsBearer() LoginOption { return func(l *login) { l.bearer = true } }

// Login makes the session that of subject, after the application has authenticated the user. The session gets a new secret and the old
// one is dead at once (no session fixation); its values stay, so a cart filled before login survives. If another subject is logged in,
// that session ends and an empty one starts. Logging in the same subject again renews the
// session and its limits: it is how a user confirms the password. Options are as given, not as before: pass Remember again if
// Remembered.
//
// A subject is an ID that never changes, 1 to 255 bytes of UTF-8 without control characters (else ErrSubject); a database key is better than an
// e-mail address. What can only be known at the commit fails there: ErrLimit, and ErrEnded if the subject's sessions
// were ended after the request arrived.
func (s *Session) Login(subject string, options ...LoginOption) error {
	l := login{subject: subject, level: 1}
	for _, option := range options {
		option(&l)
	}
	return s.login(l)
}

// Elevate records that the user has authenticated with a further factor, and
// sets the level (0 to 3). The session gets a new secret and the old one is
// dead at once. Call it too, with the level as it is, when the user's rights or
// password change. The methods are words as AMR takes them. ErrAnonymous:
// nobody is logged in.
func (s *Session) Elevate(level int, methods ...string) error {
	return s.elevate(level, methods)
}

// Rotate gives a logged-in session a new secret at the commit; the old one stays good for requests in flight (see Policy.Grace).
// The engine does this by itself every Policy.RotateEvery.
func (s *Session) Rotate() error { return s.rotateNow() }

// Logout ends the session at the commit, and its cookie. Without a session it does nothing. No later change is possible
// in this request.
func (s *Session) Logout() error { return s.logoutNow() }

// Commit writes the request's changes. Handler does it with the first byte of the response; call it earlier to see the error before a side
// effect that can't be undone. Afterwards the session can't be changed in this request (ErrCommitted). A second Commit returns what the first returned.
//
// If it fails, reads go on showing the request's changes. ErrEnded, ErrSuperseded, ErrConflict, ErrLimit, ErrFull, ErrTooLarge and ErrUnavailable mean that nothing was written, ErrUncertain
// that this isn't known.
func (s *Session) Commit(ctx context.Context) error {
	return s.commit(ctx)
}

// Token returns the token that the commit issued, for callers that don't use cookies; empty if it issued none. It is a
// secret: send it to the client and nowhere else.
func (s *Session) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view == nil {
		return ""
	}
	return s.issued
}

// Done returns a channel that is closed when the session ends, on any node and
// for any reason, also by expiry, so that a WebSocket or a stream of events can
// end with it. Without a session it returns a channel that never closes. All
// calls in a request return the same channel. After the request it is no longer
// closed, unless the handler has hijacked the connection: then the session is
// watched until the connection that Hijack returned is closed.
func (s *Session) Done() <-chan struct{} { return s.done() }

// contextKey finds the innermost session of a context, engineKey that of an engine.
type (
	contextKey struct{}
	engineKey  struct{ engine *Engine }
)

// answersTo reports whether s is what a context's key asks for.
func (s *Session) answersTo(key any) bool {
	switch key := key.(type) {
	case contextKey:
		return true
	case engineKey:
		return key.engine == s.e
	}
	return false
}

// From returns the engine's session of a request that came through its Handler.
// It panics if the request did not. Most applications have one engine, and use
// the function From.
func (e *Engine) From(ctx context.Context) *Session {
	s, _ := ctx.Value(engineKey{e}).(*Session)
	if s == nil {
		panic("sojourn: no session of this engine in this context: wrap the handler in its Handler")
	}
	return s
}

// From returns the session of a request that came through Handler. It panics if
// the request did not. If it came through Handlers of two engines, that is the
// inner one's session: see Engine.From.
func From(ctx context.Context) *Session {
	s, ok := Lookup(ctx)
	if !ok {
		panic("sojourn: no session in this context: wrap the handler in Engine.Handler")
	}
	return s
}

// Lookup is From for code that also runs outside Handler: ok tells whether the
// context has a session.
func Lookup(ctx context.Context) (s *Session, ok bool) {
	s, _ = ctx.Value(contextKey{}).(*Session)
	return s, s != nil
}

// NewContext returns a context that carries s, for callers that don't use Handler.
func NewContext(ctx context.Context, s *Session) context.Context {
	return carried{ctx, s}
}

type carried struct {
	context.Context
	session *Session
}

func (c carried) Value(key any) any {
	if c.session.answersTo(key) {
		return c.session
	}
	return c.Context.Value(key)
}
