package redisstore

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// List implements store.Store. The sessions of an application come by bucket,
// and within a bucket by creation.
//
// List leaves out a session that it can't read, because a newer version wrote it
// or its record is damaged, and logs a warning with the name of its key. So older
// nodes can list all that they know while a cluster is updated node by node.
func (s *Store) List(ctx context.Context, app string, opt store.ListOptions) ([]store.Record, string, error) {
	if err := s.check(ctx); err != nil {
		return nil, "", err
	}
	if opt.Ended {
		list, err := s.listEnded(ctx, app, opt)
		return list, "", err
	}
	if opt.Limit < 1 || opt.Limit > store.MaxPage {
		return nil, "", store.ErrCursor
	}
	if opt.Subject != "" {
		return s.listSubject(ctx, app, opt)
	}
	return s.listAll(ctx, app, opt)
}

func (s *Store) listSubject(ctx context.Context, app string, opt store.ListOptions) ([]store.Record, string, error) {
	after, err := driver.After(opt)
	if err != nil {
		return nil, "", err
	}
	staying, leaving, err := s.members(ctx, app, opt.Subject, func(id store.ID) bool { return opt.Cursor == "" || id.Compare(after) > 0 })
	if err != nil {
		return nil, "", err
	}
	var list []store.Record
	bytes := 0
	its := func(_ int, rec store.Record) bool {
		if rec.Subject == opt.Subject {
			list = append(list, rec)
			bytes += len(rec.Subject) + len(rec.Values)
		}
		return true
	}
	for len(staying) > 0 && len(list) <= opt.Limit && (len(list) < 2 || bytes <= store.MaxPageBytes) {
		n := min(len(staying), opt.Limit+1-len(list)+8, atOnce(opt)) // 8 more in place of some that have ended
		if err := s.eachLive(ctx, app, staying[:n], opt, its); err != nil {
			return nil, "", err
		}
		staying = staying[n:]
	}
	// The leaving ones come last: if List has seen a session for which they must
	// leave, they have ended by now.
	for part := range slices.Chunk(leaving, atOnce(opt)) {
		if err := s.eachLive(ctx, app, part, opt, its); err != nil {
			return nil, "", err
		}
	}
	slices.SortFunc(list, func(a, b store.Record) int { return a.ID.Compare(b.ID) })
	list = slices.CompactFunc(list, func(a, b store.Record) bool { return a.ID == b.ID })
	var page driver.Page
	for i := range list {
		if !page.Add(list[i], opt.Limit) {
			return page.Records, driver.Cursor(opt, list[i-1].ID), nil
		}
	}
	return page.Records, "", nil
}

// listEnded asks each bucket for its part, in one round trip to each node.
func (s *Store) listEnded(ctx context.Context, app string, opt store.ListOptions) (list []store.Record, err error) {
	if err := driver.CheckEnded(opt); err != nil {
		return nil, err
	}
	key := func(bucket int) string { return s.place(app, bucket).ended(opt.Subject) }
	e := exchange{n: buckets, send: s.send, reads: true, build: func(i int, _ bool) rueidis.Completed {
		return s.client.B().Zrange().Key(key(i)).Min("0").Max(strconv.Itoa(min(opt.Limit, store.MaxEnded) - 1)).Rev().Withscores().Build()
	}}
	for i, r := range e.run(ctx) {
		if isWrongType(r.err) {
			return nil, s.foreign(ctx, []string{key(i)})
		}
		if r.err != nil {
			return nil, s.readError(ctx, r.err)
		}
		found, err := r.AsZScores()
		if err != nil {
			return nil, s.readError(ctx, err)
		}
		for _, z := range found {
			rec := store.Record{Subject: opt.Subject, EndAt: store.Time(z.Score)}
			if err := decodeEnded(z.Member, &rec); err != nil {
				return nil, keyError(key(i), err)
			}
			list = append(list, rec)
		}
	}
	return driver.Lately(list, opt), nil
}

// atOnce is how many sessions to read at a time: only a few with their values,
// which may be large.
func atOnce(opt store.ListOptions) int {
	if opt.Values {
		return 8
	}
	return chunk
}

// members returns IDs in a subject's index, in order: those that stay, and those
// that must leave.
func (s *Store) members(ctx context.Context, app, subject string, which func(store.ID) bool) (staying, leaving []store.ID, err error) {
	key := s.subjectPlace(app, subject).members()
	r := s.send(ctx, s.client.B().Zrange().Key(key).Min("0").Max("-1").Withscores().Build())[0]
	if isWrongType(r.err) {
		return nil, nil, s.foreign(ctx, []string{key})
	}
	if r.err != nil {
		return nil, nil, s.readError(ctx, r.err)
	}
	scores, err := r.AsZScores()
	if err != nil {
		return nil, nil, s.readError(ctx, err)
	}
	for _, z := range scores {
		m, ok := parseMember(z.Member)
		switch {
		case !ok || !which(m.id):
		case z.Score < 0:
			leaving = append(leaving, m.id)
		default:
			staying = append(staying, m.id)
		}
	}
	slices.SortFunc(staying, store.ID.Compare)
	return slices.Compact(staying), leaving, nil
}

// eachLive reads sessions. It calls fn for each live one, with the index of its
// ID, until fn returns false.
func (s *Store) eachLive(ctx context.Context, app string, ids []store.ID, opt store.ListOptions, fn func(int, store.Record) bool) error {
	read := s.readHeads
	if opt.Values {
		read = s.readAll
	}
	for i, r := range read(ctx, app, ids) {
		var rec store.Record
		live, err := s.isLive(ctx, app, ids[i], &r, opt.Now, &rec)
		if err != nil || live && !fn(i, rec) {
			return err
		}
	}
	return nil
}

// isLive fills rec, and reports whether it is a live session that can be read.
func (s *Store) isLive(ctx context.Context, app string, id store.ID, r *reading, now store.Time, rec *store.Record) (bool, error) {
	if r.err != nil {
		return false, s.readError(ctx, r.err)
	}
	if r.absent {
		return false, nil
	}
	switch err := r.decode(s.placeOf(app, id), id, rec); {
	case err == store.ErrEnded: //nolint:errorlint // decode returns it as it is
		return false, nil
	case isUnreadable(err):
		s.log.Warn("redisstore: a list lacks a session that can't be read", "app", app, "error", err)
		return false, nil
	case err != nil:
		return false, err
	}
	reason, _ := rec.ExpiredAt(now)
	return reason == "", nil
}

// readHeads is readAll without the sessions' values, which Redis removes.
func (s *Store) readHeads(ctx context.Context, app string, ids []store.ID) []reading {
	calls := make([]call, len(ids))
	for i, id := range ids {
		calls[i] = headScript.call(s.placeOf(app, id).readKeys(id))
	}
	readings := make([]reading, len(ids))
	for i, o := range s.runAll(ctx, calls) {
		readings[i] = readingOf(o.answer, o.err)
	}
	return readings
}

// A spot is a session in its bucket, or the beginning of a bucket. A page of all
// sessions ends at a spot, whose text is the cursor.
type spot struct {
	bucket    int
	isSession bool
	created   store.Time
	id        store.ID
}

func (c spot) compare(d spot) int {
	return cmp.Or(cmp.Compare(c.created, d.created), c.id.Compare(d.id))
}

// texts returns the time of creation and the ID as texts, empty for a beginning.
func (c spot) texts() (created, id string) {
	if !c.isSession {
		return "", ""
	}
	return itoa(c.created), c.id.String()
}

func (c spot) String() string {
	created, id := c.texts()
	return "a" + strconv.Itoa(c.bucket) + ":" + created + ":" + id
}

func parseSpot(cursor string) (c spot, ok bool) {
	if cursor == "" {
		return c, true
	}
	rest, ok := strings.CutPrefix(cursor, "a")
	parts := strings.Split(rest, ":")
	if !ok || len(parts) != 3 {
		return c, false
	}
	bucket, err := strconv.Atoi(parts[0])
	if err != nil || bucket < 0 || bucket >= buckets {
		return c, false
	}
	if parts[1] == "" && parts[2] == "" {
		return spot{bucket: bucket}, true
	}
	created, err1 := strconv.ParseInt(parts[1], 10, 64)
	id, err2 := store.ParseID(parts[2])
	return spot{bucket, true, store.Time(created), id}, err1 == nil && err2 == nil
}

// next returns the sessions that come after a spot: at most number, and at most
// those of its bucket and the ones behind it, width buckets in all. It returns
// the spot with which to continue.
func (s *Store) next(ctx context.Context, app string, at spot, width, number int) (list []spot, then spot, err error) {
	calls := make([]call, min(width, buckets-at.bucket))
	for i := range calls {
		created, id := spot{}.texts()
		if i == 0 {
			created, id = at.texts()
		}
		p := s.place(app, at.bucket+i)
		calls[i] = pageScript.call([]string{p.mark(), p.in(), p.anon()}, "created", created, "after", id, "number", strconv.Itoa(number))
	}
	for i, o := range s.runAll(ctx, calls) {
		if o.err != nil {
			return nil, at, s.readError(ctx, o.err)
		}
		var own []spot
		var horizon *spot // sessions behind it may be missing
		for _, index := range o.answer {
			found, err := index.AsStrSlice()
			if err != nil {
				return nil, at, s.readError(ctx, err)
			}
			c := spot{bucket: at.bucket + i, isSession: true}
			for j := 0; j+1 < len(found); j += 2 {
				id, err1 := store.ParseID(found[j])
				created, err2 := strconv.ParseFloat(found[j+1], 64)
				if err1 != nil || err2 != nil {
					return nil, at, keyError(calls[i].keys[1], errDamaged)
				}
				c.id, c.created = id, store.Time(created)
				if i > 0 || !at.isSession || c.compare(at) > 0 {
					own = append(own, c)
				}
			}
			if len(found) == 2*number && (horizon == nil || c.compare(*horizon) < 0) {
				horizon = &c
			}
		}
		slices.SortFunc(own, spot.compare)
		then = spot{bucket: at.bucket + i + 1}
		if horizon != nil {
			own = own[:1+slices.IndexFunc(own, func(c spot) bool { return c.compare(*horizon) >= 0 })]
			then = *horizon
		}
		if list = append(list, own...); len(list) > number {
			list = list[:number]
			then = list[number-1]
		}
		if len(list) == number || horizon != nil {
			break
		}
	}
	return list, then, nil
}

// idsOf returns the IDs of the sessions.
func idsOf(list []spot) []store.ID {
	ids := make([]store.ID, len(list))
	for i := range list {
		ids[i] = list[i].id
	}
	return ids
}

// most is how many buckets to ask at a time.
const most = 64

// listAll asks one bucket first, then two at a time, then four, up to 64. So a
// small application doesn't take 256 round trips, and a page of a large one
// doesn't read more than it needs.
func (s *Store) listAll(ctx context.Context, app string, opt store.ListOptions) ([]store.Record, string, error) {
	var page driver.Page
	at, ok := parseSpot(opt.Cursor)
	if !ok {
		return nil, "", store.ErrCursor
	}
	for width := 1; at.bucket < buckets && len(page.Records) < opt.Limit; width = min(2*width, most) {
		list, then, err := s.next(ctx, app, at, width, opt.Limit-len(page.Records))
		if err != nil {
			return nil, "", err
		}
		for part := range slices.Chunk(list, atOnce(opt)) {
			full := false
			err := s.eachLive(ctx, app, idsOf(part), opt, func(i int, rec store.Record) bool {
				if full = !page.Add(rec, opt.Limit); !full {
					at = part[i]
				}
				return !full
			})
			if err != nil {
				return nil, "", err
			}
			if full {
				return page.Records, at.String(), nil
			}
		}
		at = then
	}
	if at.bucket == buckets {
		return page.Records, "", nil
	}
	return page.Records, at.String(), nil
}

// Count implements store.Store: each bucket counts its own.
func (s *Store) Count(ctx context.Context, app string) (n store.Count, err error) {
	if err := s.check(ctx); err != nil {
		return n, err
	}
	for _, o := range s.runAll(ctx, s.inEachBucket(app, func(p place) call {
		return countScript.call([]string{p.mark(), p.in(), p.anon()})
	})) {
		if o.err != nil {
			return store.Count{}, s.readError(ctx, o.err)
		}
		n.LoggedIn += o.answer.number(0)
		n.Sessions += o.answer.number(0) + o.answer.number(1)
	}
	return n, nil
}
