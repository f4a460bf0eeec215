package memstore

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// Get implements store.Store. Every Get is strict.
func (s *Store) Get(ctx context.Context, app string, id store.ID, strict bool, rec *store.Record) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	a := s.apps.Find(app)
	if a == nil {
		return store.ErrNotFound
	}
	sh, tag, err := s.lockRecord(a, &id)
	if err != nil {
		return err
	}
	handle, b := sh.table.Find(a.num, &id, tag)
	if handle == 0 {
		sh.mu.Unlock()
		return store.ErrNotFound
	}
	s.decode(b, rec)
	sh.mu.Unlock()
	if rec.End != "" {
		return store.ErrEnded
	}
	if mark := a.mark(); rec.CreatedAt <= mark {
		rec.Bury(store.ReasonRevoked, mark)
		return store.ErrEnded
	}
	return nil
}

// List implements store.Store. It lists all sessions of an application in the
// order of their links.
func (s *Store) List(ctx context.Context, app string, opt store.ListOptions) ([]store.Record, string, error) {
	if err := s.check(ctx); err != nil {
		return nil, "", err
	}
	var after store.ID
	var begin link
	var err error
	switch {
	case opt.Ended:
		err = driver.CheckEnded(opt)
	case opt.Subject != "":
		after, err = driver.After(opt)
	default:
		begin, err = parseLink(&opt)
	}
	a := s.apps.Find(app)
	switch {
	case err != nil || a == nil:
		return nil, "", err
	case opt.Ended:
		list, err := s.listEnded(a, opt)
		return list, "", err
	case opt.Subject != "":
		return s.listSubject(a, after, &opt)
	}
	return s.listAll(ctx, a, begin, &opt)
}

func (s *Store) listSubject(a *app, after store.ID, opt *store.ListOptions) ([]store.Record, string, error) {
	sub := s.subject(a, opt.Subject)
	if err := s.lock(&sub.ss.mu); err != nil {
		return nil, "", err
	}
	var ids []store.ID
	s.each(&sub, func(_ link, id store.ID, h *arena.Head) {
		if id.Compare(after) > 0 && stateOf(a, h, opt.Now) == live {
			ids = append(ids, id)
		}
	})
	sub.ss.mu.Unlock()
	slices.SortFunc(ids, store.ID.Compare)
	var page driver.Page
	for i := range ids {
		rec, ok, err := s.listed(a, &ids[i], opt)
		switch {
		case err != nil:
			return nil, "", err
		case ok && !page.Add(rec, opt.Limit):
			return page.Records, driver.Cursor(*opt, page.Records[len(page.Records)-1].ID), nil
		}
	}
	return page.Records, "", nil
}

// listed returns a session if it is still live and the subject's.
func (s *Store) listed(a *app, id *store.ID, opt *store.ListOptions) (rec store.Record, ok bool, err error) {
	sh, tag, err := s.lockRecord(a, id)
	if err != nil {
		return rec, false, err
	}
	defer sh.mu.Unlock()
	var h arena.Head
	_, b, err := sh.findLive(a, id, tag, opt.Now, &h)
	if err != nil || string(h.Subject) != opt.Subject {
		return rec, false, nil
	}
	return s.decodeListed(b, opt), true, nil
}

// decodeListed decodes a record for a list.
func (s *Store) decodeListed(b []byte, opt *store.ListOptions) (rec store.Record) {
	values, err := arena.DecodeHead(b, &s.strings, &rec)
	if err != nil {
		panic("memstore: " + err.Error()) // the memory of the process is corrupt
	}
	if opt.Values {
		rec.Values = append(rec.Values, values...)
	}
	return rec
}

func (s *Store) listAll(ctx context.Context, a *app, at link, opt *store.ListOptions) ([]store.Record, string, error) {
	var page driver.Page
	at, over, err := s.walk(ctx, a, at, math.MaxInt, opt.Now, func(b []byte) bool {
		return page.Add(s.decodeListed(b, opt), opt.Limit)
	})
	switch {
	case err != nil:
		return nil, "", err
	case over:
		return page.Records, "", nil
	}
	return page.Records, "a" + at.text(), nil
}

// walk calls visit for the live sessions of an application, in the order of their
// links, from the link at on. It looks at no more than most records, of all
// applications. It returns the link with which to continue: that of the session
// for which visit has returned false, if it has. over: no session is left. The
// record's shard is locked while visit runs.
func (s *Store) walk(ctx context.Context, a *app, at link, most int, now store.Time, visit func(b []byte) bool) (next link, over bool, err error) {
	for more := true; ; {
		if err := ctx.Err(); err != nil {
			return at, false, err
		}
		sh := &s.records[at.shard()]
		if err := s.lock(&sh.mu); err != nil {
			return at, false, err
		}
		end := linkOf(at.shard(), sh.table.End())
		for held := 0; at < end && held < maxHold && most > 0 && more; held++ {
			b := sh.table.At(at.handle())
			var h arena.Head
			if b != nil && arena.Peek(b, &h) && h.App == a.num && stateOf(a, &h, now) == live {
				more = visit(b)
			}
			if more {
				at++
				most--
			}
		}
		sh.mu.Unlock()
		switch {
		case at >= end && at.shard() == shardCount-1:
			return at, true, nil
		case at >= end:
			at = linkOf(at.shard()+1, 0)
		}
		if !more || most <= 0 {
			return at, false, nil
		}
	}
}

func (l link) text() string { return hex.EncodeToString(binary.BigEndian.AppendUint32(nil, uint32(l))) }

// parseLink returns the link at which a page of all sessions begins. The cursor
// is that link.
func parseLink(opt *store.ListOptions) (link, error) {
	if opt.Limit < 1 || opt.Limit > store.MaxPage {
		return 0, store.ErrCursor
	}
	if opt.Cursor == "" {
		return 0, nil
	}
	b, err := hex.DecodeString(opt.Cursor[1:])
	if opt.Cursor[0] != 'a' || err != nil || len(b) != 4 || b[0]&0x80 != 0 {
		return 0, store.ErrCursor
	}
	return link(binary.BigEndian.Uint32(b)), nil
}
