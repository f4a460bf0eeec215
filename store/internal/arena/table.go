package arena

import (
	"hash/maphash"

	"github.com/sojourn-go/sojourn/store"
)

// A Table keeps encoded records and finds them by application and ID. The zero
// Table is empty and ready. A record keeps its handle as long as it is in the
// table.
type Table struct {
	ids   Index // from the hash of application and ID to the handle
	slots Slots
}

// Find returns the handle and the bytes of a record. The handle is 0 if the
// table doesn't have it. tag is the lower half of the record's Hash.
func (t *Table) Find(app uint32, id *store.ID, tag uint32) (handle uint32, b []byte) {
	for pos, h := t.ids.Seek(tag, -1); h != 0; pos, h = t.ids.Seek(tag, pos) {
		b := t.slots.At(h)
		if *IDOf(b) == *id && AppOf(b) == app {
			return h, b
		}
	}
	return 0, nil
}

// At returns the bytes of a record, or nil if the handle is not in use. Like
// those of Find they are valid until the next change of any record.
func (t *Table) At(handle uint32) []byte { return t.slots.At(handle) }

// Len returns the number of records.
func (t *Table) Len() int { return t.ids.Len() }

// End returns a number above every handle in use.
func (t *Table) End() uint32 { return t.slots.End() }

// Bytes returns the memory of the records and of the tables that find them.
func (t *Table) Bytes() int64 { return t.slots.Bytes() + t.ids.Bytes() }

// Growth returns the bytes that the insertion of a record of n bytes takes.
func (t *Table) Growth(n int) int64 { return SlotBytes(n) + 4 + t.ids.Growth() }

// GrowthOf returns the bytes that the replacement of a record by one of n bytes
// takes. It is negative if the record shrinks.
func (t *Table) GrowthOf(handle uint32, n int) int64 { return SlotBytes(n) - t.slots.Size(handle) }

// Insert adds an encoded record that the table doesn't have. An error means
// that there is no memory.
func (t *Table) Insert(tag uint32, data []byte) (handle uint32, err error) {
	if err := t.ids.Reserve(); err != nil {
		return 0, err
	}
	if handle, err = t.slots.Add(data); err != nil {
		return 0, err
	}
	t.ids.Insert(tag, handle)
	return handle, nil
}

// Replace gives a record other bytes, and releases the strings that the old
// ones used. After an error, which means that there is no memory, the record is
// as it was.
func (t *Table) Replace(s *Strings, handle uint32, data []byte) error {
	var array [maxUsed]uint32
	used := UsedStrings(array[:0], t.slots.At(handle))
	if err := t.slots.Set(handle, data); err != nil {
		return err
	}
	s.Release(used)
	return nil
}

// Remove removes a record, and releases its strings.
func (t *Table) Remove(s *Strings, tag, handle uint32) {
	var array [maxUsed]uint32
	s.Release(UsedStrings(array[:0], t.slots.At(handle)))
	t.slots.Remove(handle)
	t.ids.Remove(tag, handle)
}

// Close frees all memory. The table is empty then.
func (t *Table) Close() {
	t.ids.Close()
	t.slots.Close()
}

// Hash returns the hash of a record: the upper end chooses a shard, and the
// lower half is the tag in the shard's Table. It is seeded, so that nobody can
// choose IDs that collide.
func Hash(seed maphash.Seed, app uint32, id *store.ID) uint64 {
	return maphash.Bytes(seed, id[:]) + Spread(app)
}

// Spread is added to a hash, so that equal IDs and subjects of different
// applications have different hashes.
func Spread(app uint32) uint64 { return uint64(app) * 0x9e3779b97f4a7c15 }
