package driver

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn/store"
)

// IDRange returns the range of IDs of sessions that meet the filter's conditions on
// the creation. It includes from and excludes to.
func IDRange(f *store.Filter) (from, to store.ID) {
	const latest = 1<<48 - 1
	put := func(t store.Time) (id store.ID) {
		binary.BigEndian.PutUint64(id[:], uint64(min(max(t, 0), latest))<<16)
		return id
	}
	to = store.ID([]byte(strings.Repeat("\xff", 16)))
	if f.CreatedFrom > latest {
		return to, to
	}
	if f.CreatedTo != 0 && f.CreatedTo <= latest {
		to = put(f.CreatedTo)
	}
	return put(f.CreatedFrom), to
}

// A Descent is a search of a store with an order of IDs. It examines sessions from
// the highest ID to the lowest, in chunks.
type Descent struct {
	// Ends returns the lowest and the highest ID of the application, zero if it has
	// no session.
	Ends func() (lowest, highest store.ID, err error)
	// Chunk looks at the first n sessions below an ID, down to from. It returns the
	// lowest of them, and how many there are.
	Chunk func(from, below store.ID, n int) (lowest store.ID, examined int, err error)
	// Match returns the live sessions that match, and perhaps others, from the
	// highest ID to the lowest. It includes from and excludes below.
	Match func(from, below store.ID) ([]store.Record, error)
	// Size is the number of sessions of a chunk.
	Size int
}

const descent = 'i'

// Search implements store.Searcher.
func (d *Descent) Search(ctx context.Context, opt *store.SearchOptions) (page store.SearchPage, err error) {
	at, err := store.ParseSearchCursor(opt)
	if err != nil {
		return page, err
	}
	from, below := IDRange(&opt.Filter)
	begun := below // where the search began, for its share
	if at.Kind != 0 {
		b, err := hex.DecodeString(at.Position)
		if at.Kind != descent || err != nil || len(b) != 2*len(begun) {
			return page, store.ErrCursor
		}
		begun = store.ID(b)
		if next := store.ID(b[len(begun):]); next.Compare(below) < 0 {
			below = next
		}
	}
	lowest, highest, err := d.Ends()
	if err != nil {
		return page, err
	}
	if highest.Compare(begun) < 0 {
		begun = highest
	}
	page.Examined, page.Share = at.Examined, 1
	for left, full := opt.Scan, false; left > 0 && !full; {
		if err := ctx.Err(); err != nil {
			return store.SearchPage{}, err
		}
		size := min(left, d.Size)
		end, n, err := d.Chunk(from, below, size)
		if err != nil || n == 0 {
			return page, err
		}
		found, err := d.Match(end, below)
		if err != nil {
			return store.SearchPage{}, err
		}
		for i := range found {
			if !opt.Matches(&found[i]) {
				continue
			}
			if full = len(page.Records) == opt.Limit; full {
				end = page.Records[opt.Limit-1].ID
				page.Examined += int64(i) // and those that don't match, which nobody counts
				break
			}
			page.Records = append(page.Records, found[i])
		}
		below = end
		if full {
			break
		}
		page.Examined += int64(n)
		left -= n
		if n < size {
			return page, nil
		}
	}
	if from.Compare(lowest) > 0 {
		lowest = from
	}
	page.Share = 1
	if all := timeIn(begun) - timeIn(lowest); all > 0 {
		page.Share = min(max((timeIn(begun)-timeIn(below))/all, 0), 1)
	}
	page.Cursor = store.SearchCursor{Kind: descent, Examined: page.Examined, Position: hex.EncodeToString(append(begun[:], below[:]...))}.String()
	return page, nil
}

func timeIn(id store.ID) float64 { return float64(binary.BigEndian.Uint64(id[:8])) }

// TextPrefix returns the text with which all addresses of a network begin, as
// netip writes them.
func TextPrefix(network netip.Prefix) string {
	addr, bits := network.Masked().Addr(), network.Bits()
	var b strings.Builder
	if addr.Is4() {
		for i, n := range addr.As4() {
			if 8*i+8 > bits {
				return b.String()
			}
			b.WriteString(strconv.Itoa(int(n)))
			if i < 3 {
				b.WriteByte('.')
			}
		}
		return b.String()
	}
	if bits == 128 {
		return addr.String()
	}
	a := addr.As16()
	for i := 0; 8*i+16 <= bits; i += 2 {
		n := binary.BigEndian.Uint16(a[i:])
		if n == 0 { // it may be written as ::
			break
		}
		b.WriteString(strconv.FormatUint(uint64(n), 16))
		b.WriteByte(':')
	}
	return b.String()
}

// ValidPrefix returns the longest beginning of a text that is valid UTF-8.
func ValidPrefix(text string) string {
	for i, r := range text {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(text[i:]); n == 1 {
				return text[:i]
			}
		}
	}
	return text
}
