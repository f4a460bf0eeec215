package sojourn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A Sealing keeps sessions in their cookies, encrypted and authenticated
// (XAES-256-GCM), in place of a store. A sealed session costs the server no memory
// and no write. What that gives up is in docs/security.md, in short:
//
//   - Of parallel requests that change a session, the last answer wins.
//   - A logout clears the cookie. A copy of it stays good until the session's
//     deadline, or until NotBefore or AllNotBefore ends it.
//   - Old cookies aren't recognised, so theft isn't noticed.
//   - A change is in the answer. If the answer is lost, so is the change.
//   - A session must fit into a cookie: at most about 2,900 bytes of values.
//
// To move from stored to sealed sessions or back, change For, and keep the keys:
// sessions of the other kind are taken over at their next request.
type Sealing struct {
	// Keys are 32 random bytes each, the same on all nodes. The first one seals,
	// and all of them open. To change keys, add the new one at the end on all
	// nodes, then put it first. Remove the old one when the sessions that it sealed
	// are over. A cookie that a removed key sealed is refused with RefusedNoKey.
	Keys [][]byte

	// For says whose sessions are sealed. Default SealVisitors.
	For SealFor

	// NotBefore ends the sealed sessions of a subject: those whose last login or
	// elevation is earlier than the time that it returns, to the millisecond. The
	// zero time ends none. The application keeps the time with the user. To sign the
	// user out everywhere, it sets that time to now. NotBefore is called for each
	// request that reads a sealed login, and may be called concurrently. If it
	// returns an error, the request fails with ErrUnavailable (503). SealEveryone
	// needs it.
	NotBefore func(ctx context.Context, subject string) (time.Time, error)

	// AllNotBefore ends all sealed sessions of the application that are older:
	// those that began earlier and had no login or elevation since. A session from a
	// node with a fast clock may carry a later time and survive. To end such a
	// session too, remove its key. Default: none.
	AllNotBefore time.Time

	// Observe is called when a sealed session is opened, for metrics. refusal says
	// why it was refused, and is empty if it wasn't. oldKey says that a key other
	// than the first sealed it, so that key is still needed. Observe must not
	// block, and may be called concurrently. Default: none.
	Observe func(refusal Refusal, oldKey bool)
}

// SealFor says whose sessions a Sealing keeps in cookies.
type SealFor int

const (
	// SealVisitors seals sessions in which nobody is logged in. A flood of visitors
	// can't fill the store. A login moves the values into a stored session, which
	// has an ID of its own.
	SealVisitors SealFor = iota

	// SealEveryone seals all sessions. New accepts nil as the store. With a store, a
	// stored session that a request presents is sealed at its next change or touch.
	// Calls that need all sessions in a store return ErrUnsupported.
	SealEveryone

	// SealNobody seals no session. Sessions that were sealed before move to the
	// store: a login at its next request, a visitor's session when it changes.
	SealNobody
)

// withDefaults returns a copy of the sealing, or an error that says what to
// change.
func (s *Sealing) withDefaults() (*Sealing, error) {
	if s == nil {
		return nil, nil
	}
	t := *s
	t.Keys = nil
	if len(s.Keys) == 0 {
		return nil, errors.New("sojourn: Sealed.Keys is empty: it needs at least one key of 32 random bytes")
	}
	for i, key := range s.Keys {
		if len(key) != xaesKeySize {
			return nil, fmt.Errorf("sojourn: Sealed.Keys: key %d has %d bytes: use 32 random bytes", i+1, len(key))
		}
		for j, other := range t.Keys {
			if keyID(key) == keyID(other) {
				return nil, fmt.Errorf("sojourn: Sealed.Keys: keys %d and %d are the same", j+1, i+1)
			}
		}
		if [xaesKeySize]byte(key) == [xaesKeySize]byte{} {
			return nil, fmt.Errorf("sojourn: Sealed.Keys: key %d is zero: use 32 random bytes", i+1)
		}
		t.Keys = append(t.Keys, append([]byte(nil), key...))
	}
	switch {
	case s.For < SealVisitors || s.For > SealNobody:
		return nil, fmt.Errorf("sojourn: Sealed.For is %d: use SealVisitors, SealEveryone or SealNobody", s.For)
	case s.For == SealEveryone && s.NotBefore == nil:
		return nil, errors.New("sojourn: Sealed.NotBefore is missing: with SealEveryone nothing else ends a user's sessions. A function that returns the zero time ends none")
	}
	return &t, nil
}

// everyone reports whether all sessions are sealed.
func (s *Sealing) everyone() bool { return s != nil && s.For == SealEveryone }

// checkStore returns an error if the options need a store and there is none, or if
// they need every session in it.
func (o *Options) checkStore(st store.Store) error {
	switch {
	case st == nil && !o.Sealed.everyone():
		return errors.New("sojourn: New needs a store: memstore.New() for a start. Only Options.Sealed with SealEveryone works without one")
	case o.Sealed.everyone() && (o.MaxSessions > 0 || o.RefuseOverLimit):
		return fmt.Errorf("%w: MaxSessions and RefuseOverLimit need a store that holds every session", ErrUnsupported)
	case o.Sealed.everyone() && o.Bound != nil:
		return fmt.Errorf("%w: Bound needs a store that holds every login: a copy of a sealed cookie from before the binding can't be ended, and nothing remembers which challenge was used. With SealVisitors logins are stored, and can be bound", ErrUnsupported)
	case st == nil && o.Adopt != nil:
		return fmt.Errorf("%w: Adopt needs a store, which remembers what was adopted", ErrUnsupported)
	}
	return nil
}

// keyIDSize is the length in bytes of a key's ID in a cookie.
const keyIDSize = 4

// keyID returns the ID of a key, which doesn't reveal the key.
func keyID(key []byte) (id [keyIDSize]byte) {
	sum := sha256.Sum256(append([]byte("sojourn sealing key\x00"), key...))
	return [keyIDSize]byte(sum[:keyIDSize])
}
