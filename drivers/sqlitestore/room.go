package sqlitestore

import "math"

// A room knows how much may still be written.
type room struct {
	dir  string
	max  int64 // bytes of the file
	page int64 // bytes of one of its pages
	left int64 // bytes until max, as of the last measure

	visitors, logins int64 // bytes that the file system has for their new sessions
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
	r.visitors, r.logins = diskRoom(diskSpace(r.dir))
	return nil
}

// diskRoom returns how many bytes a file system has for new sessions.
func diskRoom(size, available int64) (visitors, logins int64) {
	kept := min(diskReserve, size/10)
	return available - kept, available - kept/4
}

// take notes that the transaction writes n bytes more: the log takes them now, the file later.
func (r *room) take(n int64) {
	r.left -= n
	if r.visitors < unknown/2 {
		r.visitors, r.logins = r.visitors-2*n, r.logins-2*n
	}
}

// has reports whether there is room for a new session.
func (r *room) has(anonymous bool) bool {
	if anonymous {
		return r.visitors > 0 && r.left > r.max/10
	}
	return r.logins > 0 && r.left > 0
}

// unknown is the space of a file system that doesn't tell.
const unknown = math.MaxInt64
