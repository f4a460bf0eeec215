// Package dbsctest makes the proofs that a browser sends (package dbsc), for
// tests.
package dbsctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"

	"github.com/sojourn-go/sojourn/internal/dbsc"
)

// A Key is the key pair of a browser for one session. It may be used
// concurrently.
type Key struct {
	private crypto.Signer
}

// NewKey returns a new key for dbsc.ES256.
func NewKey() *Key {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &Key{must(private, err)}
}

// NewRSAKey returns a new key for dbsc.RS256 with a modulus of so many bits.
func NewRSAKey(bits int) *Key {
	private, err := rsa.GenerateKey(rand.Reader, bits)
	return &Key{must(private, err)}
}

// Registration returns the proof of a registration.
func (k *Key) Registration(challenge string) string {
	return k.Sign(`{"alg":"`+k.algorithm()+`","jwk":`+k.JWK()+`,"typ":"dbsc+jwt"}`, `{"jti":`+quote(challenge)+`}`)
}

// Refresh returns the proof of a refresh.
func (k *Key) Refresh(challenge string) string {
	return k.Sign(`{"alg":"`+k.algorithm()+`","typ":"dbsc+jwt"}`, `{"jti":`+quote(challenge)+`}`)
}

// JWK returns the public key as JSON.
func (k *Key) JWK() string {
	switch p := k.private.Public().(type) {
	case *ecdsa.PublicKey:
		point := must(p.Bytes())
		return `{"crv":"P-256","kty":"EC","x":"` + encode(point[1:33]) + `","y":"` + encode(point[33:]) + `"}`
	case *rsa.PublicKey:
		return `{"e":"` + encode(big.NewInt(int64(p.E)).Bytes()) + `","kty":"RSA","n":"` + encode(p.N.Bytes()) + `"}`
	}
	panic("dbsctest: no key")
}

// Sign returns a JWT of a header and a payload, which need not be right.
func (k *Key) Sign(header, payload string) string {
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	digest := sha256.Sum256([]byte(signed))
	if private, ok := k.private.(*ecdsa.PrivateKey); ok {
		r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
		must(r, err)
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return signed + "." + encode(signature)
	}
	return signed + "." + encode(must(k.private.Sign(rand.Reader, digest[:], crypto.SHA256)))
}

func (k *Key) algorithm() string {
	if _, ok := k.private.(*rsa.PrivateKey); ok {
		return dbsc.RS256
	}
	return dbsc.ES256
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func quote(s string) string { return string(must(json.Marshal(s))) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
