package redisstore

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
)

// searchChunk is how many sessions to read at a time. Redis serves other commands
// between any two of them.
const searchChunk = 500

// Search implements store.Searcher. It examines one bucket after the other, like
// List, and evaluates the filter itself: in Redis that would take several times as
// long, and other calls would wait meanwhile.
func (s *Store) Search(ctx context.Context, app string, opt store.SearchOptions) (page store.SearchPage, err error) {
	if err := s.check(ctx); err != nil {
		return page, err
	}
	from, err := store.ParseSearchCursor(&opt)
	if err != nil {
		return page, err
	}
	cursor := ""
	if from.Kind != 0 {
		cursor = string(from.Kind) + from.Position
	}
	at, ok := parseSpot(cursor)
	if !ok {
		return page, store.ErrCursor
	}
	page.Examined = from.Examined
	var rec store.Record
	for left, width, full := opt.Scan, 1, false; at.bucket < buckets && left > 0 && !full; width = min(2*width, most) {
		list, then, err := s.next(ctx, app, at, width, left)
		if err != nil {
			return store.SearchPage{}, err
		}
		left -= len(list)
		for part := range slices.Chunk(list, searchChunk) {
			readings := s.readBeginnings(ctx, app, idsOf(part))
			for i := range readings {
				live, err := s.isLive(ctx, app, part[i].id, &readings[i], opt.Now, &rec)
				if err != nil {
					return store.SearchPage{}, err
				}
				if live && opt.Matches(&rec) {
					if full = len(page.Records) == opt.Limit; full {
						break
					}
					rec.Values = nil
					page.Records = append(page.Records, rec)
					rec = store.Record{}
				}
				at = part[i]
				page.Examined++
			}
			if full {
				break
			}
		}
		if !full {
			at = then
		}
	}
	if page.Share = float64(at.bucket) / buckets; at.bucket < buckets {
		position := at.String()
		page.Cursor = store.SearchCursor{Kind: position[0], Examined: page.Examined, Position: position[1:]}.String()
	}
	return page, nil
}

// beginning is how many bytes of a record to read at first. Nearly every record's
// values begin before that.
const beginning = 2048

// readBeginnings is readHeads in less of Redis' time: it runs no script, unless a
// record is long. IDs of a bucket follow each other. A session whose key has
// another type counts as absent.
func (s *Store) readBeginnings(ctx context.Context, app string, ids []store.ID) []reading {
	records := make([]string, len(ids)) // keys
	var others [][]string               // keys of each bucket: the touches, then the mark
	var p place
	for i, id := range ids {
		if i == 0 || bucketOf(id) != bucketOf(ids[i-1]) {
			p = s.placeOf(app, id)
			others = append(others, []string{p.mark()})
		}
		records[i] = p.session(id)
		last := &others[len(others)-1]
		*last = append((*last)[:len(*last)-1], p.seen(id), p.mark())
	}
	e := exchange{n: len(ids) + len(others), send: s.send, reads: true, build: func(i int, _ bool) rueidis.Completed {
		if i < len(ids) {
			return s.client.B().Getrange().Key(records[i]).Start(0).End(beginning - 1).Build()
		}
		return s.client.B().Mget().Key(others[i-len(ids)]...).Build()
	}}
	replies := e.run(ctx)
	readings := make([]reading, 0, len(ids))
	var long []store.ID
	for b, keys := range others {
		found, err := replies[len(ids)+b].ToArray()
		if err = cmp.Or(replies[len(ids)+b].err, err); err != nil {
			found = make([]rueidis.RedisMessage, len(keys))
		}
		for _, touch := range found[:len(keys)-1] {
			reply := &replies[len(readings)]
			r := reading{mark: found[len(keys)-1], err: err}
			r.seen, _ = touch.ToString()
			if r.absent = isWrongType(reply.err); !r.absent && r.err == nil {
				r.err = reply.err
			}
			r.text, _ = reply.ToString()
			r.absent = r.absent || r.err == nil && r.text == ""
			if values := strings.Index(r.text, `,"values`); values >= 0 {
				r.text = r.text[:values] + `,"values":{}}`
			} else if len(r.text) == beginning {
				long = append(long, ids[len(readings)])
			}
			readings = append(readings, r)
		}
	}
	for i, r := range s.readHeads(ctx, app, long) {
		readings[slices.Index(ids, long[i])] = r
	}
	return readings
}
