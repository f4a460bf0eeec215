package arena

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// check compares the tables of handles and classes with the slots.
func (s *Slots) check(t *testing.T) {
	t.Helper()
	var live int64
	taken := map[place]bool{}
	for h := uint32(1); h < s.end; h++ {
		if s.At(h) == nil {
			continue
		}
		p := place(s.places[h])
		b := s.slot(p)
		live += int64(len(b))
		if owner := binary.LittleEndian.Uint32(b) >> 8; owner != h || taken[p] {
			t.Fatalf("the slot of handle %d is that of %d, or of two", h, owner)
		}
		taken[p] = true
	}
	if live != s.live {
		t.Fatalf("%d bytes are live, counted %d", live, s.live)
	}
	dense := 0
	for c, cl := range s.classes {
		if c == 0 || cl == nil {
			continue
		}
		slots, _ := chunkOf(c)
		for n := range cl.used {
			if !taken[cl.nth(n, slots, sizeOf(c))] {
				t.Fatalf("class %d: slot %d of %d is a hole", c, n, cl.used)
			}
		}
		dense += cl.used
		if len(cl.chunks) != (cl.used+slots-1)/slots {
			t.Fatalf("class %d: %d slots are used in %d chunks", c, cl.used, len(cl.chunks))
		}
	}
	own := 0
	for n := range s.slabs {
		if n > 0 && s.slabs[n] != nil && s.slabs[n][0] == ownClass && taken[place(n<<slabBits)] {
			own++
		}
	}
	if dense+own != len(taken) {
		t.Fatalf("%d slots in chunks and %d of their own are %d", dense, own, len(taken))
	}
}

func TestClasses(t *testing.T) {
	for n := header; n <= large; n++ {
		c := classOf(n)
		if sizeOf(c) < n || c > 1 && sizeOf(c-1) >= n || sizeOf(c)%unit != 0 {
			t.Fatalf("%d bytes are of class %d, of %d bytes", n, c, sizeOf(c))
		}
	}
	if classOf(large) != classes || classOf(large+1) != ownClass {
		t.Errorf("the classes end with %d and %d", classOf(large), classOf(large+1))
	}
}

func TestSlots(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var s Slots
	defer s.Close()
	want := map[uint32][]byte{}
	data := func() []byte {
		n := rnd.IntN(400)
		if rnd.IntN(4) == 0 {
			n = rnd.IntN(20)
		}
		switch rnd.IntN(50) {
		case 0:
			n = rnd.IntN(3 << 20)
		case 1:
			n = large - rnd.IntN(10)
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
	same := func(h uint32) bool { return bytes.HasPrefix(s.At(h), want[h]) && len(s.At(h)) >= len(want[h]) }
	for step := range 6000 {
		grow := step/1000%2 == 0
		switch n := rnd.IntN(10); {
		case len(want) == 0 || grow && n < 5 || n < 2:
			b := data()
			h, err := s.Add(b)
			if err != nil {
				t.Fatal(err)
			}
			if want[h] != nil {
				t.Fatalf("handle %d was given out twice", h)
			}
			want[h] = b
		case n < 7:
			for h := range want {
				if !same(h) {
					t.Fatalf("slot %d changed", h)
				}
				want[h] = data()
				if err := s.Set(h, want[h]); err != nil {
					t.Fatal(err)
				}
				break
			}
		default:
			for h := range want {
				if !same(h) {
					t.Fatalf("slot %d changed", h)
				}
				s.Remove(h)
				delete(want, h)
				if s.At(h) != nil {
					t.Fatalf("slot %d is there after its removal", h)
				}
				break
			}
		}
		if step%50 == 0 {
			s.check(t)
		}
	}
	for h := range want {
		if !same(h) {
			t.Fatalf("slot %d changed", h)
		}
		s.Remove(h)
	}
	s.check(t)
	if s.live != 0 || s.At(0) != nil || s.At(s.End()) != nil {
		t.Errorf("when all is free, %d bytes are live", s.live)
	}
}

// Slots of one size use the memory that slots of another left.
func TestSlotsReuse(t *testing.T) {
	var s Slots
	defer s.Close()
	for range 6000 {
		if _, err := s.Add(make([]byte, 300)); err != nil {
			t.Fatal(err)
		}
	}
	slabs := len(s.slabs)
	for h := range uint32(6000) {
		s.Remove(h + 1)
	}
	for range 1800 {
		if _, err := s.Add(make([]byte, 900)); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.slabs) > slabs {
		t.Errorf("%d slabs instead of %d", len(s.slabs), slabs)
	}
}

// When the last piece goes, the table of handles goes too, if it is large.
func TestSlotsEmptied(t *testing.T) {
	var s Slots
	defer s.Close()
	for range 2 {
		for h := range uint32(2000) {
			if got, err := s.Add([]byte{byte(h)}); err != nil || got != h+1 {
				t.Fatalf("handle %d instead of %d: %v", got, h+1, err)
			}
		}
		for h := range uint32(2000) {
			s.Remove(h + 1)
		}
		if s.Bytes() != 0 || s.End() != 0 || s.At(1) != nil {
			t.Errorf("%d bytes and handles below %d are left", s.Bytes(), s.End())
		}
	}
}

// What does not grow can always be written, even without memory.
func TestSlotsShrinkWithoutMemory(t *testing.T) {
	var s Slots
	defer s.Close()
	h, err := s.Add(make([]byte, 5000))
	if err != nil {
		t.Fatal(err)
	}
	first := len(s.slabs)
	for len(s.slabs) <= maxSlabs { // no number is left for another slab
		s.slabs = append(s.slabs, nil)
	}
	s.cut = slabBytes
	if err := s.Set(h, make([]byte, 6000)); err == nil {
		t.Error("there was room to grow")
	}
	if err := s.Set(h, []byte("small")); err != nil || string(s.At(h)[:5]) != "small" {
		t.Errorf("a smaller one: %q, %v", s.At(h)[:5], err)
	}
	s.slabs = s.slabs[:first]
}

func TestHandles(t *testing.T) {
	var s Slots
	defer s.Close()
	for i := range uint32(5000) {
		if h, err := s.Add([]byte{byte(i)}); h != i+1 || err != nil {
			t.Fatalf("handle %d, want %d; %v", h, i+1, err)
		}
	}
	s.Remove(5)
	s.Remove(2000)
	if s.At(5) != nil || s.At(6)[0] != 5 {
		t.Errorf("At = %v, %v", s.At(5), s.At(6))
	}
	a, _ := s.Add(nil)
	if b, _ := s.Add(nil); a != 2000 || b != 5 {
		t.Errorf("handles %d, %d were reused", a, b)
	}
}
