package sojourn_test

import (
	"encoding/base64"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// confirm presents the jar's secret twice, a minute apart.
func (w *world) confirm(j *jar) {
	w.Helper()
	w.look(j)
	w.pass(time.Minute)
	w.look(j)
	w.flush()
}

// rotated returns two jars of one session: one with a secret that was rotated
// and confirmed, and the jar from before that.
func (w *world) rotated() (now, before *jar) {
	w.Helper()
	j := w.loggedIn("ann")
	old := *j
	w.pass(15 * time.Minute)
	w.look(j)
	if *j == old {
		w.Fatal("the secret wasn't rotated")
	}
	w.confirm(j)
	return j, &old
}

func TestRotationIsPeriodic(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	id := w.id(j)
	seen := map[string]bool{}
	for range 24 * 60 {
		seen[j.session] = true
		w.want("subject", w.look(j), "ann")
		w.pass(time.Minute)
	}
	w.want("ID", w.id(j), id)
	// Each rotation is due 15 min after the one before, and needs a request.
	if n := len(seen); n != 96 {
		t.Errorf("%d secrets in a day, want 96", n)
	}
	equal(t, "endings", w.endings(), nil)
	if rec := w.record(id); len(rec.Good)+len(rec.Spent) > 8 {
		t.Errorf("%d good and %d spent secrets are kept", len(rec.Good), len(rec.Spent))
	}
}

func TestRotationOfWhom(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.Bearer = true }))
	visitor := new(jar)
	w.visit(visitor, func(s *sojourn.Session) error { return color.Set(s, "red") })
	s := w.begin(new(jar))
	if err := errors.Join(s.Login("ann", sojourn.AsBearer()), s.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	token := s.Token()
	w.want("cookies of a bearer", len(s.SetCookies()), 0)
	before := *visitor
	w.pass(time.Hour)
	w.look(visitor)
	w.want("an anonymous session's cookie", *visitor, before)
	api := w.Begin(ctx, sojourn.Request{Bearer: token})
	w.want("bearer", api.Subject(), "ann")
	w.want("commit", api.Commit(ctx), nil)
	w.want("new token", api.Token(), "")

	never := newWorld(t, options(func(o *sojourn.Options) { o.Policy.RotateEvery = -1 }))
	j := never.loggedIn("ann")
	before = *j
	never.pass(time.Hour)
	never.look(j)
	never.want("cookie without rotation", *j, before)
}

// I12: a former secret that is presented after the grace reveals a theft,
// whether the thief or the victim presents it.
func TestI12TheftShows(t *testing.T) {
	w := newWorld(t)
	now, old := w.rotated()
	w.want("within the grace", w.look(old), "ann")
	w.pass(10*time.Minute + time.Second)
	s := w.begin(old)
	w.want("the former secret", s.Subject(), "")
	w.want("reason", s.EndReason(), sojourn.ReasonTheft)
	w.want("the other one", w.look(now), "")
	equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonTheft})
	w.want("subject of the event", w.happened(sojourn.EventEnded)[0].Subject, "ann")
}

func TestI12ThiefWhoOnlyLooks(t *testing.T) {
	// The thief rotates first, and the victim's secret stays good. The engine
	// can't tell this from a lost answer until one of the two secrets is
	// confirmed.
	w := newWorld(t)
	victim := w.loggedIn("ann")
	thief := *victim
	w.pass(15 * time.Minute)
	w.look(&thief)
	w.want("the victim", w.look(victim), "ann")
	w.confirm(&thief)
	w.want("the victim, in the grace", w.look(victim), "ann")
}

// I12: an ID, or an ID with half of a wrong secret, ends nothing.
func TestI12NobodyEndsASessionByGuessing(t *testing.T) {
	w := newWorld(t)
	j, _ := w.rotated()
	w.pass(time.Hour)
	w.look(j)
	raw, _ := base64.RawURLEncoding.DecodeString(j.session)
	for i := 16; i < 32; i++ {
		raw[i] ^= 0x55
	}
	w.want("forged", w.look(&jar{session: base64.RawURLEncoding.EncodeToString(raw)}), "")
	w.want("ann", w.look(j), "ann")
	equal(t, "endings", w.endings(), nil)
}

func TestI12HonestBrowsers(t *testing.T) {
	t.Run("the answer was lost", func(t *testing.T) {
		w := newWorld(t)
		j := w.loggedIn("ann")
		for range 20 { // a client that ignores Set-Cookie
			w.pass(30 * time.Minute)
			keep := *j
			w.want("ann", w.look(&keep), "ann")
		}
		equal(t, "endings", w.endings(), nil)
	})
	t.Run("a tab is slower than another", func(t *testing.T) {
		w := newWorld(t)
		j := w.loggedIn("ann")
		w.pass(15 * time.Minute)
		a, b := w.begin(j), w.begin(j)
		a.Subject()
		b.Subject()
		one, two := *j, *j
		w.answer(&one, a)
		w.answer(&two, b)
		if one == two || two != *j {
			t.Error("of two parallel requests, exactly one must rotate")
		}
		w.want("one", w.look(&one), "ann")
		w.want("two", w.look(&two), "ann")
	})
	t.Run("a crash brings back a jar of 30 s ago", func(t *testing.T) {
		w := newWorld(t)
		j := w.loggedIn("ann")
		w.pass(15 * time.Minute)
		onDisk := *j
		w.look(j)
		w.pass(10 * time.Second)
		w.look(j) // first sight of the successor
		w.pass(20 * time.Second)
		w.look(j) // not confirmed yet
		*j = onDisk
		w.pass(2 * time.Hour)
		w.want("ann", w.look(j), "ann")
		w.confirm(j)
		w.pass(time.Hour)
		w.want("ann", w.look(j), "ann")
		equal(t, "endings", w.endings(), nil)
	})
	t.Run("an upload is judged as of its arrival", func(t *testing.T) {
		w := newWorld(t)
		j := w.loggedIn("ann")
		w.pass(15 * time.Minute)
		old, arrived := *j, w.time()
		w.look(j)
		for range 20 { // the grace of the old secret ends long before the handler reads the session
			w.confirm(j)
			w.pass(2 * time.Minute)
		}
		s := w.beginAt(&old, arrived)
		w.want("the upload", s.Subject(), "ann")
		w.want("ann", w.look(j), "ann")
		equal(t, "endings", w.endings(), nil)
		w.want("one that arrives now", w.look(&old), "")
		equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonTheft})
	})
}

func TestRotationKeepsFourSuccessors(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	w.pass(15 * time.Minute)
	var successors []jar
	for range 6 {
		k := *j // every answer is lost, except for the test's copy
		w.look(&k)
		successors = append(successors, k)
		w.pass(5 * time.Minute)
	}
	rec := w.record(w.id(j))
	w.want("kept beside the current one", len(rec.Good), 4) // the confirmed one and three successors
	w.want("with the secret that the browser has", w.look(j), "ann")
	w.want("the newest", w.look(&successors[5]), "ann")
	w.want("the oldest but two, the fourth from the newest", w.look(&successors[3]), "ann")
}

func TestRotationWhenAsked(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	first := *j
	for range 50 { // frequent rotations replace nobody's secret
		k := *j
		w.visit(&k, (*sojourn.Session).Rotate)
		*j = k
	}
	if *j == first {
		t.Error("the secret was never rotated")
	}
	w.want("the first secret", w.look(&first), "ann")
}

// A visitor's secret rotates when the application asks for it. The old one
// stays good as a user's does, and is theft in the same case.
func TestRotationOfAVisitor(t *testing.T) {
	w := newWorld(t)
	j := new(jar)
	w.visit(j, (*sojourn.Session).Rotate) // without a session it does nothing
	w.want("the cookies without a session", *j, jar{})
	w.visit(j, func(s *sojourn.Session) error { return count.Set(s, 1) })
	first, id := *j, w.id(j)
	w.visit(j, (*sojourn.Session).Rotate)
	w.want("a new secret", *j != first && j.session == "", true)
	w.want("the session", w.id(j), id)
	w.want("events", len(w.happened(sojourn.EventRotated)), 1)

	lost := first // a browser whose answer was lost goes on with the old one
	for range 3 {
		w.pass(time.Hour)
		w.visit(&lost, func(s *sojourn.Session) error { return count.Update(s, increment) })
	}
	w.want("it was not rotated by itself", lost, first)

	w.look(j)
	w.pass(time.Minute)
	w.look(j) // confirms
	late := w.beginAt(&first, w.time())
	w.pass(time.Hour)
	w.want("a late request", w.id(j), late.ID())
	w.want("the values", w.valuesOf(j), `{"count":4}`)
	w.look(&first) // a thief
	w.want("the session after the theft", w.id(j), sojourn.ID{})
	equal(t, "ends", w.endings(), []sojourn.Reason{sojourn.ReasonTheft})
}

// A visitor's requests in parallel with a rotation all land, and of parallel
// rotations one takes effect.
func TestI5RotationOfAVisitorBesideUpdates(t *testing.T) {
	w := newWorld(t)
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error { return s.Start() })
	const n = 32
	nodes := []*world{w, w.node()}
	var ready, wg sync.WaitGroup
	ready.Add(n)
	issued := make([]jar, n)
	for i := range n {
		wg.Go(func() {
			s := nodes[i%2].begin(j)
			err := count.Update(s, increment)
			if i%4 < 2 {
				err = errors.Join(err, s.Rotate())
			}
			ready.Done()
			ready.Wait()
			if err = errors.Join(err, s.Commit(ctx)); err != nil {
				t.Error(err)
			}
			w.take(&issued[i], s)
		})
	}
	wg.Wait()
	rotated := 0
	for i := range issued {
		if issued[i] != (jar{}) {
			rotated++
			*j = issued[i]
		}
	}
	w.want("rotations", rotated, 1)
	w.want("the values", w.valuesOf(j), `{"count":32}`)
}

// A rotation that fails doesn't fail the response: the old secret stays good.
func TestRotationThatFailsIsNoError(t *testing.T) {
	w := newWorld(t, watched)
	fails := always(store.ErrUncertain, "Update")
	j := w.loggedIn("ann")
	for _, after := range []bool{false, true} {
		w.pass(15 * time.Minute)
		if after {
			w.calls.fail(nil, fails)
		} else {
			w.calls.fail(fails, nil)
		}
		s := w.begin(j)
		w.want("subject", s.Subject(), "ann")
		w.want("commit", s.Commit(ctx), nil)
		w.want("cookies", len(s.SetCookies()), 0)
		w.calls.fail(nil, nil)
	}
	w.want("events", len(w.happened(sojourn.EventWriteFailed)), 2)
	w.pass(15 * time.Minute)
	w.want("ann", w.look(j), "ann")
}

// A first sight or a confirmation names its secret. The store drops it if that
// secret was replaced meanwhile.
func TestConfirmationOfAReplacedSecret(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	w.pass(15 * time.Minute)
	w.look(j)
	w.look(j)
	id := w.id(j)
	replaced := w.record(id).Secret.Hash
	w.visit(j, func(s *sojourn.Session) error { return s.Elevate(2) })
	w.pass(15 * time.Minute)
	w.look(j)
	before := w.record(id)
	if err := w.store.Confirm(ctx, "default", id, replaced, store.Confirmation{FirstSeenAt: 1, ConfirmedAt: 2, Until: 3}); err != nil {
		t.Fatal(err)
	}
	if after := w.record(id); !after.Equal(&before) {
		t.Error("the change is stored")
	}
}
