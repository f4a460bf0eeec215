package memstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/sojourn-go/sojourn/store"
)

const (
	keyShards = 16
	maxKey    = 255
)

// A keyShard has idempotency keys.
type keyShard struct {
	mu   sync.Mutex // guards keys
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

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, app string, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	a := s.apps.Need(app, newApp)
	if opt.Key == "" {
		return s.add(a, rec, &opt)
	}
	if len(opt.Key) > maxKey {
		return nil, errLongKey
	}
	key := sha256.Sum256(append(binary.LittleEndian.AppendUint32(make([]byte, 0, 4+maxKey), a.num), opt.Key...))
	ks := &s.keys[key[0]%keyShards]
	if err := s.lock(&ks.mu); err != nil {
		return nil, err
	}
	defer ks.mu.Unlock()
	if m := ks.keys.get(key); m != nil && !past(m.at, store.IdempotencyLife-1, opt.Now) {
		if m.body != opt.KeyBody {
			return nil, store.ErrKeyReused
		}
		rec.ID = m.id
		return nil, store.ErrRepeated
	}
	if err := s.admit(ks.keys.entryBytes(), rec.Subject == ""); err != nil {
		return nil, err
	}
	ended, err := s.add(a, rec, &opt)
	if err != nil {
		return nil, err
	}
	before := ks.keys.bytes()
	ks.keys.put(key, made{opt.KeyBody, rec.ID, opt.Now, a.num})
	s.used.Add(ks.keys.bytes() - before)
	return ended, nil
}

// add creates a session.
func (s *Store) add(a *app, rec *store.Record, opt *store.CreateOptions) (ended []store.Ended, err error) {
	fresh := *rec
	fresh.Revision, fresh.End, fresh.EndAt = 1, "", 0
	buf := s.encode(a, &fresh)
	if rec.Subject == "" {
		err = s.addAnonymous(a, &fresh, opt, buf.b)
	} else {
		ended, err = s.addOwned(a, &fresh, opt, buf.b)
	}
	if err != nil {
		buf.dropped(s)
		return nil, err
	}
	buf.kept()
	rec.Revision = 1
	return ended, nil
}

func (s *Store) addAnonymous(a *app, rec *store.Record, opt *store.CreateOptions, data []byte) error {
	sh, tag, err := s.lockRecord(a, &rec.ID)
	if err != nil {
		return err
	}
	defer sh.mu.Unlock()
	_, err = s.insert(sh, a, rec, opt, tag, data)
	return err
}

func (s *Store) addOwned(a *app, rec *store.Record, opt *store.CreateOptions, data []byte) ([]store.Ended, error) {
	sub := s.subject(a, rec.Subject)
	if err := s.lock(&sub.ss.mu); err != nil {
		return nil, err
	}
	defer sub.ss.mu.Unlock()
	if sub.ss.barriers.hold(a, rec.Subject, opt.Arrived) {
		return nil, store.ErrBarrier
	}
	hash := s.hashID(a, &rec.ID)
	shard := shardOf(hash)
	return s.join(&sub, 0, shard, opt.Limit, opt.Now, func() (link, error) {
		handle, err := s.insert(&s.records[shard], a, rec, opt, tagOf(hash), data)
		return linkOf(shard, handle), err
	})
}

// insert adds an encoded session to its shard, which is locked.
func (s *Store) insert(sh *shard, a *app, rec *store.Record, opt *store.CreateOptions, tag uint32, data []byte) (uint32, error) {
	if mark := a.mark(); mark >= opt.Arrived || mark >= rec.CreatedAt {
		return 0, store.ErrBarrier
	}
	if handle, _ := sh.table.Find(a.num, &rec.ID, tag); handle != 0 {
		return 0, store.ErrExists
	}
	if err := s.admit(sh.table.Growth(len(data)), rec.Subject == ""); err != nil {
		return 0, err
	}
	t := sh.tally(a)
	handle, err := sh.table.Insert(tag, data)
	if err != nil {
		return 0, store.ErrFull
	}
	s.settle(&sh.counted, sh.table.Bytes())
	t.adjust(rec.CreatedAt, 1, loggedIn(rec.Subject != "", 1))
	s.feed.Publish(store.Change{Kind: store.Changed, App: a.name, ID: rec.ID, Revision: 1})
	return handle, nil
}
