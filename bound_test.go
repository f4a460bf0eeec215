package sojourn_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// From Grace after the first refresh on, a copy of the session's cookie is nobody's.
// The user goes on.
func TestBoundCookieAloneIsRefused(t *testing.T) {
	w := newWorld(t, bound)
	d := w.device("ann")
	d.register()
	w.pass(time.Hour)
	w.want("before the first refresh", w.look(d.stolen()), "ann")
	w.want("Info.Bound before it", w.begin(d.jar).Info().Bound, false)
	d.refresh()
	w.want("Info.Bound", w.begin(d.jar).Info().Bound, true)
	w.want("with the first proof", w.look(d.jar), "ann")
	w.flush()
	w.want("a request that was under way", w.look(d.stolen()), "ann")
	w.pass(time.Minute)
	w.want("the last moment of the grace", w.look(d.stolen()), "ann")
	w.pass(time.Millisecond)
	s := w.begin(d.stolen())
	w.want("the thief's subject", s.Subject(), "")
	w.want("the thief's refusal", s.RefusalReason(), sojourn.RefusedUnproven)
	w.want("the thief's session", s.ID(), sojourn.ID{})
	w.want("an unproven session is not over", s.EndReason(), sojourn.Reason(""))
	w.want("a challenge", strings.HasSuffix(s.BoundHeaders().Get("Secure-Session-Challenge"), `";id="`+d.session.String()+`"`), true)
	w.want("an offer", s.BoundHeaders().Get("Secure-Session-Registration"), "")
	w.want("the user", w.look(d.jar), "ann")
}

// A request is judged as of its arrival, however late its handler asks.
func TestBoundRequestsUnderWay(t *testing.T) {
	w := newWorld(t, bound)
	d := w.device("ann")
	d.register()
	before := w.time()
	w.pass(time.Second)
	d.refresh()
	w.pass(10 * time.Minute)
	w.want("without a proof, from before the first refresh", w.beginAt(d.stolen(), before).Subject(), "ann")
	w.want("with an old proof", w.beginAt(d.copied(), before).Subject(), "ann")
	w.pass(2 * time.Minute)
	late := d.copied()
	for range 3 {
		w.want("with a dead proof, when that was good", w.beginAt(late, before.Add(2*time.Minute)).Subject(), "ann")
		d.refresh()
	}
	d.jar = late
	w.want("with a dead proof", w.look(d.copied()), "")
}

// A thief of both cookies has a proof's life and the grace. The user goes on, and is
// told of nothing.
func TestBoundTheft(t *testing.T) {
	w := newWorld(t, bound)
	d := w.bound("ann") // 2 minutes ago
	thief := d.copied()
	w.pass(8 * time.Minute)
	d.forgets() // its Max-Age is over
	d.refresh()
	w.pass(time.Minute)
	w.want("the thief at the last moment", w.look(thief), "ann")
	w.pass(time.Millisecond)
	w.want("the thief", w.look(thief), "")
	w.want("the user", w.look(d.jar), "ann")
	w.want("the session lives", len(w.endings()), 0)
	refused := w.happened(sojourn.EventRefused)
	if len(refused) != 1 || refused[0].Refusal != sojourn.RefusedUnproven || refused[0].Session != d.session || refused[0].Subject != "ann" {
		t.Errorf("events: %+v", refused)
	}
}

// An unproven session is an event once a minute. It is no guess, and the token is
// not remembered as dead.
func TestBoundUnprovenIsNoGuess(t *testing.T) {
	w := newWorld(t, bound, options(func(o *sojourn.Options) { o.MaxBadTokens = 5 }))
	d, other := w.bound("ann"), w.bound("bob")
	for range 50 {
		w.want("the thief", w.look(d.stolen()), "")
		w.want("the other thief", w.look(other.stolen()), "")
	}
	w.want("the user", w.look(d.jar), "ann")
	w.want("events", len(w.happened(sojourn.EventRefused)), 2)
	w.want("throttled", len(w.happened(sojourn.EventThrottled)), 0)
	w.want("another session of that address", w.look(w.loggedIn("eve")), "eve")
	w.pass(time.Minute)
	w.look(d.stolen())
	w.want("events a minute later", len(w.happened(sojourn.EventRefused)), 3)
}

// Until the first refresh, the session is good without a proof, since the answer to
// the registration may be lost, and it may be registered again. Only the key of the
// last registration counts.
func TestBoundLostRegistration(t *testing.T) {
	w := newWorld(t, bound)
	d := w.device("ann")
	lost := *d
	lost.jar, lost.key = d.copied(), "a lost key"
	lost.register()
	w.want("a registration's answer sets no proof", lost.jar.proof, "")
	w.pass(time.Hour)
	d.offered = ""
	d.visit(func(s *sojourn.Session) error { return s.Load(ctx) })
	if d.offered == "" {
		t.Fatal("the next rotation offers no registration")
	}
	d.register()
	for range 2 {
		if err := lost.tryRefresh(w); err == nil {
			t.Error("the lost key refreshes")
		}
	}
	w.pass(time.Hour)
	d.confirmed(false)
	d.refresh()
	w.pass(2 * time.Minute)
	d.confirmed(true)
	w.want("the user", w.look(d.jar), "ann")
}

// A second registration of a confirmed session is refused with an event, and changes
// nothing, with a proof or without.
func TestBoundSecondRegistration(t *testing.T) {
	w := newWorld(t, bound)
	d := w.bound("ann")
	before := d.record()
	for _, thief := range []*jar{d.stolen(), d.copied(), d.copied()} {
		s := w.begin(thief)
		if err := sojourn.Register(s, d.challenge, []byte("the thief's")); !errors.Is(err, sojourn.ErrRebound) || sojourn.StatusCode(err) != 401 {
			t.Errorf("got %v", err)
		}
		w.answer(thief, s)
	}
	if after := d.record(); !after.Equal(&before) {
		t.Error("the record has changed")
	}
	var bounds []sojourn.Event
	for _, e := range w.happened(sojourn.EventRefused) {
		if e.Refusal == sojourn.RefusedBound {
			bounds = append(bounds, e)
		}
	}
	if len(bounds) != 1 || bounds[0].Session != d.session || bounds[0].Subject != "ann" {
		t.Errorf("events: %+v", bounds)
	}
	d.refresh()
	w.want("the user", w.look(d.jar), "ann")
}

// A successor doesn't shorten a proof's life, since its answer may be lost. At most
// sixteen are good at a time.
func TestBoundProofsOfLostAnswers(t *testing.T) {
	w := newWorld(t, bound)
	d := w.bound("ann")
	old := []*jar{d.copied()}
	for range 16 {
		d.refresh()
		old = append(old, d.copied())
	}
	for i, j := range old {
		want := "ann"
		if i == 0 {
			want = ""
		}
		w.want("proof "+strconv.Itoa(i), w.look(j), want)
	}
	w.want("the size of the binding", len(d.record().Binding) <= store.MaxBinding, true)
}

// A challenge is good once, for one session, for a while, and only if the session's
// key has signed it. The answer to a bad one carries a fresh one.
func TestBoundChallenges(t *testing.T) {
	w := newWorld(t, bound)
	d, other := w.bound("ann"), w.bound("bob")
	refresh := func(what, challenge string, want error) {
		t.Helper()
		before := d.record()
		d.challenge = challenge
		if err := d.tryRefresh(w); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if after := d.record(); want != nil && !after.Equal(&before) {
			t.Errorf("%s: the record has changed", what)
		}
		if d.challenge == challenge && !errors.Is(want, sojourn.ErrSignature) || d.challenge == "" {
			t.Errorf("%s: no fresh challenge", what)
		}
	}
	good := d.challenge
	refresh("another session's", other.challenge, sojourn.ErrChallenge)
	refresh("none", "", sojourn.ErrChallenge)
	refresh("not canonical", good[:len(good)-1]+"\n"+good[len(good)-1:], sojourn.ErrChallenge)
	for i := range len(good) {
		c := byte('A')
		if good[i] == c {
			c = 'B'
		}
		refresh("changed", good[:i]+string(c)+good[i+1:], sojourn.ErrChallenge)
	}
	d.key, good = "another", d.challenge
	refresh("another key's", good, sojourn.ErrSignature)
	d.key = "the key of ann's browser"
	w.pass(15 * time.Minute)
	good = d.challenge
	refresh("a used one's predecessor", good, nil)
	refresh("a used one", good, sojourn.ErrChallenge)
	good = d.challenge
	w.pass(15*time.Minute + time.Millisecond)
	refresh("an old one", good, sojourn.ErrChallenge)
	refresh("the fresh one", d.challenge, nil)
	w.want("the user", w.look(d.jar), "ann")

	if err := sojourn.Refresh(w.begin(other.jar), d.session, other.challenge, other.signs); !errors.Is(err, sojourn.ErrChallenge) {
		t.Errorf("another session's browser: %v", err)
	}
	if err := sojourn.Refresh(w.begin(other.jar), d.session, d.challenge, other.signs); !errors.Is(err, sojourn.ErrSignature) {
		t.Errorf("another session's key: %v", err)
	}
	plain := w.device("eve")
	if err := sojourn.Refresh(w.begin(plain.jar), plain.id(), plain.offered, plain.signs); !errors.Is(err, sojourn.ErrUnbound) {
		t.Errorf("an unbound session: %v", err)
	}
	if err := sojourn.Refresh(w.begin(new(jar)), d.session, d.challenge, d.signs); err != nil {
		t.Errorf("with the key, and without a cookie: %v", err)
	}
}

// Who knows the token, and may use the browser's key for a moment, can't make
// challenges of the future to sign in advance.
func TestBoundChallengesAreUnpredictable(t *testing.T) {
	w := newWorld(t, bound)
	d := w.device("ann")
	unbound := d.offered
	d.register()
	d.challenge = unbound
	if err := d.tryRefresh(w); !errors.Is(err, sojourn.ErrChallenge) {
		t.Errorf("the registration's challenge: %v", err)
	}
	rec := d.record()
	forged := sojourn.ForgeChallenge(&rec, rec.EpochHash[:])
	d.challenge = forged
	if err := d.tryRefresh(w); !errors.Is(err, sojourn.ErrChallenge) {
		t.Errorf("one made from the token: %v", err)
	}
}

// Of parallel refreshes with one challenge, one gets a proof. The others get a fresh
// challenge.
func TestBoundParallelRefreshes(t *testing.T) {
	w := newWorld(t, bound)
	d := w.bound("ann")
	var list [8]*device
	failed := make(chan error, len(list))
	for i := range list {
		mine := *d
		mine.jar = d.copied()
		list[i] = &mine
		go func() {
			s := w.begin(mine.jar)
			failed <- sojourn.Refresh(s, mine.session, mine.challenge, mine.signs)
		}()
	}
	won := 0
	for range list {
		switch err := <-failed; {
		case err == nil:
			won++
		case !errors.Is(err, sojourn.ErrChallenge):
			t.Error(err)
		}
	}
	w.want("winners", won, 1)
	w.want("the proof from before", w.look(d.jar), "ann")
}

// boundNodes returns three nodes on one store, each with a cache that learns nothing of
// what the others write. So a node's copy is as old as can be.
func boundNodes(t *testing.T) (list [3]*world, pass func(time.Duration)) {
	beneath := memstore.New()
	for i := range list {
		list[i] = newWorld(t, bound, onStore(func(store.Store) store.Store { return nearcache.New(beneath, nearcache.Options{}) }))
	}
	return list, func(d time.Duration) {
		for _, w := range list {
			w.pass(d)
		}
	}
}

// Any node answers: it checks the challenges and the proofs of the others, although
// its cache hasn't got them.
func TestBoundBehindStaleCaches(t *testing.T) {
	nodes, pass := boundNodes(t)
	a, b, c := nodes[0], nodes[1], nodes[2]
	d := a.device("ann")
	for _, w := range nodes {
		w.want("unbound, in the caches", w.look(d.jar), "ann")
	}
	if err := d.tryRegister(b); err != nil {
		t.Fatal(err)
	}
	if err := d.tryRefresh(c); err != nil {
		t.Fatal(err)
	}
	pass(2 * time.Minute) // a touch is due, so the caches don't decide
	for _, w := range nodes {
		w.want("the user", w.look(d.jar), "ann") // refreshes the copy in a cache, which is older than a touch
		w.want("the thief", w.look(d.stolen()), "")
	}
	for i := range 12 {
		from, to := nodes[i%3], nodes[(i+1)%3]
		if err := d.tryRefresh(from); err != nil {
			t.Fatal(err)
		}
		to.want("a proof of another node", to.look(d.jar), "ann")
		pass(8 * time.Minute)
	}
	a.want("theft", len(a.endings()), 0)
}

// The clocks of nodes may differ by the grace.
func TestBoundClocksDiffer(t *testing.T) {
	nodes, pass := boundNodes(t)
	slow, fast := nodes[0], nodes[1]
	fast.pass(time.Minute)
	d := slow.device("ann")
	if err := d.tryRegister(fast); err != nil {
		t.Fatal(err)
	}
	if err := d.tryRefresh(slow); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		for _, w := range nodes {
			w.want("the user", w.look(d.jar), "ann")
		}
		pass(10 * time.Minute) // the proof's whole life in the browser
		for _, w := range nodes {
			w.want("the user at the end", w.look(d.jar), "ann")
		}
		slow, fast = fast, slow
		if err := d.tryRefresh(slow); err != nil {
			t.Fatal(err)
		}
	}
}

// What binds a session is in the store, so a restart changes nothing.
func TestBoundSurvivesARestart(t *testing.T) {
	w := newWorld(t, bound)
	d := w.bound("ann")
	next := w.node(bound)
	next.want("the thief", next.look(d.stolen()), "")
	next.want("the user", next.look(d.jar), "ann")
	if err := d.tryRefresh(next); err != nil {
		t.Error(err)
	}
	off := w.node()
	off.want("where Bound is off", off.look(d.stolen()), "ann")
}

// A browser renews nothing as long as it has the proof's cookie. So the answer
// deletes one that the store has lost.
func TestBoundLostProofIsDeleted(t *testing.T) {
	w := newWorld(t, bound)
	d := w.bound("ann")
	was := d.record()
	d.forgets()
	for range 2 {
		d.refresh()
		lost := d.record()
		lost.Binding = was.Binding
		if _, err := w.store.Update(ctx, "default", &lost, store.UpdateOptions{Now: store.TimeOf(w.time())}); err != nil {
			t.Fatal(err)
		}
		w.want("with the lost proof", w.look(d.jar), "")
		w.want("the cookie", d.jar.proof, "")
	}
	d.refresh()
	w.want("after a refresh", w.look(d.jar), "ann")
}

// A cached record decides that a proof is good, but not that none is.
func TestBoundCachedRecords(t *testing.T) {
	beneath, strict := memstore.New(), 0
	w := newWorld(t, bound, onStore(func(store.Store) store.Store { return nearcache.New(beneath, nearcache.Options{}) }),
		onCalls(func(ctx context.Context, c driver.Call) driver.Result {
			if c.Op == driver.Get && c.Strict {
				strict++
			}
			return c.Do(ctx)
		}))
	d := w.bound("ann")
	w.look(d.jar)
	w.flush()
	strict = 0
	w.want("the user", w.look(d.jar), "ann")
	w.want("strict reads for a good proof", strict, 0)
	w.want("the thief", w.look(d.stolen()), "")
	w.want("strict reads for none", strict, 1)

	other := newWorld(t, bound, onStore(func(store.Store) store.Store { return beneath }))
	other.pass(2 * time.Minute)
	if err := d.tryRefresh(other); err != nil {
		t.Fatal(err)
	}
	w.want("with a proof that the cache doesn't know", w.look(d.jar), "ann")
}
