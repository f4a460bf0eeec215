package arena

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

func TestUvarint(t *testing.T) {
	for range 100_000 {
		n := rand.Uint64() >> rand.UintN(64)
		b := binary.AppendUvarint(nil, n)
		w := len(b)
		for range rand.IntN(10) {
			b = append(b, byte(rand.Uint32()))
		}
		r := reader{b: b}
		if got := r.uvarint(); got != n || r.bad || r.at != w {
			t.Fatalf("%x: %d after %d bytes, want %d", b, got, r.at, n)
		}
	}
	for _, b := range []string{"", "\x80", "\xff\xff", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		r := reader{b: []byte(b)}
		if r.uvarint(); !r.bad {
			t.Errorf("%x is taken", b)
		}
	}
}
