package memstore

import (
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

func (c *core) update(name string, rec *store.Record, opt store.UpdateOptions) ([]store.Ended, error) {
	a := c.apps.Find(name)
	if a == nil {
		return nil, store.ErrNotFound
	}
	for {
		handle, owner, done, err := c.updateValues(a, rec, &opt)
		if done || err != nil {
			return nil, err
		}
		ended, done, err := c.updateOwner(a, rec, &opt, handle, owner)
		if done || err != nil {
			return ended, err
		}
	}
}

// updateValues updates a session that stays its subject's. For a login, or where the subject changes,
// it only checks, and returns the session's handle and its present subject.
func (c *core) updateValues(a *app, rec *store.Record, opt *store.UpdateOptions) (handle uint32, owner string, done bool, err error) {
	hash := c.hashID(a, &rec.ID)
	sh := &c.records[shardOf(hash)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	var h arena.Head
	handle, b, err := sh.findLive(a, &rec.ID, tagOf(hash), opt.Now, &h)
	switch {
	case err != nil:
		return 0, "", false, err
	case h.Revision != rec.Revision:
		return 0, "", false, store.ErrConflict
	case opt.Login && rec.Subject != "", string(h.Subject) != rec.Subject:
		return handle, string(h.Subject), false, nil
	}
	var links *arena.Links
	if h.Linked() {
		l := arena.LinksOf(b)
		links = &l
	}
	return handle, "", true, c.rewrite(sh, a, handle, &h, links, rec)
}

// findLive finds a session that is live at now.
func (sh *shard) findLive(a *app, id *store.ID, tag uint32, now store.Time, h *arena.Head) (uint32, []byte, error) {
	if sh.closed {
		return 0, nil, store.ErrClosed
	}
	handle, b := sh.Find(a.num, id, tag)
	if handle == 0 {
		return 0, nil, store.ErrNotFound
	}
	arena.Peek(b, h)
	if stateOf(a, h, now) != live {
		return 0, nil, store.ErrEnded
	}
	return handle, b, nil
}

// rewrite replaces a session by rec, and sets rec's revision.
func (c *core) rewrite(sh *shard, a *app, handle uint32, h *arena.Head, links *arena.Links, rec *store.Record) error {
	next := *rec
	next.Revision, next.CreatedAt, next.End, next.EndAt = h.Revision+1, h.CreatedAt, "", 0
	if h.LastSeenAt > next.LastSeenAt {
		next.LastSeenAt, next.LastClient = h.LastSeenAt, h.LastClient(&c.strings)
	}
	if err := c.store(sh, a, handle, links, &next); err != nil {
		return err
	}
	rec.Revision = next.Revision
	c.feed.Publish(store.Change{Kind: store.Changed, App: a.name, ID: next.ID, Revision: next.Revision})
	return nil
}

// store replaces a session's bytes, if there is room.
func (c *core) store(sh *shard, a *app, handle uint32, links *arena.Links, rec *store.Record) error {
	buf := c.encode(a, links, rec)
	growth := sh.GrowthOf(handle, len(buf.b))
	err := c.admit(growth, rec.Subject == "")
	if err == nil {
		err = c.replace(sh, handle, buf.b)
	}
	if err != nil {
		buf.dropped(c)
		return err
	}
	buf.kept()
	return nil
}

// updateOwner updates a session that was owner's, in one step with what the new subject's limit demands. It is not
// done if the session got another subject meanwhile.
func (c *core) updateOwner(a *app, rec *store.Record, opt *store.UpdateOptions, handle uint32, owner string) ([]store.Ended, bool, error) {
	from, to := c.hashSubject(a, owner), c.hashSubject(a, rec.Subject)
	leaves := owner != "" && owner != rec.Subject
	joins := rec.Subject != "" && owner != rec.Subject
	var subjects shardSet
	if owner != "" {
		subjects.add(shardOf(from))
	}
	if rec.Subject != "" {
		subjects.add(shardOf(to))
	}
	for i := range subjects.all {
		c.subjects[i].mu.Lock()
		defer c.subjects[i].mu.Unlock()
		if c.subjects[i].closed {
			return nil, false, store.ErrClosed
		}
	}
	oldSubject, newSubject := &c.subjects[shardOf(from)], &c.subjects[shardOf(to)]

	hash := c.hashID(a, &rec.ID)
	sh, self := &c.records[shardOf(hash)], linkOf(shardOf(hash), handle)
	var p plan
	var oldHead link
	var err error
	if leaves {
		if oldHead, err = c.head(oldSubject, a, owner, tagOf(from)); err != nil {
			return nil, false, err
		}
	}
	if rec.Subject != "" {
		if a.mark() >= opt.Arrived || newSubject.barriers.hold(a, rec.Subject, opt.Arrived) {
			return nil, false, store.ErrBarrier
		}
		if err := c.reserveHead(newSubject); err != nil {
			return nil, false, err
		}
		if err := c.plan(&p, newSubject, a, rec.Subject, tagOf(to), self, opt.Limit, opt.Now); err != nil {
			return nil, false, err
		}
	}

	p.shards.add(self.shard())
	c.lock(&p.shards)
	list, links, again, err := c.updateLocked(sh, a, rec, opt, handle, owner, &p)
	c.unlock(&p.shards)
	if again || err != nil {
		return nil, false, err
	}
	if leaves {
		c.leave(oldSubject, tagOf(from), oldHead, self, links)
	}
	switch {
	case joins:
		c.enter(newSubject, tagOf(to), &p, self)
	case rec.Subject != "":
		c.enter(newSubject, tagOf(to), &p, 0)
	}
	return list, true, nil
}

// updateLocked is the part of updateOwner for which the records are locked. It returns the links that the session
// had, and whether to begin again.
func (c *core) updateLocked(sh *shard, a *app, rec *store.Record, opt *store.UpdateOptions, handle uint32, owner string, p *plan) (list []store.Ended, links arena.Links, again bool, err error) {
	hash := c.hashID(a, &rec.ID)
	var h arena.Head
	found, b, err := sh.findLive(a, &rec.ID, tagOf(hash), opt.Now, &h)
	switch {
	case err != nil:
		return nil, links, false, err
	case h.Revision != rec.Revision:
		return nil, links, false, store.ErrConflict
	case found != handle, string(h.Subject) != owner, !c.holds(a, p, opt.Now):
		return nil, links, true, nil
	}
	if h.Linked() {
		links = arena.LinksOf(b)
	}
	var keep *arena.Links
	if rec.Subject != "" {
		keep = &links // for a new subject they are written when it joins
	}
	created, was := h.CreatedAt, len(h.Subject) > 0
	if err := c.rewrite(sh, a, handle, &h, keep, rec); err != nil {
		return nil, links, false, err
	}
	sh.adjust(a, handle, created, 0, loggedIn(rec.Subject != "", 1)-loggedIn(was, 1))
	return c.carryOut(a, p), links, false, nil
}
