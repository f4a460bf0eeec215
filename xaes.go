package sojourn

import (
	"crypto/aes"
	"crypto/cipher"
)

// An xaes is XAES-256-GCM under one key (https://c2sp.org/XAES-256-GCM): from the
// key and the first half of a nonce of 192 bits it derives the key of an
// AES-256-GCM, which gets the second half. Random nonces of that size don't
// collide in practice, however many messages one key seals.
type xaes struct {
	block cipher.Block // AES-256 under the key
	sub   [16]byte     // the subkey K1 of CMAC (NIST SP 800-38B, section 6.1)
}

const (
	xaesKeySize   = 32
	xaesNonceSize = 24
	xaesTagSize   = 16
)

func newXAES(key []byte) (*xaes, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	x := &xaes{block: block}
	block.Encrypt(x.sub[:], x.sub[:])
	carry := byte(0)
	for i := len(x.sub) - 1; i >= 0; i-- {
		carry, x.sub[i] = x.sub[i]>>7, x.sub[i]<<1|carry
	}
	x.sub[15] ^= carry * 0x87
	return x, nil
}

// gcm returns the AES-256-GCM cipher for a nonce. The caller gives that cipher the
// last 12 bytes of the nonce. gcm derives the cipher's key from the first 12 by
// NIST SP 800-108r1, section 4.1, with CMAC, and puts it into key.
func (x *xaes) gcm(nonce []byte, key *[xaesKeySize]byte) (cipher.AEAD, error) {
	for i := range 2 {
		half := key[16*i : 16*i+16]
		copy(half, []byte{0, byte(i + 1), 'X', 0})
		copy(half[4:], nonce[:12])
		for j := range half {
			half[j] ^= x.sub[j]
		}
		x.block.Encrypt(half, half)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
