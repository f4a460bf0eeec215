package memstore

import (
	"context"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// Search implements store.Searcher. It decodes every session into the same
// record, and copies those that match.
func (s *Store) Search(ctx context.Context, app string, opt store.SearchOptions) (page store.SearchPage, err error) {
	if err := s.check(ctx); err != nil {
		return page, err
	}
	from, err := store.ParseSearchCursor(&opt)
	if err != nil {
		return page, err
	}
	list := store.ListOptions{Limit: opt.Limit}
	if from.Kind != 0 {
		list.Cursor = string(from.Kind) + from.Position
	}
	at, err := parseLink(&list)
	page.Examined, page.Share = from.Examined, 1
	a := s.apps.Find(app)
	if err != nil || a == nil {
		return page, err
	}
	rec := scratch.Get().(*store.Record)
	defer scratch.Put(rec)
	at, over, err := s.walk(ctx, a, at, opt.Scan, opt.Now, func(b []byte) bool {
		if _, err := arena.DecodeHead(b, &s.strings, rec); err != nil {
			panic("memstore: " + err.Error()) // the memory of the process is corrupt
		}
		if opt.Matches(rec) {
			if len(page.Records) == opt.Limit {
				return false
			}
			page.Records = append(page.Records, s.decodeListed(b, &list))
		}
		page.Examined++
		return true
	})
	if err != nil {
		return store.SearchPage{}, err
	}
	if !over {
		page.Share = float64(at.shard()) / shardCount
		page.Cursor = store.SearchCursor{Kind: 'a', Examined: page.Examined, Position: at.text()}.String()
	}
	return page, nil
}
