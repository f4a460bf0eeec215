package driver

import (
	"encoding/hex"

	"github.com/sojourn-go/sojourn/store"
)

// A Page collects the sessions of a page of List. Its zero value is an empty
// page.
type Page struct {
	Records []store.Record
	bytes   int
}

// Add appends a session. The page then owns the slices of rec. If the page
// already has limit sessions, or would exceed store.MaxPageBytes, Add appends
// nothing and returns false.
func (p *Page) Add(rec store.Record, limit int) bool {
	n := len(rec.Subject) + len(rec.Values)
	if len(p.Records) >= limit || len(p.Records) > 0 && p.bytes+n > store.MaxPageBytes {
		return false
	}
	p.Records = append(p.Records, rec)
	p.bytes += n
	return true
}

// After returns the ID after which the page of opt begins, in a store that
// lists sessions in the order of their IDs. It is zero for the first page.
// After returns ErrCursor if opt.Cursor does not come from Cursor for the same
// kind of list, or if opt.Limit is out of its range.
func After(opt store.ListOptions) (id store.ID, err error) {
	if opt.Limit < 1 || opt.Limit > store.MaxPage {
		return store.ID{}, store.ErrCursor
	}
	if opt.Cursor == "" {
		return store.ID{}, nil
	}
	b, err := hex.DecodeString(opt.Cursor[1:])
	if err != nil || len(b) != len(id) || opt.Cursor[:1] != kind(opt) {
		return store.ID{}, store.ErrCursor
	}
	return store.ID(b), nil
}

// Cursor returns the cursor of the page that begins after last.
func Cursor(opt store.ListOptions, last store.ID) string {
	return kind(opt) + hex.EncodeToString(last[:])
}

func kind(opt store.ListOptions) string {
	if opt.Subject != "" {
		return "s"
	}
	return "a"
}
