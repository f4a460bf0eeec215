package arena

import (
	"math/rand/v2"
	"testing"
)

func TestIndex(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var x Index
	defer x.Close()
	want := map[uint32]uint32{} // from value to hash
	var vals []uint32
	for step := range 60_000 {
		if grow := step < 30_000; grow != (rnd.IntN(4) == 0) || len(vals) == 0 {
			hash := rnd.Uint32()
			if rnd.IntN(8) == 0 {
				hash = ^uint32(0) - rnd.Uint32N(4) // wraps at the end, and meets others
			}
			if err := x.Reserve(); err != nil {
				t.Fatal(err)
			}
			val := uint32(step + 1)
			x.Insert(hash, val)
			want[val] = hash
			vals = append(vals, val)
		} else {
			i := rnd.IntN(len(vals))
			x.Remove(want[vals[i]], vals[i])
			delete(want, vals[i])
			vals[i] = vals[len(vals)-1]
			vals = vals[:len(vals)-1]
		}
		if step%5000 == 0 || step == 59_999 {
			if x.Len() != len(want) {
				t.Fatalf("Len = %d, want %d", x.Len(), len(want))
			}
			for val, hash := range want {
				if x.find(hash, val) < 0 {
					t.Fatalf("step %d: %d is lost", step, val)
				}
			}
			for val := range want {
				if step > 0 && x.find(want[val]^1, val) >= 0 {
					t.Fatalf("%d is found under another hash", val)
				}
				break
			}
		}
	}
}
