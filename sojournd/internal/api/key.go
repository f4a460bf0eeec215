package api

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

// keyPrefix makes keys recognisable for people and secret scanners.
const keyPrefix = "sojourn_"

// NewKey returns a new API key of 32 random bytes, and its hash for the
// configuration.
func NewKey() (key, hash string) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails
	key = keyPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	sum := HashKey(key)
	return key, "sha256:" + hex.EncodeToString(sum[:])
}

// HashKey returns the hash that identifies a key: the SHA-256 of its
// characters.
func HashKey(key string) [32]byte { return sha256.Sum256([]byte(key)) }
