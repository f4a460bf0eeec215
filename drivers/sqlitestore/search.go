package sqlitestore

import (
	"context"
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// searchChunk is how many rows a query of a search examines. Between the queries
// other reads get their turn, and the log can start over.
const searchChunk = 1000

// Search implements store.Searcher. Subjects with a prefix come in their order, by
// the index. Other searches examine the sessions from the newest to the oldest, in
// SQL, so that only those that may match are decoded.
func (s *Store) Search(ctx context.Context, name string, opt store.SearchOptions) (store.SearchPage, error) {
	if opt.SubjectPrefix != "" {
		return s.searchSubjects(ctx, name, &opt)
	}
	if err := s.check(ctx); err != nil {
		return store.SearchPage{}, err
	}
	a, known := s.app(name)
	if !known {
		a.num = -1 // no session has it
	}
	d := driver.Descent{
		Size: searchChunk,
		Ends: func() (lowest, highest store.ID, err error) {
			err = s.read(ctx, func(c *conn) error {
				v, err := c.first("SELECT (SELECT min(id) FROM sessions WHERE app = ?1), (SELECT max(id) FROM sessions WHERE app = ?1)", a.num)
				if err == nil {
					fill(lowest[:], v[0])
					fill(highest[:], v[1])
				}
				return err
			})
			return lowest, highest, err
		},
		Chunk: func(from, below store.ID, n int) (lowest store.ID, examined int, err error) {
			err = s.read(ctx, func(c *conn) error {
				v, err := c.first("SELECT id FROM sessions WHERE app = ? AND id >= ? AND id < ? ORDER BY id DESC LIMIT 1 OFFSET ?", a.num, from[:], below[:], int64(n-1))
				if err != nil {
					return err
				}
				if v != nil {
					fill(lowest[:], v[0])
					examined = n
					return nil
				}
				rest, err := c.integer("SELECT count(*) FROM sessions WHERE app = ? AND id >= ? AND id < ?", a.num, from[:], below[:]) // fewer than n
				lowest, examined = from, int(rest)
				return err
			})
			return lowest, examined, err
		},
		Match: func(from, below store.ID) (found []store.Record, err error) {
			err = s.read(ctx, func(c *conn) error {
				return c.query(s.collect(name, &found, opt.Now), selectMatching, append([]any{a.num, from[:], below[:]}, conditions(&opt.Filter)...)...)
			})
			return found, err
		},
	}
	return d.Search(ctx, &opt)
}

// collect returns a function that appends the live sessions of rows of
// headColumns to a list.
func (s *Store) collect(name string, list *[]store.Record, now store.Time) func(*stmt) error {
	a, _ := s.app(name) // with the watermark of this moment
	return func(v *stmt) error {
		var r row
		if r.scan(v); !a.live(&r, now) {
			return nil
		}
		var rec store.Record
		err := r.decode(&rec)
		*list = append(*list, rec)
		return err
	}
}

// selectMatching admits what matches, and perhaps more. NULL stands for no
// condition. LIKE ignores the case of ASCII letters. It stops at a NUL, so texts
// that aren't plain ASCII are left to the caller.
var selectMatching = "SELECT " + headColumns + ` FROM sessions WHERE app = ?1 AND id >= ?2 AND id < ?3 AND end_reason IS NULL
	AND (?4 IS NULL OR (subject IS NOT NULL) = ?4)
	AND (?5 IS NULL OR remembered = ?5)
	AND (?11 IS NULL OR (binding IS NOT NULL) = ?11)
	AND (?6 IS NULL OR level >= ?6)
	AND (?7 IS NULL OR last_seen_at >= ?7)
	AND (?8 IS NULL OR last_seen_at < ?8)
	AND (?9 IS NULL OR substr(ip, 1, length(?9)) = ?9 OR substr(last_ip, 1, length(?9)) = ?9)
	AND (?10 IS NULL OR user_agent LIKE ?10 ESCAPE '\' OR last_user_agent LIKE ?10 ESCAPE '\'
		OR octet_length(user_agent) > length(user_agent) OR octet_length(last_user_agent) > length(last_user_agent))
	ORDER BY id DESC`

// conditions returns the parameters of selectMatching from the fourth on.
func conditions(f *store.Filter) []any {
	args := make([]any, 8)
	choose := func(i int, c store.Choice) {
		if c != store.Either {
			args[i] = flag(c == store.Only)
		}
	}
	choose(0, f.LoggedIn)
	choose(1, f.Remembered)
	choose(7, f.Bound)
	if f.MinLevel > 0 {
		args[2] = int64(f.MinLevel)
	}
	args[3], args[4] = timeOrNull(f.SeenFrom), timeOrNull(f.SeenTo)
	if f.Network != (netip.Prefix{}) {
		args[5] = driver.TextPrefix(f.Network)
	}
	if f.UserAgent != "" {
		args[6] = "%" + likeEscaper.Replace(f.UserAgent) + "%"
	}
	return args
}

var likeEscaper = strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`)

const bySubject = 'p' // in cursors

// subjectsFrom sorts the sessions of each subject by ID: the index has them by
// subject.
var subjectsFrom = "SELECT " + headColumns + " FROM sessions INDEXED BY sessions_by_subject WHERE app = ?1 AND subject >= ?2 AND subject < ?3 " +
	"AND (subject > ?2 OR id > ?4) AND id >= ?5 AND id < ?6 ORDER BY subject, id LIMIT ?7"

// searchSubjects searches the sessions whose subjects begin with opt.SubjectPrefix.
func (s *Store) searchSubjects(ctx context.Context, name string, opt *store.SearchOptions) (page store.SearchPage, err error) {
	at, err := store.ParseSearchCursor(opt)
	if err != nil {
		return page, err
	}
	subject, after := opt.SubjectPrefix, store.ID{}
	if at.Kind != 0 {
		b, err := hex.DecodeString(at.Position)
		if at.Kind != bySubject || err != nil || len(b) < len(after) {
			return page, store.ErrCursor
		}
		after, subject = store.ID(b), string(b[len(after):])
		if !strings.HasPrefix(subject, opt.SubjectPrefix) {
			return page, store.ErrCursor
		}
	}
	from, to := driver.IDRange(&opt.Filter)
	page.Examined, page.Share = at.Examined, 1
	for left := opt.Scan; left > 0; {
		size := min(left, searchChunk)
		full, n := false, 0
		err := s.read(ctx, func(c *conn) error {
			a, ok := s.app(name)
			if !ok {
				return nil
			}
			return c.query(func(v *stmt) error {
				var found []store.Record
				if err := s.collect(name, &found, opt.Now)(v); err != nil {
					return err
				}
				if len(found) == 1 && opt.Matches(&found[0]) {
					if full = len(page.Records) == opt.Limit; full {
						return errPageFull
					}
					page.Records = append(page.Records, found[0])
				}
				n++
				subject = v.text(len(recordColumns))
				v.fill(after[:], v.ColumnCount()-2)
				return nil
			}, subjectsFrom, a.num, subject, successor(opt.SubjectPrefix), after[:], from[:], to[:], int64(size))
		})
		page.Examined += int64(n)
		left -= n
		switch {
		case full:
			left = 0
		case err != nil:
			return store.SearchPage{}, err
		case n < size:
			return page, nil
		}
	}
	page.Share = 0 // the index doesn't tell how much is left
	page.Cursor = store.SearchCursor{Kind: bySubject, Examined: page.Examined, Position: hex.EncodeToString(append(after[:], subject...))}.String()
	return page, nil
}

// successor returns the value that comes after all texts with a prefix, in the
// order of their bytes.
func successor(prefix string) any {
	for n := len(prefix); n > 0; n-- {
		if c := prefix[n-1]; c < 0xff {
			return prefix[:n-1] + string([]byte{c + 1})
		}
	}
	return []byte{} // every blob comes after every text
}
