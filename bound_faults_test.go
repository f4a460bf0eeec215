package sojourn_test

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/dbsc/dbsctest"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// Whichever call of the store fails, and whether before or after it had an effect,
// the answer is a 503, and the browser gets on later.
func TestBoundOutages(t *testing.T) {
	for _, late := range []bool{false, true} {
		for k := 0; ; k++ {
			w := newBoundWeb(t)
			b := w.bound("alice")
			young := w.keeper("bob")
			w.flush()
			w.calls.reset()
			failed := false
			fail := func(_ string, n int) error {
				if n != k {
					return nil
				}
				failed = true
				return errors.New("the network is down")
			}
			if late {
				w.calls.fail(nil, fail)
			} else {
				w.calls.fail(fail, nil)
			}
			a := b.refreshWith(b.key.Refresh(b.challenge))
			r := young.register()
			w.calls.fail(nil, nil)
			for _, a := range []*reply{a, r} {
				if a.StatusCode != 200 && a.StatusCode != 503 {
					t.Fatalf("call %d, late %v: %s %s", k, late, a.Request.URL.Path, a.Status)
				}
				checkBoundAnswer(t, a)
			}
			if failed && a.StatusCode == 200 && r.StatusCode == 200 {
				t.Fatalf("call %d, late %v: the failure vanished", k, late)
			}
			b.refresh().wantStatus(t, 200)
			w.want("who", b.who(), "alice")
			w.want("an unbound session", young.who(), "bob")
			if r.StatusCode != 200 {
				w.pass(61 * time.Second)
				young.heed(young.post("/elevate")) // which offers again
				young.register().wantStatus(t, 200)
			}
			young.refresh().wantStatus(t, 200)
			w.want("who", young.who(), "bob")
			if !failed {
				if k < 4 {
					t.Fatalf("only %d calls", k)
				}
				break
			}
		}
	}
}

// Answers get lost. The browser tries again with what it has, and is never
// refused.
func TestBoundLostAnswers(t *testing.T) {
	w := newBoundWeb(t)
	b := w.keeper("alice")
	lost := func(do func(*keeper)) { // does it, and forgets the answer
		f := *b
		f.surfer = b.fork()
		do(&f)
	}
	lost(func(f *keeper) { f.register().wantStatus(t, 200) })
	w.pass(2 * time.Minute)
	w.want("after a lost registration", b.who(), "alice")
	b.key = dbsctest.NewKey() // of the next registration
	b.heed(b.post("/elevate"))
	b.register().wantStatus(t, 200)
	lost(func(f *keeper) { f.refresh().wantStatus(t, 200) })
	b.refresh().wantStatus(t, 200)
	w.want("who", b.who(), "alice")
	for range 30 {
		w.pass(9 * time.Minute)
		w.want("with the last proof", b.who(), "alice")
		lost(func(f *keeper) { f.refresh().wantStatus(t, 200) })
		w.want("after a lost refresh", b.who(), "alice")
		lost(func(f *keeper) { f.refresh().wantStatus(t, 200) })
		b.refresh().wantStatus(t, 200)
		w.want("who", b.who(), "alice")
	}
}

// Three nodes, each with its own cache. Any of them answers any step, and of
// parallel refreshes by one challenge one counts.
func TestBoundOnThreeNodes(t *testing.T) {
	beneath := memstore.New()
	t.Cleanup(func() { beneath.Close() })
	nodes := make([]*web, 3)
	for i := range nodes {
		nodes[i] = newBoundWeb(t, onStore(func(store.Store) store.Store { return nearcache.New(sharedStore{beneath}, nearcache.Options{}) }))
	}
	pass := func(d time.Duration) {
		for _, n := range nodes {
			n.pass(d)
		}
	}
	b := nodes[0].keeper("alice")
	at := func(i int) *keeper { // the same browser, which reaches another node
		f := *b
		f.surfer = &surfer{nodes[i%3], b.cookies, b.headers}
		return &f
	}
	take := func(f *keeper) {
		b.id, b.proof, b.like, b.challenge, b.offered = f.id, f.proof, f.like, f.challenge, f.offered
	}
	f := at(1)
	f.register().wantStatus(t, 200)
	take(f)
	f = at(2)
	f.refresh().wantStatus(t, 200)
	take(f)
	for i := range 3 {
		nodes[0].want("on each node", at(i).who(), "alice")
	}
	pass(2 * time.Minute)
	for i := range 3 {
		nodes[0].want("without a proof", (&surfer{nodes[i], b.without().cookies, nil}).who(), "nobody")
		nodes[0].want("with it", at(i).who(), "alice")
	}
	for round := range 20 {
		pass(9 * time.Minute)
		f := at(round)
		f.refreshWith("").wantStatus(t, 403)
		take(f)
		jwt := b.key.Refresh(b.challenge)
		var wg sync.WaitGroup
		answers := make([]*keeper, 6)
		statuses := make([]int, len(answers))
		for i := range answers {
			answers[i] = at(i)
			answers[i].surfer = answers[i].fork()
			wg.Go(func() { statuses[i] = answers[i].refreshWith(jwt).StatusCode })
		}
		wg.Wait()
		slices.Sort(statuses)
		if want := []int{200, 403, 403, 403, 403, 403}; !slices.Equal(statuses, want) {
			t.Fatalf("parallel refreshes: %v", statuses)
		}
		for i, f := range answers { // each of them gets on
			f.refresh().wantStatus(t, 200)
			nodes[0].want("who", f.who(), "alice")
			if i == len(answers)-1 {
				maps.Copy(b.cookies, f.cookies)
				take(f)
			}
		}
		for i := range 3 {
			nodes[0].want("on each node", at(i).who(), "alice")
		}
	}
}

// A sharedStore is closed by its owner.
type sharedStore struct{ *memstore.Store }

func (sharedStore) Close() error { return nil }
