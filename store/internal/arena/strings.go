package arena

import (
	"sync"
	"sync/atomic"
)

// Bounds of a Strings: a flood of distinct strings costs no more than this. What
// doesn't fit is kept in each record.
const (
	maxStrings     = 1 << 14
	maxStringBytes = 4 << 20
	maxString      = 1 << 10
)

// Strings is a bounded table of strings that many records have in common, such as
// user agents. It counts their uses and forgets those without. The zero Strings is
// empty and ready; its methods may be called concurrently.
type Strings struct {
	list atomic.Pointer[[]entry]

	mu    sync.RWMutex
	ids   map[string]uint32
	free  []uint32
	bytes int
}

type entry struct {
	s    string
	uses *atomic.Int64
}

// acquire returns the number of s and counts a use. It reports false when there is no room.
func (t *Strings) acquire(s string) (uint32, bool) {
	if len(s) > maxString {
		return 0, false
	}
	t.mu.RLock()
	id, ok := t.ids[s]
	if ok {
		(*t.list.Load())[id].uses.Add(1)
	}
	t.mu.RUnlock()
	if ok {
		return id, true
	}
	return t.add(s)
}

func (t *Strings) add(s string) (uint32, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id, ok := t.ids[s]; ok {
		(*t.list.Load())[id].uses.Add(1)
		return id, true
	}
	if len(t.ids) >= maxStrings || t.bytes+len(s) > maxStringBytes {
		return 0, false
	}
	var list []entry
	if p := t.list.Load(); p != nil {
		list = *p
	}
	var id uint32
	if n := len(t.free); n > 0 {
		id = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		id = uint32(len(list))
		if len(list) == cap(list) {
			list = append(make([]entry, 0, 2*cap(list)+16), list...)
		}
		list = append(list, entry{})
		t.list.Store(&list)
	}
	if t.ids == nil {
		t.ids = make(map[string]uint32)
	}
	uses := new(atomic.Int64)
	uses.Store(1)
	s = clone(s) // it may be a part of something large
	list[id] = entry{s, uses}
	t.ids[s] = id
	t.bytes += len(s)
	return id, true
}

func clone(s string) string { return string([]byte(s)) }

// get returns the string of a number that is in use.
func (t *Strings) get(id uint32) (string, bool) {
	p := t.list.Load()
	if p == nil || int(id) >= len(*p) {
		return "", false
	}
	return (*p)[id].s, true
}

// Release gives back the uses that a record made of these strings.
func (t *Strings) Release(used []uint32) {
	for _, id := range used {
		t.release(id)
	}
}

func (t *Strings) release(id uint32) {
	e := (*t.list.Load())[id]
	if e.uses.Add(-1) > 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	list := *t.list.Load()
	if list[id].uses != e.uses || e.uses.Load() > 0 {
		return // it was acquired again, or released by another call
	}
	delete(t.ids, e.s)
	t.bytes -= len(e.s)
	list[id] = entry{}
	t.free = append(t.free, id)
}

// Len returns the number of strings.
func (t *Strings) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.ids)
}
