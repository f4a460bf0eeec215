package sqlitestore

import "math"

// A room knows how much may still be written.
type room struct {
	dir  string
	max  int64 // bytes of the file
	left int64 // bytes until max, as of the last measure
	disk bool  // the file system has its reserve
}

// Of a file system's free bytes so many are kept for logins, and for what ends sessions: it takes room to end one.
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
	r.left = r.max - (pages-free)*pageSize
	size, available := diskSpace(r.dir)
	r.disk = available > min(diskReserve, size/10)
	return nil
}

const pageSize = 4096

// has reports whether there is room for a new session.
func (r *room) has(anonymous bool) bool {
	if anonymous {
		return r.disk && r.left > r.max/10
	}
	return r.left > 0
}

// unknown is the space of a file system that doesn't tell.
const unknown = math.MaxInt64
