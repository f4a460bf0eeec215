package arena

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// check walks every slab and compares what it finds with the lists and the counts.
func (a *Blocks) check(t *testing.T) {
	t.Helper()
	free := map[Ref]uint32{}
	for c, r := range a.free {
		if (r != 0) != (a.nonEmpty[c/64]&(1<<(c%64)) != 0) {
			t.Fatalf("class %d: bit and list differ", c)
		}
		for before := Ref(0); r != 0; r = a.links(r)[0] {
			units := *a.word(r) >> sizeShift
			if class(units) != c || a.links(r)[1] != before {
				t.Fatalf("block %x of %d units in class %d", r, units, c)
			}
			free[r], before = units, r
		}
	}
	var live int64
	for i, s := range a.slabs {
		if s.base == nil {
			continue
		}
		used := true
		r := Ref(i<<unitBits | 1)
		for r != 0 {
			w := *a.word(r)
			units := w >> sizeShift
			if units == 0 || (w&wordPrevUsed != 0) != used {
				t.Fatalf("block %x has the word %b", r, w)
			}
			used = w&wordUsed != 0
			if used {
				live += int64(units) * unit
			} else if free[r] != units {
				t.Fatalf("block %x is free but not listed", r)
			} else {
				delete(free, r)
			}
			if s.units != slabUnits {
				break
			}
			r = a.after(r, units)
		}
	}
	if len(free) > 0 || live != a.live {
		t.Fatalf("%d listed blocks were not found; live %d, counted %d", len(free), live, a.live)
	}
}

func TestBlocks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var a Blocks
	defer a.Close()
	want := map[Ref][]byte{}
	data := func() []byte {
		n := rnd.IntN(400)
		if rnd.IntN(4) == 0 {
			n = rnd.IntN(20)
		}
		switch rnd.IntN(50) {
		case 0:
			n = rnd.IntN(3 << 20)
		case 1:
			n = slabBytes - rnd.IntN(40)
		case 2, 3:
			n = rnd.IntN(100_000)
		}
		b := make([]byte, n)
		for i := range min(n, 16) {
			b[i] = byte(rnd.Uint32())
			b[n-1-i] = byte(rnd.Uint32())
		}
		return b
	}
	for step := range 4000 {
		grow := step/1000%2 == 0
		switch n := rnd.IntN(10); {
		case len(want) == 0 || grow && n < 5 || n < 2:
			b := data()
			r, err := a.Alloc(b)
			if err != nil {
				t.Fatal(err)
			}
			if want[r] != nil {
				t.Fatalf("block %x was given out twice", r)
			}
			want[r] = b
		case n < 7:
			for r, old := range want {
				if !bytes.Equal(a.Bytes(r), old) {
					t.Fatalf("block %x changed", r)
				}
				delete(want, r)
				b := data()
				moved, err := a.Put(r, b)
				if err != nil {
					t.Fatal(err)
				}
				want[moved] = b
				break
			}
		default:
			for r, old := range want {
				if !bytes.Equal(a.Bytes(r), old) {
					t.Fatalf("block %x changed", r)
				}
				a.Free(r)
				delete(want, r)
				break
			}
		}
		if step%50 == 0 {
			a.check(t)
		}
	}
	for r, old := range want {
		if !bytes.Equal(a.Bytes(r), old) {
			t.Fatalf("block %x changed", r)
		}
		a.Free(r)
	}
	a.check(t)
	slabs := 0
	for _, s := range a.slabs {
		if s.base != nil {
			slabs++
		}
	}
	if a.Live() != 0 || slabs > 1 {
		t.Errorf("when all is free, %d bytes are live in %d slabs", a.Live(), slabs)
	}
}

// TestBlocksReuse: memory that one size left serves another.
func TestBlocksReuse(t *testing.T) {
	var a Blocks
	defer a.Close()
	var refs []Ref
	for range 3000 {
		r, err := a.Alloc(make([]byte, 300))
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, r)
	}
	slabs := len(a.slabs)
	for _, r := range refs {
		a.Free(r)
	}
	for range 900 {
		if _, err := a.Alloc(make([]byte, 900)); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.slabs) > slabs {
		t.Errorf("%d slabs instead of %d", len(a.slabs), slabs)
	}
}

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

func TestHandles(t *testing.T) {
	var h Handles
	defer h.Close()
	for i := range uint32(2*segmentLen + 5) {
		if err := h.Reserve(); err != nil {
			t.Fatal(err)
		}
		if n := h.Add(Ref(i + 10)); n != i+1 {
			t.Fatalf("handle %d, want %d", n, i+1)
		}
	}
	h.Remove(5)
	h.Remove(segmentLen)
	if h.Ref(5) != 0 || h.Ref(6) != 15 {
		t.Errorf("Ref = %d, %d", h.Ref(5), h.Ref(6))
	}
	if a, b := h.Add(1), h.Add(2); a != segmentLen || b != 5 {
		t.Errorf("handles %d, %d were reused", a, b)
	}
}
