package memstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

var (
	errCursor = fmt.Errorf("memstore: %w", store.ErrCursor)
	errPage   = fmt.Errorf("memstore: List takes a limit of 1 to 1000: %w", store.ErrCursor)
)

// A cursor is the kind of the list, 's' for a subject's or 'a' for all, and the place after which
// the next page begins: an ID or a link, in hexadecimal.

func parseCursor(kind byte, cursor string, place []byte) error {
	if cursor == "" {
		return nil
	}
	if len(cursor) != 1+2*len(place) || cursor[0] != kind {
		return errCursor
	}
	if _, err := hex.Decode(place, []byte(cursor[1:])); err != nil {
		return errCursor
	}
	return nil
}

func (c *core) list(ctx context.Context, name string, opt store.ListOptions) ([]store.Record, string, error) {
	if opt.Limit < 1 || opt.Limit > store.MaxPage {
		return nil, "", errPage
	}
	var id store.ID
	var place [4]byte
	if opt.Subject != "" {
		if err := parseCursor('s', opt.Cursor, id[:]); err != nil {
			return nil, "", err
		}
	} else if err := parseCursor('a', opt.Cursor, place[:]); err != nil {
		return nil, "", err
	}
	a := c.apps.Find(name)
	switch {
	case a == nil:
		return nil, "", nil
	case opt.Subject != "":
		return c.listSubject(a, id, &opt)
	}
	return c.listAll(ctx, a, link(binary.BigEndian.Uint32(place[:])), &opt)
}

func (c *core) listSubject(a *app, after store.ID, opt *store.ListOptions) ([]store.Record, string, error) {
	ids, err := c.idsOf(a, opt.Subject, opt.Now)
	if err != nil {
		return nil, "", err
	}
	slices.SortFunc(ids, store.ID.Compare)
	if opt.Cursor != "" {
		ids = ids[sortedAfter(ids, after):]
	}
	var page driver.Page
	for i := range ids {
		rec, ok, err := c.listed(a, &ids[i], opt)
		switch {
		case err != nil:
			return nil, "", err
		case ok && !page.Add(rec, opt.Limit):
			last := page.Records[len(page.Records)-1].ID
			return page.Records, "s" + hex.EncodeToString(last[:]), nil
		}
	}
	return page.Records, "", nil
}

// sortedAfter returns how many of the IDs are not above the given one.
func sortedAfter(ids []store.ID, after store.ID) int {
	n, _ := slices.BinarySearchFunc(ids, after, func(id, after store.ID) int {
		if bytes.Compare(id[:], after[:]) <= 0 {
			return -1
		}
		return 1
	})
	return n
}

// idsOf returns the subject's live sessions.
func (c *core) idsOf(a *app, subject string, now store.Time) ([]store.ID, error) {
	hash := c.hashSubject(a, subject)
	ss := &c.subjects[shardOf(hash)]
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return nil, store.ErrClosed
	}
	head, err := c.head(ss, a, subject, tagOf(hash))
	if err != nil {
		return nil, err
	}
	members, err := c.members(nil, a, head, now)
	if err != nil {
		return nil, err
	}
	var ids []store.ID
	for i := range members {
		if members[i].state == live {
			ids = append(ids, members[i].id)
		}
	}
	return ids, nil
}

// listed returns a session if it is still live and the subject's.
func (c *core) listed(a *app, id *store.ID, opt *store.ListOptions) (rec store.Record, ok bool, err error) {
	hash := c.hashID(a, id)
	sh := &c.records[shardOf(hash)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return rec, false, store.ErrClosed
	}
	handle, b := sh.Find(a.num, id, tagOf(hash))
	if handle == 0 {
		return rec, false, nil
	}
	var h arena.Head
	arena.Peek(b, &h)
	if stateOf(a, &h, opt.Now) != live || string(h.Subject) != opt.Subject {
		return rec, false, nil
	}
	return decodeFor(c, b, opt), true, nil
}

// listAll visits the shards in order, and in each the handles: a session keeps its own for life.
func (c *core) listAll(ctx context.Context, a *app, after link, opt *store.ListOptions) ([]store.Record, string, error) {
	var page driver.Page
	at := after + 1
	if opt.Cursor == "" {
		at = 0
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		sh := &c.records[at.shard()]
		sh.mu.Lock()
		if sh.closed {
			sh.mu.Unlock()
			return nil, "", store.ErrClosed
		}
		end := linkOf(at.shard(), sh.End())
		full := false
		for hold := 0; at < end && hold < maxHold; at, hold = at+1, hold+1 {
			b := sh.At(at.handle())
			if b == nil {
				continue
			}
			var h arena.Head
			if arena.Peek(b, &h); h.App != a.num || stateOf(a, &h, opt.Now) != live {
				continue
			}
			if full = !page.Add(decodeFor(c, b, opt), opt.Limit); full {
				break
			}
		}
		over := at >= end
		sh.mu.Unlock()
		if full {
			return page.Records, "a" + hex.EncodeToString(binary.BigEndian.AppendUint32(nil, uint32(at-1))), nil
		}
		if over {
			if at.shard() == shardCount-1 {
				return page.Records, "", nil
			}
			at = linkOf(at.shard()+1, 0)
		}
	}
}
