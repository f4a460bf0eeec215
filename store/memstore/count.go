package memstore

import (
	"context"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// A tally counts an application's sessions in one shard that have not ended. A
// new watermark doesn't visit the shards: a tally learns of it when it is next
// used. If no session is newer, it starts at zero. Otherwise it counts again.
type tally struct {
	store.Count
	newest store.Time // the largest CreatedAt ever counted
	mark   store.Time // the watermark that the tally knows
}

func (sh *shard) tally(a *app) *tally {
	for len(sh.counts) <= int(a.num) {
		sh.counts = append(sh.counts, tally{newest: never, mark: never})
	}
	t := &sh.counts[a.num]
	mark := a.mark()
	if mark == t.mark {
		return t
	}
	t.mark, t.Count = mark, store.Count{}
	for handle := uint32(0); t.newest > mark && handle < sh.table.End(); handle++ {
		var h arena.Head
		if b := sh.table.At(handle); b != nil && arena.Peek(b, &h) && h.App == a.num && present(a, &h) {
			t.Sessions++
			t.LoggedIn += loggedIn(len(h.Subject) > 0, 1)
		}
	}
	return t
}

// adjust notes that a session came or went, or changed its subject. The tally
// must come from before that change, which it could otherwise count twice.
func (t *tally) adjust(created store.Time, sessions, loggedIn int64) {
	t.newest = max(t.newest, created)
	if created > t.mark {
		t.Sessions += sessions
		t.LoggedIn += loggedIn
	}
}

// Count implements store.Store.
func (s *Store) Count(ctx context.Context, app string) (n store.Count, err error) {
	if err := s.check(ctx); err != nil {
		return n, err
	}
	a := s.apps.Find(app)
	if a == nil {
		return n, nil
	}
	for i := range s.records {
		sh := &s.records[i]
		if err := s.lock(&sh.mu); err != nil {
			return store.Count{}, err
		}
		t := sh.tally(a)
		n.Sessions += t.Sessions
		n.LoggedIn += t.LoggedIn
		sh.mu.Unlock()
	}
	return n, nil
}
