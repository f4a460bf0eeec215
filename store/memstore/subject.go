package memstore

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"slices"
	"sync"

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
	buf      []byte
	barriers barriers
	counted  int64 // bytes that the store counts for this shard
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

// list appends the links of a list to dst.
func (ss *subjectShard) list(dst []link, tag uint32) []link {
	_, v := ss.index.Seek(tag, -1)
	switch {
	case v == 0:
		return dst
	case v&isList == 0:
		return append(dst, link(v))
	}
	for b := ss.lists.At(v &^ isList); len(b) >= 4; b = b[4:] {
		l := link(binary.LittleEndian.Uint32(b))
		if l == 0 {
			break
		}
		dst = append(dst, l)
	}
	return dst
}

// setList replaces a list. An error means that there is no memory, and is
// impossible if the list doesn't grow.
func (ss *subjectShard) setList(tag uint32, links []link) error {
	_, old := ss.index.Seek(tag, -1)
	if old == 0 {
		if err := ss.index.Reserve(); err != nil {
			return err
		}
	}
	var v uint32
	switch {
	case len(links) == 1:
		v = uint32(links[0])
	case len(links) > 1:
		ss.buf = ss.buf[:0]
		for _, l := range links {
			ss.buf = binary.LittleEndian.AppendUint32(ss.buf, uint32(l))
		}
		data := append(ss.buf, 0, 0, 0, 0) // a link of 0 ends it
		if old&isList != 0 {
			return ss.lists.Set(old&^isList, data)
		}
		handle, err := ss.lists.Add(data)
		if err != nil {
			return err
		}
		v = handle | isList
	}
	switch {
	case old == 0 && v == 0:
	case old == 0:
		ss.index.Insert(tag, v)
	case v == 0:
		ss.index.Remove(tag, old)
	default:
		ss.index.Replace(tag, old, v)
	}
	if old&isList != 0 {
		ss.lists.Remove(old &^ isList)
	}
	return nil
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

// leave removes a session that has ended from the list of the subject with this
// hash. It keeps the link if another session of the list has it by now.
func (s *Store) leave(hash uint64, l link) {
	ss := &s.subjects[shardOf(hash)]
	if s.lock(&ss.mu) != nil {
		return
	}
	defer ss.mu.Unlock()
	sh := &s.records[l.shard()]
	sh.mu.Lock()
	var h arena.Head
	_, b := s.at(l)
	again := b != nil && arena.Peek(b, &h) && !h.Ended() && len(h.Subject) > 0 && sameList(hash, s.hashSubject(h.App, string(h.Subject)))
	sh.mu.Unlock()
	if !again {
		s.unlist(ss, hash, l)
	}
}

// unlist removes links from a list. The subject's shard must be locked.
func (s *Store) unlist(ss *subjectShard, hash uint64, links ...link) {
	var array [4]link
	list := slices.DeleteFunc(ss.list(array[:0], tagOf(hash)), func(l link) bool { return slices.Contains(links, l) })
	_ = ss.setList(tagOf(hash), list) // can't fail: it doesn't grow
	s.settle(&ss.counted, ss.bytes())
}

// errAgain means that a session has changed since it was looked at.
var errAgain = errors.New("memstore: look again")

// join makes a session its subject's, or keeps it the subject's, in one step
// with what the limit demands. write writes the record and returns its link.
// join locks the session's shard around write, and in the same step ends the
// sessions for which it makes room. self is the session's link, 0 if it has no
// record yet. The subject's shard must be locked.
func (s *Store) join(sub *subject, self link, shard uint8, limit store.Limit, now store.Time, write func() (link, error)) ([]store.Ended, error) {
	var array [4]link
	links, tag := sub.ss.list(array[:0], tagOf(sub.hash)), tagOf(sub.hash)
	joins := !slices.Contains(links, self)
	others := len(links)
	if !joins {
		others--
	}
	var locks shardSet
	locks.add(shard)
	full := limit.Max > 0 && others >= limit.Max
	if full {
		for _, l := range links {
			locks.add(l.shard())
		}
	}
	s.lockAll(&locks)
	defer s.unlockAll(&locks)
	var surplus []surplus
	if full {
		var err error
		if surplus, err = s.surplus(sub, links, self, limit, now); err != nil {
			return nil, err
		}
	}

	// The list grows first, since only that can fail for want of memory. Until
	// the record is written, its link is one that no record has.
	if joins {
		if self == 0 {
			self = linkOf(shard, noHandle)
		}
		err := s.admit(sub.ss.index.Growth(), false)
		if err == nil && sub.ss.setList(tag, append(links, self)) != nil {
			err = store.ErrFull
		}
		if err != nil {
			return nil, err
		}
		s.settle(&sub.ss.counted, sub.ss.bytes())
	}
	l, err := write()
	if err != nil {
		if joins {
			s.unlist(sub.ss, sub.hash, self)
		}
		return nil, err
	}
	if joins {
		// A session that has just ended may have had the same link.
		links = append(slices.DeleteFunc(links, func(old link) bool { return old == l }), l)
	}
	var ended []store.Ended
	for _, e := range surplus {
		sh, _ := s.at(e.link)
		s.bury(sh, sub.app, e.link.handle(), e.reason, e.at, &ended)
		links = slices.DeleteFunc(links, func(old link) bool { return old == e.link })
	}
	_ = sub.ss.setList(tag, links) // can't fail: it has grown already
	s.settle(&sub.ss.counted, sub.ss.bytes())
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
// touch could revive them. The shards of all links must be locked.
func (s *Store) surplus(sub *subject, links []link, self link, limit store.Limit, now store.Time) (list []surplus, err error) {
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
