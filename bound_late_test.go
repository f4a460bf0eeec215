package sojourn_test

import (
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// A thief without a proof doesn't sign the user out with a secret that has been
// replaced since. With a proof, that is theft as ever.
func TestI12BoundTheftNeedsAProof(t *testing.T) {
	w := newWorld(t, bound)
	d := w.bound("ann")
	thief := d.copied()
	replaced := func() { // the secret is replaced, and its successor confirmed
		for _, wait := range []time.Duration{20 * time.Minute, time.Minute, 2 * time.Minute, 11 * time.Minute} {
			w.pass(wait)
			d.refresh()
			w.want("the user", w.look(d.jar), "ann")
			w.flush()
		}
	}
	replaced()
	w.want("the secret is another", thief.session != d.jar.session, true)
	w.want("the thief", w.look(thief), "")
	w.want("the user goes on", w.look(d.jar), "ann")
	if refused := w.happened(sojourn.EventRefused); len(refused) != 1 || refused[0].Refusal != sojourn.RefusedFormer {
		t.Errorf("events: %+v", refused)
	}
	thief = d.copied()
	replaced()
	thief.proof = d.jar.proof
	w.want("a thief with a proof", w.look(thief), "")
	w.want("the user is signed out", w.look(d.jar), "")
}

// While the answer to a registration may be under way, no other is offered: if it
// came late, it would replace a later key in the browser.
func TestI14BoundLateRegistration(t *testing.T) {
	w := newWorld(t, bound)
	d := w.device("ann")
	d.register()
	d.offered = ""
	d.login("ann")
	w.want("an offer at once", d.offered, "")
	w.pass(61 * time.Second)
	d.login("ann")
	w.want("an offer later", d.offered != "", true)
}

// With a long Grace, a proof is good all that time, though the browser has renewed
// it many times.
func TestBoundProofsOfALongGrace(t *testing.T) {
	w := newWorld(t, bound, options(func(o *sojourn.Options) {
		o.Bound = &sojourn.Binding{ProofLife: 5 * time.Minute, Grace: 30 * time.Minute}
	}))
	d := w.bound("ann")
	w.pass(30 * time.Minute)
	d.refresh()
	upload := d.copied()
	for range 11 {
		w.pass(3 * time.Minute)
		d.refresh()
	}
	w.pass(2 * time.Minute)
	w.want("an upload that took 35 minutes", w.look(upload), "ann")
	w.pass(time.Millisecond)
	w.want("one that took longer", w.look(upload), "")
}

// Where a bound session is required, the answer offers the registration again, since
// the login's offer may have failed. But not while an answer to it may be under way,
// and not to a session that is bound.
func TestBoundRequirementOffers(t *testing.T) {
	w := newWorld(t, bound)
	offers := func(what string, j *jar, q sojourn.Requirement, want bool) {
		t.Helper()
		s := w.begin(j)
		_ = q.Check(ctx, s)
		if err := s.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if got := s.BoundHeaders().Get("Secure-Session-Registration") != ""; got != want {
			t.Errorf("%s: offered %v, want %v", what, got, want)
		}
	}
	need := sojourn.Requirement{Bound: true}
	offers("nobody", new(jar), need, false)
	d := w.device("ann")
	offers("unbound, a login is required", d.jar, sojourn.Requirement{}, false)
	offers("a moment after the login's offer", d.jar, need, false)
	w.pass(time.Minute)
	offers("unbound", d.jar, need, true)
	offers("a moment later", d.jar, need, false)
	d.register()
	offers("just registered", d.jar, need, false)
	w.pass(2 * time.Minute)
	offers("never refreshed", d.jar, need, true)
	d.refresh()
	offers("bound", d.jar, need, false)
	offers("bound, without a proof", d.stolen(), need, false)
	w.pass(2 * time.Minute)
	offers("bound, without a proof, later", d.stolen(), need, false)
}

// A thief sends the session's token by every other way.
func TestBoundTokenElsewhere(t *testing.T) {
	w := newWorld(t, bound, options(func(o *sojourn.Options) { o.Bearer = true }))
	d := w.bound("ann")
	token := d.jar.session
	for name, r := range map[string]sojourn.Request{
		"bearer":         {Bearer: token},
		"visitor":        {Visitor: []string{token}},
		"token":          {Token: token},
		"twice":          {Session: []string{token, token}},
		"beside garbage": {Session: []string{"x", token}},
		"with key":       {Session: []string{token}, IdempotencyKey: "k"},
		"revision":       {Session: []string{token}, IfRevision: d.record().Revision},
	} {
		for _, safe := range []bool{true, false} {
			r.Arrived, r.Client, r.Safe = w.time(), home, safe
			s := w.Begin(ctx, r)
			s.Passive()
			if s.Subject() != "" || !s.ID().IsZero() || s.Done() != nil {
				t.Errorf("%s: %q, %v", name, s.Subject(), s.ID())
			}
			s.Active()
			if values := s.Snapshot(); values.Bound || values.Level != 0 {
				t.Errorf("%s: %+v", name, values)
			}
			s.Finish()
		}
	}
}

// Where Bound is off, a bound session is an ordinary one. It stays bound.
func TestBoundSwitchedOffAndOn(t *testing.T) {
	w := newWorld(t, bound)
	d := w.bound("ann")
	off := w.node()
	off.want("off", off.look(d.stolen()), "ann")
	j := d.stolen()
	s := off.begin(j)
	if err := s.Elevate(2); err != nil {
		t.Fatal(err)
	}
	off.answer(j, s)
	d.jar.session = j.session
	w.pass(time.Hour)
	w.want("on again", w.look(d.stolen()), "")
	d.refresh()
	w.want("refreshed", w.look(d.jar), "ann")
}

// The answer to an unproven request survives a demand to read again what is beside the
// unproven session.
func TestBoundStrictAfterCommit(t *testing.T) {
	w := newWorld(t, bound, func(w *world, _ *sojourn.Options) { w.store = nearcache.New(memstore.New(), nearcache.Options{}) })
	d := w.bound("ann")
	j := new(jar)
	w.visit(j, setColor)
	w.look(j)
	s := w.Begin(ctx, sojourn.Request{
		Session: []string{d.jar.session}, Visitor: []string{j.visitor}, Proofs: []string{"dead"}, Arrived: w.time(), Client: home, Safe: true,
	})
	s.Subject()
	if err := s.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	s.Strict()
	w.want("cookies", len(s.SetCookies()), 0)
}
