package arena

import (
	"errors"
	"unsafe"
)

var errNoRoom = errors.New("arena: no room")

// An Index is a hash table from 32-bit hashes to non-zero 32-bit values, in memory outside the Go
// heap. Several values may have the same hash; the caller tells them apart. The
// zero Index is empty and ready.
//
// It probes linearly from a place proportional to the hash, so it can grow in small steps, is
// mostly full, and is copied in order when it grows.
type Index struct {
	slots []slot
	n     int
}

type slot struct{ hash, val uint32 }

const (
	slotBytes = int(unsafe.Sizeof(slot{}))
	pageSlots = 4096 / slotBytes
)

// Len returns the number of values.
func (x *Index) Len() int { return x.n }

// Bytes returns the memory that the index takes.
func (x *Index) Bytes() int64 { return int64(len(x.slots) * slotBytes) }

func home(hash uint32, slots int) int { return int(uint64(hash) * uint64(slots) >> 32) }

// Seek returns the position and value of the next entry with the hash: the first if pos is
// negative, else the first behind pos. The value is 0 after the last.
func (x *Index) Seek(hash uint32, pos int) (int, uint32) {
	slots := x.slots
	if len(slots) == 0 {
		return 0, 0
	}
	if pos < 0 {
		pos = home(hash, len(slots))
	} else if pos++; pos == len(slots) {
		pos = 0
	}
	for {
		s := slots[pos]
		if s.val == 0 || s.hash == hash {
			return pos, s.val
		}
		if pos++; pos == len(slots) {
			pos = 0
		}
	}
}

// find returns the position of an entry, or -1.
func (x *Index) find(hash, val uint32) int {
	for pos, v := x.Seek(hash, -1); v != 0; pos, v = x.Seek(hash, pos) {
		if v == val {
			return pos
		}
	}
	return -1
}

// Reserve makes room for one more entry, so that the next Insert can't fail.
func (x *Index) Reserve() error {
	if slots := x.enough(); slots > len(x.slots) {
		return x.resize(slots)
	}
	return nil
}

// Growth returns the bytes by which Reserve would enlarge the table.
func (x *Index) Growth() int64 { return int64((x.enough() - len(x.slots)) * slotBytes) }

// enough returns the number of slots that one more entry needs.
func (x *Index) enough() int {
	n := len(x.slots)
	if (x.n+1)*8 > n*7 {
		n += n/6 + pageSlots/2
		n = (n + pageSlots - 1) / pageSlots * pageSlots
	}
	return n
}

// Insert adds an entry, for which there is room by Reserve.
func (x *Index) Insert(hash, val uint32) {
	x.put(slot{hash, val})
	x.n++
}

func (x *Index) put(s slot) {
	pos := home(s.hash, len(x.slots))
	for x.slots[pos].val != 0 {
		if pos++; pos == len(x.slots) {
			pos = 0
		}
	}
	x.slots[pos] = s
}

// Replace gives an entry another value.
func (x *Index) Replace(hash, old, val uint32) {
	if pos := x.find(hash, old); pos >= 0 {
		x.slots[pos].val = val
	}
}

// Remove removes an entry.
func (x *Index) Remove(hash, val uint32) {
	pos := x.find(hash, val)
	if pos < 0 {
		return
	}
	x.n--
	// Entries behind the hole move up to where Seek would look for them.
	slots := x.slots
	for i := pos; ; {
		if i++; i == len(slots) {
			i = 0
		}
		s := slots[i]
		if s.val == 0 {
			break
		}
		if between(home(s.hash, len(slots)), pos, i) {
			continue
		}
		slots[pos] = s
		pos = i
	}
	slots[pos] = slot{}
	if len(slots) > 4*pageSlots && x.n < len(slots)/4 {
		_ = x.resize(len(slots) / 2) // without memory for a smaller table the large one stays
	}
}

// between reports whether h lies in the cyclic range (from, to].
func between(h, from, to int) bool {
	if from <= to {
		return from < h && h <= to
	}
	return from < h || h <= to
}

func (x *Index) resize(slots int) error {
	slots = (slots + pageSlots - 1) / pageSlots * pageSlots
	mem, err := pages(slots * slotBytes)
	if err != nil {
		return err
	}
	old := x.slots
	x.slots = unsafe.Slice((*slot)(unsafe.Pointer(unsafe.SliceData(mem))), slots)
	for _, s := range old {
		if s.val != 0 {
			x.put(s)
		}
	}
	freeSlots(old)
	return nil
}

// Close unmaps the table.
func (x *Index) Close() {
	freeSlots(x.slots)
	*x = Index{}
}

func freeSlots(s []slot) {
	if s != nil {
		freePages(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*slotBytes))
	}
}
