package store

import "encoding/hex"

const (
	MaxPage = 1000 // the highest Limit of a List

	// MaxPageBytes is how many bytes of Subject and Values all sessions of a
	// page may have together. A page of a single session may have more.
	MaxPageBytes = 4 << 20
)

// A Page collects the sessions of a page of List. Stores use it.
type Page struct {
	Records []Record
	bytes   int
}

// Add appends a session; the page then owns its slices. If the page already has
// limit sessions, or would exceed MaxPageBytes, Add appends nothing and returns
// false.
func (p *Page) Add(rec Record, limit int) bool {
	n := len(rec.Subject) + len(rec.Values)
	if len(p.Records) >= limit || len(p.Records) > 0 && p.bytes+n > MaxPageBytes {
		return false
	}
	p.Records = append(p.Records, rec)
	p.bytes += n
	return true
}

// After and CursorAfter are for stores that list sessions in the order of their IDs.

// After returns the ID behind which the page begins, zero for the first page. It is ErrCursor if CursorAfter has not made the cursor
// for this kind of list, or Limit is out of its range.
func (o *ListOptions) After() (id ID, err error) {
	if o.Limit < 1 || o.Limit > MaxPage {
		return ID{}, ErrCursor
	}
	if o.Cursor == "" {
		return ID{}, nil
	}
	b, err := hex.DecodeString(o.Cursor[1:])
	if err != nil || len(b) != len(id) || o.Cursor[0] != o.kind() {
		return ID{}, ErrCursor
	}
	return ID(b), nil
}

// CursorAfter returns the cursor of the page that begins behind last.
func (o *ListOptions) CursorAfter(last ID) string {
	return string(o.kind()) + hex.EncodeToString(last[:])
}

func (o *ListOptions) kind() byte {
	if o.Subject != "" {
		return 's'
	}
	return 'a'
}
