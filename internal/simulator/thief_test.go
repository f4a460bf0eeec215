package simulator

import (
	"encoding/base64"
	"net/http"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/dbsc/dbsctest"
	"github.com/sojourn-go/sojourn/store"
)

// A thief copies the session cookie of a browser and uses it from elsewhere.
type thief struct {
	w      *world
	n      int
	jar    jar
	proofs []string
	key    *dbsctest.Key // it has registered; nil: none
	client sojourn.Client

	uses      int           // the number of uses
	every     time.Duration // the mean time between uses
	confirmed bool
	reported  bool
	started   store.Time
	stole     store.Time // when it copied the cookies
}

func (w *world) addThieves() {
	for n := range 1 + w.rng.IntN(2) {
		t := &thief{w: w, n: n, client: address(1000+n, "thief")}
		w.at(start.Add(w.between(0, w.end.Sub(start))), t.steal)
	}
}

// steal waits for a victim that is logged in.
func (t *thief) steal() {
	w := t.w
	b := w.browsers[w.rng.IntN(len(w.browsers))]
	stolen := w.tokens[b.jar.session]
	if stolen == nil && b.jar.visitor != "" && w.chance(0.1) {
		w.count("thief: came before the login")
	} else if stolen == nil || !w.surelyLives(stolen.session) || !w.mayAuthorise(stolen) {
		w.after(w.about(10*time.Minute), t.steal)
		return
	}
	t.jar, t.stole = b.jar, w.now()
	if t.proofs, _ = b.proofsSent(); len(t.proofs) > 0 {
		w.count("thief: copied a proof")
	}
	t.uses, t.every = 1, time.Second
	w.count("thief: came")
	if w.chance(0.8) {
		w.count("thief: stays")
		t.uses = 5 + w.rng.IntN(60)
		t.every = pick(w, 20*time.Second, 90*time.Second, 4*time.Minute, 12*time.Minute)
	}
	w.log("thief %d steals %v from browser %d, for %d uses every %v", t.n, stolen, b.n, t.uses, t.every)
	w.after(pick(w, 0, w.about(time.Minute), w.about(20*time.Minute), w.about(2*time.Hour)), t.use)
}

func (t *thief) use() {
	w := t.w
	if t.uses == 0 {
		return
	}
	t.uses--
	if w.bound != nil && w.chance(0.2) {
		t.meddle()
	}
	if t.started == 0 {
		t.started = w.now()
	}
	w.requests++
	r := &request{
		w: w, n: w.requests, thief: t, node: w.someNode(), client: t.client, kind: pick(w, read, read, write), jar: t.jar, proofs: t.proofs, sent: w.now(),
	}
	if w.chance(0.2) {
		r.handling = w.about(time.Minute)
	}
	r.writes = r.kind == write
	w.after(w.between(5*time.Millisecond, 100*time.Millisecond), r.arrive)
	w.after(w.about(t.every), t.use)
}

// receive returns what happens when the answer reaches the thief. A refused
// thief gives up.
func (t *thief) receive(r *request) func() {
	w := t.w
	return func() {
		if r.answer.session != nil {
			t.jar.session = *r.answer.session
		}
		if r.shows == "" && (w.bound == nil || w.chance(0.2)) {
			t.uses = 0
		}
	}
}

// meddle tries to register the thief's key, or to get a proof with it.
func (t *thief) meddle() {
	w, stolen := t.w, t.w.tokens[t.jar.session]
	if stolen == nil {
		return
	}
	node, key := w.someNode(), t.key
	if key == nil {
		key = dbsctest.NewKey()
	}
	if t.key == nil && w.chance(0.3) {
		if !w.needsProof(stolen.session, w.now()) {
			stolen.session.stolen = true // it presents the secret, which may be a former one
		}
		text, _ := parseChallenge(w.register(node, t.client, t.jar, nil, "", t).Header())
		if text == "" || w.register(node, t.client, t.jar, key, text, t).Code != http.StatusOK {
			w.count("thief: registration refused")
			return
		}
		w.count("thief: registered first")
		t.key = key
	}
	text := ""
	for range 2 {
		answer := w.refresh(node, t.client, t.jar, stolen.session.id, key, text)
		if answer.Code == http.StatusOK {
			_, value := proofOf(answer)
			t.proofs = []string{value}
			return
		}
		text, _ = parseChallenge(answer.Header())
	}
	w.count("thief: refresh refused")
}

// addVandal adds somebody who knows session IDs and tries to end sessions with
// them.
func (w *world) addVandal() {
	client := address(2000, "vandal")
	var try func()
	try = func() {
		w.vandalise(client)
		w.after(w.about(20*time.Minute), try)
	}
	w.after(w.about(time.Hour), try)
}

func (w *world) vandalise(client sojourn.Client) {
	if len(w.order) == 0 {
		return
	}
	s := w.order[w.rng.IntN(len(w.order))]
	raw := append([]byte(nil), s.id[:]...)
	for range 32 {
		raw = append(raw, byte(w.rng.Uint32()))
	}
	garbage := base64.RawURLEncoding.EncodeToString(raw)
	if w.chance(0.2) {
		garbage = garbage[:w.rng.IntN(len(garbage))]
	}
	w.count("vandal: tried")
	live := w.surelyLives(s)
	node := w.someNode()
	q := sojourn.Request{Session: list(garbage), Visitor: list(garbage), Arrived: w.now().Time(), Client: client}
	visit := node.Begin(bg, q)
	if err := visit.Load(bg); err != nil {
		w.fail("vandal: load: %v", err)
		return
	}
	if id := visit.ID(); !id.IsZero() {
		w.fail("I2: a vandal got the session %v", id)
	}
	if w.chance(0.3) {
		_ = visit.Logout()
	}
	if err := visit.Commit(bg); err != nil {
		w.fail("vandal: commit: %v", err)
	}
	w.settle(node)
	if live && s.ended() {
		w.fail("I12: a vandal ended %s by its ID", s)
	}
}
