package arena

import (
	"strings"
	"sync"
	"sync/atomic"
)

// The bounds of a Strings, so that a flood of different strings costs no more
// than this. Records keep the strings that have no room.
const (
	maxStrings     = 1 << 14
	maxStringBytes = 4 << 20 // of all together
	maxString      = 1 << 10 // of one
)

// Strings is a bounded table of strings that many records have in common, such
// as user agents. It counts their uses, and forgets those without. The zero
// Strings is empty and ready; its methods may be called concurrently.
type Strings struct {
	// Elements in use don't change, so they are read without the lock.
	list atomic.Pointer[[]sharedString]

	mu    sync.RWMutex // guards the fields below, and the list's other elements
	ids   map[string]uint32
	free  []uint32
	bytes int
}

type sharedString struct {
	s    string
	uses *atomic.Int64
}

// acquire returns the number of s and counts a use. It returns false if there
// is no room.
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
	if t.ids == nil {
		t.ids = make(map[string]uint32)
		t.list.Store(new([]sharedString))
	}
	list := *t.list.Load()
	id := uint32(len(list))
	if n := len(t.free); n > 0 {
		id = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		list = append(list, sharedString{})
		t.list.Store(&list)
	}
	s = strings.Clone(s) // it may be a part of something large
	list[id] = sharedString{s, new(atomic.Int64)}
	list[id].uses.Store(1)
	t.ids[s] = id
	t.bytes += len(s)
	return id, true
}

// get returns the string of a number that is in use.
func (t *Strings) get(id uint32) (string, bool) {
	list := t.list.Load()
	if list == nil || int(id) >= len(*list) {
		return "", false
	}
	return (*list)[id].s, true
}

// Release ends the uses of these strings by one record.
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
		return // acquired again, or released by another call
	}
	delete(t.ids, e.s)
	t.bytes -= len(e.s)
	list[id] = sharedString{}
	t.free = append(t.free, id)
}

// Len returns the number of strings.
func (t *Strings) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.ids)
}
