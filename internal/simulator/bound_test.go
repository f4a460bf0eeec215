package simulator

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/dbsc"
	"github.com/sojourn-go/sojourn/internal/dbsc/dbsctest"
	"github.com/sojourn-go/sojourn/store"
)

// Bound sessions: what browsers with Device Bound Session Credentials do, as
// Chromium does it, what thieves try, and what the engine must answer. The browsers
// sign with real keys, and call BoundHandler.

const (
	proofPrefix = "__Host-session-bound-"

	aheadBound   = 2 * time.Minute  // a proof that ends this soon is renewed beside the request
	refreshBound = 20 * time.Second // a browser waits so long for the answer to a refresh
	quota        = 6                // signatures within quotaTime
	quotaTime    = 9 * time.Minute
	maxRefused   = 4 // a browser gives up a session after so many challenges in a row

	keptProofs     = 4 // the engine keeps so many in any case
	maxProofs      = 16
	challengeExtra = 5 * time.Minute
)

// A credential is what a browser keeps of a bound session, besides its cookie.
type credential struct {
	id        sojourn.ID
	key       *dbsctest.Key
	challenge string // to sign next; a restart loses it

	busy    bool     // a refresh is under way
	waiting []func() // what continues after it
	failed  string   // why the last one brought no proof
	ahead   string   // the proof that was to be renewed ahead of time, in vain
}

// A proofCookie is a cookie with a proof in a browser.
type proofCookie struct {
	value     string
	created   store.Time // of the first cookie with its name
	expires   store.Time // by the browser's clock
	stretched bool       // the clock was set back since
}

func proofName(id sojourn.ID) string {
	text := id.String()
	return proofPrefix + text[len(text)-8:]
}

// A binding is what the simulator knows of a session's binding.
type binding struct {
	key        *dbsctest.Key // nil: the session is unbound
	by         *thief        // who registered the key; nil: the browser
	confirmed  store.Time    // the first refresh; 0: none yet
	generation int           // number of registrations and refreshes
	proofs     []proof       // those that the engine knows, oldest first
	forgotten  []proof
}

type proof struct {
	value string
	until store.Time // requests that arrive later need another one
}

// A challenge is one that an answer carried.
type challenge struct {
	id         sojourn.ID
	generation int
	at         store.Time
	fresh      bool // it was good then
}

// bind makes this a world with bound sessions. A request may be under way as long as
// the grace, less the time that the answer with its proof took.
func (w *world) bind() {
	w.bound = &sojourn.Binding{ProofLife: pick(w, 5*time.Minute, 10*time.Minute, 10*time.Minute, time.Hour), Grace: time.Minute}
	if w.weather.upload > 0 {
		w.policy.Grace = min(w.policy.Grace, 20*time.Minute)
		w.bound.Grace = w.policy.Grace + time.Minute
	}
}

func (w *world) needsProof(s *session, arrived store.Time) bool {
	return s.binding.confirmed != 0 && arrived > s.binding.confirmed.Add(w.bound.Grace)
}

// lacksProof reports whether a request must be refused by a session, if its secret
// is good, because no proof comes with it.
func (r *request) lacksProof(s *session) bool {
	return r.w.needsProof(s, r.arrived) && !r.hasOneOf(s.binding.proofs)
}

func (r *request) hasOneOf(list []proof) bool {
	return slices.ContainsFunc(list, func(p proof) bool { return r.arrived <= p.until && slices.Contains(r.proofs, p.value) })
}

// goodProofs returns proofs for a request that arrives now.
func (s *session) goodProofs() (list []string) {
	for _, p := range s.binding.proofs {
		list = append(list, p.value)
	}
	return list
}

// judgeProof checks that the session was good for the request.
func (r *request) judgeProof(s *session) {
	w := r.w
	if w.bound == nil || r.token != r.presented {
		return
	}
	if r.lacksProof(s) {
		w.fail("%v: no good proof, but %s is bound since %v", r, s, s.binding.confirmed.Time())
		return
	}
	if t := r.thief; t != nil && s.binding.confirmed != 0 && s.binding.by == nil {
		end := max(s.binding.confirmed.Add(w.bound.Grace), t.stole.Add(w.bound.ProofLife+w.bound.Grace))
		if r.arrived > end {
			w.fail("%v: the thief is alive after a proof's life and the grace", r)
		}
		w.count("bound: a thief has some minutes")
	}
}

// judgeUnproven finds the reason why a request had no good proof.
func (r *request) judgeUnproven(s *session) {
	w := r.w
	if !r.safe() {
		r.late = store.TimeOf(time.Now().AddDate(100, 0, 0))
	}
	// Sessions of the same minute may share an event.
	if !r.auditing && w.now().Sub(w.told) > time.Minute {
		w.fail("%v: refused as unproven, and no event tells so", r)
	}
	switch {
	case !r.lacksProof(s):
		w.fail("%v: refused as unproven, but it needs no proof, or has a good one", r)
	case r.auditing:
	case r.thief != nil:
		w.count("thief: unproven")
	case s.binding.by != nil:
		r.signedOut(r.presented, "a thief registered first")
	case r.loaded > r.arrived && r.hasOneOf(s.binding.forgotten):
		w.count("unproven in passing: asked late, and the proof was forgotten")
	case r.excuse == "":
		w.fail("%v: an honest browser is unproven", r)
	case strings.HasPrefix(r.excuse, "key"):
		r.signedOut(r.presented, r.excuse)
	default:
		w.count("unproven in passing: " + r.excuse)
	}
}

// issued records the challenges of an answer. An offer to register is for the
// session offered. A page's challenge may be used up already.
func (w *world) issued(h http.Header, offered sojourn.ID, fresh bool) {
	text, id := parseChallenge(h)
	for text, id := range map[string]sojourn.ID{text: id, parseOffer(h): offered} {
		if s := w.sessions[id]; s != nil && text != "" {
			w.challenges[text] = &challenge{id, s.binding.generation, w.now(), fresh}
		}
	}
}

// parseOffer returns the challenge of an offer to register.
func parseOffer(h http.Header) string {
	_, after, _ := strings.Cut(h.Get(dbsc.HeaderRegistration), `challenge="`)
	text, _, _ := strings.Cut(after, `"`)
	return text
}

// parseChallenge returns the challenge of an answer, and its session.
func parseChallenge(h http.Header) (text string, id sojourn.ID) {
	quoted, rest, _ := strings.Cut(h.Get(dbsc.HeaderChallenge), ";")
	name, _ := strings.CutPrefix(rest, "id=")
	id, _ = sojourn.ParseID(strings.Trim(name, `"`))
	return strings.Trim(quoted, `"`), id
}

// post sends a browser's or a thief's request to BoundHandler.
func (w *world) post(node *sojourn.Engine, what string, client sojourn.Client, j jar, id sojourn.ID, jwt string) *httptest.ResponseRecorder {
	q := httptest.NewRequest(http.MethodPost, "https://example.com/session/bound/"+what, nil)
	q.RemoteAddr, q.Header = client.IP.String()+":1", http.Header{"User-Agent": {client.UserAgent}, "Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"no-cors"}}
	if j.session != "" {
		q.AddCookie(&http.Cookie{Name: "__Host-session", Value: j.session})
	}
	if !id.IsZero() {
		q.Header.Set(dbsc.HeaderSessionID, id.String())
	}
	if jwt != "" {
		q.Header.Set(dbsc.HeaderResponse, jwt)
	}
	if !w.racing {
		w.committing = node
	}
	answer := httptest.NewRecorder()
	node.BoundHandler().ServeHTTP(answer, q)
	return answer
}

// register sends a registration, and checks the answer.
func (w *world) register(node *sojourn.Engine, client sojourn.Client, j jar, key *dbsctest.Key, text string, by *thief) *httptest.ResponseRecorder {
	jwt := ""
	if key != nil {
		jwt = key.Registration(text)
	}
	answer := w.post(node, "register", client, j, sojourn.ID{}, jwt)
	w.log("a registration with %v: %d", w.tokens[j.session], answer.Code)
	if answer.Code == http.StatusOK {
		t, c := w.tokens[j.session], w.challenges[text]
		switch {
		case t == nil || t.session.ended() || !w.mayAuthorise(t):
			w.fail("the registration of %v was accepted", t)
			return answer
		case t.session.binding.confirmed != 0:
			w.fail("a second registration of %s was accepted", t.session)
			return answer
		case c == nil || c.id != t.session.id || c.generation != t.session.binding.generation || w.now().Sub(c.at) > w.bound.ProofLife+challengeExtra:
			w.fail("a registration of %s with the challenge %+v was accepted", t.session, c)
			return answer
		}
		b := &t.session.binding
		b.key, b.by, b.generation = key, by, b.generation+1
		w.count("bound: registered")
	}
	w.issued(answer.Header(), sojourn.ID{}, true)
	w.settle(node)
	return answer
}

// refresh sends a refresh, and checks the answer.
func (w *world) refresh(node *sojourn.Engine, client sojourn.Client, j jar, id sojourn.ID, key *dbsctest.Key, text string) *httptest.ResponseRecorder {
	jwt := ""
	if text != "" {
		jwt = key.Refresh(text)
	}
	answer := w.post(node, "refresh", client, j, id, jwt)
	s, c := w.sessions[id], w.challenges[text]
	w.log("a refresh of %s: %d", s, answer.Code)
	b := &s.binding
	fresh := c != nil && c.id == id && c.generation == b.generation && w.now().Sub(c.at) <= w.bound.ProofLife+challengeExtra
	switch live, sure := w.lives(s); {
	case answer.Code == http.StatusOK && (!live || key != b.key || !fresh):
		w.fail("a refresh of %s was accepted: live %v, key %v, challenge %+v", s, live, key == b.key, c)
		return answer
	case answer.Code != http.StatusOK && live && sure && key == b.key && fresh && c.fresh:
		w.fail("a refresh of %s was refused with %d", s, answer.Code)
		return answer
	case answer.Code == http.StatusOK:
		w.count("bound: refreshed")
		if b.confirmed == 0 {
			b.confirmed = w.now()
			w.count("bound: confirmed")
		}
		b.generation++
		for len(b.proofs) >= keptProofs && (b.proofs[0].until < w.now() || len(b.proofs) == maxProofs) {
			b.forgotten, b.proofs = append(b.forgotten, b.proofs[0]), b.proofs[1:]
		}
		_, value := proofOf(answer)
		b.proofs = append(b.proofs, proof{value, w.now().Add(w.bound.ProofLife + w.bound.Grace)})
	}
	w.issued(answer.Header(), sojourn.ID{}, true)
	w.settle(node)
	return answer
}

// proofOf returns the cookie of an answer to a refresh.
func proofOf(answer *httptest.ResponseRecorder) (name, value string) {
	return parseCookie(answer.Header().Get("Set-Cookie"))
}

// clock is the browser's.
func (b *browser) clock() store.Time { return b.w.now().Add(b.skew) }

// setClock sets the browser's clock. Cookies then end too early, or too late.
func (b *browser) setClock() {
	by := pick(b.w, 24*time.Hour, 10*time.Minute, -time.Hour, -10*time.Minute)
	b.skew += by
	if by > 0 {
		b.w.count("browser: clock set ahead")
		return
	}
	b.w.count("browser: clock set back")
	stretch := func(proofs map[string]proofCookie) {
		for name, c := range proofs {
			c.stretched = true
			proofs[name] = c
		}
	}
	stretch(b.proofs)
	for _, was := range b.disk {
		stretch(was.proofs)
	}
}

// proofsSent returns the proofs that the browser sends now, and why there is none
// that is good for its session.
func (b *browser) proofsSent() (list []string, excuse string) {
	for _, name := range slices.SortedFunc(maps.Keys(b.proofs), func(x, y string) int { return cmp.Compare(b.proofs[x].created, b.proofs[y].created) }) {
		if c := b.proofs[name]; b.clock() < c.expires {
			list = append(list, c.value)
		}
	}
	t := b.w.tokens[b.jar.session]
	if t == nil {
		return list, ""
	}
	id := t.session.id
	c, known := b.proofs[proofName(id)], b.credential(id)
	switch {
	case b.clock() < c.expires && c.stretched:
		excuse = "the clock was set back"
	case b.clock() < c.expires:
	case known != nil:
		excuse = known.failed
	case b.lost[id]:
		excuse = "key lost to a crash within 30 s"
	}
	return list, excuse
}

func (b *browser) credential(id sojourn.ID) *credential {
	for _, c := range b.keys {
		if c.id == id {
			return c
		}
	}
	return nil
}

func (b *browser) drop(c *credential) {
	b.keys = slices.DeleteFunc(slices.Clone(b.keys), func(o *credential) bool { return o == c })
	b.save()
}

// hangUp ends what is under way.
func (b *browser) hangUp() {
	for _, c := range b.keys {
		c.busy, c.waiting = false, nil
	}
}

// loseKeys leaves the browser with the keys that were on disk at a crash.
func (b *browser) loseKeys(kept []*credential) {
	for _, c := range b.keys {
		if !slices.ContainsFunc(kept, func(k *credential) bool { return k.key == c.key }) {
			b.lost[c.id] = true
			b.w.count("browser: crashed, lost a key")
		}
	}
	b.keys = nil
	for _, c := range kept {
		b.keys = append(b.keys, &credential{id: c.id, key: c.key})
	}
}

// heed does what an answer asks of a browser with bound sessions.
func (b *browser) heed(r *request) {
	for _, name := range r.answer.proofs {
		if c := b.proofs[name]; b.clock() < c.expires && !slices.Contains(r.proofs, c.value) {
			for _, known := range b.keys {
				if proofName(known.id) == name {
					known.failed = "a late answer deleted a newer proof"
				}
			}
		}
		delete(b.proofs, name)
		b.save()
	}
	if !b.binds || r.headers == nil {
		return
	}
	if text, id := parseChallenge(r.headers); text != "" {
		if c := b.credential(id); c != nil {
			c.challenge = text
		}
	}
	if text := parseOffer(r.headers); text != "" {
		b.register(text)
	}
}

// register makes a key for the session of the browser's cookie. It tries once.
func (b *browser) register(text string) {
	w, conn, j, key := b.w, b.conn, b.jar, dbsctest.NewKey()
	w.after(w.way(), func() {
		answer := w.register(w.someNode(), b.client, j, key, text, nil)
		if w.chance(w.weather.loss) {
			w.count("bound: answer to a registration lost")
			return
		}
		w.after(w.answerTime(), func() {
			switch {
			case b.conn != conn:
				w.count("bound: answer to a registration lost")
				return
			case answer.Code != http.StatusOK:
				w.count("bound: registration refused with " + strconv.Itoa(answer.Code))
				return
			}
			var in struct {
				Session sojourn.ID `json:"session_identifier"`
			}
			if err := json.Unmarshal(answer.Body.Bytes(), &in); err != nil {
				w.fail("the answer to a registration: %v", err)
				return
			}
			if c := b.credential(in.Session); c != nil {
				c.busy, c.waiting = false, nil
				b.drop(c)
			}
			b.keys = append(slices.Clone(b.keys), &credential{id: in.Session, key: key})
			delete(b.lost, in.Session)
			b.save()
		})
	})
}

// answerTime returns how long the answer to a registration or a refresh takes.
func (w *world) answerTime() time.Duration {
	if w.chance(w.weather.slow) {
		return w.between(0, refreshBound)
	}
	return w.between(5*time.Millisecond, 200*time.Millisecond)
}

// prove calls send when the browser has proofs for all its bound sessions, or can't
// get them. One that ends soon it renews beside the request. Others may have ended
// while the request waited, so it looks at all of them again after each refresh.
func (b *browser) prove(send func()) { b.proveBut(nil, send) }

// proveBut doesn't wait again for the proofs that the request has waited for.
func (b *browser) proveBut(tried []*credential, send func()) {
	w := b.w
	for _, c := range b.keys {
		p := b.proofs[proofName(c.id)]
		left := p.expires.Sub(b.clock())
		switch {
		case slices.Contains(tried, c):
		case left <= 0:
			w.count("bound: request deferred")
			b.refresh(c, func() { b.proveBut(append(slices.Clone(tried), c), send) })
			return
		case left < aheadBound && !c.busy && c.ahead != p.value:
			w.count("bound: refreshed ahead of time")
			b.refresh(c, func() {
				if c.failed != "" {
					c.ahead = p.value
				}
			})
		}
	}
	send()
}

// refresh renews a proof, and then calls done, whatever came of it. All requests
// wait for one refresh.
func (b *browser) refresh(c *credential, done func()) {
	c.waiting = append(c.waiting, done)
	if !c.busy {
		c.busy = true
		b.sendRefresh(c, 1)
	}
}

func (b *browser) sendRefresh(c *credential, try int) {
	w, conn, text := b.w, b.conn, c.challenge
	over := func(failed string) {
		if b.conn != conn || !c.busy {
			return
		}
		list := c.waiting
		c.busy, c.waiting, c.failed = false, nil, failed
		for _, f := range list {
			f()
		}
	}
	if text != "" {
		b.signed = slices.DeleteFunc(b.signed, func(at store.Time) bool { return at < w.now().Add(-quotaTime) })
		if len(b.signed) == quota {
			over("the browser's quota of signatures is used up")
			return
		}
		b.signed = append(b.signed, w.now())
	}
	j := b.jar
	if w.chance(0.1) {
		j = jar{} // before a page that another site links to
	}
	w.after(w.way(), func() {
		node := w.someNode()
		answer := w.refresh(node, b.client, j, c.id, c.key, text)
		if w.chance(0.02) { // sent twice, by a proxy
			w.refresh(node, b.client, j, c.id, c.key, text)
		}
		if w.chance(w.weather.loss) {
			w.count("bound: answer to a refresh lost")
			w.after(w.between(0, refreshBound), func() { over("the answer to a refresh was lost") })
			return
		}
		w.after(w.answerTime(), func() {
			if b.conn != conn || !c.busy {
				w.count("bound: answer to a refresh lost")
				return
			}
			if text, id := parseChallenge(answer.Header()); id == c.id {
				c.challenge = text
			}
			s := w.sessions[c.id]
			switch {
			case answer.Code == http.StatusOK:
				name, value := proofOf(answer)
				if name != proofName(c.id) {
					w.fail("the answer to a refresh sets %s", name)
				}
				created := w.now()
				if was, ok := b.proofs[name]; ok && b.clock() < was.expires {
					created = was.created
				}
				b.proofs[name] = proofCookie{value: value, created: created, expires: b.clock().Add(w.bound.ProofLife)}
				b.save()
				over("")
			case answer.Code == http.StatusForbidden && try < maxRefused:
				b.sendRefresh(c, try+1)
			default:
				w.count("bound: given up after " + strconv.Itoa(answer.Code))
				if live, sure := w.lives(s); live && sure && s.binding.key == c.key {
					w.fail("browser %d gives up %s, which is live and bound to its key, after %d", b.n, s, answer.Code)
				}
				b.drop(c)
				over("")
			}
		})
	})
}
