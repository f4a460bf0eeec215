package arena

import "unsafe"

// MaxHandle is the largest handle.
const MaxHandle = 1<<24 - 1

// Handles gives blocks names that stay when they move: numbers from 1 to
// MaxHandle. Its memory is outside the Go heap. The zero Handles is empty and ready.
type Handles struct {
	segments [][]uint32
	end      uint32 // handles below it have been in use
	free     uint32 // the first of a list of free ones
}

const (
	segmentBits = 14
	segmentLen  = 1 << segmentBits
	handleFree  = 1 << 31 // marks a free one, whose other bits are the next free one
)

func (h *Handles) slot(n uint32) *uint32 {
	return &h.segments[n>>segmentBits][n&(segmentLen-1)]
}

// Ref returns the block of handle n, or 0 if it is free or was never in use.
func (h *Handles) Ref(n uint32) Ref {
	if n >= h.end {
		return 0
	}
	v := *h.slot(n)
	if v&handleFree != 0 {
		return 0
	}
	return Ref(v)
}

// End returns a number above every handle in use.
func (h *Handles) End() uint32 { return h.end }

// Bytes returns the memory in use.
func (h *Handles) Bytes() int64 { return int64(h.end) * 4 }

// Reserve makes room for one more handle, so that the next Add can't fail.
func (h *Handles) Reserve() error {
	if h.free != 0 || int(h.end) < len(h.segments)*segmentLen && h.end != 0 {
		return nil
	}
	if h.end > MaxHandle {
		return errNoRoom
	}
	mem, err := pages(segmentLen * 4)
	if err != nil {
		return err
	}
	h.segments = append(h.segments, unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(mem))), segmentLen))
	h.end = max(h.end, 1)
	return nil
}

// Add returns a handle for r. There is room for it by Reserve.
func (h *Handles) Add(r Ref) uint32 {
	n := h.free
	if n == 0 {
		n = h.end
		h.end++
	} else {
		h.free = *h.slot(n) &^ handleFree
	}
	*h.slot(n) = uint32(r)
	return n
}

// Set gives handle n another block.
func (h *Handles) Set(n uint32, r Ref) { *h.slot(n) = uint32(r) }

// Remove frees handle n.
func (h *Handles) Remove(n uint32) {
	*h.slot(n) = handleFree | h.free
	h.free = n
}

// Close unmaps the handles.
func (h *Handles) Close() {
	for _, s := range h.segments {
		freePages(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*4))
	}
	*h = Handles{}
}
