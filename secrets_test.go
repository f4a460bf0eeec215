package sojourn

import (
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// judged returns a record with one secret of each kind.
func judged() (r *store.Record, secrets map[string]*secret) {
	make := func(half, rest byte) *secret {
		s := new(secret)
		for i := range s {
			s[i] = half
			if i >= halfSize {
				s[i] = rest
			}
		}
		return s
	}
	secrets = map[string]*secret{
		"current": make(1, 1), "good, open": make(1, 2), "good until 100": make(1, 3), "spent at 50": make(1, 4),
		"forgotten": make(1, 5), "earlier epoch": make(2, 1), "survivor until 100": make(2, 2), "garbage": make(3, 1),
	}
	now := secrets["current"]
	hash := func(name string) store.Hash { return secrets[name].hash() }
	return &store.Record{
		Secret: store.Secret{Hash: hash("current")},
		Good: []store.Secret{
			{Hash: hash("good, open")}, {Hash: hash("good until 100"), Until: 100}, {Hash: hash("survivor until 100"), Until: 100},
		},
		Spent:     []store.Spent{{Print: hash("spent at 50").Print(), Until: 50}},
		SpentTill: 20,
		EpochHash: now.halfHash(),
		Epochs:    []store.Fingerprint{secrets["earlier epoch"].halfHash().Print()},
	}, secrets
}

func TestJudge(t *testing.T) {
	r, secrets := judged()
	for _, test := range []struct {
		secret  string
		arrived store.Time
		want    verdict
	}{
		{"current", 0, current}, {"current", 1000, current},
		{"good, open", 1000, held},
		{"good until 100", 100, good}, {"good until 100", 101, stolen},
		{"survivor until 100", 100, good}, {"survivor until 100", 101, former},
		{"spent at 50", 50, good}, {"spent at 50", 51, stolen},
		{"forgotten", 20, stale}, {"forgotten", 21, stolen},
		{"earlier epoch", 0, former}, {"earlier epoch", 1000, former},
		{"garbage", 0, garbage}, {"garbage", 1000, garbage},
	} {
		if got := judge(r, secrets[test.secret], test.arrived); got != test.want {
			t.Errorf("%s at %d: %d, want %d", test.secret, test.arrived, got, test.want)
		}
	}
}

func TestKnewEnd(t *testing.T) {
	r, secrets := judged()
	r.Bury(store.ReasonRevoked, 60)
	for name, s := range secrets {
		want := name != "garbage"
		if got := knewEnd(r, s); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The record remembers a limited number of former secrets. A forgotten one is
// neither good nor theft.
func TestFormerSecretsAreBounded(t *testing.T) {
	r := new(store.Record)
	var s secret
	now := store.Time(1_000_000_000)
	newEpoch(r, &s, now, true, false, 10*time.Minute)
	var all []secret
	for i := range 1000 {
		s[31], s[30] = byte(i), byte(i>>8)
		s[29] = 1
		now = now.Add(repeatAfter)
		rotate(r, &s, store.Hash{}, now, 10*time.Minute)
		all = append(all, s)
		if i%3 == 0 {
			c, _ := sight(r, now, time.Minute)
			r.Confirm(c)
			c, _ = sight(r, now.Add(confirmAfter), time.Minute)
			if !r.Confirm(c) {
				t.Fatal("not confirmed")
			}
		}
		if len(r.Good) > maxUnconfirmed+2 || len(r.Spent) > maxSpent {
			t.Fatalf("%d good, %d spent", len(r.Good), len(r.Spent))
		}
	}
	if v := judge(r, &all[10], now); v != stolen {
		t.Errorf("a forgotten one now: %d", v)
	}
	if v := judge(r, &all[10], now.Add(-40*time.Hour)); v != stale {
		t.Errorf("a forgotten one that arrived long ago: %d", v)
	}
}
