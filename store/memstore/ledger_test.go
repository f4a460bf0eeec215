package memstore

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

// A ledger that had many entries gives their memory back also while a few are
// left: the store counts only those.
func TestLedgerGivesMemoryBack(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory is not the ledger's")
	}
	const n, few = 200_000, 100
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	key := func(i int) (k [32]byte) {
		binary.BigEndian.PutUint64(k[:], uint64(i))
		return k
	}
	before := inUse()
	var l ledger[made]
	for i := range n {
		l.put(key(i), made{at: store.Time(i)})
	}
	full := inUse() - before
	for pos, end := 0, false; !end; {
		_, pos, end = l.removeIf(pos, maxHold, func(m *made) bool { return m.at%(n/few) != 0 })
	}
	if left := inUse() - before; left > full/8 {
		t.Errorf("%d of %d bytes are in use with %d of %d entries", left, full, few, n)
	}
	if l.len() != few {
		t.Errorf("%d entries are left, not %d", l.len(), few)
	}
	for i := 0; i < n; i += n / few {
		if m := l.get(key(i)); m == nil || m.at != store.Time(i) {
			t.Fatalf("entry %d: %+v", i, m)
		}
	}
	if l.get(key(1)) != nil {
		t.Error("an entry that was removed is there")
	}
}
