package memstore

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// A subjectShard knows the sessions and the barriers of some subjects.
type subjectShard struct {
	mu       sync.Mutex
	closed   bool
	heads    arena.Index // from the hash of application and subject to the link of the subject's oldest session
	barriers barriers
	counted  int64
}

func (ss *subjectShard) close() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.closed = true
	ss.heads.Close()
	ss.barriers = barriers{}
}

// settleSubjects is settle for a shard of subjects.
func (c *core) settleSubjects(ss *subjectShard) {
	n := ss.heads.Bytes() + ss.barriers.bytes()
	c.used.Add(n - ss.counted)
	ss.counted = n
}

// reserveHead makes room for one more subject.
func (c *core) reserveHead(ss *subjectShard) error {
	if err := c.admit(ss.heads.Growth(), false); err != nil {
		return err
	}
	if ss.heads.Reserve() != nil {
		return store.ErrFull
	}
	c.settleSubjects(ss)
	return nil
}

// A member is a session of a subject as a walk found it. It is the subject's for as long as the subject's lock is
// held; whether it is live may change.
type member struct {
	link   link
	links  arena.Links
	id     store.ID
	state  state
	reason store.Reason // if expired, or to be ended
	at     store.Time
	gone   bool // to be ended, or ended
}

// head returns the subject's oldest session, or 0.
func (c *core) head(ss *subjectShard, a *app, subject string, tag uint32) (link, error) {
	for pos, v := ss.heads.Seek(tag, -1); v != 0; pos, v = ss.heads.Seek(tag, pos) {
		l := link(v)
		sh := &c.records[l.shard()]
		sh.mu.Lock()
		if sh.closed {
			sh.mu.Unlock()
			return 0, store.ErrClosed
		}
		var h arena.Head
		arena.Peek(sh.At(l.handle()), &h)
		same := h.App == a.num && string(h.Subject) == subject
		sh.mu.Unlock()
		if same {
			return l, nil
		}
	}
	return 0, nil
}

// member looks at a session of a subject whose lock is held.
func (c *core) member(a *app, l link, now store.Time) (member, error) {
	sh := &c.records[l.shard()]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return member{}, store.ErrClosed
	}
	b := sh.At(l.handle())
	var h arena.Head
	arena.Peek(b, &h)
	m := member{link: l, links: arena.LinksOf(b), id: *arena.IDOf(b), state: stateOf(a, &h, now)}
	if m.state == expired {
		m.reason, m.at = h.ExpiredAt(now)
	}
	return m, nil
}

// members appends all sessions of a subject, oldest first.
func (c *core) members(list []member, a *app, head link, now store.Time) ([]member, error) {
	for l := head; l != 0; {
		m, err := c.member(a, l, now)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
		if l = link(m.links.Next); l == head {
			break
		}
	}
	return list, nil
}

// setLinks writes a session's links. A store that closes meanwhile has none.
func (c *core) setLinks(l link, change func(*arena.Links)) {
	sh := &c.records[l.shard()]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return
	}
	b := sh.At(l.handle())
	links := arena.LinksOf(b)
	change(&links)
	arena.SetLinks(b, links)
}

// mend closes the ring of a subject around the members that are gone and, unless it is 0, the
// one that was added at its end. No record shard is locked.
func (c *core) mend(ss *subjectShard, tag uint32, head link, list []member, added link) {
	var kept [8]member
	ring := kept[:0]
	for _, m := range list {
		if !m.gone {
			ring = append(ring, m)
		}
	}
	if added != 0 {
		ring = append(ring, member{link: added})
	}
	for i, m := range ring {
		want := arena.Links{
			Prev: uint32(ring[(i+len(ring)-1)%len(ring)].link),
			Next: uint32(ring[(i+1)%len(ring)].link),
		}
		if m.links != want {
			c.setLinks(m.link, func(l *arena.Links) { *l = want })
		}
	}
	var first link
	if len(ring) > 0 {
		first = ring[0].link
	}
	c.setHead(ss, tag, head, first)
}

// setHead notes that the oldest session of a subject is another one. There is room for a
// new subject by reserveHead.
func (c *core) setHead(ss *subjectShard, tag uint32, old, head link) {
	switch {
	case old == head:
	case old == 0:
		ss.heads.Insert(tag, uint32(head))
	case head == 0:
		ss.heads.Remove(tag, uint32(old))
	default:
		ss.heads.Replace(tag, uint32(old), uint32(head))
	}
	c.settleSubjects(ss)
}

// join adds a session at the end of a ring without visiting all of it.
func (c *core) join(ss *subjectShard, tag uint32, head, added link) {
	if head == 0 {
		c.setLinks(added, func(l *arena.Links) { *l = arena.Links{Prev: uint32(added), Next: uint32(added)} })
		c.setHead(ss, tag, 0, added)
		return
	}
	var tail link
	c.setLinks(head, func(l *arena.Links) { tail, l.Prev = link(l.Prev), uint32(added) })
	if tail == 0 {
		return // closed meanwhile
	}
	c.setLinks(tail, func(l *arena.Links) { l.Next = uint32(added) })
	c.setLinks(added, func(l *arena.Links) { *l = arena.Links{Prev: uint32(tail), Next: uint32(head)} })
}

// leave takes a session that had these links out of a ring.
func (c *core) leave(ss *subjectShard, tag uint32, head, left link, links arena.Links) {
	if link(links.Next) == left {
		c.setHead(ss, tag, head, 0)
		return
	}
	c.setLinks(link(links.Prev), func(l *arena.Links) { l.Next = links.Next })
	c.setLinks(link(links.Next), func(l *arena.Links) { l.Prev = links.Prev })
	if head == left {
		c.setHead(ss, tag, head, link(links.Next))
	}
}

// maxBarriers bounds a shard's barriers. Above it the older half becomes one barrier for all subjects of
// the shard: it refuses logins that arrived long ago, which costs the user another try.
const maxBarriers = 4096

// barriers are those that EndSubject raised.
type barriers struct {
	ledger[barrier]
	floors map[uint32]store.Time // by the application's number: a barrier for all
}

type barrier struct {
	app uint32
	at  store.Time
}

func barrierKey(a *app, subject string) [32]byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, 256), a.num)
	return sha256.Sum256(append(b, subject...))
}

// hold reports whether a request that arrived then is too late.
func (b *barriers) hold(a *app, subject string, arrived store.Time) bool {
	if floor, ok := b.floors[a.num]; ok && floor >= arrived {
		return true
	}
	if b.len() == 0 {
		return false
	}
	v := b.get(barrierKey(a, subject))
	return v != nil && v.at >= arrived
}

func (b *barriers) raise(a *app, subject string, at store.Time) {
	key := barrierKey(a, subject)
	if v := b.get(key); v != nil {
		v.at = max(v.at, at)
		return
	}
	if b.len() >= maxBarriers {
		b.merge()
	}
	b.put(key, barrier{a.num, at})
}

func (b *barriers) merge() {
	lowest, highest := b.entries[0].val.at, b.entries[0].val.at
	for i := range b.entries {
		lowest, highest = min(lowest, b.entries[i].val.at), max(highest, b.entries[i].val.at)
	}
	middle := lowest/2 + highest/2
	if middle < lowest {
		middle = lowest // of halves that were rounded
	}
	if b.floors == nil {
		b.floors = map[uint32]store.Time{}
	}
	b.removeIf(0, len(b.entries), func(v *barrier) bool {
		if v.at > middle {
			return false
		}
		if floor, ok := b.floors[v.app]; !ok || floor < v.at {
			b.floors[v.app] = v.at
		}
		return true
	})
}
