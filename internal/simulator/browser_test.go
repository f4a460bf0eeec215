package simulator

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// A browser has one user, and tabs that share a cookie jar.
type browser struct {
	w       *world
	n       int
	client  sojourn.Client
	subject string

	jar    jar
	by     jarCause
	disk   []jarAt // earlier states of the jar that a crash may restore
	conn   int     // counts how often all connections broke; older requests are lost
	period int     // counts the periods of activity; tabs of earlier ones are closed
	tabs   int     // open tabs
	down   bool    // crashed, asleep, or nobody uses it

	keys   []*credential          // of bound sessions
	proofs map[string]proofCookie // by name
	lost   map[sojourn.ID]bool    // sessions whose key a crash has lost
	signed []store.Time           // when it signed lately
	skew   time.Duration          // its clock is ahead by this
	binds  bool                   // it knows Device Bound Session Credentials

	deaf    bool            // ignores Set-Cookie after the login
	shows   string          // the subject on the last page seen
	grant   *grant          // the last committed login or elevation, unless a logout followed
	grants  []*grant        // those whose answers came since the last crash
	out     bool            // the last of those answers was a logout's
	latest  int             // the latest commit whose answer came
	latestS int             // the same, for answers with a session cookie
	waits   store.Time      // until when the user waits for the answer to a login
	told    map[*token]bool // tokens whose refusal was counted as a sign-out
}

type jarAt struct {
	at     store.Time
	jar    jar
	by     jarCause
	proofs map[string]proofCookie
	keys   []*credential
}

// A jarCause is the answer that put the session cookie into a jar or removed
// it.
type jarCause struct {
	at     store.Time
	kind   kind // the kind of the request
	commit int  // the number of its commit
}

func (w *world) addBrowser(subject string) {
	n := len(w.browsers)
	b := &browser{w: w, n: n, subject: subject, client: address(n, "browser"), deaf: w.chance(0.1), down: true, told: make(map[*token]bool),
		proofs: make(map[string]proofCookie), lost: make(map[sojourn.ID]bool)}
	b.binds = w.bound != nil && !b.deaf && w.chance(0.8)
	b.save()
	w.browsers = append(w.browsers, b)
	w.after(w.about(time.Hour), b.begin)
	if n == 0 {
		w.after(w.between(time.Minute, time.Hour), w.sweep)
	}
}

// begin opens a few tabs for a while.
func (b *browser) begin() {
	w := b.w
	if !b.down {
		return
	}
	b.down = false
	b.period++
	if w.chance(w.weather.clock) {
		b.setClock()
	}
	b.tabs = 1 + w.rng.IntN(3)
	for range b.tabs {
		b.tab(b.period, 1+int(w.about(8)))
	}
	if w.chance(w.weather.suspend) {
		period := b.period
		w.after(w.about(10*time.Minute), func() { b.suspend(period) })
	}
}

// tab views a number of pages, one after another.
func (b *browser) tab(period, views int) {
	w := b.w
	var view func()
	view = func() {
		if b.period != period {
			return
		}
		if views == 0 {
			if b.tabs--; b.tabs == 0 {
				b.rest()
			}
			return
		}
		views--
		b.view()
		think := w.about(40 * time.Second)
		if w.chance(0.15) {
			think = w.about(8 * time.Minute)
		}
		w.after(time.Second+think, view)
	}
	w.after(w.between(0, 20*time.Second), view)
}

// rest leaves the browser unused for a while, or overnight.
func (b *browser) rest() {
	w := b.w
	b.down = true
	pause := w.about(time.Hour)
	if hour := w.now().Add(pause).Time().Hour(); hour >= 22 || hour < 6 {
		pause += 8 * time.Hour
		w.count("browser: idle night")
	}
	w.after(pause, b.begin)
}

// suspend closes the lid: connections break, and the jar is kept.
func (b *browser) suspend(period int) {
	w := b.w
	if b.down || b.period != period {
		return
	}
	w.count("browser: suspended")
	w.log("browser %d sleeps", b.n)
	b.stop()
	w.after(w.between(time.Minute, time.Hour)+w.about(time.Hour), b.begin)
}

func (b *browser) stop() {
	b.conn++
	b.period++
	b.down = true
	b.hangUp()
}

// crash ends the browser. It restarts with the jar that was on disk, which is
// up to 30 s old.
func (b *browser) crash() {
	w := b.w
	if b.down {
		return
	}
	b.stop()
	was := b.onDisk()
	w.count("browser: crashed")
	if was.jar.session != b.jar.session {
		w.count("browser: crashed, older jar")
	}
	for _, g := range b.grants {
		g.crashed = g.crashed || was.by.at < g.delivered && w.now().Sub(g.delivered) <= jarBound
	}
	b.grants = nil
	w.log("browser %d crashes, and comes back with %v instead of %v", b.n, w.tokens[was.jar.session], w.tokens[b.jar.session])
	b.jar, b.by, b.proofs = was.jar, was.by, maps.Clone(was.proofs)
	b.loseKeys(b.onDisk().keys) // which are written apart
	b.disk = nil
	b.save()
	b.shows = ""
	pause := w.between(2*time.Second, time.Minute)
	if w.chance(0.5) {
		pause = w.between(time.Minute, time.Hour)
	}
	w.after(pause, b.begin)
}

// onDisk returns a state that may be on disk.
func (b *browser) onDisk() jarAt {
	from := b.w.now().Add(-b.w.between(0, jarBound))
	was := b.disk[0]
	for _, at := range b.disk {
		if at.at <= from {
			was = at
		}
	}
	return was
}

// view loads a page with a few parallel requests. What the user does depends on
// the page seen before.
func (b *browser) view() {
	w := b.w
	in := b.shows != ""
	switch {
	case !in && w.now() >= b.waits && w.chance(0.5):
		b.signIn()
		return
	case b.deaf && in:
	case in && w.chance(0.03):
		b.send(login, 0) // the user enters the password again
		w.count("user: authenticates again")
	case in && w.chance(0.03):
		b.send(elevate, 0)
		if w.chance(0.2) {
			b.send(elevate, w.between(0, 10*time.Second))
			w.count("user: elevates in two tabs")
		}
	case w.chance(0.02): // a visitor's secret too
		b.send(rotate, 0)
		if w.chance(0.5) {
			b.send(rotate, w.between(0, 10*time.Second))
			w.count("user: rotates in two tabs")
		}
	case in && w.chance(0.02):
		b.send(logout, 0)
		w.count("user: logs out")
		if w.chance(0.3) {
			w.after(w.between(0, 5*time.Second), b.signIn)
		}
	case in && w.chance(0.01):
		b.subject = "user-" + string('0'+byte(w.rng.IntN(2)))
		b.signIn()
		w.count("user: another logs in")
	case in && w.chance(0.02):
		b.endElsewhere()
	}
	for range 1 + w.rng.IntN(3) {
		k := pick(w, read, read, read, write)
		b.send(k, w.between(0, 300*time.Millisecond))
	}
	if w.chance(0.1) {
		b.send(poll, w.between(0, 30*time.Second))
	}
	if w.chance(w.weather.upload) {
		b.upload()
	}
}

// signIn sends the login form, sometimes from two tabs before the first answer
// arrives.
func (b *browser) signIn() {
	w := b.w
	if b.down {
		return
	}
	b.send(login, 0)
	if b.deaf {
		return
	}
	if w.chance(0.25) {
		w.count("user: logs in in two tabs")
		b.send(login, w.between(0, 5*time.Second))
		if w.chance(0.3) {
			b.send(elevate, w.between(0, 30*time.Second))
		}
	}
	if w.chance(0.1) {
		b.send(logout, w.between(0, 10*time.Second))
	}
}

// upload sends a request that a buffering proxy delivers late.
func (b *browser) upload() {
	w, conn := b.w, b.conn
	b.prove(func() {
		if b.conn != conn || b.down {
			return
		}
		r := b.request(write)
		r.upload = true
		w.count("request: upload")
		w.after(w.between(0, w.policy.Grace), r.arrive)
	})
}

// endElsewhere ends the session of this browser from outside: from the user's
// other device, or by an operator.
func (b *browser) endElsewhere() {
	w := b.w
	t := w.tokens[b.jar.session]
	if t == nil || t.session.ended() {
		return
	}
	if live, sure := w.lives(t.session); !live || !sure {
		return
	}
	w.reason = sojourn.ReasonRevoked
	node := w.someNode()
	var err error
	switch w.rng.IntN(3) {
	case 0:
		w.count("elsewhere: one session ended")
		err = node.EndOwn(bg, t.session.subject, t.session.id)
	case 1:
		w.count("elsewhere: one session ended by an operator")
		err = node.End(bg, t.session.id)
	default:
		w.count("elsewhere: all sessions ended")
		_, err = node.EndSubject(bg, t.session.subject, sojourn.ID{})
		w.barriers = append(w.barriers, barrier{t.session.subject, w.now()})
	}
	if err != nil && !errors.Is(err, sojourn.ErrNotFound) {
		w.fail("end a session elsewhere: %v", err)
	}
	w.settle(node)
	if w.failure == "" && !t.session.ended() {
		w.fail("%s is still live after it was ended elsewhere", t.session)
	}
	w.reason = ""
}

// A barrier refuses logins of a subject that arrived before a time.
type barrier struct {
	subject string
	at      store.Time
}

// barred reports whether a barrier may refuse a request's login.
func (w *world) barred(r *request) bool {
	return slices.ContainsFunc(w.barriers, func(b barrier) bool { return b.subject == r.subject && b.at >= r.arrived })
}

func (b *browser) request(k kind) *request {
	w := b.w
	w.requests++
	r := &request{
		w: w, n: w.requests, browser: b, node: w.someNode(), client: b.client, kind: k, subject: b.subject,
		jar: b.jar, by: b.by, conn: b.conn, sent: w.now(), belief: b.grant, eager: w.chance(0.5),
	}
	r.proofs, r.excuse = b.proofsSent()
	r.remember = k == login && w.chance(0.4)
	r.writes = k == write || k == read && w.chance(0.05) || k != read && k != poll && w.chance(0.2)
	switch {
	case w.chance(0.5):
	case w.chance(0.9):
		r.handling = w.between(time.Millisecond, 3*time.Second)
	case w.chance(0.1):
		r.handling = w.about(3 * time.Minute)
		w.count("request: handled slowly")
	}
	if k == login {
		b.waits = w.now().Add(answerBound)
	}
	return r
}

// send sends a request after a delay, with the jar as it is then.
func (b *browser) send(k kind, delay time.Duration) {
	w := b.w
	conn := b.conn
	w.after(delay, func() {
		if b.conn != conn || b.down {
			return
		}
		b.prove(func() {
			if b.conn != conn || b.down {
				return
			}
			r := b.request(k)
			w.after(w.way(), r.arrive)
		})
	})
}

// way returns how long a request takes to arrive.
func (w *world) way() time.Duration {
	if w.chance(0.02) {
		w.count("request: slow network")
		return w.between(0, 10*time.Second)
	}
	return w.between(5*time.Millisecond, 150*time.Millisecond)
}

// deliver gives the answer to the browser.
func (r *request) deliver() {
	w, b := r.w, r.browser
	if r.conn != b.conn {
		r.lose("the browser was gone")
		return
	}
	if r.kind == login {
		b.waits = 0
	}
	if r.commit < b.latest {
		w.count("answer: reordered")
	}
	b.latest = max(b.latest, r.commit)
	if r.kind != poll {
		b.shows = r.shows
	}
	change := r.answer
	defer b.heed(r)
	if change.session == nil && change.visitor == nil {
		return
	}
	if change.session != nil {
		if r.commit < b.latestS {
			w.count("answer: session cookies reordered")
		}
		b.latestS = max(b.latestS, r.commit)
	}
	if t := w.tokens[b.jar.session]; b.deaf && t != nil {
		if live, _ := w.lives(t.session); live {
			w.count("answer: Set-Cookie ignored")
			return
		}
	}
	if change.session != nil {
		b.jar.session = *change.session
		b.by = jarCause{at: w.now(), kind: r.kind, commit: r.commit}
	}
	if change.visitor != nil {
		b.jar.visitor = *change.visitor
	}
	w.log("%v: answer comes, the jar is %v, %v", r, w.tokens[b.jar.session], w.tokens[b.jar.visitor])
	if r.grant != nil {
		r.grant.delivered = w.now()
		b.grants = append(b.grants, r.grant)
	}
	b.save()
	if change.session != nil && *change.session != "" && w.chance(w.weather.crash) {
		conn := b.conn
		w.after(w.between(0, 90*time.Second), func() {
			if b.conn == conn {
				b.crash()
			}
		})
	}
}

// save records the jar, and forgets states that no crash can restore.
func (b *browser) save() {
	now := b.w.now()
	b.disk = append(b.disk, jarAt{now, b.jar, b.by, maps.Clone(b.proofs), slices.Clone(b.keys)})
	for len(b.disk) > 1 && b.disk[1].at <= now.Add(-jarBound) {
		b.disk = b.disk[1:]
	}
}

// judgeRefusal finds the reason why a session cookie was refused.
func (r *request) judgeRefusal(t *token) {
	w, s := r.w, t.session
	if r.thief != nil || s.stolen {
		w.count("stolen session: refused")
		return
	}
	grants := []*grant{r.belief}
	if r.browser != nil {
		grants = append(grants, r.browser.grant)
	}
	if n := len(s.begun); n > 0 && !s.ended() {
		grants = append(grants, s.begun[n-1].grant)
	}
	switch {
	case !s.ended() && w.mustAuthorise(t) && t.epoch != s.epoch && t.until != 0 && r.arrived > t.until:
		r.signedOut(t, "parallel logins answered in reverse, the later one confirmed in between")
	case !s.ended() && w.mustAuthorise(t) && !w.surelyLives(s):
		w.fail("%v: refused near a deadline, but the session has not ended", r)
	case !s.ended() && w.mustAuthorise(t) && t.forgotten() && r.loaded > r.arrived:
		w.count("refused in passing: asked late, after more than four logins")
	case !s.ended() && w.mustAuthorise(t):
		w.fail("%v: a secret that must be good was refused", r)
	case r.explain(t, grants):
	case s.ended():
		r.signedOut(t, "ended, "+string(s.reason))
	case r.browser != nil && r.browser.out:
		r.signedOut(t, "the user logged out with a secret that was already replaced")
	default:
		w.fail("%v: signed out with %v instead of %v without a reason", r, t, grants)
	}
}

// judgeAbsence finds the reason why a browser has no session cookie although
// its user logged in.
func (r *request) judgeAbsence() {
	g := r.belief
	if g == nil || !r.w.surelyLives(g.session) || g.session.stolen || r.browser.grant != g {
		return
	}
	if !r.explain(nil, []*grant{g}) {
		r.w.fail("%v: signed out without %v, without a reason", r, g)
	}
}

func (r *request) explain(t *token, grants []*grant) bool {
	for _, g := range grants {
		if g == nil || g.session.ended() || g.token == t {
			continue
		}
		if t != nil && t.session.ended() && t.session.endedAt > g.issued {
			continue // parallel logins without a session created two, and this one ended by itself
		}
		passing, why := r.loss(g, t)
		switch {
		case why == "":
			continue
		case passing:
			r.w.count("refused in passing: " + why)
		case t == nil:
			r.signedOut(g.token, why)
		default:
			r.signedOut(t, why)
		}
		return true
	}
	return false
}

// loss returns the reason why a browser has t, or nothing, instead of the
// secret that a login or elevation gave it. It returns "" if the rules allow no
// such loss.
func (r *request) loss(g *grant, t *token) (passing bool, why string) {
	what := "a " + g.kind.String()
	if g.kind == elevate {
		what = "an " + g.kind.String()
	}
	later := "answered after a later " + g.kind.String()
	switch {
	case g.lost && g.gone:
		return false, "answer to " + what + " lost, since the browser crashed or slept"
	case g.lost:
		return false, "answer to " + what + " lost"
	case g.delivered == 0 || g.delivered >= r.sent:
		return true, "under way during " + what
	case g.crashed:
		return false, "answer to " + what + " lost to a crash within 30 s"
	case r.by.at < g.delivered || r.by.commit > g.commit:
		return false, ""
	case t == nil && r.by.kind == logout:
		return false, "logout " + later
	case t == nil:
		return false, ""
	case t.rotated:
		return false, "rotation " + later
	case t.session != g.session:
		return false, "login to another session, ended, " + later
	case t.login:
		return false, "login " + later + " that replaced it"
	default:
		return false, "elevation " + later
	}
}

// signedOut counts a sign-out, once for each token that was refused or is
// missing.
func (r *request) signedOut(t *token, why string) {
	if r.browser == nil || !r.browser.told[t] {
		r.w.count("signed out: " + why)
	}
	if r.browser != nil {
		r.browser.told[t] = true
	}
}

func (w *world) surelyLives(s *session) bool {
	live, sure := w.lives(s)
	return live && sure
}
