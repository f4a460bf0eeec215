package memstore

import (
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

func (c *core) touch(name string, id store.ID, at, now store.Time, client store.Client) error {
	a := c.apps.Find(name)
	if a == nil {
		return store.ErrNotFound
	}
	hash := c.hashID(a, &id)
	sh := &c.records[shardOf(hash)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	var h arena.Head
	handle, b, err := sh.findLive(a, &id, tagOf(hash), now, &h)
	if err != nil || at <= h.LastSeenAt {
		return err
	}
	if h.LastClientIs(&c.strings, &client) && arena.SetLastSeen(b, &h, at) {
		return nil
	}
	return c.edit(sh, a, handle, func(rec *store.Record) bool {
		rec.LastSeenAt, rec.LastClient = at, client
		return true
	})
}

func (c *core) confirm(name string, id store.ID, secret store.Hash, n store.Confirmation) error {
	a := c.apps.Find(name)
	if a == nil {
		return store.ErrNotFound
	}
	hash := c.hashID(a, &id)
	sh := &c.records[shardOf(hash)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return store.ErrClosed
	}
	handle, b := sh.Find(a.num, &id, tagOf(hash))
	if handle == 0 {
		return store.ErrNotFound
	}
	var h arena.Head
	if arena.Peek(b, &h); !present(a, &h) {
		return store.ErrEnded
	}
	var confirmed uint64
	err := c.edit(sh, a, handle, func(rec *store.Record) bool {
		if rec.Secret.Hash != secret || !rec.Confirm(n) {
			return false
		}
		rec.Revision++
		confirmed = rec.Revision
		return true
	})
	if err == nil && confirmed != 0 {
		c.feed.Publish(store.Change{Kind: store.Changed, App: a.name, ID: id, Revision: confirmed})
	}
	return err
}

// edit changes a session in its shard, unless change says no.
func (c *core) edit(sh *shard, a *app, handle uint32, change func(*store.Record) bool) error {
	rec := scratch.Get().(*store.Record)
	defer scratch.Put(rec)
	b := sh.At(handle)
	decode(c, b, rec)
	if !change(rec) {
		return nil
	}
	var links *arena.Links
	if rec.Subject != "" {
		l := arena.LinksOf(b)
		links = &l
	}
	return c.store(sh, a, handle, links, rec)
}
