package sqlitestore

import "math"

// A room knows how much may still be written.
type room struct {
	dir  string
	max  int64 // bytes of the file
	page int64 // bytes of one of its pages
	left int64 // bytes until max, as of the last measure
	disk int64 // bytes that the file system has beyond its reserve for logins
	ends int64 // and beyond the part of it that is for what ends sessions
}

// Of a file system's free bytes so many are kept for logins, and a quarter of them for what ends sessions and for
// bringing the log into the file: that takes room too.
const diskReserve = 64 << 20

// measure is called at the beginning of a transaction.
func (r *room) measure(c *conn) error {
	pages, err := c.integer("PRAGMA page_count")
	if err != nil {
		return err
	}
	free, err := c.integer("PRAGMA freelist_count")
	if err != nil {
		return err
	}
	if r.page == 0 {
		if r.page, err = c.integer("PRAGMA page_size"); err != nil {
			return err
		}
	}
	r.left = r.max - (pages-free)*r.page
	size, available := diskSpace(r.dir)
	reserve := min(diskReserve, size/10)
	r.disk, r.ends = available-reserve, available-reserve/4
	return nil
}

// take notes that the transaction writes n bytes more: the log takes them now, the file later.
func (r *room) take(n int64) {
	r.left -= n
	if r.disk != unknown {
		r.disk, r.ends = r.disk-2*n, r.ends-2*n
	}
}

// has reports whether there is room for a new session.
func (r *room) has(anonymous bool) bool {
	if anonymous {
		return r.disk > 0 && r.left > r.max/10
	}
	return r.ends > 0 && r.left > 0
}

// unknown is the space of a file system that doesn't tell.
const unknown = math.MaxInt64
