package memstore

import (
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

// A plan is what a subject's limit demands before the subject gets a session. It is made with the subject's
// lock held, but before the shards of the records concerned are locked; then it is checked again (holds)
// and carried out in one step with what it makes room for.
type plan struct {
	head   link
	walked bool     // list is the whole ring
	list   []member // oldest first
	shards shardSet // of the members to end
	array  [4]member
}

// plan chooses the sessions to end so that the subject can have one more, or self, which is never
// chosen and counts once. Expired sessions end too: a late touch might revive them.
func (c *core) plan(p *plan, ss *subjectShard, a *app, subject string, tag uint32, self link, limit store.Limit, now store.Time) error {
	head, err := c.head(ss, a, subject, tag)
	if err != nil {
		return err
	}
	p.head = head
	if limit.Max <= 0 {
		return nil
	}
	p.walked = true
	if p.list, err = c.members(p.array[:0], a, head, now); err != nil {
		return err
	}
	excess := 1 - limit.Max
	for i := range p.list {
		if m := &p.list[i]; m.link != self && m.state == live {
			excess++
		}
	}
	if excess > 0 && limit.Refuse {
		return store.ErrLimit
	}
	for i := range p.list {
		m := &p.list[i]
		switch {
		case m.link == self:
			continue
		case m.state == expired:
			m.gone = true
		case m.state == live && excess > 0:
			m.gone, m.reason, m.at = true, store.ReasonEvicted, now
			excess--
		}
		if m.gone {
			p.shards.add(m.link.shard())
		}
	}
	return nil
}

// holds reports whether the plan is still right. Its shards are locked.
func (c *core) holds(a *app, p *plan, now store.Time) bool {
	for i := range p.list {
		m := &p.list[i]
		if !m.gone {
			continue
		}
		sh := &c.records[m.link.shard()]
		if sh.closed {
			continue // the next step will find out
		}
		var h arena.Head
		arena.Peek(sh.At(m.link.handle()), &h)
		if stateOf(a, &h, now) != m.state {
			return false
		}
		if m.state == expired {
			m.reason, m.at = h.ExpiredAt(now)
		}
	}
	return true
}

// carryOut ends the plan's members. Its shards are locked.
func (c *core) carryOut(a *app, p *plan) []store.Ended {
	var list []store.Ended
	for i := range p.list {
		m := &p.list[i]
		if !m.gone {
			continue
		}
		sh := &c.records[m.link.shard()]
		if sh.closed {
			continue
		}
		list = append(list, c.bury(sh, a, m.link.handle(), m.reason, m.at))
		c.feed.Publish(store.Change{Kind: store.Gone, App: a.name, ID: m.id})
	}
	return list
}

// enter brings the ring up to date when the plan was carried out, with the session added at its end unless it
// is 0. No record shard is locked.
func (c *core) enter(ss *subjectShard, tag uint32, p *plan, added link) {
	switch {
	case p.walked:
		c.mend(ss, tag, p.head, p.list, added)
	case added != 0:
		c.join(ss, tag, p.head, added)
	}
}
