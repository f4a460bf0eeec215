package memstore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/arena"
)

const (
	keyShards = 16
	maxKey    = 255
)

// A keyShard knows idempotency keys.
type keyShard struct {
	mu   sync.Mutex
	keys ledger[made]
}

// made is what was created under a key.
type made struct {
	body [32]byte
	id   store.ID
	at   store.Time
	app  uint32
}

var errLongKey = errors.New("memstore: an idempotency key has at most 255 bytes")

func (c *core) create(name string, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	a := c.need(name)
	if opt.Key == "" {
		return c.add(a, rec, opt)
	}
	if len(opt.Key) > maxKey {
		return nil, errLongKey
	}
	key := sha256.Sum256(append(binary.LittleEndian.AppendUint32(make([]byte, 0, 4+maxKey), a.num), opt.Key...))
	ks := &c.keys[key[0]%keyShards]
	ks.mu.Lock()
	defer ks.mu.Unlock()
	if m := ks.keys.get(key); m != nil && !past(m.at, store.IdempotencyLife-1, opt.Now) {
		if m.body != opt.KeyBody {
			return nil, store.ErrKeyReused
		}
		rec.ID = m.id
		return nil, store.ErrRepeated
	}
	size := ks.keys.entryBytes()
	if err := c.admit(size, rec.Subject == ""); err != nil {
		return nil, err
	}
	ended, err := c.add(a, rec, opt)
	if err != nil {
		return nil, err
	}
	before := ks.keys.bytes()
	ks.keys.put(key, made{opt.KeyBody, rec.ID, opt.Now, a.num})
	c.used.Add(ks.keys.bytes() - before)
	return ended, nil
}

// add creates a session.
func (c *core) add(a *app, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	fresh := *rec
	fresh.Revision, fresh.End, fresh.EndAt = 1, "", 0
	var ended []store.Ended
	var err error
	if fresh.Subject == "" {
		err = c.addAnonymous(a, &fresh, &opt)
	} else {
		ended, err = c.addOwned(a, &fresh, &opt)
	}
	if err != nil {
		return nil, err
	}
	rec.Revision = 1
	return ended, nil
}

func (c *core) addAnonymous(a *app, rec *store.Record, opt *store.CreateOptions) error {
	buf := c.encode(a, nil, rec)
	hash := c.hashID(a, &rec.ID)
	sh := &c.records[shardOf(hash)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, err := c.addTo(sh, a, rec, opt, tagOf(hash), buf.b); err != nil {
		buf.dropped(c)
		return err
	}
	buf.kept()
	return nil
}

// addTo adds an encoded session to its shard, which is locked.
func (c *core) addTo(sh *shard, a *app, rec *store.Record, opt *store.CreateOptions, tag uint32, data []byte) (uint32, error) {
	switch {
	case sh.closed:
		return 0, store.ErrClosed
	case a.mark() >= opt.Arrived, a.mark() >= rec.CreatedAt:
		return 0, store.ErrBarrier
	}
	if h, _ := sh.Find(a.num, &rec.ID, tag); h != 0 {
		return 0, store.ErrExists
	}
	if err := c.admit(sh.Growth(len(data)), rec.Subject == ""); err != nil {
		return 0, err
	}
	handle, err := c.insert(sh, tag, data)
	if err != nil {
		return 0, err
	}
	sh.adjust(a, handle, rec.CreatedAt, 1, loggedIn(rec.Subject != "", 1))
	c.feed.Publish(store.Change{Kind: store.Changed, App: a.name, ID: rec.ID, Revision: 1})
	return handle, nil
}

func (c *core) addOwned(a *app, rec *store.Record, opt *store.CreateOptions) ([]store.Ended, error) {
	buf := c.encode(a, &arena.Links{}, rec)
	ended, err := c.addToSubject(a, rec, opt, buf.b)
	if err != nil {
		buf.dropped(c)
		return nil, err
	}
	buf.kept()
	return ended, nil
}

func (c *core) addToSubject(a *app, rec *store.Record, opt *store.CreateOptions, data []byte) ([]store.Ended, error) {
	subject := c.hashSubject(a, rec.Subject)
	ss := &c.subjects[shardOf(subject)]
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return nil, store.ErrClosed
	}
	if ss.barriers.hold(a, rec.Subject, opt.Arrived) {
		return nil, store.ErrBarrier
	}
	if err := c.reserveHead(ss); err != nil {
		return nil, err
	}
	hash := c.hashID(a, &rec.ID)
	shard := shardOf(hash)
	for {
		var p plan
		if err := c.plan(&p, ss, a, rec.Subject, tagOf(subject), 0, opt.Limit, opt.Now); err != nil {
			return nil, err
		}
		p.shards.add(shard)
		c.lock(&p.shards)
		if !c.holds(a, &p, opt.Now) {
			c.unlock(&p.shards)
			continue
		}
		handle, err := c.addTo(&c.records[shard], a, rec, opt, tagOf(hash), data)
		if err != nil {
			c.unlock(&p.shards)
			return nil, err
		}
		ended := c.carryOut(a, &p)
		c.unlock(&p.shards)
		c.enter(ss, tagOf(subject), &p, linkOf(shard, handle))
		return ended, nil
	}
}
