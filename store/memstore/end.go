package memstore

import (
	"errors"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

var (
	errNoReason  = errors.New("memstore: a session ends for a reason")
	errNoSubject = errors.New("memstore: EndSubject needs a subject")
)

func (c *core) end(name string, id store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	if reason == "" {
		return nil, errNoReason
	}
	a := c.apps.Find(name)
	if a == nil {
		return nil, store.ErrNotFound
	}
	return c.endIf(a, id, func(h *arena.Head) (store.Reason, store.Time) {
		if !present(a, h) {
			return "", 0
		}
		return reason, at
	})
}

// endIf ends a session for the reason and at the time that decide gives, or leaves it as it is if that
// is empty. decide may be called more than once.
func (c *core) endIf(a *app, id store.ID, decide func(*arena.Head) (store.Reason, store.Time)) ([]store.Ended, error) {
	hash := c.hashID(a, &id)
	sh := &c.records[shardOf(hash)]
	for {
		owner, list, err := c.endAnonymous(sh, a, &id, tagOf(hash), decide)
		if err != nil || owner == "" {
			return list, err
		}
		list, done, err := c.endOwned(sh, a, &id, hash, owner, decide)
		if done || err != nil {
			return list, err
		}
	}
}

// endAnonymous returns the owner instead, if there is one.
func (c *core) endAnonymous(sh *shard, a *app, id *store.ID, tag uint32, decide func(*arena.Head) (store.Reason, store.Time)) (string, []store.Ended, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return "", nil, store.ErrClosed
	}
	handle, b := sh.Find(a.num, id, tag)
	if handle == 0 {
		return "", nil, store.ErrNotFound
	}
	var h arena.Head
	arena.Peek(b, &h)
	reason, at := decide(&h)
	switch {
	case reason == "":
		return "", nil, nil
	case len(h.Subject) > 0:
		return string(h.Subject), nil, nil
	}
	return "", c.buryLoud(sh, a, handle, &h, reason, at), nil
}

// buryLoud is bury, and tells it to the hub and to the caller, unless EndAll had ended the session.
func (c *core) buryLoud(sh *shard, a *app, handle uint32, h *arena.Head, reason store.Reason, at store.Time) []store.Ended {
	known := !present(a, h)
	e := c.bury(sh, a, handle, reason, at)
	if known {
		return nil
	}
	c.feed.Publish(store.Change{Kind: store.Gone, App: a.name, ID: e.ID})
	return []store.Ended{e}
}

// endOwned is not done if the session got another owner meanwhile.
func (c *core) endOwned(sh *shard, a *app, id *store.ID, hash uint64, owner string, decide func(*arena.Head) (store.Reason, store.Time)) ([]store.Ended, bool, error) {
	subject := c.hashSubject(a, owner)
	ss := &c.subjects[shardOf(subject)]
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return nil, false, store.ErrClosed
	}
	head, err := c.head(ss, a, owner, tagOf(subject))
	if err != nil {
		return nil, false, err
	}
	handle, links, list, err := func() (handle uint32, links arena.Links, list []store.Ended, err error) {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		if sh.closed {
			return 0, links, nil, store.ErrClosed
		}
		handle, b := sh.Find(a.num, id, tagOf(hash))
		if handle == 0 {
			return 0, links, nil, store.ErrNotFound
		}
		var h arena.Head
		arena.Peek(b, &h)
		reason, at := decide(&h)
		if reason == "" || string(h.Subject) != owner {
			return 0, links, nil, nil
		}
		links = arena.LinksOf(b)
		return handle, links, c.buryLoud(sh, a, handle, &h, reason, at), nil
	}()
	if err != nil || handle == 0 {
		return nil, false, err // the next look tells what happened
	}
	c.leave(ss, tagOf(subject), head, linkOf(shardOf(hash), handle), links)
	return list, true, nil
}

func (c *core) endSubject(name, subject string, except store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	switch {
	case subject == "":
		return nil, errNoSubject
	case reason == "":
		return nil, errNoReason
	}
	a := c.need(name)
	hash := c.hashSubject(a, subject)
	ss := &c.subjects[shardOf(hash)]
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return nil, store.ErrClosed
	}
	ss.barriers.raise(a, subject, at)
	c.settleSubjects(ss)
	head, err := c.head(ss, a, subject, tagOf(hash))
	if err != nil || head == 0 {
		return nil, err
	}
	members, err := c.members(nil, a, head, at)
	if err != nil {
		return nil, err
	}
	var list []store.Ended
	for i := range members {
		m := &members[i]
		if m.id == except || m.state == revoked {
			continue
		}
		sh := &c.records[m.link.shard()]
		sh.mu.Lock()
		if sh.closed {
			sh.mu.Unlock()
			return nil, store.ErrClosed
		}
		var h arena.Head
		arena.Peek(sh.At(m.link.handle()), &h)
		list = append(list, c.buryLoud(sh, a, m.link.handle(), &h, reason, at)...)
		sh.mu.Unlock()
		m.gone = true
	}
	c.mend(ss, tagOf(hash), head, members, 0)
	return list, nil
}

func (c *core) endAll(name string, at store.Time) {
	a := c.need(name)
	a.raise(at)
	c.feed.Publish(store.Change{Kind: store.GoneAll, App: name})
}
