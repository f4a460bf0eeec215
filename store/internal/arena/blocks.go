package arena

import (
	"math/bits"
	"unsafe"
)

// A Ref names a block of a Blocks. It fits in 31 bits; 0 is no block.
type Ref uint32

const (
	unit      = 8 // blocks begin at, and have sizes of, multiples of it
	slabBytes = 1 << 20
	slabUnits = slabBytes / unit
	unitBits  = 17 // of a Ref: where in the slab; the rest: which slab
	maxSlabs  = 1 << (31 - unitBits)

	// A block that wouldn't leave room for another one in a slab gets a mapping of its own.
	maxShared = slabUnits / 2

	minUnits = 2 // a free block holds a header, two links and a footer

	exactClasses = 64 // sizes below this many units have a class each
	classes      = exactClasses + (unitBits-6+1)*16
)

// Blocks is an allocator of byte blocks in slabs outside the Go heap. The zero
// Blocks is empty and ready.
//
// Free blocks are kept by size class, and a free block's neighbours are merged with it, as in TLSF
// (Masmano et al., 2004). A request takes the best class that has a block and gives back what it
// doesn't need, so memory freed by records of one size serves those of any other size.
// Of slabs that become empty all but one are unmapped.
type Blocks struct {
	slabs  []slab
	unused []uint32 // indices in slabs that have no memory
	empty  uint32   // 1 + the index of the slab kept though empty
	live   int64

	free     [classes]Ref
	nonEmpty [classes / 64]uint64
}

type slab struct {
	base  unsafe.Pointer
	units uint32
}

// A block begins with a word: its size in units, the number of bytes at its end that the
// data doesn't use, and whether it and the block before it are in use. In a free block two links and, in
// the last word, the size follow.
const (
	wordUsed     = 1
	wordPrevUsed = 2
	padShift     = 2
	padMask      = 31
	sizeShift    = 7
)

// Live returns the number of bytes in blocks in use, headers and padding included.
func (a *Blocks) Live() int64 { return a.live }

// BlockBytes returns what a block of n bytes of data adds to Live.
func BlockBytes(n int) int64 { return int64(unitsFor(n)) * unit }

func unitsFor(n int) uint32 {
	return max(minUnits, uint32((n+4+unit-1)/unit))
}

func (a *Blocks) at(r Ref) unsafe.Pointer {
	return unsafe.Add(a.slabs[r>>unitBits].base, uintptr(r&(slabUnits-1))*unit)
}

func (a *Blocks) word(r Ref) *uint32 { return (*uint32)(a.at(r)) }

// links are those of the free list that a free block is in.
func (a *Blocks) links(r Ref) *[2]Ref { return (*[2]Ref)(unsafe.Add(a.at(r), 4)) }

// footer is the last word before block r: the size of a free block that precedes it.
func (a *Blocks) footer(r Ref) *uint32 { return (*uint32)(unsafe.Add(a.at(r), -4)) }

// after returns the block behind r, or 0 at the end of the slab.
func (a *Blocks) after(r Ref, units uint32) Ref {
	if uint32(r&(slabUnits-1))+units >= a.slabs[r>>unitBits].units {
		return 0
	}
	return r + Ref(units)
}

// Bytes returns the data of a block. The slice is good until the block is freed or put.
func (a *Blocks) Bytes(r Ref) []byte {
	p := a.at(r)
	w := *(*uint32)(p)
	n := w>>sizeShift*unit - 4 - w>>padShift&padMask
	return unsafe.Slice((*byte)(unsafe.Add(p, 4)), n)
}

// Size returns what the block contributes to Live.
func (a *Blocks) Size(r Ref) int64 { return int64(*a.word(r)>>sizeShift) * unit }

// Alloc makes a block with a copy of data.
func (a *Blocks) Alloc(data []byte) (Ref, error) {
	units := unitsFor(len(data))
	var r Ref
	var err error
	if units > maxShared {
		r, err = a.addSlab(units, true)
	} else {
		r, err = a.take(units)
	}
	if err != nil {
		return 0, err
	}
	a.fill(r, data)
	return r, nil
}

// Put replaces the data of a block, in place where it fits, else in another block; on an error
// the block is as it was. data must not come from a.
func (a *Blocks) Put(r Ref, data []byte) (Ref, error) {
	need, have := unitsFor(len(data)), *a.word(r)>>sizeShift
	if need <= have && have <= maxShared || need == have {
		if have-need >= minUnits {
			a.trim(r, need)
		}
		a.fill(r, data)
		return r, nil
	}
	moved, err := a.Alloc(data)
	if err != nil {
		return 0, err
	}
	a.Free(r)
	return moved, nil
}

// fill copies data into a block that has room for it.
func (a *Blocks) fill(r Ref, data []byte) {
	w := a.word(r)
	units := *w >> sizeShift
	pad := units*unit - 4 - uint32(len(data))
	*w = units<<sizeShift | pad<<padShift | *w&(wordUsed|wordPrevUsed)
	copy(a.Bytes(r), data)
}

// trim gives the end of a block in use back.
func (a *Blocks) trim(r Ref, units uint32) {
	w := a.word(r)
	rest := *w>>sizeShift - units
	*w = units<<sizeShift | *w&(wordUsed|wordPrevUsed)
	tail := r + Ref(units)
	*a.word(tail) = rest<<sizeShift | wordUsed | wordPrevUsed
	a.Free(tail) // merges it with what follows
}

// Free gives a block back.
func (a *Blocks) Free(r Ref) {
	w := *a.word(r)
	units := w >> sizeShift
	a.live -= int64(units) * unit
	s := &a.slabs[r>>unitBits]
	if s.units != slabUnits {
		a.dropSlab(uint32(r >> unitBits))
		return
	}
	if next := a.after(r, units); next != 0 {
		if nw := *a.word(next); nw&wordUsed == 0 {
			a.unlist(next, nw>>sizeShift)
			units += nw >> sizeShift
		}
	}
	if w&wordPrevUsed == 0 {
		before := *a.footer(r)
		r -= Ref(before)
		a.unlist(r, before)
		units += before
	}
	if units == slabUnits-1 {
		i := uint32(r >> unitBits)
		if a.empty != 0 && a.empty != i+1 {
			a.dropSlab(i)
			return
		}
		a.empty = i + 1
	}
	a.list(r, units)
}

// Close unmaps everything.
func (a *Blocks) Close() {
	for i := range a.slabs {
		if a.slabs[i].base != nil {
			a.dropSlab(uint32(i))
		}
	}
	*a = Blocks{}
}

// take finds a free block of at least so many units, and splits it.
func (a *Blocks) take(units uint32) (Ref, error) {
	c := a.search(units)
	if c < 0 {
		r, err := a.addSlab(slabUnits-1, false)
		if err != nil {
			return 0, err
		}
		a.live -= (slabUnits - 1) * unit
		a.list(r, slabUnits-1)
		c = class(slabUnits - 1)
	}
	r := a.free[c]
	have := *a.word(r) >> sizeShift
	a.unlist(r, have)
	if have == slabUnits-1 && a.empty == uint32(r>>unitBits)+1 {
		a.empty = 0
	}
	w := a.word(r)
	if rest := have - units; rest >= minUnits {
		*w = units<<sizeShift | wordUsed | wordPrevUsed
		a.list(r+Ref(units), rest)
		have = units
	} else {
		*w = have<<sizeShift | wordUsed | wordPrevUsed
		if next := a.after(r, have); next != 0 {
			*a.word(next) |= wordPrevUsed
		}
	}
	a.live += int64(have) * unit
	return r, nil
}

// search returns a class whose every block has at least so many units, or -1.
func (a *Blocks) search(units uint32) int {
	c := units
	if units >= exactClasses {
		c = uint32(class(units + 1<<(bits.Len32(units)-5) - 1))
	}
	for i := c / 64; i < uint32(len(a.nonEmpty)); i++ {
		w := a.nonEmpty[i]
		if i == c/64 {
			w &= ^uint64(0) << (c % 64)
		}
		if w != 0 {
			return int(i*64) + bits.TrailingZeros64(w)
		}
	}
	return -1
}

// class is one for each size below exactClasses, then sixteen for each doubling.
func class(units uint32) int {
	if units < exactClasses {
		return int(units)
	}
	doubling := bits.Len32(units) - 1
	return exactClasses + (doubling-6)*16 + int(units>>(doubling-4)&15)
}

// list makes r a free block.
func (a *Blocks) list(r Ref, units uint32) {
	*a.word(r) = units<<sizeShift | wordPrevUsed // two free blocks are never neighbours
	if next := a.after(r, units); next != 0 {
		*a.footer(next) = units
		*a.word(next) &^= wordPrevUsed
	}
	c := class(units)
	head := a.free[c]
	*a.links(r) = [2]Ref{head, 0}
	if head != 0 {
		a.links(head)[1] = r
	}
	a.free[c] = r
	a.nonEmpty[c/64] |= 1 << (c % 64)
}

func (a *Blocks) unlist(r Ref, units uint32) {
	l := *a.links(r)
	if l[0] != 0 {
		a.links(l[0])[1] = l[1]
	}
	if l[1] != 0 {
		a.links(l[1])[0] = l[0]
		return
	}
	c := class(units)
	a.free[c] = l[0]
	if l[0] == 0 {
		a.nonEmpty[c/64] &^= 1 << (c % 64)
	}
}

// addSlab maps a slab that is one block in use; with own it is for this block alone.
func (a *Blocks) addSlab(units uint32, own bool) (Ref, error) {
	if len(a.unused) == 0 && len(a.slabs) == maxSlabs {
		return 0, errNoRoom
	}
	const page = 4096
	size := (int(units+1)*unit + page - 1) / page * page
	if own && size == slabBytes {
		size += page // the size tells the kinds apart
	}
	mem, err := pages(size)
	if err != nil {
		return 0, err
	}
	s := slab{unsafe.Pointer(unsafe.SliceData(mem)), uint32(size / unit)}
	var i uint32
	if n := len(a.unused); n > 0 {
		i = a.unused[n-1]
		a.unused = a.unused[:n-1]
		a.slabs[i] = s
	} else {
		i = uint32(len(a.slabs))
		a.slabs = append(a.slabs, s)
	}
	r := Ref(i<<unitBits | 1) // not 0: that is no block
	*a.word(r) = units<<sizeShift | wordUsed | wordPrevUsed
	a.live += int64(units) * unit
	return r, nil
}

func (a *Blocks) dropSlab(i uint32) {
	s := &a.slabs[i]
	freePages(unsafe.Slice((*byte)(s.base), int(s.units)*unit))
	*s = slab{}
	a.unused = append(a.unused, i)
}
