package pgstore

import (
	"context"
	"errors"
	"net/netip"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// searchChunk is how many sessions a statement of a search examines.
const searchChunk = 1000

// Search implements store.Searcher. It examines the sessions from the newest to
// the oldest. The server evaluates the filter, so that only those that may match
// are sent. No index would help: one of the subjects' beginnings, for example,
// would make each creation slower.
func (s *Store) Search(ctx context.Context, app string, opt store.SearchOptions) (store.SearchPage, error) {
	if err := s.check(ctx); err != nil {
		return store.SearchPage{}, err
	}
	app = escape(app)
	one := func(query string, args []any, dest ...any) error {
		ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
		defer cancel()
		return s.read(ctx, func(c *call) error { return c.row(query, args, dest...) })
	}
	d := driver.Descent{
		Size: searchChunk,
		Ends: func() (lowest, highest store.ID, err error) {
			var first, last pgtype.UUID
			err = one(s.sql.searchEnds, []any{app}, &first, &last)
			if errors.Is(err, pgx.ErrNoRows) { // there is no such application
				err = nil
			}
			return first.Bytes, last.Bytes, err
		},
		Chunk: func(from, below store.ID, n int) (store.ID, int, error) {
			var lowest pgtype.UUID
			var examined int
			err := one(s.sql.searchChunk, []any{app, uuid(from), uuid(below), n}, &examined, &lowest)
			return lowest.Bytes, examined, err
		},
		Match: func(from, below store.ID) ([]store.Record, error) {
			return s.records(ctx, s.sql.searchMatch, append([]any{app, int64(opt.Now), uuid(from), uuid(below)}, conditions(&opt.Filter)...))
		},
	}
	return d.Search(ctx, &opt)
}

// conditions returns the parameters of searchMatch from the fifth on.
func conditions(f *store.Filter) []any {
	args := make([]any, 9)
	choose := func(i int, c store.Choice) {
		if c != store.Either {
			args[i] = c == store.Only
		}
	}
	choose(0, f.LoggedIn)
	choose(1, f.Remembered)
	choose(8, f.Bound)
	if f.MinLevel > 0 {
		args[2] = int16(f.MinLevel)
	}
	args[3], args[4] = timeOrNull(f.SeenFrom), timeOrNull(f.SeenTo)
	if f.Network != (netip.Prefix{}) {
		args[5] = driver.TextPrefix(f.Network)
	}
	if f.UserAgent != "" && utf8.ValidString(f.UserAgent) {
		args[6] = lowerASCII(escape(f.UserAgent))
	}
	if f.SubjectPrefix != "" {
		args[7] = escape(driver.ValidPrefix(f.SubjectPrefix))
	}
	return args
}

func lowerASCII(text string) string {
	b := []byte(text)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}
