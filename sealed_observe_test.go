package sojourn_test

import (
	"testing"

	"github.com/sojourn-go/sojourn"
)

// Sealing.Observe gets each opening: with which key, or why it is refused.
func TestSealedObserve(t *testing.T) {
	type opening struct {
		refusal sojourn.Refusal
		old     bool
	}
	var seen []opening
	observed := options(func(o *sojourn.Options) {
		o.Sealed.Observe = func(refusal sojourn.Refusal, old bool) { seen = append(seen, opening{refusal, old}) }
	})
	j := new(jar)
	w := newWorld(t, sealed(sojourn.SealVisitors, 1), observed)
	w.visit(j, setColor)
	for _, c := range []struct {
		keys []byte
		want opening
	}{
		{[]byte{1}, opening{"", false}},
		{[]byte{2, 1}, opening{"", true}},
		{[]byte{2}, opening{sojourn.RefusedNoKey, false}},
	} {
		seen = nil
		newWorld(t, sealed(sojourn.SealVisitors, c.keys...), observed).look(j)
		equal(t, "openings", seen, []opening{c.want})
	}
	seen = nil
	w.pass(100 * day)
	w.look(j)
	equal(t, "openings after the deadline", seen, []opening{{sojourn.RefusedEnded, false}})
	seen = nil
	w.look(new(jar))
	equal(t, "openings without a cookie", seen, nil)
}

// Info says where the session is.
func TestInfoSealed(t *testing.T) {
	w := newWorld(t, sealed(sojourn.SealVisitors, 1))
	j := new(jar)
	w.visit(j, setColor)
	s := w.begin(j)
	w.want("a visitor's session is sealed", s.Info().Sealed, true)
	if err := s.Login("ann"); err != nil {
		t.Fatal(err)
	}
	w.answer(j, s)
	s = w.begin(j)
	w.want("a login is sealed", s.Info().Sealed, false)
	w.want("a login's snapshot is sealed", s.Snapshot().Sealed, false)
}
