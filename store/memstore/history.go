package memstore

import (
	"sync"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

const historyShards = 16 // each keeps about 16 KiB once it was used

// A historyShard has what a list of ended sessions shows, for some subjects.
type historyShard struct {
	mu      sync.Mutex  // guards the fields below
	index   arena.Index // from the subject's tag to the handle of an entry
	entries arena.Slots // encoded records
	counted int64       // bytes that the store counts for this shard
}

func (hs *historyShard) bytes() int64 { return hs.index.Bytes() + hs.entries.Bytes() }

func (hs *historyShard) close() {
	hs.index.Close()
	hs.entries.Close()
}

func (s *Store) history(hash uint64) *historyShard { return &s.histories[hash>>60] }

// remember notes that a session ends. If there is no room, it does nothing: an
// end must not fail. The session's shard is locked.
func (s *Store) remember(a *app, rec *store.Record) {
	hash := s.hashSubject(a.num, rec.Subject)
	hs, tag := s.history(hash), tagOf(hash)
	buf := s.encode(a, rec)
	hs.mu.Lock()
	defer hs.mu.Unlock()
	n, first, since, firstID := 0, uint32(0), rec.EndAt, rec.ID
	hs.each(a, rec.Subject, tag, func(handle uint32, h *arena.Head) {
		n++
		if id := *arena.IDOf(hs.entries.At(handle)); h.EndAt < since || h.EndAt == since && id.Compare(firstID) < 0 {
			first, since, firstID = handle, h.EndAt, id
		}
	})
	switch {
	case n < store.MaxEnded:
	case first == 0: // all others ended later
		buf.dropped(s)
		return
	default:
		s.forget(hs, tag, first)
	}
	defer func() { s.settle(&hs.counted, hs.bytes()) }()
	if s.admit(arena.SlotBytes(len(buf.b))+4+hs.index.Growth(), true) != nil || hs.index.Reserve() != nil {
		buf.dropped(s)
		return
	}
	handle, err := hs.entries.Add(buf.b)
	if err != nil {
		buf.dropped(s)
		return
	}
	hs.index.Insert(tag, handle)
	buf.kept()
}

// forget removes an entry. The shard is locked, and the caller counts its bytes.
func (s *Store) forget(hs *historyShard, tag, handle uint32) {
	s.strings.Release(arena.UsedStrings(nil, hs.entries.At(handle)))
	hs.entries.Remove(handle)
	hs.index.Remove(tag, handle)
}

// each calls do with the entries of a subject. The shard is locked.
func (hs *historyShard) each(a *app, subject string, tag uint32, do func(handle uint32, h *arena.Head)) {
	for pos, handle := hs.index.Seek(tag, -1); handle != 0; pos, handle = hs.index.Seek(tag, pos) {
		var h arena.Head
		if arena.Peek(hs.entries.At(handle), &h) && h.App == a.num && string(h.Subject) == subject {
			do(handle, &h)
		}
	}
}

func (s *Store) listEnded(a *app, opt store.ListOptions) (list []store.Record, err error) {
	hash := s.hashSubject(a.num, opt.Subject)
	hs := s.history(hash)
	if err := s.lock(&hs.mu); err != nil {
		return nil, err
	}
	defer hs.mu.Unlock()
	hs.each(a, opt.Subject, tagOf(hash), func(handle uint32, _ *arena.Head) {
		var rec store.Record
		s.decode(hs.entries.At(handle), &rec)
		list = append(list, rec)
	})
	return driver.Lately(list, opt), nil
}

// sweepHistory examines up to n handles of a shard, beginning at pos, and removes
// old entries.
func (s *Store) sweepHistory(hs *historyShard, a *app, pos *int, now store.Time, n int) (examined int, over bool, err error) {
	if err := s.lock(&hs.mu); err != nil {
		return 0, false, err
	}
	defer hs.mu.Unlock()
	for ; *pos < int(hs.entries.End()) && examined < n; *pos++ {
		examined++
		var h arena.Head
		b := hs.entries.At(uint32(*pos))
		if b != nil && arena.Peek(b, &h) && h.App == a.num && past(h.EndAt, store.TombstoneLife, now) {
			s.forget(hs, tagOf(s.hashSubject(a.num, string(h.Subject))), uint32(*pos))
		}
	}
	s.settle(&hs.counted, hs.bytes())
	return examined, *pos >= int(hs.entries.End()), nil
}
