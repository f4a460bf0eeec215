package store

import (
	"context"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// MaxScan is the highest SearchOptions.Scan.
const MaxScan = 100_000

// A Searcher is a Store with a faster way than List to find sessions by a
// [Filter]. Call [Search], which serves every store.
type Searcher interface {
	// Search returns live sessions (as of opt.Now) that match opt.Filter, without
	// their values, a page at a time. It examines about opt.Scan sessions, and
	// then returns what it has found, which may be nothing. A page has at most
	// opt.Limit sessions, and may have fewer although others follow. The search is
	// complete when the cursor is empty. A session that is live and matches
	// during the whole search is returned once. The order is the store's own.
	// opt.Subject is empty. ErrCursor: as for List, or opt.Scan is out of its
	// range. The filter of a search must not change between its pages.
	Search(ctx context.Context, app string, opt SearchOptions) (SearchPage, error)
}

// SearchOptions choose a page of Search.
type SearchOptions struct {
	Filter
	Cursor string // as returned by the call before; empty: from the beginning
	Limit  int    // how many sessions to return at most, 1 to MaxPage
	Scan   int    // about how many sessions to examine at most, 1 to MaxScan
	Now    Time
}

// A SearchPage is what a call of Search has found.
type SearchPage struct {
	Records  []Record
	Cursor   string  // of the next page; empty: the search is complete
	Examined int64   // approximate number of sessions examined so far
	Share    float64 // estimated part of the search that is done: 0 to 1
}

// A Filter selects sessions. A session matches if it meets every condition; a
// field that is zero is no condition.
type Filter struct {
	Subject       string       // the subject
	SubjectPrefix string       // the beginning of the subject, byte for byte
	LoggedIn      Choice       // sessions with a subject
	Remembered    Choice       // sessions whose user asked to be kept signed in
	Bound         Choice       // sessions with a Binding
	MinLevel      uint8        // the lowest level of the authentication
	Network       netip.Prefix // contains the client's address at creation or at the last activity
	UserAgent     string       // a part of the user agent, at either time; the case of ASCII letters is ignored
	CreatedFrom   Time         // the earliest creation, by the time in the ID
	CreatedTo     Time         // creation is before it
	SeenFrom      Time         // the earliest LastSeenAt
	SeenTo        Time         // LastSeenAt is before it
}

// A Choice is a condition on something that a session is or is not.
type Choice uint8

const (
	Either Choice = iota
	Only          // only sessions that are it
	Not           // only sessions that are not
)

// Allows reports whether the choice admits a session that is it, or is not.
func (c Choice) Allows(is bool) bool { return c == Either || is == (c == Only) }

// Matches reports whether a session meets every condition.
func (f *Filter) Matches(r *Record) bool {
	created := r.ID.time()
	return (f.Subject == "" || r.Subject == f.Subject) &&
		strings.HasPrefix(r.Subject, f.SubjectPrefix) &&
		f.LoggedIn.Allows(r.Subject != "") &&
		f.Remembered.Allows(r.Remembered) &&
		f.Bound.Allows(len(r.Binding) > 0) &&
		r.Level >= f.MinLevel &&
		(f.CreatedFrom == 0 || created >= f.CreatedFrom) && (f.CreatedTo == 0 || created < f.CreatedTo) &&
		(f.SeenFrom == 0 || r.LastSeenAt >= f.SeenFrom) && (f.SeenTo == 0 || r.LastSeenAt < f.SeenTo) &&
		(f.Network == netip.Prefix{} || f.Network.Contains(r.Client.IP) || f.Network.Contains(r.LastClient.IP)) &&
		(f.UserAgent == "" || containsFold(r.Client.UserAgent, f.UserAgent) || containsFold(r.LastClient.UserAgent, f.UserAgent))
}

// time returns the time in a UUID of version 7.
func (id ID) time() Time { return Time(binary.BigEndian.Uint64(id[:8]) >> 16) }

// containsFold is strings.Contains without regard to the case of ASCII letters.
func containsFold(s, part string) bool {
	for i := 0; i+len(part) <= len(s); i++ {
		if equalFold(s[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

func equalFold(a, b string) bool {
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// Search searches a store: by its own Search if it has one, else by List. For an
// opt.Subject it always uses List, which every store answers at once.
func Search(ctx context.Context, s Store, app string, opt SearchOptions) (page SearchPage, err error) {
	if searcher, ok := s.(Searcher); ok && opt.Subject == "" {
		return searcher.Search(ctx, app, opt)
	}
	at, err := ParseSearchCursor(&opt)
	if err != nil || at.Kind != 0 && (at.Kind != 'l' || at.Position == "") {
		return SearchPage{}, ErrCursor
	}
	page.Examined = at.Examined
	list := ListOptions{Subject: opt.Subject, Cursor: at.Position, Now: opt.Now}
	// A page of List is never more than there is room for. So when less than half
	// of it is left, the search returns: otherwise pages would get ever smaller.
	for examined := 0; ; {
		list.Limit = min(opt.Limit-len(page.Records), max(opt.Scan-examined, 1))
		recs, next, err := s.List(ctx, app, list)
		if err != nil {
			return SearchPage{}, err
		}
		examined += max(len(recs), 1) // a page may be empty
		page.Examined += int64(len(recs))
		for i := range recs {
			if opt.Matches(&recs[i]) {
				page.Records = append(page.Records, recs[i])
			}
		}
		if list.Cursor = next; next == "" {
			page.Share = 1
			return page, nil
		}
		if examined >= opt.Scan || 2*len(page.Records) > opt.Limit || len(page.Records) == opt.Limit {
			break
		}
	}
	page.Cursor = SearchCursor{'l', page.Examined, list.Cursor}.String()
	if opt.Subject == "" {
		all, err := s.Count(ctx, app)
		if err != nil {
			return SearchPage{}, err
		}
		page.Share = min(1, float64(page.Examined)/float64(max(all.Sessions, 1)))
	}
	return page, nil
}

// A SearchCursor is what a cursor of Search says, for stores that make one.
type SearchCursor struct {
	Kind     byte // a letter that names the way of searching; 0: from the beginning
	Examined int64
	Position string
}

func (c SearchCursor) String() string {
	return string(c.Kind) + strconv.FormatInt(c.Examined, 10) + "." + c.Position
}

// ParseSearchCursor parses opt.Cursor. It returns ErrCursor if that is malformed,
// or if a limit of opt is out of its range.
func ParseSearchCursor(opt *SearchOptions) (c SearchCursor, err error) {
	if opt.Limit < 1 || opt.Limit > MaxPage || opt.Scan < 1 || opt.Scan > MaxScan {
		return c, ErrCursor
	}
	if opt.Cursor == "" {
		return c, nil
	}
	number, position, ok := strings.Cut(opt.Cursor[1:], ".")
	n, err := strconv.ParseInt(number, 10, 64)
	if opt.Cursor[0] == 0 || !ok || err != nil || n < 0 || n > 1<<62 {
		return c, ErrCursor
	}
	return SearchCursor{opt.Cursor[0], n, position}, nil
}
