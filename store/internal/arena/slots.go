package arena

import (
	"encoding/binary"
	"math/bits"
	"os"
	"unsafe"
)

// MaxHandle is the largest handle. One more still has 23 bits.
const MaxHandle = 1<<23 - 2

const (
	unit      = 8 // slots begin at multiples of it
	slabBytes = 1 << 20
	slabBits  = 17 // of a place: where in the slab, in units; the rest: which slab

	header     = 4                // bytes: the handle, then the class in the lowest byte
	small      = 1 << 10          // the slots of these sizes are in chunks of 64 KiB
	large      = 64 << 10         // a larger slot has a mapping of its own
	classes    = small/unit + 6*8 // sizes of slots in chunks
	ownClass   = 255              // a slot with a mapping of its own
	freed      = 1 << 31          // marks a free handle; the lower bits are the next free one
	noPlace    = place(0)         // no slab has the number 0
	fewHandles = 1024             // a table of more is given back when no handle is in use
	perChunk   = 4                // slots of a chunk, if they aren't small

	smallChunk = 64 << 10  // a whole number of pages
	maxSlabs   = 1<<14 - 1 // so that a place has 31 bits
)

var pageBytes = os.Getpagesize()

// Slots keeps pieces of bytes outside the Go heap. Each has a handle, from 1 to
// MaxHandle, which stays the same when the piece moves or changes. The zero
// Slots is empty and ready.
//
// A piece lies in a slot of the next larger size. The slots of one size are
// dense: whenever one becomes free, the last one moves there. So no memory is
// lost between slots. They lie in chunks, which are parts of slabs of 1 MiB.
// Pages after the last slot return to the system where it takes them (on
// Linux), and the addresses of empty chunks are used again.
type Slots struct {
	places  []uint32 // by handle, outside the Go heap
	end     uint32   // the handles below it have been in use
	free    uint32   // the first free handle; 0: none
	classes []*class // nil: never used
	slabs   [][]byte // by number; nil: not mapped
	unused  []uint32 // numbers of slabs that are not mapped, except 0
	current uint32   // the number of the slab of which new chunks are cut
	cut     int      // bytes of it
	live    int64
}

// A place is where a slot begins: the number of its slab and the offset in it.
type place uint32

// A class is the slots of one size.
type class struct {
	chunks []place // in the order in which they fill
	used   int     // slots
	idle   []place // empty chunks; class 0 has those of all small ones
}

// classOf returns the class of the smallest slots with n bytes. Sizes are
// multiples of 8 bytes, and above 1 KiB eight for each power of two.
func classOf(n int) int {
	switch {
	case n <= small:
		return (n + unit - 1) / unit
	case n > large:
		return ownClass
	}
	shift := bits.Len(uint(n-1)) - 4
	return small/unit + (shift-7)*8 + (n-1)>>shift - 7
}

func sizeOf(c int) int {
	if c <= small/unit {
		return c * unit
	}
	c -= small/unit + 1
	return (9 + c%8) << (7 + c/8)
}

// chunkOf returns how many slots of a class a chunk has, and its bytes.
func chunkOf(c int) (slots, bytes int) {
	size := sizeOf(c)
	if size <= small {
		return smallChunk / size, smallChunk
	}
	return perChunk, toPages(perChunk * size)
}

func toPages(n int) int {
	return (n + pageBytes - 1) / pageBytes * pageBytes
}

// SlotBytes returns the size of the slot for n bytes.
func SlotBytes(n int) int64 {
	if c := classOf(n + header); c != ownClass {
		return int64(sizeOf(c))
	}
	return int64(toPages(n + header))
}

// Bytes returns the size of all slots, and of the table of handles.
func (s *Slots) Bytes() int64 { return s.live + int64(s.end)*4 }

// End returns a number above every handle in use.
func (s *Slots) End() uint32 { return s.end }

// At returns the bytes of a slot, which may be more than were put there. It
// returns nil if the handle is not in use. The bytes are valid until the next
// change of any slot.
func (s *Slots) At(handle uint32) []byte {
	if handle >= s.end || s.places[handle]&freed != 0 {
		return nil
	}
	return s.slot(place(s.places[handle]))[header:]
}

func (s *Slots) slot(p place) []byte {
	b := s.from(p)
	if c := b[0]; c != ownClass {
		return b[:sizeOf(int(c))]
	}
	return b
}

// from returns the rest of a slab, beginning at p.
func (s *Slots) from(p place) []byte {
	return s.slabs[p>>slabBits][int(p&(1<<slabBits-1))*unit:]
}

// Size returns the size of a slot that is in use.
func (s *Slots) Size(handle uint32) int64 { return int64(len(s.slot(place(s.places[handle])))) }

// Add puts a copy of data into a new slot. An error means that there is no
// memory, or no handle.
func (s *Slots) Add(data []byte) (uint32, error) {
	if err := s.reserveHandle(); err != nil {
		return 0, err
	}
	p, err := s.alloc(len(data))
	if err != nil {
		return 0, err
	}
	handle := s.free
	if handle != 0 {
		s.free = s.places[handle] &^ freed
	} else {
		handle = s.end
		s.end++
	}
	s.write(p, handle, data)
	return handle, nil
}

func (s *Slots) write(p place, handle uint32, data []byte) {
	b := s.slot(p)
	binary.LittleEndian.PutUint32(b, handle<<8|uint32(b[0]))
	copy(b[header:], data)
	s.places[handle] = uint32(p)
}

// reserveHandle makes room for one more handle.
func (s *Slots) reserveHandle() error {
	if s.free != 0 || int(s.end) < len(s.places) {
		return nil
	}
	if s.end > MaxHandle {
		return errNoRoom
	}
	bigger, err := mapArray[uint32](len(s.places) + len(s.places)/6 + fewHandles)
	if err != nil {
		return err
	}
	copy(bigger, s.places)
	freeArray(s.places)
	s.places = bigger
	if s.end == 0 {
		s.places[0], s.end = freed, 1 // 0 is no handle
	}
	return nil
}

// Set replaces the bytes of a slot that is in use. After an error, which means
// that there is no memory, they are as they were. An error is impossible if
// data is no larger than the slot.
func (s *Slots) Set(handle uint32, data []byte) error {
	old := place(s.places[handle])
	have := s.slot(old)
	if SlotBytes(len(data)) == int64(len(have)) {
		copy(have[header:], data)
		return nil
	}
	p, err := s.alloc(len(data))
	switch {
	case err == nil:
		s.write(p, handle, data)
		s.release(old)
	case len(data)+header <= len(have):
		copy(have[header:], data)
	default:
		return err
	}
	return nil
}

// Remove frees a slot and its handle.
func (s *Slots) Remove(handle uint32) {
	p := place(s.places[handle])
	s.places[handle] = freed | s.free
	s.free = handle
	s.release(p)
	if s.live == 0 && len(s.places) > fewHandles {
		freeArray(s.places)
		s.places, s.end, s.free = nil, 0, 0
	}
}

// alloc returns a slot for n bytes, with its class written.
func (s *Slots) alloc(n int) (place, error) {
	size := int(SlotBytes(n))
	c := classOf(n + header)
	if c == ownClass {
		number, err := s.mapSlab(size)
		if err != nil {
			return noPlace, err
		}
		s.slabs[number][0] = ownClass
		s.live += int64(size)
		return place(number << slabBits), nil
	}
	cl := s.class(c)
	slots, _ := chunkOf(c)
	if cl.used == len(cl.chunks)*slots {
		chunk, err := s.newChunk(c)
		if err != nil {
			return noPlace, err
		}
		cl.chunks = append(cl.chunks, chunk)
	}
	p := cl.nth(cl.used, slots, size)
	cl.used++
	s.live += int64(size)
	s.from(p)[0] = byte(c)
	return p, nil
}

func (s *Slots) class(c int) *class {
	for len(s.classes) <= c {
		s.classes = append(s.classes, nil)
	}
	if s.classes[c] == nil {
		s.classes[c] = new(class)
	}
	return s.classes[c]
}

// nth returns the n-th slot of a class.
func (cl *class) nth(n, slots, size int) place {
	return cl.chunks[n/slots] + place(n%slots*(size/unit))
}

// release frees a slot, and moves the last one of its class there.
func (s *Slots) release(p place) {
	b := s.slot(p)
	c, size := int(b[0]), len(b)
	s.live -= int64(size)
	if c == ownClass {
		s.unmapSlab(uint32(p >> slabBits))
		return
	}
	cl := s.classes[c]
	slots, bytes := chunkOf(c)
	cl.used--
	last := cl.nth(cl.used, slots, size)
	if last != p {
		copy(b, s.slot(last))
		s.places[binary.LittleEndian.Uint32(b)>>8] = uint32(p)
	}
	n, end := cl.used/slots, cl.used%slots*size // the last slot was here
	chunk := s.from(cl.chunks[n])[:bytes]
	if from, to := toPages(end), toPages(end+size); from < to {
		discard(chunk[from:to])
	}
	if end == 0 {
		idle := s.idleOf(c)
		*idle = append(*idle, cl.chunks[n])
		cl.chunks = cl.chunks[:n]
	}
}

func (s *Slots) idleOf(c int) *[]place {
	if c <= small/unit {
		c = 0
	}
	return &s.class(c).idle
}

func (s *Slots) newChunk(c int) (place, error) {
	if idle := s.idleOf(c); len(*idle) > 0 {
		p := (*idle)[len(*idle)-1]
		*idle = (*idle)[:len(*idle)-1]
		return p, nil
	}
	_, bytes := chunkOf(c)
	if s.current == 0 || s.cut+bytes > slabBytes {
		number, err := s.mapSlab(slabBytes)
		if err != nil {
			return noPlace, err
		}
		s.current, s.cut = number, 0
	}
	p := place(s.current<<slabBits) + place(s.cut/unit)
	s.cut += bytes
	return p, nil
}

// mapSlab maps memory and returns its number.
func (s *Slots) mapSlab(bytes int) (uint32, error) {
	if len(s.slabs) > maxSlabs && len(s.unused) == 0 {
		return 0, errNoRoom
	}
	mem, err := pages(bytes)
	if err != nil {
		return 0, err
	}
	if n := len(s.unused); n > 0 {
		number := s.unused[n-1]
		s.unused = s.unused[:n-1]
		s.slabs[number] = mem
		return number, nil
	}
	if len(s.slabs) == 0 {
		s.slabs = append(s.slabs, nil)
	}
	s.slabs = append(s.slabs, mem)
	return uint32(len(s.slabs) - 1), nil
}

func (s *Slots) unmapSlab(number uint32) {
	freePages(s.slabs[number])
	s.slabs[number] = nil
	s.unused = append(s.unused, number)
}

// Close frees all memory.
func (s *Slots) Close() {
	for _, mem := range s.slabs {
		freePages(mem)
	}
	freeArray(s.places)
	*s = Slots{}
}

// mapArray returns a zeroed array of at least n elements outside the Go heap.
func mapArray[T uint32 | entry](n int) ([]T, error) {
	size := int(unsafe.Sizeof(*new(T)))
	mem, err := pages(toPages(n * size))
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mem))), len(mem)/size), nil
}

func freeArray[T uint32 | entry](a []T) {
	if len(a) > 0 {
		freePages(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(a))), len(a)*int(unsafe.Sizeof(a[0]))))
	}
}
