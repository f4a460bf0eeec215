package memstore

import "github.com/sojourn-go/sojourn/store"

func (c *core) get(name string, id store.ID, rec *store.Record) error {
	a := c.apps.Find(name)
	if a == nil {
		return store.ErrNotFound
	}
	hash := c.hashID(a, &id)
	sh := &c.records[shardOf(hash)]
	sh.mu.Lock()
	if sh.closed {
		sh.mu.Unlock()
		return store.ErrClosed
	}
	handle, b := sh.Find(a.num, &id, tagOf(hash))
	if handle == 0 {
		sh.mu.Unlock()
		return store.ErrNotFound
	}
	decode(c, b, rec)
	sh.mu.Unlock()
	if rec.End != "" {
		return store.ErrEnded
	}
	if mark := a.mark(); rec.CreatedAt <= mark {
		rec.Bury(store.ReasonRevoked, mark)
		return store.ErrEnded
	}
	return nil
}
