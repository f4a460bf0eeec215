package api

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

// keyPrefix lets people and scanners of source code recognise a key.
const keyPrefix = "sojourn_"

// NewKey returns a new API key, and its hash as the configuration has it. The key is 32 random bytes; nobody can tell it from the hash.
func NewKey() (key, hash string) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: the program ends first
	key = keyPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	sum := HashKey(key)
	return key, "sha256:" + hex.EncodeToString(sum[:])
}

// HashKey returns the hash under which a key is known: the SHA-256 of its characters.
func HashKey(key string) [32]byte { return sha256.Sum256([]byte(key)) }
