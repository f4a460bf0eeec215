package nearcache

import (
	"context"
	"errors"

	"github.com/sojourn-go/sojourn/store"
)

// Get implements store.Store. Gets of one session that are not strict and must
// read the store share one read.
func (c *Cache) Get(ctx context.Context, app string, id store.ID, strict bool, rec *store.Record) error {
	p := c.place(app, id)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, leads, err := c.look(&p, strict, rec)
		switch {
		case f == nil:
			return err
		case leads:
			return c.read(ctx, app, &p, f, rec)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.done:
		}
		if f.again {
			continue
		}
		if f.result != nil {
			rec.CopyFrom(f.result)
		}
		rec.Cached = true
		return f.err
	}
}

// look answers from memory, or returns a flight. If leads is true the caller must
// make the flight's read, otherwise wait for it.
func (c *Cache) look(p *place, strict bool, rec *store.Record) (f *flight, leads bool, err error) {
	live := c.live()
	sh := p.sh
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if live && !strict {
		if c.hit(p, rec) {
			return nil, false, nil
		}
		if c.isUnknown(p) {
			sh.stats.NegativeHits++
			rec.Cached = true
			return nil, false, store.ErrNotFound
		}
		if f = c.joinable(p); f != nil {
			if f.done == nil {
				f.done = make(chan struct{})
			}
			sh.stats.Misses++
			return f, false, nil
		}
	}
	if !strict {
		sh.stats.Misses++
	}
	f = c.begin(p, live)
	f.read, f.began = true, c.now()
	return f, true, nil
}

var errPanic = errors.New("nearcache: the store panicked")

// read makes the read of a flight. It is strict, because a replica may lag behind
// what the cache already knows.
func (c *Cache) read(ctx context.Context, app string, p *place, f *flight, rec *store.Record) (err error) {
	err = errPanic
	defer func() { c.landed(ctx, p, f, rec, err) }()
	err = c.store.Get(ctx, app, p.id, true, rec)
	rec.Cached = false
	return err
}

// landed keeps the result of a read, and passes it to the Gets that joined.
func (c *Cache) landed(ctx context.Context, p *place, f *flight, rec *store.Record, err error) {
	notFound, ended := errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrEnded)
	p.sh.mu.Lock()
	p.sh.end(p.key, f)
	switch {
	case err == nil:
		p.sh.known(p)
		c.put(p, f, rec)
	case notFound || ended:
		if !c.holds(p, f) || f.floor > 0 {
			break
		}
		c.changed(p, overtaken)
		if notFound {
			c.putUnknown(p, f)
		}
	case errors.Is(err, store.ErrClosed):
		c.shut()
	}
	p.sh.mu.Unlock()

	if f.done == nil {
		return
	}
	f.err = err
	if err == nil || ended {
		f.result = new(store.Record)
		f.result.CopyFrom(rec)
	} else if !notFound {
		f.again = ctx.Err() != nil || errors.Is(err, errPanic)
	}
	close(f.done)
}
