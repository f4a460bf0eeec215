package sojourn

import (
	"context"
	"net/netip"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A Filter selects sessions for Engine.Search. A session matches if it meets
// every condition. A field that is zero is no condition.
type Filter struct {
	Subject       string       // the user
	SubjectPrefix string       // the beginning of the user's ID, byte for byte
	LoggedIn      Choice       // sessions of users; Not: anonymous ones
	Remembered    Choice       // the user asked to be kept signed in
	Bound         Choice       // a browser has registered a key (Options.Bound); without its first proof, Info.Bound is false
	MinLevel      int          // the lowest level of the authentication, 0 to 3
	Network       netip.Prefix // contains the client's address at creation or at the last activity
	UserAgent     string       // a part of the user agent, at either time; the case of ASCII letters is ignored
	CreatedFrom   time.Time    // the earliest creation
	CreatedTo     time.Time    // creation is before it
	SeenFrom      time.Time    // the earliest last activity
	SeenTo        time.Time    // the last activity is before it
}

// A Choice is a condition on something that a session is or is not.
type Choice = store.Choice

const (
	Either = store.Either
	Only   = store.Only // only sessions that are it
	Not    = store.Not  // only sessions that are not
)

// A SearchPage is what a call of Engine.Search has found.
type SearchPage struct {
	Sessions []Info
	Cursor   string  // of the next page; empty: the search is complete
	Examined int64   // approximate number of sessions examined so far
	Share    float64 // estimated part of the search that is done: 0 to 1
}

const (
	searchStep = 2000                   // sessions to examine between pauses
	searchTime = 250 * time.Millisecond // after which a call returns what it has found
	searchRest = 4                      // a pause is this many times as long as the step before it
)

// Search finds live sessions of the application that match a filter. It returns
// when it has found some of them, at most limit (1 to 1000), or after about a
// quarter of a second: call it again with the cursor of the page to continue, or
// stop. A page may be empty although the search isn't complete. A session that
// lives and matches during the whole search is found once.
//
// A Subject, and in SQLite a SubjectPrefix, is found at once, however many
// sessions there are. For other filters the search examines all sessions. It
// pauses between its steps and takes about a fifth of a processor's time, so
// that requests don't wait for it. Values are not read: use Get.
//
// ErrCursor: the cursor is malformed, or limit is out of its range.
func (e *Engine) Search(ctx context.Context, f Filter, cursor string, limit int) (page SearchPage, err error) {
	if err := e.needsStore("Search"); err != nil {
		return page, err
	}
	opt := store.SearchOptions{Cursor: cursor, Limit: limit, Scan: searchStep, Now: e.now(), Filter: store.Filter{
		Subject: f.Subject, SubjectPrefix: f.SubjectPrefix, LoggedIn: f.LoggedIn, Remembered: f.Remembered, Bound: f.Bound, MinLevel: uint8(min(max(f.MinLevel, 0), 4)),
		Network: f.Network, UserAgent: f.UserAgent,
		CreatedFrom: store.TimeOf(f.CreatedFrom), CreatedTo: store.TimeOf(f.CreatedTo), SeenFrom: store.TimeOf(f.SeenFrom), SeenTo: store.TimeOf(f.SeenTo),
	}}
	for begun := time.Now(); ; {
		stepped := time.Now()
		found, err := store.Search(ctx, e.store, e.opt.App, opt)
		if err != nil {
			return SearchPage{}, wrap("search sessions", err)
		}
		for i := range found.Records {
			page.Sessions = append(page.Sessions, infoOf(&found.Records[i]))
		}
		page.Cursor, page.Examined, page.Share = found.Cursor, found.Examined, found.Share
		took := time.Since(stepped)
		// With less room than half a page, steps would get ever smaller.
		if page.Cursor == "" || 2*len(page.Sessions) > limit || len(page.Sessions) == limit || time.Since(begun)+searchRest*took > searchTime {
			return page, nil
		}
		select {
		case <-time.After(searchRest * took):
		case <-ctx.Done():
			return SearchPage{}, wrap("search sessions", ctx.Err())
		}
		opt.Cursor, opt.Limit = page.Cursor, limit-len(page.Sessions)
	}
}
