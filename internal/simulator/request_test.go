package simulator

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// A kind says what a request's handler does.
type kind int

const (
	read kind = iota
	poll      // a passive read
	write
	login
	elevate
	rotate
	logout
)

func (k kind) String() string {
	return [...]string{"read", "poll", "write", "login", "elevation", "rotation", "logout"}[k]
}

var counter = sojourn.NewKey[int]("counter")

// A jar holds a browser's two cookies: the texts of their tokens.
type jar struct{ session, visitor string }

// A request takes these steps: send, arrive (Arrived), load, commit, answer.
// The weather delays each of them.
type request struct {
	w        *world
	n        int
	browser  *browser // the sender is a browser or a thief
	thief    *thief
	auditing bool // the simulator sends it at the end of a run
	node     *sojourn.Engine
	client   sojourn.Client

	kind     kind
	subject  string // whom a login authenticates
	remember bool
	writes   bool // it also writes a value
	upload   bool

	jar    jar
	proofs []string // the values of the cookies with proofs
	excuse string   // why the browser has no good proof for its session
	by     jarCause // what put the session cookie into the jar
	conn   int
	sent   store.Time
	belief *grant // the browser's grant when it sent the request

	arrived, loaded store.Time
	handling        time.Duration // the time from load to commit
	eager           bool          // the handler changes the session right after the load, not just before the commit

	s         *sojourn.Session
	session   *session // as loaded; nil: no session
	epoch     int
	token     *token     // the token that session was found by
	presented *token     // the token in the session cookie
	refused   *token     // that token, if it was refused
	unproven  bool       // because a proof was missing
	late      store.Time // until when requests with the refused token count as late
	done      bool

	commit   int // the number of its commit
	answer   jarChange
	grant    *grant
	headers  http.Header // of bound sessions
	shows    string      // the subject on the page
	acted    store.Time  // when the handler changed the session; 0: not yet
	elevated bool
}

// A jarChange is what an answer does to each cookie in the jar; nil keeps the
// cookie.
type jarChange struct {
	session, visitor *string
	proofs           []string // the names of deleted cookies
}

func (r *request) String() string {
	who := "audit"
	switch {
	case r.thief != nil:
		who = fmt.Sprintf("thief %d", r.thief.n)
	case r.browser != nil:
		who = fmt.Sprintf("browser %d", r.browser.n)
	}
	return fmt.Sprintf("%s's request %d (%s with %v, %v)", who, r.n, r.kind, r.w.tokens[r.jar.session], r.w.tokens[r.jar.visitor])
}

// safe reports whether the request's method is GET. A GET may store something
// too, such as a form's token.
func (r *request) safe() bool { return r.kind == read || r.kind == poll }

// aborted reports whether the browser crashed or slept before it had sent the
// whole upload.
func (r *request) aborted() bool { return r.upload && r.browser != nil && r.conn != r.browser.conn }

func (r *request) arrive() {
	w := r.w
	if r.aborted() {
		r.lose("aborted")
		return
	}
	r.arrived = w.now()
	queue := time.Duration(0)
	if w.chance(w.weather.late) {
		queue = min(w.about(5*time.Minute), 50*time.Minute)
		w.count("request: asked late")
	}
	w.after(queue, r.load)
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// load reads the session, and checks whose it is.
func (r *request) load() {
	w := r.w
	if w.failure != "" {
		return
	}
	r.loaded = w.now()
	r.presented = w.tokens[r.jar.session]
	w.log("%v, which arrived at %s, asks", r, r.arrived.Time().Format("15:04:05.000"))
	expect := r.expectTheft()
	if r.thief != nil && r.presented != nil && !r.lacksProof(r.presented.session) {
		r.presented.session.stolen = true
	}
	if v := w.tokens[r.jar.visitor]; r.thief != nil && v != nil && (r.presented == nil || !w.surelyLives(r.presented.session) || r.lacksProof(r.presented.session)) {
		v.session.stolen = true // the login is over or unproven, so its visitor's session is used
	}
	r.s = r.node.Begin(bg, sojourn.Request{
		Session: list(r.jar.session), Visitor: list(r.jar.visitor), Proofs: r.proofs, Arrived: r.arrived.Time(), Client: r.client, Safe: r.safe(),
	})
	if r.kind == poll {
		r.s.Passive()
	}
	if err := r.s.Load(bg); err != nil {
		w.fail("%v: load: %v", r, err)
		return
	}
	w.settle(r.node)
	if w.failure != "" {
		return
	}
	if expect != "" {
		if r.presented.session.reason != sojourn.ReasonTheft {
			w.fail("%v presented a former secret after the grace, %s, and no theft is reported", r, expect)
			return
		}
		w.count("theft: reported, " + expect)
	}
	r.judge()
	if w.failure != "" || r.auditing {
		return
	}
	if r.eager {
		r.act()
	}
	if r.handling == 0 {
		r.finish()
		return
	}
	w.racers = append(w.racers, r)
	w.after(r.handling, r.finish)
}

// expectTheft says why the engine must report this request as theft; "" if it
// need not.
func (r *request) expectTheft() string {
	t := r.presented
	if t == nil || t.session.ended() || r.lacksProof(t.session) || t.half != t.session.current.half || t.until == 0 || r.arrived <= t.until {
		return ""
	}
	if live, sure := r.w.lives(t.session); !live || !sure {
		return ""
	}
	switch s := t.session; {
	case r.thief != nil:
		return "the thief's"
	case s.confirmedBy != nil && t.n < s.confirmed.n && r.arrived > s.confirmedAt.Add(r.w.policy.Grace):
		return "the victim's"
	default:
		return "the victim's, not due to a thief's confirmation"
	}
}

// judge compares the loaded session with the truth.
func (r *request) judge() {
	w := r.w
	id, subject := r.s.ID(), r.s.Subject()
	visitor := w.tokens[r.jar.visitor]
	w.log("%v loads: %v %q", r, w.sessions[id], subject)
	if id.IsZero() {
		if subject != "" {
			w.fail("%v: subject %q without a session", r, subject)
		}
		if visitor != nil && r.presented == nil {
			r.judgeVisitor(visitor)
		}
	} else {
		s := w.sessions[id]
		switch {
		case s == nil:
			w.fail("%v: I2: got a session that was never created", r)
			return
		case r.presented != nil && r.presented.session == s && subject != "":
			r.token = r.presented
		case visitor != nil && visitor.session == s && subject == "":
			r.token = visitor
		default:
			w.fail("%v: I2: got %s without a token of it", r, s)
			return
		}
		r.session, r.epoch = s, s.epoch
		r.judgeSession(s, subject)
	}
	if r.presented != nil && r.token != r.presented {
		r.refused = r.presented
		if r.unproven = r.s.RefusalReason() == sojourn.RefusedUnproven; r.unproven {
			r.judgeUnproven(r.presented.session)
		} else {
			r.late = r.lateUntil()
			r.judgeRefusal(r.presented)
		}
	}
	if r.browser != nil && r.jar.session == "" {
		r.judgeAbsence()
	}
}

func (r *request) judgeSession(s *session, subject string) {
	w := r.w
	live, _ := w.lives(s)
	n, err := counter.Get(r.s)
	switch {
	case s.ended():
		w.fail("%v: I4: %s had ended (%s)", r, s, s.reason)
	case !live:
		w.fail("%v: I7: %s is live after a deadline", r, s)
	case !w.mayAuthorise(r.token):
		w.fail("%v: I3: a secret from before a login or elevation is good", r)
	case subject != s.subject:
		w.fail("%v: subject %q, it should be %q", r, subject, s.subject)
	case err != nil || n != s.counter:
		w.fail("%v: I5: the counter of %s is %d (%v), the acknowledged updates are %d", r, s, n, err, s.counter)
	}
	r.judgeProof(s)
	if by := s.confirmedBy; by != nil && r.thief == nil && !r.auditing && s.epoch == s.confirmed.epoch &&
		r.token != s.confirmed && r.arrived > s.confirmedAt.Add(w.policy.Grace) {
		w.fail("%v: thief %d confirmed %v, and the victim's first request after the grace doesn't reveal the theft", r, by.n, s.confirmed)
	}
	if r.kind != poll && !r.auditing {
		// The engine may count the activity from the arrival or from a later
		// time. Whether it is written is known only after the commit.
		s.seen[1] = max(s.seen[1], w.now())
	}
	if r.token.epoch != s.epoch {
		w.count("login: the older secret of a parallel login is used")
	}
	if r.token != s.current && r.token.epoch == s.epoch {
		w.count("token: a former one is used within its grace")
	}
}

// judgeVisitor checks an anonymous session: it ends at its deadlines, and its
// secret is good until a login.
func (r *request) judgeVisitor(t *token) {
	live, sure := r.w.lives(t.session)
	switch {
	case live && sure && t.epoch == t.session.epoch:
		r.w.fail("%v: an anonymous session was refused", r)
	case t.session.ended():
		r.w.count("visitor: session ended, " + string(t.session.reason))
	case t.epoch != t.session.epoch:
		r.w.count("visitor: logged in meanwhile")
	}
}

// act does what the handler does.
func (r *request) act() {
	if r.acted != 0 {
		return
	}
	w := r.w
	r.acted = w.now()
	allow := func(err error, ok ...error) {
		if err != nil && !slices.ContainsFunc(ok, func(e error) bool { return errors.Is(err, e) }) && !(r.unproven && errors.Is(err, sojourn.ErrUnproven)) {
			w.fail("%v: %v", r, err)
		}
	}
	increment := func() {
		allow(counter.Update(r.s, func(n *int) error { *n++; return nil }), sojourn.ErrEnded, sojourn.ErrSuperseded)
	}
	// A value that is written before another user's login is lost with the
	// previous user's session.
	last := r.kind == login && r.session != nil && r.session.subject != "" && r.session.subject != r.subject
	if r.writes && !last {
		increment()
	}
	switch r.kind {
	case login:
		options := []sojourn.LoginOption{sojourn.AMR("pwd")}
		if r.remember {
			options = append(options, sojourn.Remember())
		}
		allow(r.s.Login(r.subject, options...))
		if r.writes && last {
			increment()
		}
	case elevate:
		err := r.s.Elevate(2, "otp")
		r.elevated = err == nil
		allow(err, sojourn.ErrAnonymous, sojourn.ErrSuperseded, sojourn.ErrEnded)
	case rotate:
		allow(r.s.Rotate(), sojourn.ErrSuperseded, sojourn.ErrEnded)
	case logout:
		allow(r.s.Logout())
	}
}

// finish commits, and sends the answer.
func (r *request) finish() {
	w := r.w
	if r.done || w.failure != "" {
		return
	}
	r.done = true
	w.racers = slices.DeleteFunc(w.racers, func(o *request) bool { return o == r })
	r.act()
	if w.failure != "" {
		return
	}

	before := w.reason
	if r.kind == logout || r.kind == login {
		w.reason = sojourn.ReasonLogout // also for a login as another user
	}
	if !w.racing {
		w.committing = r.node
	}
	err := r.s.Commit(bg)
	w.commits++
	r.commit = w.commits
	r.settleCommit(err)
	w.reason = before
	if w.failure != "" || r.browser == nil && r.thief == nil {
		return
	}
	r.shows = r.s.Subject()
	r.headers = r.s.BoundHeaders()
	w.issued(r.headers, r.s.ID(), false)
	r.reply()
}

// settleCommit compares the outcome of the commit with the truth, and records
// it. It asks for the session's ID only now, because a login may have moved the
// request to another session.
func (r *request) settleCommit(err error) {
	w := r.w
	cookies := slices.DeleteFunc(r.s.SetCookies(), r.takeProof)
	w.log("%v commits: %v, %d cookies", r, err, len(cookies))
	if err != nil {
		w.settle(r.node)
		r.judgeError(err)
		for _, c := range cookies {
			if _, value := parseCookie(c); value != "" {
				w.fail("%v: the commit failed, but its answer sets a cookie", r)
			}
		}
		return
	}

	id := r.s.ID()
	s := w.sessions[id]
	if r.session != nil && (r.writes || len(cookies) > 0) && r.kind != login && r.kind != logout {
		switch {
		case s != r.session:
			w.fail("%v: its session was %s and is %s", r, r.session, s)
		case s.ended():
			w.fail("%v: I4: wrote into %s, which had ended (%s)", r, s, s.reason)
		case s.epoch != r.epoch:
			w.fail("%v: I13: wrote into %s, which was renewed since it was authorised", r, s)
		}
	}
	if r.session == nil && r.late > 0 && r.arrived <= r.late && r.kind != login && r.kind != logout {
		w.count("late: a refused request")
		if r.writes || len(cookies) > 0 {
			w.fail("%v: I14: a request whose secret was replaced, or whose session had ended, changed something", r)
		}
	}
	if r.refused != nil && r.safe() && r.writes && r.refused.session.ended() && r.arrived > r.refused.session.endedAt {
		w.count("late: a safe request started a new session")
	}
	if w.failure != "" {
		return
	}

	switch {
	case r.kind == login:
		s = r.loggedIn(s)
	case r.elevated:
		s.epoch++
		s.begun = append(s.begun, begin{at: w.now(), acted: r.acted, elevated: true})
	case s == nil && !id.IsZero():
		s = w.create(id, r)
	}
	if s != nil && r.kind != logout {
		if r.writes {
			s.counter++
			w.count("write: acknowledged")
		}
		if r.writes || len(cookies) > 0 {
			s.seen[1] = max(s.seen[1], w.now())
		}
	}
	for _, c := range cookies {
		r.takeCookie(c, s)
	}
	w.settle(r.node)
	if r.kind == logout && r.browser != nil {
		if r.answer.session != nil {
			r.browser.grant, r.browser.out = nil, true // a late logout changes nothing
		}
		if r.session != nil && !r.session.ended() || r.unproven && !r.refused.session.ended() {
			w.fail("%v: a logout left the session alive", r)
		}
	}
	// Activity counts if the session is still live when it is written, after
	// the commit.
	if r.session != nil && r.session == s && r.kind != poll && w.now().Add(w.weather.writeBehind) < s.seen[0].Add(s.life.Idle-w.touchLag(s)) {
		s.seen[0] = max(s.seen[0], r.arrived)
	}
	if r.token != nil && len(cookies) == 0 {
		w.sight(r.token, r.arrived, r.loaded, r.thief)
	}
}

// loggedIn records a login, and returns its session.
func (r *request) loggedIn(s *session) *session {
	w := r.w
	id := r.s.ID()
	if s == nil {
		s = w.create(id, r)
		s.epoch = 1
		s.begun = append(s.begun, begin{at: w.now(), acted: r.acted})
	} else {
		// A repeated login is one that doesn't know the current secret. It
		// needs an older secret of the session, or one of an earlier epoch.
		knows := w.tokens[r.jar.session]
		if knows == nil || knows.session != s {
			knows = w.tokens[r.jar.visitor]
		}
		if knows == nil || knows.session != s || s.ended() || s.subject != "" && s.subject != r.subject {
			w.fail("%v: I2: logged into %s without a secret of it", r, s)
			return s
		}
		if r.lacksProof(s) {
			w.fail("%v: logged into %s, which is bound, without a proof", r, s)
			return s
		}
		repeated := s.subject != "" && knows != s.current
		if repeated {
			w.count("login: repeated")
		}
		s.epoch++
		s.begun = append(s.begun, begin{at: w.now(), acted: r.acted, repeated: repeated})
	}
	s.subject, s.client = r.subject, r.client
	s.life = w.policy.Login
	if r.remember {
		s.life = w.policy.Remembered
	}
	s.absolute = [2]store.Time{r.arrived.Add(s.life.Absolute), w.now().Add(s.life.Absolute)}
	s.seen = [2]store.Time{max(s.seen[0], r.arrived), w.now()}
	return s
}

// create records a new anonymous session.
func (w *world) create(id sojourn.ID, r *request) *session {
	s := &session{id: id, n: len(w.order), client: r.client, life: w.policy.Anonymous}
	s.absolute = [2]store.Time{r.arrived.Add(s.life.Absolute), w.now().Add(s.life.Absolute)}
	s.seen = [2]store.Time{r.arrived, w.now()}
	w.sessions[id] = s
	w.order = append(w.order, s)
	return s
}

// takeProof records what a cookie of the answer will do to a proof, and reports
// whether it is about one. It may only delete it.
func (r *request) takeProof(header string) bool {
	name, value := parseCookie(header)
	if !strings.HasPrefix(name, proofPrefix) {
		return false
	}
	if value != "" {
		r.w.fail("%v: its answer carries a proof", r)
	}
	r.answer.proofs = append(r.answer.proofs, name)
	return true
}

// takeCookie records what a cookie of the answer will do to the jar.
func (r *request) takeCookie(header string, s *session) {
	w := r.w
	name, value := parseCookie(header)
	gone := value == ""
	visitor := name == "__Host-visitor"
	if visitor {
		r.answer.visitor = &value
	} else {
		r.answer.session = &value
	}
	switch {
	case gone && !visitor && r.kind != logout:
		w.fail("%v: I14: clears the session cookie without a logout", r)
	case gone:
		return
	case s == nil:
		w.fail("%v: sets a cookie without a session", r)
	case visitor != (s.subject == ""):
		w.fail("%v: sets the wrong cookie for %q", r, s.subject)
	default:
		t := w.issue(s, value, r)
		switch {
		case r.kind == login || r.elevated:
			t.login = r.kind == login
			if r.kind == elevate || len(s.begun) == 0 || !s.begun[len(s.begun)-1].repeated {
				t.bornConfirmed()
			}
			if r.browser != nil {
				r.grant = &grant{token: t, kind: r.kind, commit: r.commit}
				r.browser.grant, r.browser.out = r.grant, false
				s.begun[len(s.begun)-1].grant = r.grant
			}
		case s.subject == "" && t.n == 0:
			t.bornConfirmed()
		default:
			if s.subject == "" {
				w.count("token: a visitor's rotated")
			}
			t.rotated = true
			if before := s.tokens[t.n-1]; r.token != nil && r.token.half == before.half {
				t.half = before.half
			}
			w.count("token: rotated")
			if r.token != nil && t.n > 0 && r.token != s.tokens[t.n-1] {
				w.count("token: rotation repeated")
				if s.stolen && s.confirmedBy != nil && r.thief == nil && r.token.n < s.confirmed.n {
					w.count("thief: victim gets a successor within the grace after the thief's confirmation")
				}
			}
		}
	}
}

// parseCookie returns the name and the value of a Set-Cookie header. An empty
// value deletes the cookie.
func parseCookie(header string) (name, value string) {
	pair, _, _ := strings.Cut(header, ";")
	name, value, _ = strings.Cut(pair, "=")
	return name, value
}

// lateUntil returns until when a request with the refused token counts as late:
// until the session's end if it is safe, and until 30 s after the end
// otherwise. It returns 0 if the token was refused for another reason.
func (r *request) lateUntil() store.Time {
	s := r.refused.session
	after := 30 * time.Second
	if r.safe() {
		after = 0
	}
	if r.refused.forgotten() {
		return 0
	}
	if b := r.w.superseded(r.refused); b != nil && (!s.ended() || b.at < s.endedAt) {
		return b.acted.Add(after)
	}
	switch s.reason {
	case sojourn.ReasonLogout, sojourn.ReasonRevoked, sojourn.ReasonEvicted, sojourn.ReasonTheft:
		return s.endedAt.Add(after)
	}
	return 0
}

// judgeError checks that a failed commit has a cause: the session ended or was
// renewed after the request was authorised, or the request was refused.
func (r *request) judgeError(err error) {
	w := r.w
	s := r.session
	if t := r.refused; t != nil && r.kind != login && t.session.ended() && r.jar.visitor == "" &&
		(r.arrived > t.session.endedAt.Add(30*time.Second) || r.safe() && r.arrived > t.session.endedAt) {
		w.fail("%v: refused as late, though %s had ended long before it arrived: %v", r, t.session, err)
		return
	}
	switch {
	case r.unproven && errors.Is(err, sojourn.ErrUnproven):
		w.count("commit: refused, unproven")
	case errors.Is(err, sojourn.ErrSuperseded) && (r.refused != nil || s != nil && s.epoch != r.epoch):
		w.count("commit: refused, superseded")
	case errors.Is(err, sojourn.ErrEnded) && (r.refused != nil || s != nil && s.ended()):
		w.count("commit: refused, ended")
	case errors.Is(err, sojourn.ErrEnded) && s != nil:
		if live, sure := w.lives(s); live && sure && !w.barred(r) {
			w.fail("%v: the commit failed without a cause: %v", r, err)
		}
		w.count("commit: refused, deadline or barrier")
	case errors.Is(err, sojourn.ErrEnded) && w.barred(r):
		w.count("commit: refused, barrier")
	case errors.Is(err, sojourn.ErrEnded) && r.jar.visitor != "":
		w.count("commit: refused, visitor's session over")
	case errors.Is(err, sojourn.ErrSuperseded) && r.jar.visitor != "":
		w.count("commit: refused, visitor logged in")
	default:
		w.fail("%v: the commit failed without a cause: %v", r, err)
	}
	if r.kind == login && !w.barred(r) {
		w.fail("%v: the login failed: %v", r, err)
	}
}

// overtake commits another request of the same session first, on the other
// node.
func (w *world) overtake(id sojourn.ID) {
	if w.racing || !w.chance(w.weather.race) {
		return
	}
	for _, r := range w.racers {
		if r.session == nil || r.session.id != id || r.done || r.node == w.committing {
			continue
		}
		w.racing = true
		w.count("commit: overtaken by another node's")
		w.log("%v overtakes", r)
		r.finish()
		w.racing = false
		return
	}
}

// lose records that the browser never receives the answer.
func (r *request) lose(why string) {
	r.w.count("answer: lost, " + why)
	r.w.log("%v: answer lost, %s", r, why)
	if r.grant != nil {
		r.grant.lost = true
		r.grant.gone = why != "network"
	}
}

// reply sends the answer back.
func (r *request) reply() {
	w := r.w
	if r.thief != nil {
		w.after(w.between(10*time.Millisecond, time.Second), r.thief.receive(r))
		return
	}
	if w.chance(w.weather.loss) {
		r.lose("network")
		return
	}
	delay := w.between(5*time.Millisecond, 200*time.Millisecond)
	if w.chance(w.weather.slow) {
		delay = w.between(0, answerBound)
	}
	if w.chance(w.weather.early) {
		w.count("answer: minutes after an early commit")
		delay += w.between(0, 4*time.Minute)
	}
	w.after(delay, r.deliver)
}
