package sojourn

import (
	"bytes"
	"crypto/sha3"
	"encoding/hex"
	"os"
	"testing"
)

func xaesSeal(t testing.TB, key, nonce, plain, data []byte) []byte {
	t.Helper()
	x, err := newXAES(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := x.gcm(nonce, new([xaesKeySize]byte))
	if err != nil {
		t.Fatal(err)
	}
	sealed := gcm.Seal(nil, nonce[12:], plain, data)
	if opened, err := gcm.Open(nil, nonce[12:], sealed, data); err != nil || !bytes.Equal(opened, plain) {
		t.Fatalf("opened: %x, %v; sealed: %x", opened, err, plain)
	}
	return sealed
}

// The vectors of https://c2sp.org/XAES-256-GCM. In the first the subkey needs no
// reduction, in the second it does.
func TestXAESVectors(t *testing.T) {
	nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
	for _, v := range []struct {
		key    byte
		data   string
		sealed string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		sealed := xaesSeal(t, bytes.Repeat([]byte{v.key}, 32), nonce, []byte("XAES-256-GCM"), []byte(v.data))
		if got := hex.EncodeToString(sealed); got != v.sealed {
			t.Errorf("key %d: %s, want %s", v.key, got, v.sealed)
		}
	}
}

// The accumulated vectors of the same page: random messages, and one hash of all
// results. With SOJOURN_SOAK it is the longer one.
func TestXAESAccumulated(t *testing.T) {
	rounds, want := 10_000, "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
	if os.Getenv("SOJOURN_SOAK") != "" {
		rounds, want = 1_000_000, "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15"
	}
	source, sum := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	next := func(n int) []byte {
		b := make([]byte, n)
		source.Read(b)
		return b
	}
	for range rounds {
		key, nonce := next(32), next(24)
		plain := next(int(next(1)[0]))
		data := next(int(next(1)[0]))
		sum.Write(xaesSeal(t, key, nonce, plain, data))
	}
	got := make([]byte, 32)
	sum.Read(got)
	if hex.EncodeToString(got) != want {
		t.Errorf("after %d rounds: %x, want %s", rounds, got, want)
	}
}
