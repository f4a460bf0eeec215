package store

import "encoding/hex"

// MaxPage is the highest Limit of a List.
const MaxPage = 1000

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
