package driver

import (
	"cmp"
	"encoding/hex"
	"slices"

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

// CheckEnded returns ErrCursor if opt asks for ended sessions in a way that List
// refuses.
func CheckEnded(opt store.ListOptions) error {
	if opt.Subject == "" || opt.Cursor != "" || opt.Limit < 1 || opt.Limit > store.MaxPage {
		return store.ErrCursor
	}
	return nil
}

// Lately puts ended sessions into the order of a List of them, and leaves out
// those that it doesn't show.
func Lately(list []store.Record, opt store.ListOptions) []store.Record {
	list = slices.DeleteFunc(list, func(r store.Record) bool { return opt.Now > r.EndAt.Add(store.TombstoneLife) })
	slices.SortFunc(list, func(a, b store.Record) int { return cmp.Or(cmp.Compare(b.EndAt, a.EndAt), b.ID.Compare(a.ID)) })
	return list[:min(len(list), opt.Limit, store.MaxEnded)]
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
