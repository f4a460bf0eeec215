package sojourn

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"unsafe"

	"github.com/sojourn-go/sojourn/store"
)

// RequestBytes is what Handler allocates for a request.
const RequestBytes = unsafe.Sizeof(exchange{})

// SetRand replaces the engine's source of randomness.
func SetRand(e *Engine, r io.Reader) { e.rand = r }

// OpenDones returns how many channels of Done are open.
func OpenDones(e *Engine) int { return len(e.watch.all()) }

// ForgetOutage makes the next outage be logged.
func ForgetOutage() { lastOutage.Store(0) }

// Register and Refresh are what BoundHandler does with a session.
func Register(s *Session, challenge string, key []byte) error {
	return s.register(s.ctx, challenge, key)
}

func Refresh(s *Session, id ID, challenge string, signed func(key []byte) bool) error {
	return s.refresh(s.ctx, id, challenge, signed)
}

// The failures of Register and Refresh that have no name outside.
var ErrChallenge, ErrSignature, ErrRebound = errChallenge, errSignature, errRebound

// ForgeChallenge returns the challenge of a session that another key authenticates.
func ForgeChallenge(r *store.Record, key []byte) string {
	_, generation, _ := challengeKey(r)
	var raw [challengeSize]byte
	binary.BigEndian.PutUint64(raw[:], uint64(r.CreatedAt))
	binary.BigEndian.PutUint32(raw[8:], generation)
	copy(raw[12:], authenticate(r.ID, raw[:12], key))
	return base64.RawURLEncoding.EncodeToString(raw[:])
}
