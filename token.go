package sojourn

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/sojourn-go/sojourn/store"
)

// A token is what the browser holds: the session's ID and secret in unpadded
// base64url. It says nothing about the user.
const (
	idSize    = 16
	halfSize  = 16
	tokenSize = 64
)

// A secret authenticates a session: 16 bytes that last for an epoch, then 16 that
// are new at each rotation.
type secret [2 * halfSize]byte

func (s *secret) hash() store.Hash     { return sha256.Sum256(s[:]) }
func (s *secret) halfHash() store.Hash { return sha256.Sum256(s[:halfSize]) }

// token returns the token of a session.
func token(id ID, s *secret) string {
	var raw [idSize + len(s)]byte
	copy(raw[:], id[:])
	copy(raw[idSize:], s[:])
	var text [tokenSize]byte // EncodeToString would allocate it
	base64.RawURLEncoding.Encode(text[:], raw[:])
	return string(text[:])
}

// parseToken is the reverse of token. 64 characters hold 48 bytes exactly, so
// each token has one spelling. It runs for every request that reads a session,
// and takes half the time of encoding/base64.
func parseToken(t string) (id ID, s secret, ok bool) {
	if len(t) != tokenSize {
		return id, s, false
	}
	var raw [idSize + len(s)]byte
	var all uint8 // above 63 if a character is no digit of base64url
	for i, o := 0, 0; i < tokenSize; i, o = i+4, o+3 {
		a, b, c, d := digits[t[i]], digits[t[i+1]], digits[t[i+2]], digits[t[i+3]]
		all |= a | b | c | d
		raw[o], raw[o+1], raw[o+2] = a<<2|b>>4, b<<4|c>>2, c<<6|d
	}
	if all > 63 {
		return id, s, false
	}
	copy(id[:], raw[:])
	copy(s[:], raw[idSize:])
	return id, s, true
}

// digits are the values of the characters of base64url (RFC 4648, section 5). All
// other characters have 255.
var digits = func() (table [256]uint8) {
	for i := range table {
		table[i] = 255
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range len(alphabet) {
		table[alphabet[i]] = uint8(i)
	}
	return table
}()

// newSession returns the ID and the secret of a new session. The ID is a UUID of
// version 7 (RFC 9562, section 5.7) with 74 random bits.
func newSession(random io.Reader, now store.Time) (id ID, s secret, err error) {
	var b [10 + len(s)]byte
	if err := readRandom(random, b[:]); err != nil {
		return id, s, err
	}
	copy(id[6:], b[:10])
	copy(s[:], b[10:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now))
	copy(id[:6], ms[2:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id, s, nil
}

// hashedID returns the UUID of version 8 (RFC 9562, section 5.8) that begins with a
// hash.
func hashedID(sum [32]byte) ID {
	id := ID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// systemRandom is the randomness of an engine, unless a program has replaced it.
var systemRandom = rand.Reader

// readRandom fills b, or fails: no session is made from less randomness. b stays
// on its caller's stack, since rand.Read keeps it there.
func readRandom(random io.Reader, b []byte) error {
	if random == systemRandom {
		_, err := rand.Read(b) // which never fails
		return err
	}
	own := make([]byte, len(b))
	if _, err := io.ReadFull(random, own); err != nil {
		return fmt.Errorf("%w: read randomness: %w", ErrUnavailable, err)
	}
	copy(b, own)
	return nil
}
