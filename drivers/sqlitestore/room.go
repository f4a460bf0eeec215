package sqlitestore

import "math"

// A room measures how much may still be written.
type room struct {
	dir  string
	max  int64 // bytes of the file
	page int64 // bytes of one of its pages
	left int64 // bytes until max, as of the last measure

	visitors, logins int64 // bytes that the file system has for their new sessions; may be unknown
}

// diskReserve is how many of a file system's free bytes are kept for logins. A
// quarter of them is kept for writes that end sessions, and for checkpoints of
// the log, which take room too.
const diskReserve = 64 << 20

// measure is called at the beginning of a transaction.
func (r *room) measure(c *conn) error {
	pages, free, err := c.pages()
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

// diskRoom returns how many bytes a file system has for new sessions: those of
// visitors, and those of logins.
func diskRoom(size, available int64) (visitors, logins int64) {
	kept := min(diskReserve, size/10)
	return available - kept, available - kept/4
}

// take records that the transaction writes n bytes more. The log takes them
// now, and the file later.
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

// unknown is the space of a file system that can't be asked.
const unknown = math.MaxInt64
