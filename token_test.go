package sojourn

import (
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

func TestTokenHasOneSpelling(t *testing.T) {
	seen := map[secret]bool{}
	e := Must(New(nopStore{}, Options{}))
	defer e.Close(t.Context())
	var differ [32]byte
	var first secret
	for i := range 10_000 { // at least 128 bits of a CSPRNG: no duplicate, no constant byte
		id, s, err := newSession(e.rand, store.Time(i))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = s
		}
		for b := range s {
			differ[b] |= s[b] ^ first[b]
		}
		if seen[s] {
			t.Fatal("a secret occurs twice")
		}
		seen[s] = true
		text := token(id, &s)
		if len(text) != tokenSize {
			t.Fatalf("%d characters", len(text))
		}
		id2, s2, ok := parseToken(text)
		if !ok || id2 != id || s2 != s {
			t.Fatal("parseToken doesn't return what token got")
		}
		if id[6]>>4 != 7 || id[8]>>6 != 2 {
			t.Fatalf("%v is no UUID of version 7", id)
		}
	}
	for b, bits := range differ {
		if bits != 0xff {
			t.Errorf("byte %d never changes in %08b", b, ^bits)
		}
	}
}

type nopStore struct{ store.Store }
