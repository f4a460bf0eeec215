package arena

import "errors"

var errNoRoom = errors.New("arena: no room")

// An Index is a hash table from 32-bit hashes to 32-bit values other than 0,
// outside the Go heap. Several values may have the same hash. The zero Index is
// empty and ready.
//
// It probes linearly from a place proportional to the hash. So it can grow in
// small steps, be nearly full, and be copied in order when it grows.
type Index struct {
	entries []entry
	n       int
}

type entry struct{ hash, val uint32 }

const (
	entryBytes  = 8
	fewEntries  = 512 // a table of this size or less doesn't shrink
	growEntries = 256 // the least by which a table grows
)

// Len returns the number of values.
func (x *Index) Len() int { return x.n }

// Bytes returns the memory of the table.
func (x *Index) Bytes() int64 { return int64(len(x.entries) * entryBytes) }

func home(hash uint32, entries int) int { return int(uint64(hash) * uint64(entries) >> 32) }

// Seek returns the position and the value of the next entry with the hash: the
// first one if pos is negative, else the first one after pos. The value is 0
// after the last one.
func (x *Index) Seek(hash uint32, pos int) (int, uint32) {
	entries := x.entries
	if len(entries) == 0 {
		return 0, 0
	}
	if pos < 0 {
		pos = home(hash, len(entries))
	} else if pos++; pos == len(entries) {
		pos = 0
	}
	for {
		e := entries[pos]
		if e.val == 0 || e.hash == hash {
			return pos, e.val
		}
		if pos++; pos == len(entries) {
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
	if n := x.enough(); n > len(x.entries) {
		return x.resize(n)
	}
	return nil
}

// Growth returns the bytes by which Reserve would enlarge the table.
func (x *Index) Growth() int64 { return int64((x.enough() - len(x.entries)) * entryBytes) }

// enough returns the size of a table that has room for one more entry.
func (x *Index) enough() int {
	n := len(x.entries)
	if (x.n+1)*8 > n*7 {
		n = toPages((n+n/6+growEntries)*entryBytes) / entryBytes
	}
	return n
}

// Insert adds an entry. Reserve has made room for it.
func (x *Index) Insert(hash, val uint32) {
	x.put(entry{hash, val})
	x.n++
}

func (x *Index) put(e entry) {
	pos := home(e.hash, len(x.entries))
	for x.entries[pos].val != 0 {
		if pos++; pos == len(x.entries) {
			pos = 0
		}
	}
	x.entries[pos] = e
}

// Replace gives an entry another value.
func (x *Index) Replace(hash, old, val uint32) {
	if pos := x.find(hash, old); pos >= 0 {
		x.entries[pos].val = val
	}
}

// Remove removes an entry.
func (x *Index) Remove(hash, val uint32) {
	hole := x.find(hash, val)
	if hole < 0 {
		return
	}
	x.n--
	// Entries after the hole move up if Seek would not find them any more.
	entries := x.entries
	for i := hole; ; {
		if i++; i == len(entries) {
			i = 0
		}
		e := entries[i]
		if e.val == 0 {
			break
		}
		if between(home(e.hash, len(entries)), hole, i) {
			continue
		}
		entries[hole] = e
		hole = i
	}
	entries[hole] = entry{}
	if len(entries) > fewEntries*4 && x.n < len(entries)/4 {
		_ = x.resize(len(entries) / 2) // without memory the large table stays
	}
}

// between reports whether h lies in the cyclic range (from, to].
func between(h, from, to int) bool {
	if from <= to {
		return from < h && h <= to
	}
	return from < h || h <= to
}

func (x *Index) resize(n int) error {
	entries, err := mapArray[entry](n)
	if err != nil {
		return err
	}
	old := x.entries
	x.entries = entries
	for _, e := range old {
		if e.val != 0 {
			x.put(e)
		}
	}
	freeArray(old)
	return nil
}

// Close frees the table.
func (x *Index) Close() {
	freeArray(x.entries)
	*x = Index{}
}
