package memstore

import "unsafe"

// A ledger is a map that can be walked in steps. Neither its keys nor its
// values have pointers, so the garbage collector doesn't look into it.
type ledger[V any] struct {
	index   map[[32]byte]uint32
	entries []ledgerEntry[V]
}

type ledgerEntry[V any] struct {
	key [32]byte
	val V
}

func (l *ledger[V]) len() int { return len(l.entries) }

func (l *ledger[V]) bytes() int64 { return int64(len(l.entries)) * l.entryBytes() }

func (l *ledger[V]) entryBytes() int64 {
	const mapEntry = 56 // about
	return int64(unsafe.Sizeof(ledgerEntry[V]{})) + mapEntry
}

// get returns a value, or nil. It is valid until the ledger changes.
func (l *ledger[V]) get(key [32]byte) *V {
	if i, ok := l.index[key]; ok {
		return &l.entries[i].val
	}
	return nil
}

func (l *ledger[V]) put(key [32]byte, val V) {
	if v := l.get(key); v != nil {
		*v = val
		return
	}
	if l.index == nil {
		l.index = make(map[[32]byte]uint32)
	}
	l.index[key] = uint32(len(l.entries))
	l.entries = append(l.entries, ledgerEntry[V]{key, val})
}

// removeIf examines n entries from pos on, and removes those that are old. It
// returns how many it examined, where to continue, and whether that is the end.
func (l *ledger[V]) removeIf(pos, n int, old func(*V) bool) (examined, next int, end bool) {
	for ; examined < n && pos < len(l.entries); examined++ {
		e := &l.entries[pos]
		if !old(&e.val) {
			pos++
			continue
		}
		delete(l.index, e.key)
		last := len(l.entries) - 1
		if pos != last {
			*e = l.entries[last]
			l.index[e.key] = uint32(pos)
		}
		l.entries = l.entries[:last]
	}
	if len(l.entries) <= cap(l.entries)/4 {
		l.shrink()
	}
	return examined, pos, pos >= len(l.entries)
}

// shrink gives back the memory of entries that were removed. A map never
// shrinks, so the rest moves to a new one.
func (l *ledger[V]) shrink() {
	old := l.entries
	*l = ledger[V]{}
	if len(old) == 0 {
		return
	}
	l.entries = append(l.entries, old...)
	l.index = make(map[[32]byte]uint32, len(old))
	for i := range l.entries {
		l.index[l.entries[i].key] = uint32(i)
	}
}
