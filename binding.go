package sojourn

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"slices"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// What binds a session to a browser's key (Record.Binding), and the rules of its
// proofs and challenges, as functions of a record and a time.
const (
	// The last keptProofs are kept, since handlers may ask late about requests that
	// arrived before. Of the earlier ones, those are kept that are still good, up to
	// maxProofs: a browser renews a proof two minutes early, and Grace may be long.
	keptProofs = 4
	maxProofs  = 16

	// offerAgain is how long after a registration no other is offered. Its answer has
	// come by then, or never will: it must not replace a later key in the browser.
	offerAgain = time.Minute

	// maxPresented is how many of a request's proofs are looked at, from the last one.
	maxPresented = 8

	// challengeExtra is how much longer than a proof a challenge is good. The
	// browser gets it together with the proof, and signs it when that is over.
	challengeExtra = 5 * time.Minute
)

// A binding is what Record.Binding holds. Its layout: a byte for the version,
// registeredAt and confirmedAt in 8 bytes each, generation in 4, secret, a byte for
// the number of proofs, each proof with its hash and 8 bytes for good, and the key.
// Numbers are big-endian.
type binding struct {
	registeredAt store.Time
	confirmedAt  store.Time // when the key's first refresh came; 0: none yet
	generation   uint32     // number of registrations and refreshes
	secret       [32]byte   // authenticates challenges; no browser knows it
	proofs       [maxProofs]proof
	issued       int    // how many of proofs there are, oldest first
	key          []byte // the browser's public key; shares memory with the record
}

// A proof is the value of a second cookie, as far as a store may know it.
type proof struct {
	hash store.Hash
	good store.Time // it is refused to requests that arrive later
}

const (
	bindingVersion = 1
	bindingHead    = 1 + 8 + 8 + 4 + 32 + 1
	proofBytes     = 32 + 8
)

// readBinding reads a record's binding. It returns false for one of another
// version, of which nobody can say what is good.
func readBinding(raw []byte) (b binding, ok bool) {
	if len(raw) < bindingHead || raw[0] != bindingVersion {
		return b, false
	}
	b.registeredAt = store.Time(binary.BigEndian.Uint64(raw[1:]))
	b.confirmedAt = store.Time(binary.BigEndian.Uint64(raw[9:]))
	b.generation = binary.BigEndian.Uint32(raw[17:])
	copy(b.secret[:], raw[21:])
	b.issued = int(raw[bindingHead-1])
	raw = raw[bindingHead:]
	if b.issued > maxProofs || len(raw) < b.issued*proofBytes {
		return b, false
	}
	for i := range b.issued {
		copy(b.proofs[i].hash[:], raw)
		b.proofs[i].good = store.Time(binary.BigEndian.Uint64(raw[32:]))
		raw = raw[proofBytes:]
	}
	b.key = raw
	return b, true
}

// bytes is the reverse of readBinding.
func (b *binding) bytes() []byte {
	raw := make([]byte, 0, bindingHead+b.issued*proofBytes+len(b.key))
	raw = append(raw, bindingVersion)
	raw = binary.BigEndian.AppendUint64(raw, uint64(b.registeredAt))
	raw = binary.BigEndian.AppendUint64(raw, uint64(b.confirmedAt))
	raw = binary.BigEndian.AppendUint32(raw, b.generation)
	raw = append(raw, b.secret[:]...)
	raw = append(raw, byte(b.issued))
	for _, p := range b.proofs[:b.issued] {
		raw = append(raw, p.hash[:]...)
		raw = binary.BigEndian.AppendUint64(raw, uint64(p.good))
	}
	return append(raw, b.key...)
}

// A standing says how a request stands to the binding of its session.
type standing uint8

const (
	unproven standing = iota // the session is bound, and no proof is good: refused
	spared                   // the session isn't bound, or was confirmed too lately for the request to know
	proven                   // a proof was good when the request arrived
)

// standingOf says how a request stands to the session r, by the proofs that it
// presents and the time when it arrived. It doesn't allocate.
func (b *Binding) standingOf(r *store.Record, proofs []string, arrived store.Time) standing {
	if b == nil || len(r.Binding) == 0 {
		return spared
	}
	is, ok := readBinding(r.Binding)
	if !ok {
		return unproven
	}
	for i := max(0, len(proofs)-maxPresented); i < len(proofs); i++ {
		if is.has(proofs[i], arrived) {
			return proven
		}
	}
	if is.confirmedAt == 0 || arrived <= is.confirmedAt.Add(b.Grace) {
		return spared
	}
	return unproven
}

// needsProof reports whether the session r is bound for good: its key has signed
// more than the registration. Until then the token alone suffices.
func needsProof(r *store.Record) bool {
	if len(r.Binding) == 0 {
		return false
	}
	is, ok := readBinding(r.Binding)
	return !ok || is.confirmedAt != 0
}

// proofSize is the length of a proof: 32 random bytes in base64url.
const proofSize = 43

// has reports whether a proof was good at the given time.
func (b *binding) has(text string, arrived store.Time) bool {
	if len(text) != proofSize {
		return false
	}
	var room [proofSize]byte // a conversion would allocate
	copy(room[:], text)
	hash := sha256.Sum256(room[:])
	for i := range b.issued {
		if same(hash[:], b.proofs[i].hash[:]) && arrived <= b.proofs[i].good {
			return true
		}
	}
	return false
}

// prove adds a new proof, and returns it. Earlier ones stay good for their time,
// since the answer with the new one may be lost. All challenges so far are used up.
func (b *binding) prove(random io.Reader, now store.Time, opt *Binding) (string, error) {
	var raw [32]byte
	if err := readRandom(random, raw[:]); err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(raw[:])
	kept := b.proofs[:b.issued]
	for len(kept) >= keptProofs && (kept[0].good < now || len(kept) == maxProofs) {
		kept = slices.Delete(kept, 0, 1)
	}
	kept = append(kept, proof{sha256.Sum256([]byte(text)), now.Add(opt.ProofLife + opt.Grace)})
	b.issued = len(kept)
	b.generation++
	return text, nil
}

// A challenge is what the browser signs to get a proof. It tells its time and
// generation, and authenticates them for one session, so any node makes and checks
// it without a write. A registration or a refresh uses up all challenges of its
// generation, so each is good once.
const challengeSize = 8 + 4 + sha256.Size

// challenge returns a challenge for the session r. ok is false if the binding of r
// can't be read.
func challenge(r *store.Record, now store.Time) (text string, ok bool) {
	key, generation, ok := challengeKey(r)
	if !ok {
		return "", false
	}
	var raw [challengeSize]byte
	binary.BigEndian.PutUint64(raw[:], uint64(now))
	binary.BigEndian.PutUint32(raw[8:], generation)
	copy(raw[12:], authenticate(r.ID, raw[:12], key))
	return base64.RawURLEncoding.EncodeToString(raw[:]), true
}

// answers reports whether a challenge is one for the session r that is not used up
// and not too old.
func (b *Binding) answers(r *store.Record, text string, now store.Time) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != challengeSize || len(text) != base64.RawURLEncoding.EncodedLen(len(raw)) { // which ignores line breaks
		return false
	}
	key, generation, ok := challengeKey(r)
	if !ok || binary.BigEndian.Uint32(raw[8:]) != generation || !hmac.Equal(raw[12:], authenticate(r.ID, raw[:12], key)) {
		return false
	}
	made := store.Time(binary.BigEndian.Uint64(raw)) // may lie ahead, by a node with a fast clock
	return now.Sub(made) <= b.ProofLife+challengeExtra
}

// challengeKey returns what authenticates the challenges of a session, and their
// generation. A bound session has a secret for it: who holds the token knows
// EpochHash, and with forged challenges could have the browser's key sign proofs in
// advance. Before a registration there is no key that could sign.
func challengeKey(r *store.Record) (key []byte, generation uint32, ok bool) {
	if len(r.Binding) == 0 {
		return r.EpochHash[:], 0, true
	}
	b, ok := readBinding(r.Binding)
	return b.secret[:], b.generation, ok
}

func authenticate(id ID, what, key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("sojourn challenge\x00"))
	mac.Write(id[:])
	mac.Write(what)
	return mac.Sum(nil)
}
