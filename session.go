package sojourn

import (
	"context"
	"slices"
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
// was read still answer, and values return ErrFinished. On a hijacked connection
// Done and Active go on.
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
//     wraps the one of Load.
//
// After Load, or inside Preload, none of this happens.
type Session struct {
	e       *Engine
	ctx     context.Context // of reads; a commit goes on when it is cancelled
	arrived store.Time
	source  source // presents the request when it is first needed; nil: Begin did

	committing sync.Mutex // held through a commit; taken before mu

	mu         sync.Mutex // guards all that follows
	*state                // nil before the first read, and when the request is over
	loadErr    error      // why the store couldn't answer
	loaded     bool       // the store was asked
	finished   bool       // the request is over
	passive    bool       // asked for by Passive
	strict     bool       // asked for by Strict
	keepSecret bool       // asked for by KeepSecret, or the response can't carry a cookie
	rereading  bool       // a pop applies the changes again, and may call the function of an Update
	forget     bool       // asked for by Forget
	renews     bool       // by register, which reports by itself what it refuses
	outcome    outcome
	watching   watching
	noted      store.Time // when Active last queued a note
	last       struct {   // what ID and Subject answer when the request is over
		ID      ID
		Subject string
	}
}

// A source presents the request of a Session that a server made.
type source interface {
	// present fills in the request. tokens is room for the usual ones.
	present(r *Request, tokens *[3]string)

	// abort ends the handler because an accessor can't answer. It doesn't return.
	abort(s *Session, err error)
}

// A state is what a session holds during its request: what the client
// presented, what that led to, and what the request wants to change. It is
// lent by the engine, and given back when the request is over. From then on
// the Session has no state, so no goroutine that outlives its request sees
// another's.
type state struct {
	request Request
	found   found
	draft   draft

	tokens [3]string // room for request
	sealRoom
	record store.Record // room for found

	proof      string        // of the session's browser, new by register or refresh; empty: none
	challenged *store.Record // the session to which register or refresh answers with a challenge
	demanded   bool          // a requirement demands a bound session, and the browser may register again
}

// A Request is what a client presented, for callers that don't speak net/http.
type Request struct {
	Session []string  // values of the session cookie, in the order sent
	Visitor []string  // values of the visitor cookie
	Proofs  []string  // values of the cookies that prove a bound session; see Options.Bound
	Bearer  string    // token of an Authorization header; cookies are ignored beside it
	Arrived time.Time // zero: now
	Client  Client

	// Old are the cookies of another library, by name, if Options.Adopt is set.
	// Those that it doesn't name are ignored.
	Old map[string]string

	// Safe says that the request's method is GET or HEAD. Shortly after a session
	// has ended, such a request may begin a new one (see ErrEnded); others may not.
	Safe bool

	// Token is a token of any kind, from a caller who knows where it came from.
	// The tokens above are ignored beside it.
	Token string

	// IdempotencyKey, 1 to 255 bytes, names a request that presents no token and
	// creates a session, so that it can be repeated if its answer got lost. If a
	// request with the same key and IdempotencyBody has created a session within
	// 24 hours, the commit creates none: the session becomes that one, as it is
	// now, with a fresh secret beside the earlier ones. The tokens of all answers
	// stay good for at least Policy.Grace. ErrKeyReused: the key came with another
	// body. ErrSuperseded: a login or elevation has renewed the session since.
	// ErrRepeats: there were sixteen repeats already. It doesn't count for a session
	// that is sealed: a repeat makes another one. Empty: none.
	IdempotencyKey  string
	IdempotencyBody [32]byte // hash of what is asked for

	// IfRevision makes Commit return ErrRevision unless the session is still at
	// this revision (Info.Revision), so that a change overwrites nothing that the
	// caller hasn't seen. The session is read strictly. 0: any revision.
	IfRevision uint64

	// Key names the session by a key of the caller's own. It is for callers with a
	// cookie of their own, such as the session stores of web frameworks. With a Key,
	// tokens and cookies are ignored, and the session has none. The caller must make
	// sure that the browser may use the key. The first change starts the session. When
	// it has ended, every further change is ErrEnded for at least an hour: choose a
	// new key for a new session. A login of another subject keeps the session, and
	// Regenerate returns ErrValue.
	//
	// The session's ID is derived from the key, and is no secret. So a secret key
	// must be random.
	Key string

	// Idle, with Key, is the session's idle limit from this request on, if it is
	// shorter than the policy's. 0: as it is. Less than a second: ErrValue.
	Idle time.Duration

	refused error // what Load returns; of RequestFrom
}

// clear drops what the client presented. The fields that remain are written by
// Begin and by every source, or count only together with one that is dropped.
func (r *Request) clear() {
	r.Session, r.Visitor, r.Proofs, r.Old, r.Bearer, r.Token, r.Key, r.IdempotencyKey, r.IfRevision, r.Idle, r.refused = nil, nil, nil, nil, "", "", "", "", 0, 0, nil
}

// Begin returns the session of a request. It doesn't touch the store. Reads use
// ctx; a commit goes on when ctx is cancelled. Call Commit before the answer is
// sent, and Finish when the request is over.
func (e *Engine) Begin(ctx context.Context, r Request) *Session {
	r.Client.UserAgent = cleanUserAgent(r.Client.UserAgent)
	r.Old = e.opt.Adopt.only(r.Old)
	arrived := store.TimeOf(r.Arrived)
	if arrived == 0 {
		arrived = e.now()
	}
	s := &Session{e: e, ctx: ctx, arrived: arrived, strict: r.IfRevision != 0, state: e.lend()}
	s.request = r
	return s
}

// Finish says that the request of a session from Begin is over, so that the
// engine can use its memory again. It commits nothing. Without it, the memory
// is left to the collector.
func (s *Session) Finish() {
	s.committing.Lock() // a commit on another goroutine ends first
	defer s.committing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
	if s.outcome.issued != "" {
		s.outcome.issued, s.outcome.cookies = "", cookieChange{}
	}
	if st := s.state; st != nil {
		r := st.current()
		s.last.ID, s.last.Subject = r.ID, r.Subject
		if s.watching.conn != nil && s.exists() && !s.inCookie() {
			s.watching.conn.setTouchInterval(touchInterval(r))
		}
		s.state = nil
		s.e.takeBack(st)
	}
}

// Load reads the session from the store, if that wasn't done yet.
func (s *Session) Load(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load(ctx)
}

// load finds the live session of the request's tokens, once. mu is held.
func (s *Session) load(ctx context.Context) error {
	if s.finished {
		return ErrFinished
	}
	if s.loaded {
		return s.loadErr
	}
	s.loaded, s.loadErr = true, ErrUnavailable // in case Adoption.Read panics
	if s.state == nil {
		s.state = s.e.lend()
	}
	if s.source != nil {
		s.source.present(&s.request, &s.tokens)
	}
	if s.loadErr = s.request.refused; s.loadErr == nil {
		s.loadErr = s.find(ctx, &s.e.bad.reads)
	}
	if s.outcome.done { // the response began before the session was read
		s.noteLater()
	}
	return s.loadErr
}

// mustLoad is load for an accessor: it doesn't return if that fails. mu is held.
func (s *Session) mustLoad() {
	err := s.load(s.ctx)
	switch {
	case err == nil:
	case s.source == nil:
		panic(loadFailure{err})
	default:
		s.source.abort(s, err)
	}
}

// A loadFailure is the panic of an accessor for which no Handler answers.
type loadFailure struct{ err error }

func (f loadFailure) Error() string { return f.err.Error() }
func (f loadFailure) Unwrap() error { return f.err }

// ask returns what f says of the session.
func ask[T any](s *Session, f func(*store.Record) T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished && s.loaded && s.loadErr == nil {
		return f(&store.Record{ID: s.last.ID, Subject: s.last.Subject})
	}
	s.mustLoad()
	return f(s.current())
}

// ID returns the session's public handle, or the zero ID if there is no
// session. It is no secret, and stays the same through login and rotation. Only the
// login of a sealed visitor (SealVisitors) changes it.
func (s *Session) ID() ID {
	return ask(s, func(r *store.Record) ID { return r.ID })
}

// Subject returns the user that the session is logged in as. It is empty if
// nobody is logged in.
func (s *Session) Subject() string {
	return ask(s, func(r *store.Record) string { return r.Subject })
}

// Level returns the level of the login, 0 to 3, as given to Login or Elevate.
func (s *Session) Level() int {
	return ask(s, func(r *store.Record) int { return int(r.Level) })
}

// Fresh reports whether the user authenticated within the last d. Ask it before
// an action that a thief of the session must not take: changing the password or
// the address, moving money.
func (s *Session) Fresh(d time.Duration) bool {
	now := s.e.now()
	return ask(s, func(r *store.Record) bool {
		return r.Subject != "" && !r.Stale && now.Sub(r.AuthenticatedAt) <= d
	})
}

// Info describes the session, without its values.
func (s *Session) Info() Info {
	return ask(s, func(r *store.Record) Info { return s.infoOf(r) })
}

// Snapshot describes the session and returns its values, with the changes that
// this request has made.
func (s *Session) Snapshot() Snapshot {
	return ask(s, func(r *store.Record) Snapshot {
		return Snapshot{Info: s.infoOf(r), Values: appendObject(nil, r.Values)}
	})
}

// infoOf describes the request's session. mu is held.
func (s *Session) infoOf(r *store.Record) Info {
	info := infoOf(r)
	info.Sealed = s.state != nil && s.inCookie()
	return info
}

// EndReason returns why the session that the visitor presented is over, to tell
// them: "You were signed out because …". It is empty if the session lives, if
// none was presented, or if the token was never good for it.
func (s *Session) EndReason() Reason {
	return ask(s, func(*store.Record) Reason {
		if s.state == nil { // the request is over
			return ""
		}
		return s.found.endedBy
	})
}

// RefusalReason returns why the token that the request presented is not
// accepted. It is empty if the token is accepted, or if there is none.
// RefusedThrottled means that the token wasn't looked up, because its address
// sends too many bad ones. Such a request reads as a visitor's until it changes
// something. RefusedUnproven is returned also beside a visitor's session.
func (s *Session) RefusalReason() Refusal {
	return ask(s, func(*store.Record) Refusal {
		switch {
		case s.state == nil:
			return ""
		case s.found.unproven != nil:
			return RefusedUnproven
		case s.found.rec != nil:
			return ""
		}
		return s.found.refusal
	})
}

// Passive keeps this request from counting as activity. Use it for polling, or
// an open page would keep its session from ever being idle. Call it before the
// response begins.
func (s *Session) Passive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passive = true
}

// Strict makes this request read its session from the store itself, never from
// a cache in front of it. So the request sees every end that was acknowledged,
// on any node, before it came. For whole routes, see the function Strict. If
// the session was already read from a cache it is read again, unless the
// request has changed something: then the commit finds out.
func (s *Session) Strict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strict = true
	if s.loaded && !s.finished && s.found.rec != nil && s.found.rec.Cached && !s.draft.begun() {
		s.found, s.loaded = found{}, false
	}
}

// KeepSecret keeps the commit from rotating the secret by itself, for an answer
// that can't carry a new cookie. Login, Elevate and Rotate are not affected.
// Call it before the commit.
func (s *Session) KeepSecret() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepSecret = true
}

// Forget makes the commit clear the cookies that the client has of the session,
// which goes on without them. It is for an application that hands its sessions
// over to another library. Most applications don't need it: Logout ends a
// session. Errors are those of every change: ErrCommitted, ErrUnavailable.
func (s *Session) Forget() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayChange(); err != nil {
		return err
	}
	s.keepSecret, s.forget = true, true
	return nil
}

// Start makes a session for a visitor who has none, even if nothing will be
// stored in it. With Request.Idle it changes the idle limit of one that exists.
func (s *Session) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayChange(); err != nil || len(s.draft.ops) > 0 {
		return err
	}
	if t := s.terms(); s.found.rec != nil && t.limitIdle(s.found.rec.Idle, s.found.rec) == s.found.rec.Idle {
		return nil
	}
	return s.change(op{kind: opStart})
}

// A LoginOption says more about a login.
type LoginOption func(*login)

// Remember makes a remembered login ("keep me signed in"), with the limits of
// Policy.Remembered.
func Remember() LoginOption { return func(l *login) { l.remember = true } }

// UntilBrowserCloses sends the cookie without Max-Age, also when the secret
// rotates, so that the browser drops the cookie when it closes. Use it for a login
// without "keep me signed in". The session's deadlines on the server stay. For
// all logins, see the field of this name in Cookie.
func UntilBrowserCloses() LoginOption { return func(l *login) { l.closes = true } }

// WithLifetime gives this login shorter limits than the policy's, for instance
// by the user's role. A limit that is zero, or longer than that of Policy.Login
// (with Remember: Policy.Remembered), is the policy's. Limits hold in whole
// milliseconds. A limit below a second, or a negative one, makes Login return
// ErrValue. A later Login sets the limits again.
func WithLifetime(lifetime Lifetime) LoginOption {
	return func(l *login) { l.lifetime = lifetime }
}

// AMR records how the user authenticated, in the words of RFC 8176: "pwd",
// "otp", "hwk". Each word must be visible ASCII without blanks, or Login
// returns ErrValue.
func AMR(methods ...string) LoginOption { return func(l *login) { l.methods = methods } }

// Level records the level of the authentication, 0 to 3. Default 1.
func Level(level int) LoginOption { return func(l *login) { l.level = level } }

// AsBearer issues the token for an Authorization header, for programs that keep
// no cookies. Take it from Token after Commit; no cookie is set. A session that
// the request's cookie names stays as it is, and the bearer gets another one.
// It needs Options.Bearer.
func AsBearer() LoginOption { return func(l *login) { l.bearer = true } }

// Login logs the session in as subject. Call it after the application has
// authenticated the user. The session gets a new secret and the old one is dead
// at once, which prevents session fixation. Its values stay, so a cart filled
// before the login survives. If another subject is logged in, that session ends
// and an empty one starts. A login of the same subject renews the session and
// its limits: use it when a user confirms the password. Options are not taken
// over from the login before: pass Remember again if Info.Remembered,
// UntilBrowserCloses if Info.UntilBrowserCloses, and WithLifetime.
//
// A subject is an ID that never changes, 1 to 255 bytes of UTF-8 without
// control characters (else ErrSubject); a database key is better than an e-mail
// address. Some failures show at the commit only: ErrLimit, and ErrEnded if the
// subject's sessions were ended after the request arrived.
func (s *Session) Login(subject string, options ...LoginOption) error {
	l, err := newLogin(subject, options)
	if err != nil {
		return err
	}
	if l.bearer && !s.e.opt.Bearer {
		return ErrBearer
	}
	return s.do(op{kind: opLogin, login: l})
}

// newLogin returns a login with its options, or what is wrong with it.
func newLogin(subject string, options []LoginOption) (*login, error) {
	l := &login{subject: subject, level: 1}
	for _, option := range options {
		option(l)
	}
	if err := checkSubject(l.subject); err != nil {
		return nil, err
	}
	if err := checkLevel(l.level); err != nil {
		return nil, err
	}
	if err := checkLifetime(l.lifetime); err != nil {
		return nil, err
	}
	var err error
	l.amr, err = joinAMR(l.methods)
	return l, err
}

// Elevate records that the user has authenticated with a further factor, and
// sets the level (0 to 3). The session gets a new secret and the old one is
// dead at once. Call it too, with the level as it is, when the user's rights or
// password change. The methods are words as AMR takes them. ErrAnonymous:
// nobody is logged in.
func (s *Session) Elevate(level int, methods ...string) error {
	if err := checkLevel(level); err != nil {
		return err
	}
	amr, err := joinAMR(methods)
	if err != nil {
		return err
	}
	return s.do(op{kind: opElevate, level: level, amr: amr})
}

// Rotate gives the session a new secret at the commit. The old one stays good
// for requests in flight (Policy.Grace), and until the new one is confirmed.
// Without a session it does nothing. The engine rotates by itself every
// Policy.RotateEvery, but only sessions that are logged in.
func (s *Session) Rotate() error { return s.do(op{kind: opRotate}) }

// Logout ends the session at the commit, and clears its cookie. Without a
// session it does nothing. The request can't change the session afterwards.
func (s *Session) Logout() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayChange(); err != nil {
		if !s.finished && !s.outcome.done && s.draft.logout {
			return nil
		}
		return err
	}
	if s.found.undecided { // a sign-out must not leave a live session behind
		if err := s.decide(s.ctx, &s.e.bad.ends); err != nil {
			return err
		}
	}
	s.draft.reset()
	s.draft.logout = true
	return nil
}

// Regenerate ends the session, and goes on in a new one. It keeps the values of
// the given keys. Without keys it keeps no value; to keep all, pass what Keys
// returns. Nobody is logged in to the new session, until the request calls Login.
// Use it if the old session must be over for everybody who holds its token, but
// the visitor keeps some values: for a sign-out that keeps the language, or another
// user's login on a shared device. Without a session it does nothing.
//
// It takes effect at the commit. The old session then ends for good, also for
// requests in flight. The values that they stored before are kept like all others;
// later changes fail with ErrEnded or ErrSuperseded. If the commit fails, either
// nothing has changed, or nobody is logged in. ErrEnded: somebody else has ended
// the session meanwhile.
func (s *Session) Regenerate(keep ...string) error {
	return s.do(op{kind: opRegenerate, keep: slices.Compact(slices.Sorted(slices.Values(keep)))})
}

// Token returns the token that the commit issued, for callers that don't use
// cookies. It is empty if the commit issued none. It is a secret: send it to the
// client and nowhere else.
func (s *Session) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outcome.issued
}

// noSession is the record of a visitor who has no session.
var noSession store.Record

// current returns the session with the request's changes. Session.mu is held.
func (st *state) current() *store.Record {
	switch {
	case st.draft.logout:
		return &noSession
	case st.draft.rec != nil:
		return st.draft.rec
	case st.found.rec != nil:
		return st.found.rec
	}
	return &noSession
}

// lend returns a state for one request.
func (e *Engine) lend() *state {
	if st, _ := e.states.Get().(*state); st != nil {
		return st
	}
	st := new(state)
	st.draft.reset()
	return st
}

// takeBack empties a state and keeps its memory for the next request. Records
// keep what they hold: their next reader overwrites it.
func (e *Engine) takeBack(st *state) {
	st.request.clear()
	st.tokens = [3]string{}
	st.found = found{}
	st.proof, st.challenged, st.demanded = "", nil, false
	if st.draft.begun() {
		st.draft.reset()
	}
	shrink(&st.draft.room.Values) // also of a draft that was dropped
	shrink(&st.draft.spare)
	shrink(&st.record.Values)
	e.states.Put(st)
}

const keepValues = 16 << 10 // larger buffers are left to the collector

// shrink drops a buffer that is too large to keep.
func shrink(v *store.Values) {
	if cap(*v) > keepValues {
		*v = nil
	}
}
