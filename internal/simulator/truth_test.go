package simulator

import (
	"slices"
	"strconv"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// A session is what the simulator knows about one of the engine's sessions. It
// learns from the answers to the requests that created and changed it.
type session struct {
	id      sojourn.ID
	n       int
	subject string
	client  sojourn.Client
	tokens  []*token // in the order of issue
	current *token
	epoch   int
	begun   []begin // the beginning of each epoch after the first
	counter int     // the number of acknowledged updates

	life     sojourn.Lifetime
	absolute [2]store.Time // earliest and latest absolute deadline, for requests that arrived before the clock moved
	seen     [2]store.Time // earliest and latest time of the last activity

	endedAt store.Time
	reason  sojourn.Reason

	stolen      bool       // a thief has used it
	confirmedBy *thief     // the thief who confirmed a successor
	confirmedAt store.Time // the arrival of the confirming request
	confirmed   *token

	binding binding
}

func (s *session) ended() bool { return s.reason != "" }

// A begin is the beginning of an epoch.
type begin struct {
	at       store.Time // the time of the commit
	acted    store.Time // the time of the handler's call; the engine uses it unless the commit meets a conflict
	elevated bool
	repeated bool // by a login whose request didn't present the current secret
	grant    *grant
}

// A token is one that the engine issued.
type token struct {
	text    string
	session *session
	n       int // its index in session.tokens
	epoch   int
	half    int        // counts the first halves, which last for an epoch
	issued  store.Time // the time of the commit
	acted   store.Time // the time of the handler's call
	login   bool
	rotated bool
	owner   *thief // nil: the browser

	// What the rules of rotation say about the token. The simulator derives it
	// from the requests that it saw completely.
	sighted   bool
	firstSeen store.Time // arrival of the first request that presented it
	firstDone store.Time // the latest time at which that was written
	confirmed bool
	until     store.Time // 0: undecided
}

// A grant is a token that a login or elevation gave to a browser, and what
// happened to the answer.
type grant struct {
	*token
	kind      kind
	commit    int
	lost      bool
	gone      bool // the browser had crashed or slept when the answer came
	crashed   bool // a crash within 30 s removed it from the jar
	delivered store.Time
}

// lives reports whether a session should be live now, and whether that is
// certain: a deadline may be met up to a touch interval early.
func (w *world) lives(s *session) (live, sure bool) {
	if s.ended() {
		return false, true
	}
	now := w.now()
	switch {
	case now >= s.absolute[1] || now >= s.seen[1].Add(s.life.Idle):
		return false, true
	case now >= s.absolute[0] || now >= s.seen[0].Add(s.life.Idle-w.touchLag(s)):
		return true, false
	}
	return true, true
}

func (w *world) touchLag(s *session) time.Duration {
	return min(s.life.Idle/20, time.Minute) + w.weather.writeBehind
}

// mayAuthorise reports whether a token may still act for its session (I3). A
// token of the current epoch may. So may one of an earlier epoch, within the
// grace, if all later epochs began with logins that were repeated without
// knowing its secret.
func (w *world) mayAuthorise(t *token) bool {
	return !slices.ContainsFunc(t.session.begun[t.epoch:], func(b begin) bool { return w.replaces(&b, t, b.acted.Sub(t.issued)) })
}

// mustAuthorise reports whether the token certainly acts for its session.
func (w *world) mustAuthorise(t *token) bool { return w.superseded(t) == nil }

// superseded returns the beginning of the epoch that ended a token, or nil.
func (w *world) superseded(t *token) *begin {
	for i := t.epoch; i < len(t.session.begun); i++ {
		if b := &t.session.begun[i]; w.replaces(b, t, b.at.Sub(t.acted)) {
			return b
		}
	}
	return nil
}

// replaces reports whether the beginning of an epoch ends a token of this age.
func (w *world) replaces(b *begin, t *token, age time.Duration) bool {
	return b.elevated || !b.repeated || !t.login || age > w.policy.Grace
}

// issue records a token that an answer carries.
func (w *world) issue(s *session, text string, by *request) *token {
	if t := w.tokens[text]; t != nil {
		w.fail("%v: an answer carries an old token", by)
		return t
	}
	t := &token{text: text, session: s, n: len(s.tokens), epoch: s.epoch, half: len(s.tokens), issued: w.now(), acted: by.acted, owner: by.thief}
	s.tokens = append(s.tokens, t)
	s.current = t
	w.tokens[text] = t
	return t
}

// sight records that a request presented a token: when it arrived and when it
// was loaded.
func (w *world) sight(t *token, arrived, loaded store.Time, by *thief) {
	s := t.session
	if s.current != t || s.ended() || t.confirmed {
		return
	}
	if !t.sighted {
		t.sighted, t.firstSeen, t.firstDone = true, arrived, w.now().Add(w.weather.writeBehind)
		return
	}
	if arrived < t.firstSeen.Add(time.Minute) || loaded <= t.firstDone {
		return
	}
	// It counts once it is written, unless the current secret has changed by
	// then.
	w.at(w.now().Add(w.weather.writeBehind+1), func() {
		if s.current != t || s.ended() || t.confirmed {
			return
		}
		t.confirmed = true
		w.count("token: confirmed")
		for _, earlier := range s.tokens[:t.n] {
			if earlier.until == 0 {
				earlier.until = arrived.Add(w.policy.Grace)
			}
		}
		if by != nil && t.owner == by && s.confirmedBy == nil {
			s.confirmedBy, s.confirmedAt, s.confirmed = by, arrived, t
			by.confirmed = true
			w.count("thief: confirmed a successor")
		}
	})
}

// forgotten reports whether a token is older than the last four epochs, which
// the engine recognises.
func (t *token) forgotten() bool {
	epochs := 0
	for i := t.n + 1; i < len(t.session.tokens); i++ {
		if t.session.tokens[i].half != t.session.tokens[i-1].half {
			epochs++
		}
	}
	return epochs > 4
}

// bornConfirmed marks a token that needs no confirmation.
func (t *token) bornConfirmed() { t.sighted, t.confirmed = true, true }

// noticed records an event of the engine.
func (w *world) noticed(e *sojourn.Event) {
	if e.Lost > 0 {
		w.fail("events were lost")
	}
	name := "event: " + string(e.Kind)
	switch e.Kind {
	case sojourn.EventRefused:
		name += " " + string(e.Refusal)
		if e.Refusal == sojourn.RefusedUnproven {
			w.told = w.now()
		}
	case sojourn.EventEnded:
		name += " " + string(e.Reason)
	case sojourn.EventWriteFailed:
		w.log("write failed: %s", e.Detail)
	}
	w.count(name)
	if e.Kind == sojourn.EventEnded {
		s := w.sessions[e.Session]
		if s == nil {
			w.fail("an unknown session ended: %v", e.Session)
			return
		}
		w.ends(s, e.Reason)
	}
}

// ends checks that a session has a reason to end, and records the end.
func (w *world) ends(s *session, reason sojourn.Reason) {
	now := w.now()
	w.log("session %s ended: %s", s, reason)
	if s.ended() {
		w.fail("%s ended as %s, but it had already ended as %s", s, reason, s.reason)
		return
	}
	ok := false
	switch reason {
	case sojourn.ReasonTheft:
		ok = s.stolen
		if s.confirmedBy != nil {
			s.confirmedBy.reported = true
		}
	case sojourn.ReasonIdle:
		ok = now >= s.seen[0].Add(s.life.Idle-w.touchLag(s))
	case sojourn.ReasonAbsolute:
		ok = now >= s.absolute[0]
	default:
		ok = reason == w.reason || reason == sojourn.ReasonEvicted && w.max > 0
	}
	if !ok {
		w.fail("%s ended as %s without a reason", s, reason)
	}
	w.note(s, reason)
}

func (w *world) note(s *session, reason sojourn.Reason) { s.endedAt, s.reason = w.now(), reason }

// sweep ends expired sessions in the store, as the engine does every minute of
// real time.
func (w *world) sweep() {
	for done := false; !done; {
		var list []store.Ended
		var err error
		if list, done, err = w.store.Store.Sweep(bg, "default", w.now(), 1024); err != nil {
			w.fail("sweep: %v", err)
			return
		}
		for _, e := range list {
			if s := w.sessions[e.ID]; s != nil {
				w.count("swept: " + string(e.Reason))
				w.ends(s, e.Reason)
			}
		}
	}
	w.after(w.between(time.Minute, time.Hour), w.sweep)
}

func (s *session) String() string {
	if s == nil {
		return "no session"
	}
	return "s" + strconv.Itoa(s.n)
}

// String names a token by its session, epoch and index. None of them is secret.
func (t *token) String() string {
	if t == nil {
		return "-"
	}
	return t.session.String() + "/" + string(rune('0'+t.epoch%10)) + "." + string(rune('a'+t.n%26))
}
