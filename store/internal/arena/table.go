package arena

import (
	"hash/maphash"

	"github.com/sojourn-go/sojourn/store"
)

// A Table keeps encoded records and finds them by application and ID. The zero Table is empty
// and ready. A record keeps its handle for as long as it is in the table.
type Table struct {
	ids     Index // from the hash of application and ID to the handle
	handles Handles
	blocks  Blocks
}

// Find returns the handle and the bytes of a record, or 0. tag is the lower half of the record's Hash.
func (t *Table) Find(app uint32, id *store.ID, tag uint32) (uint32, []byte) {
	for pos, h := t.ids.Seek(tag, -1); h != 0; pos, h = t.ids.Seek(tag, pos) {
		b := t.blocks.Bytes(t.handles.Ref(h))
		if *IDOf(b) == *id && AppOf(b) == app {
			return h, b
		}
	}
	return 0, nil
}

// At returns the record of a handle, or nil if it is free or was never in use.
func (t *Table) At(handle uint32) []byte {
	ref := t.handles.Ref(handle)
	if ref == 0 {
		return nil
	}
	return t.blocks.Bytes(ref)
}

// Len returns the number of records.
func (t *Table) Len() int { return t.ids.Len() }

// End returns a number above every handle in use.
func (t *Table) End() uint32 { return t.handles.End() }

// Bytes returns the memory of the records, with what their allocation costs, and of the tables that find them.
func (t *Table) Bytes() int64 { return t.blocks.Live() + t.ids.Bytes() + t.handles.Bytes() }

// Growth returns what the insertion of a record of n bytes adds to Bytes, but for its handle.
func (t *Table) Growth(n int) int64 { return BlockBytes(n) + t.ids.Growth() }

// GrowthOf returns what the replacement of a record by one of n bytes adds to Bytes.
func (t *Table) GrowthOf(handle uint32, n int) int64 {
	return BlockBytes(n) - t.blocks.Size(t.handles.Ref(handle))
}

// Insert adds a copy of an encoded record that the table doesn't have. An error means that there is no memory.
func (t *Table) Insert(tag uint32, data []byte) (uint32, error) {
	if err := t.ids.Reserve(); err != nil {
		return 0, err
	}
	if err := t.handles.Reserve(); err != nil {
		return 0, err
	}
	ref, err := t.blocks.Alloc(data)
	if err != nil {
		return 0, err
	}
	h := t.handles.Add(ref)
	t.ids.Insert(tag, h)
	return h, nil
}

// Replace gives a record other bytes, and gives the strings that the old ones used back. After an error
// it is as it was.
func (t *Table) Replace(s *Strings, handle uint32, data []byte) error {
	ref := t.handles.Ref(handle)
	var kept [4]uint32
	used := UsedStrings(kept[:0], t.blocks.Bytes(ref))
	moved, err := t.blocks.Put(ref, data)
	if err != nil {
		return err
	}
	s.Release(used)
	t.handles.Set(handle, moved)
	return nil
}

// Remove forgets a record, and gives its strings back.
func (t *Table) Remove(s *Strings, tag, handle uint32) {
	ref := t.handles.Ref(handle)
	var kept [4]uint32
	s.Release(UsedStrings(kept[:0], t.blocks.Bytes(ref)))
	t.blocks.Free(ref)
	t.handles.Remove(handle)
	t.ids.Remove(tag, handle)
}

// Close unmaps everything. The table is empty then.
func (t *Table) Close() {
	t.ids.Close()
	t.handles.Close()
	t.blocks.Close()
}

// Hash returns the place of a record: the upper end is for choosing a shard, the lower half is the tag in the
// shard's Table. It is seeded, so that nobody can choose IDs that meet in one place.
func Hash(seed maphash.Seed, app uint32, id *store.ID) uint64 {
	return maphash.Bytes(seed, id[:]) + Spread(app)
}

// Spread is added to a hash to keep equal IDs and subjects of different applications apart.
func Spread(app uint32) uint64 { return uint64(app) * 0x9e3779b97f4a7c15 }
