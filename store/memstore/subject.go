package memstore

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// A subjectShard has the lists of the sessions of some subjects, and their
// barriers.
//
// A list has the links of the sessions, in the order in which they became the
// subject's. Subjects with the same tag share a list. So a reader must look
// whose each session is.
type subjectShard struct {
	mu       sync.Mutex  // guards the fields below
	index    arena.Index // from the tag to the only link, or to the handle of a list
	lists    arena.Slots
	barriers barriers
	counted  int64 // bytes that the store counts for this shard

	// The number of sessions that have ended and are about to leave a list. It
	// grows while the session's shard is locked.
	leaving atomic.Int32
}

// isList marks the handle of a list in the index. A link doesn't have this bit.
const isList = 1 << 31

func (ss *subjectShard) close() {
	ss.index.Close()
	ss.lists.Close()
	ss.barriers = barriers{}
}

func (ss *subjectShard) bytes() int64 {
	return ss.index.Bytes() + ss.lists.Bytes() + ss.barriers.bytes()
}

// links returns the bytes of a list of two links or more: their number, then
// the links, then free space. It returns nil if there is no such list.
func (ss *subjectShard) links(tag uint32) (v uint32, b []byte) {
	_, v = ss.index.Seek(tag, -1)
	if v&isList != 0 {
		b = ss.lists.At(v &^ isList)
	}
	return v, b
}

// count returns the number of links of a list.
func (ss *subjectShard) count(tag uint32) int {
	switch v, b := ss.links(tag); {
	case b != nil:
		return int(binary.LittleEndian.Uint32(b))
	case v != 0:
		return 1
	}
	return 0
}

// list appends the links of a list to dst.
func (ss *subjectShard) list(dst []link, tag uint32) []link {
	v, b := ss.links(tag)
	if v != 0 && b == nil {
		return append(dst, link(v))
	}
	for i := range ss.count(tag) {
		dst = append(dst, link(binary.LittleEndian.Uint32(b[4+4*i:])))
	}
	return dst
}

// add appends a link to a list. An error means that there is no memory.
func (ss *subjectShard) add(tag uint32, l link) error {
	v, b := ss.links(tag)
	n := ss.count(tag)
	switch end := 4 + 4*n; {
	case n == 0:
		if err := ss.index.Reserve(); err != nil {
			return err
		}
		ss.index.Insert(tag, uint32(l))
	case n == 1:
		handle, err := ss.lists.Add(encodeList([]link{link(v), l}))
		if err != nil {
			return err
		}
		ss.index.Replace(tag, v, handle|isList)
	case end+4 <= len(b):
		binary.LittleEndian.PutUint32(b[end:], uint32(l))
		binary.LittleEndian.PutUint32(b, uint32(n+1))
	default:
		grown := make([]byte, end+4+n) // a quarter more, so that a long list seldom moves
		copy(grown, b)
		binary.LittleEndian.PutUint32(grown[end:], uint32(l))
		binary.LittleEndian.PutUint32(grown, uint32(n+1))
		return ss.lists.Set(v&^isList, grown)
	}
	return nil
}

// replaceLast gives a list another last link.
func (ss *subjectShard) replaceLast(tag uint32, l link) {
	v, b := ss.links(tag)
	if b == nil {
		ss.index.Replace(tag, v, uint32(l))
		return
	}
	binary.LittleEndian.PutUint32(b[4*ss.count(tag):], uint32(l))
}

// remove removes links from a list. It sorts gone.
func (ss *subjectShard) remove(tag uint32, gone ...link) {
	v, b := ss.links(tag)
	slices.Sort(gone) // there may be many
	kept := slices.DeleteFunc(ss.list(nil, tag), func(l link) bool {
		_, found := slices.BinarySearch(gone, l)
		return found
	})
	switch {
	case v == 0 || len(kept) == ss.count(tag):
		return
	case len(kept) == 0:
		ss.index.Remove(tag, v)
	case len(kept) == 1:
		ss.index.Replace(tag, v, uint32(kept[0]))
	default:
		_ = ss.lists.Set(v&^isList, encodeList(kept)) // can't fail: it shrinks
		return
	}
	if b != nil {
		ss.lists.Remove(v &^ isList)
	}
}

func encodeList(links []link) []byte {
	dst := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+4*len(links)), uint32(len(links)))
	for _, l := range links {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(l))
	}
	return dst
}

// A subject is a subject of an application, with the place of its list.
type subject struct {
	app  *app
	name string
	hash uint64
	ss   *subjectShard
}

func (s *Store) subject(a *app, name string) subject {
	hash := s.hashSubject(a.num, name)
	return subject{a, name, hash, &s.subjects[shardOf(hash)]}
}

func (s *Store) hashSubject(app uint32, name string) uint64 {
	return maphash.String(s.seed, name) + arena.Spread(app)
}

// sameList reports whether two subjects share a list.
func sameList(hash, other uint64) bool {
	return shardOf(hash) == shardOf(other) && tagOf(hash) == tagOf(other)
}

// owns reads the head of a record, and reports whether it is a session of the
// subject that has not ended. The record's shard must be locked.
func (s *Store) owns(sub *subject, l link, h *arena.Head) bool {
	_, b := s.at(l)
	return b != nil && arena.Peek(b, h) && !h.Ended() && h.App == sub.app.num && string(h.Subject) == sub.name
}

// each calls do for all sessions of a subject that have not ended, in the order
// in which they became the subject's. The subject's shard must be locked. each
// locks one shard of records at a time.
func (s *Store) each(sub *subject, do func(l link, id store.ID, h *arena.Head)) {
	var array [4]link
	for _, l := range sub.ss.list(array[:0], tagOf(sub.hash)) {
		sh := &s.records[l.shard()]
		sh.mu.Lock()
		var h arena.Head
		if s.owns(sub, l, &h) {
			do(l, *arena.IDOf(sh.table.At(l.handle())), &h)
		}
		sh.mu.Unlock()
	}
}

// leave removes sessions that have ended from the list of the subject with this
// hash. It keeps a link if another session of the list has it by now. willLeave
// was called for each of them.
func (s *Store) leave(hash uint64, links ...link) {
	ss := &s.subjects[shardOf(hash)]
	if s.lock(&ss.mu) != nil {
		return
	}
	defer ss.mu.Unlock()
	defer ss.leaving.Add(-int32(len(links)))
	s.unlist(ss, hash, slices.DeleteFunc(links, func(l link) bool { return s.isListed(hash, l) })...)
}

// isListed reports whether a record is a session that belongs in the list of the
// subject with this hash.
func (s *Store) isListed(hash uint64, l link) bool {
	sh := &s.records[l.shard()]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	var h arena.Head
	b := sh.table.At(l.handle())
	return b != nil && arena.Peek(b, &h) && !h.Ended() && len(h.Subject) > 0 && sameList(hash, s.hashSubject(h.App, string(h.Subject)))
}

// willLeave announces a leave. The shard of the session must still be locked.
func (s *Store) willLeave(hash uint64) { s.subjects[shardOf(hash)].leaving.Add(1) }

// unlist removes links from a list. The subject's shard must be locked.
func (s *Store) unlist(ss *subjectShard, hash uint64, links ...link) {
	ss.remove(tagOf(hash), links...)
	s.settle(&ss.counted, ss.bytes())
}

// errAgain means that a session has changed since it was looked at.
var errAgain = errors.New("memstore: look again")

// join makes a session its subject's, or keeps it the subject's if self is its
// link, in one step with what the limit demands. self is 0 if the session is not
// in the subject's list yet. write writes the record and returns its link. join
// locks the session's shard around write, and in the same step ends the sessions
// for which it makes room. The subject's shard must be locked.
func (s *Store) join(sub *subject, self link, shard uint8, limit store.Limit, now store.Time, write func() (link, error)) ([]store.Ended, error) {
	ss, tag := sub.ss, tagOf(sub.hash)
	others := ss.count(tag)
	if self != 0 {
		others--
	}
	var links []link
	if limit.Max > 0 && others >= limit.Max {
		links = ss.list(nil, tag)
	}
	var locks shardSet
	locks.add(shard)
	for _, l := range links {
		locks.add(l.shard())
	}
	s.lockAll(&locks)
	defer s.unlockAll(&locks)
	surplus, err := s.surplus(sub, links, self, limit, now)
	if err != nil {
		return nil, err
	}

	// The list grows first, since that can fail for want of memory. Until the
	// record is written, its link is one that no record has.
	reserved := linkOf(shard, noHandle)
	if self == 0 {
		if err := s.admit(ss.index.Growth(), false); err != nil {
			return nil, err
		}
		if ss.add(tag, reserved) != nil {
			return nil, store.ErrFull
		}
		s.settle(&ss.counted, ss.bytes())
	}
	l, err := write()
	if err != nil {
		if self == 0 {
			s.unlist(ss, sub.hash, reserved)
		}
		return nil, err
	}
	if self == 0 {
		if ss.leaving.Load() > 0 {
			ss.remove(tag, l) // it may be the link of a session that has ended
		}
		ss.replaceLast(tag, l)
	}
	var ended []store.Ended
	var gone []link
	for _, e := range surplus {
		sh, _ := s.at(e.link)
		s.bury(sh, sub.app, e.link.handle(), e.reason, e.at, &ended)
		gone = append(gone, e.link)
	}
	if len(gone) > 0 {
		ss.remove(tag, gone...)
	}
	s.settle(&ss.counted, ss.bytes())
	return ended, nil
}

// A surplus is a session that must end to make room for another.
type surplus struct {
	link   link
	reason store.Reason
	at     store.Time
}

// surplus chooses the sessions to end so that the subject can have one more, or
// self, which is never chosen and counts once. Expired sessions end too: a late
// touch could revive them. links is empty if there is room in any case. The
// shards of all links must be locked.
func (s *Store) surplus(sub *subject, links []link, self link, limit store.Limit, now store.Time) (list []surplus, err error) {
	if len(links) == 0 {
		return nil, nil
	}
	excess := 1 - limit.Max
	var h arena.Head
	for _, l := range links {
		if l != self && s.owns(sub, l, &h) && stateOf(sub.app, &h, now) == live {
			excess++
		}
	}
	if excess > 0 && limit.Refuse {
		return nil, store.ErrLimit
	}
	for _, l := range links {
		if l == self || !s.owns(sub, l, &h) {
			continue
		}
		switch stateOf(sub.app, &h, now) {
		case expired:
			reason, at := h.ExpiredAt(now)
			list = append(list, surplus{l, reason, at})
		case live:
			if excess > 0 {
				excess--
				list = append(list, surplus{l, store.ReasonEvicted, now})
			}
		}
	}
	return list, nil
}
