package dbsc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// The algorithms (RFC 7518, section 3.1). The draft's "none" is for sites that
// know the device by other means.
const (
	ES256 = "ES256"
	RS256 = "RS256"
)

// A Key is a public key in the form that is stored: for ES256 the uncompressed
// point on P-256, of 65 bytes (SEC 1, section 2.3.3); for RS256 the exponent, in
// 4 bytes, and the modulus, of 2048 to 4096 bits, both big-endian. The length
// tells which of the two it is. Parse returns keys that are sound; those that
// were stored are trusted to be.
type Key []byte

const (
	pointSize    = 65
	exponentSize = 4
	minRSA       = 2048 // bits of the modulus
	maxRSA       = 4096

	// MaxKey is the size of the largest key, in bytes.
	MaxKey = exponentSize + maxRSA/8
)

// Algorithm returns ES256 or RS256. Empty: it is no key.
func (k Key) Algorithm() string {
	switch {
	case len(k) == pointSize:
		return ES256
	case len(k) >= exponentSize+minRSA/8 && len(k) <= MaxKey:
		return RS256
	}
	return ""
}

// parseJWK reads a public key (RFC 7517; RFC 7518, section 6), and checks it.
func parseJWK(text []byte, algorithm string) (Key, error) {
	jwk, err := parseObject(text)
	if err != nil {
		return nil, err
	}
	if jwk["d"] != nil {
		return nil, errors.New("it is a private key, so others may have it")
	}
	switch kty, _ := jwk.text("kty"); {
	case kty == "EC" && algorithm == ES256:
		return parseEC(jwk)
	case kty == "RSA" && algorithm == RS256:
		return parseRSA(jwk)
	default:
		return nil, fmt.Errorf("kty is %q, which is wrong for %s", kty, algorithm)
	}
}

func parseEC(jwk object) (Key, error) {
	if crv, err := jwk.text("crv"); err != nil || crv != "P-256" {
		return nil, errors.New("crv must be P-256")
	}
	k := Key{4} // uncompressed
	for _, name := range []string{"x", "y"} {
		coordinate, err := jwk.bytes(name)
		if err != nil {
			return nil, err
		}
		if len(coordinate) != pointSize/2 {
			return nil, fmt.Errorf("%s has %d bytes, and must have %d", name, len(coordinate), pointSize/2)
		}
		k = append(k, coordinate...)
	}
	if _, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), k); err != nil {
		return nil, err // a point off the curve
	}
	return k, nil
}

func parseRSA(jwk object) (Key, error) {
	n, err := jwk.bytes("n")
	if err != nil {
		return nil, err
	}
	e, err := jwk.bytes("e")
	if err != nil {
		return nil, err
	}
	if len(n) == 0 || n[0] == 0 || len(e) == 0 || e[0] == 0 {
		return nil, errors.New("n and e must be numbers without leading zeros")
	}
	if bits := new(big.Int).SetBytes(n).BitLen(); bits < minRSA || bits > maxRSA || n[len(n)-1]&1 == 0 {
		return nil, fmt.Errorf("n has %d bits: use an odd number of %d to %d", bits, minRSA, maxRSA)
	}
	// FIPS 186-5, appendix A.1.1, from below; crypto/rsa from above.
	if exponent := new(big.Int).SetBytes(e); exponent.Cmp(big.NewInt(1<<16)) < 0 || exponent.BitLen() > 31 || e[len(e)-1]&1 == 0 {
		return nil, errors.New("e must be odd, above 65536 and below 2147483648")
	}
	k := make(Key, exponentSize-len(e), exponentSize+len(n))
	return append(append(k, e...), n...), nil
}

// bytes returns a member that is a string of base64url.
func (o object) bytes(name string) ([]byte, error) {
	text, err := o.text(name)
	if err != nil {
		return nil, err
	}
	b, err := decodeBase64(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w", name, err)
	}
	return b, nil
}

// verify reports whether the key signed the text (RFC 7518, sections 3.3 and
// 3.4).
func (k Key) verify(text string, signature []byte) bool {
	digest := sha256.Sum256([]byte(text))
	switch k.Algorithm() {
	case ES256:
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), k)
		if err != nil || len(signature) != 64 {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		return ecdsa.Verify(pub, digest[:], r, s) // which checks that r and s are below the order, and not 0
	case RS256:
		pub := rsa.PublicKey{E: int(binary.BigEndian.Uint32(k)), N: new(big.Int).SetBytes(k[exponentSize:])}
		return rsa.VerifyPKCS1v15(&pub, crypto.SHA256, digest[:], signature) == nil
	}
	return false
}
