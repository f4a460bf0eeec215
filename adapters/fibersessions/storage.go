package fibersessions

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// A Storage is a fiber.Storage for fiber's session middleware, on any of
// Sojourn's stores. Its methods may be called concurrently.
//
//	app.Use(session.New(session.Config{Storage: storage}))
//
// What gets better: the session IDs, which are secrets, are stored as hashes. No
// request in flight brings back a session that was destroyed or has expired: for
// an hour, Set then returns an error that is sojourn.ErrEnded. So use it for
// sessions only, and not for a limiter or a cache, which use their keys again.
//
// What stays as it was: a Set replaces the whole session. So the last one of
// parallel requests wins, and what the others changed is lost. For rotation,
// detection of theft, and lists of a user's sessions, use New.
type Storage struct {
	// Old is the storage that the sessions were in before. A session that this one
	// doesn't have is read there, and moves with the next Set. Until it is deleted
	// or expires, it stays in Old too, for the way back. Default: none.
	Old fiber.Storage

	store  store.Store
	app    string
	engine *sojourn.Engine // sweeps
}

// NewStorage returns a storage that keeps its sessions in st, under the name of
// an application of its own (Options.App). Close it before st.
func NewStorage(st store.Store, app string) (*Storage, error) {
	e, err := sojourn.New(st, sojourn.Options{App: app})
	if err != nil {
		return nil, err
	}
	return &Storage{store: st, app: app, engine: e}, nil
}

// forever is the lifetime of a value without expiration.
const forever = 100 * 365 * 24 * time.Hour

// valueName is the name of the value in a record.
const valueName = "value"

// idOf returns the ID under which the value of a key is kept.
func idOf(key string) (id store.ID) {
	sum := sha256.Sum256([]byte(key))
	copy(id[:], sum[:])
	id[6] = id[6]&0x0f | 0x80 // a UUID of version 8 (RFC 9562, section 5.8)
	id[8] = id[8]&0x3f | 0x80
	return id
}

// GetWithContext returns the value of a key, or nil if there is none.
func (s *Storage) GetWithContext(ctx context.Context, key string) (val []byte, err error) {
	if key == "" {
		return nil, nil
	}
	var rec store.Record
	switch err := s.store.Get(ctx, s.app, idOf(key), true, &rec); {
	case errors.Is(err, store.ErrNotFound) && s.Old != nil:
		return s.Old.GetWithContext(ctx, key)
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrEnded):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("fibersessions: get: %w", err)
	}
	if expired, _ := rec.ExpiredAt(store.TimeOf(time.Now())); expired != "" {
		return nil, nil
	}
	raw, _ := rec.Values.Get(valueName)
	err = json.Unmarshal(raw, &val)
	return val, err
}

// SetWithContext stores a value for the duration exp, or for good if exp is 0. An
// empty key or value is ignored. If the key was deleted or has expired, the error
// is sojourn.ErrEnded.
func (s *Storage) SetWithContext(ctx context.Context, key string, val []byte, exp time.Duration) error {
	if key == "" || len(val) == 0 {
		return nil
	}
	if exp <= 0 {
		exp = forever
	}
	raw, err := json.Marshal(val)
	if err != nil {
		return err
	}
	const tries = 50
	for range tries {
		err = s.set(ctx, idOf(key), raw, exp)
		if errors.Is(err, store.ErrBarrier) { // Reset was called in this millisecond, perhaps by a fast clock
			time.Sleep(time.Millisecond)
		} else if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrExists) {
			break
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrEnded):
		return fmt.Errorf("%w: fibersessions: set: %w", sojourn.ErrEnded, err)
	}
	return fmt.Errorf("fibersessions: set: %w", err)
}

// set tries once. ErrConflict and ErrExists mean that another call came first,
// ErrBarrier that Reset was called in this millisecond.
func (s *Storage) set(ctx context.Context, id store.ID, raw []byte, exp time.Duration) error {
	var rec store.Record
	err := s.store.Get(ctx, s.app, id, true, &rec)
	now := store.TimeOf(time.Now())
	create := errors.Is(err, store.ErrNotFound)
	if err != nil && !create {
		return err
	}
	if create {
		rec = store.Record{ID: id, CreatedAt: now}
	} else if expired, at := rec.ExpiredAt(now); expired != "" {
		if _, err := s.store.End(ctx, s.app, id, expired, at); err != nil {
			return err
		}
		return store.ErrEnded
	}
	rec.LastSeenAt, rec.Idle, rec.ExpiresAt = now, exp.Truncate(time.Millisecond), now.Add(exp)
	rec.Values = store.Values(nil).AppendSet(nil, valueName, raw)
	if create {
		_, err = s.store.Create(ctx, s.app, &rec, store.CreateOptions{Arrived: now, Now: now})
	} else {
		_, err = s.store.Update(ctx, s.app, &rec, store.UpdateOptions{Arrived: now, Now: now})
	}
	return err
}

// DeleteWithContext ends the session of a key, here and in Old. If there is none,
// it does nothing.
func (s *Storage) DeleteWithContext(ctx context.Context, key string) error {
	if key == "" {
		return nil
	}
	if s.Old != nil {
		// A request in flight that has read the session in Old must not move it
		// afterwards. So it is moved now, and then ended.
		if val, err := s.GetWithContext(ctx, key); err != nil {
			return err
		} else if err := s.SetWithContext(ctx, key, val, time.Hour); err != nil && !errors.Is(err, sojourn.ErrEnded) {
			return err
		}
		if err := s.Old.DeleteWithContext(ctx, key); err != nil {
			return err
		}
	}
	_, err := s.store.End(ctx, s.app, idOf(key), store.ReasonLogout, store.TimeOf(time.Now()))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("fibersessions: delete: %w", err)
	}
	return nil
}

// ResetWithContext ends all sessions, here in constant time, and in Old.
func (s *Storage) ResetWithContext(ctx context.Context) error {
	if s.Old != nil {
		if err := s.Old.ResetWithContext(ctx); err != nil {
			return err
		}
	}
	return s.engine.EndAll(ctx)
}

// Close stops the storage's sweep. It doesn't close the store.
func (s *Storage) Close() error { return s.engine.Close(context.Background()) }

// The methods of older versions of fiber, without a context.

func (s *Storage) Get(key string) ([]byte, error) {
	return s.GetWithContext(context.Background(), key)
}

func (s *Storage) Set(key string, val []byte, exp time.Duration) error {
	return s.SetWithContext(context.Background(), key, val, exp)
}

func (s *Storage) Delete(key string) error { return s.DeleteWithContext(context.Background(), key) }
func (s *Storage) Reset() error            { return s.ResetWithContext(context.Background()) }
