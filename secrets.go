package sojourn

import (
	"crypto/subtle"
	"slices"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// The rules of secrets, as functions of a record, a time and a policy. The
// simulator in internal/simulator runs browsers and thieves against them. Each
// rule has a mutant that the simulator notices.
const (
	// confirmAfter is how long after the first request with a secret another one
	// confirms it. Browsers write cookies to disk up to 30 s late, and a browser
	// that crashes before that comes back with an older secret.
	confirmAfter = 60 * time.Second

	// repeatAfter is the time between repeats of a rotation whose answer seems lost.
	repeatAfter = 5 * time.Minute

	// maxUnconfirmed is how many secrets that nobody has confirmed are kept.
	maxUnconfirmed = 4

	// maxRepeats is how many repeats of a creation get their own secret.
	maxRepeats = 16

	// spentLife is how long a former secret is remembered by its fingerprint, so
	// that a slow request can be judged as of its arrival.
	spentLife = time.Hour
	maxSpent  = 16

	// maxEpochs is how many earlier epochs are recognised, for the event.
	maxEpochs = 4
)

// A verdict says what a presented secret is to a session.
type verdict uint8

const (
	garbage verdict = iota // never a secret of the session: refused
	former                 // of an earlier epoch: refused
	stale                  // of this epoch, so old that nobody knows whether it was good at arrival: refused
	stolen                 // of this epoch, and not good when the request arrived: theft
	good                   // an earlier secret that was good when the request arrived
	held                   // a good one whose successors nobody has confirmed: the browser may have no other
	current                // the current secret
)

// judge says what the secret s is to the session r, for a request that arrived at
// the given time. The time of the call doesn't matter.
func judge(r *store.Record, s *secret, arrived store.Time) verdict {
	hash := s.hash()
	if same(hash[:], r.Secret.Hash[:]) {
		return current
	}
	for i := range r.Good {
		g := &r.Good[i]
		if same(hash[:], g.Hash[:]) && g.Until == 0 {
			return held
		}
		if same(hash[:], g.Hash[:]) && arrived <= g.Until {
			return good
		}
	}
	half := s.halfHash()
	ours := ourHalf(r, &half)
	known := ours || slices.Contains(r.Epochs, half.Print()) // also of a login before a repeated one
	for _, spent := range r.Spent {
		print := hash.Print()
		if known && same(print[:], spent.Print[:]) && arrived <= spent.Until {
			return good
		}
	}
	switch {
	case ours && arrived <= r.SpentTill:
		return stale
	case ours:
		return stolen
	case known:
		return former
	}
	return garbage
}

// ourHalf reports whether a secret with this half is, or was, one of r's epoch.
func ourHalf(r *store.Record, half *store.Hash) bool {
	return same(half[:], r.EpochHash[:]) || slices.Contains(r.Halves, half.Print())
}

func same(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// knewEnd reports whether s was ever good for the ended session r. Only then may
// its holder learn why the session ended.
func knewEnd(r *store.Record, s *secret) bool {
	half := s.halfHash()
	if ourHalf(r, &half) || slices.Contains(r.Epochs, half.Print()) {
		return true
	}
	print := s.hash().Print()
	return slices.ContainsFunc(r.Spent, func(spent store.Spent) bool { return spent.Print == print })
}

// sight returns what a request with the current secret, which arrived at the
// given time, adds to the record. due: it adds something.
func sight(r *store.Record, arrived store.Time, grace time.Duration) (c store.Confirmation, due bool) {
	switch {
	case r.Secret.ConfirmedAt != 0:
		return c, false
	case r.Secret.FirstSeenAt == 0:
		c.FirstSeenAt = arrived
	case arrived >= r.Secret.FirstSeenAt.Add(confirmAfter):
		c.ConfirmedAt = arrived
		c.Until = arrived.Add(grace)
	default:
		return c, false
	}
	return c, true
}

// rotationDue reports whether a request that was judged v rotates the secret.
func rotationDue(r *store.Record, v verdict, arrived store.Time, p *Policy) bool {
	if p.RotateEvery < 0 || r.Subject == "" || r.Bearer {
		return false
	}
	switch v {
	case current:
		return r.Secret.ConfirmedAt != 0 && arrived >= r.Secret.IssuedAt.Add(p.RotateEvery)
	case held: // the browser hasn't got the current one: its answer was lost, or is late
		return arrived >= r.Secret.IssuedAt.Add(repeatAfter)
	}
	return false
}

// rotate makes next the current secret. The secrets since the last confirmed
// one stay good until next is confirmed. Of those that were never confirmed,
// some are dropped, but never the one that the browser presented, which may get
// no other, nor one that was issued within the grace period.
func rotate(r *store.Record, next *secret, presented store.Hash, now store.Time, grace time.Duration) {
	half := next.halfHash()
	switch i := slices.Index(r.Halves, half.Print()); {
	case half == r.EpochHash:
	case i >= 0: // rotated from a repeat's
		r.Halves[i], r.EpochHash = r.EpochHash.Print(), half
	default: // rotated from a login before a repeated one, whose half is of an earlier epoch
		rememberEpoch(r)
		r.EpochHash = half
	}
	r.Good = append(r.Good, r.Secret)
	r.Secret = store.Secret{Hash: next.hash(), IssuedAt: now}

	unconfirmed := 1 // next
	for i := len(r.Good) - 1; i >= 0; i-- {
		g := &r.Good[i]
		if g.Until != 0 || g.ConfirmedAt != 0 || g.Hash == presented {
			continue
		}
		if unconfirmed++; unconfirmed > maxUnconfirmed && now.Sub(g.IssuedAt) >= grace {
			g.Until = now
		}
	}
	forgetSpent(r, now)
}

// forgetSpent keeps a fingerprint of secrets that are no longer good, and drops
// those that are long gone.
func forgetSpent(r *store.Record, now store.Time) {
	r.Good = slices.DeleteFunc(r.Good, func(g store.Secret) bool {
		if g.Until == 0 || g.Until > now {
			return false
		}
		r.Spent = append(r.Spent, store.Spent{Print: g.Hash.Print(), Until: g.Until})
		return true
	})
	r.Spent = slices.DeleteFunc(r.Spent, func(s store.Spent) bool {
		if s.Until >= now.Add(-spentLife) {
			return false
		}
		r.SpentTill = max(r.SpentTill, s.Until)
		return true
	})
	for len(r.Spent) > maxSpent {
		r.SpentTill = max(r.SpentTill, r.Spent[0].Until)
		r.Spent = slices.Delete(r.Spent, 0, 1)
	}
}

// newEpoch makes next the current secret after a login or elevation. All earlier
// secrets are refused from then on, even to requests that arrived before (I3).
//
// There is one exception. If a request repeats a login and doesn't know the
// current secret (two tabs, or a lost answer), the secrets that logins issued
// within the grace stay good until next is confirmed: nobody can know which of
// them the browser holds.
func newEpoch(r *store.Record, next *secret, now store.Time, byLogin, repeated bool, grace time.Duration) {
	var keep []store.Secret
	if repeated {
		for _, g := range append(r.Good, r.Secret) {
			if g.Login && (g.Until == 0 || g.Until > now) && now.Sub(g.IssuedAt) <= grace {
				keep = append(keep, g)
			}
		}
	}
	rememberEpoch(r)
	r.Epoch++
	r.EpochHash = next.halfHash()
	r.Good, r.Spent, r.SpentTill = keep, nil, 0
	r.Secret = store.Secret{Hash: next.hash(), IssuedAt: now, Login: byLogin}
	if len(keep) == 0 {
		r.Secret.FirstSeenAt, r.Secret.ConfirmedAt = now, now // there is no other secret to wait for
	}
	r.AuthenticatedAt = now
	r.Stale = false
}

func rememberEpoch(r *store.Record) {
	r.Epochs = append(append(r.Epochs, r.Halves...), r.EpochHash.Print())
	if n := len(r.Epochs) - maxEpochs; n > 0 {
		r.Epochs = slices.Delete(r.Epochs, 0, n)
	}
	r.Halves = r.Halves[:0]
}

// repeatHalf gives r one more half for its epoch, for the repeat of an
// idempotent creation, which doesn't know the first half.
func repeatHalf(r *store.Record, next *secret) {
	r.Halves = append(r.Halves, r.EpochHash.Print())
	r.EpochHash = next.halfHash()
}
