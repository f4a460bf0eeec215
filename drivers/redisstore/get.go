package redisstore

import (
	"context"
	"errors"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
)

// Get implements store.Store, in one round trip; an unknown ID takes two. Every Get is strict.
func (s *Store) Get(ctx context.Context, app string, id store.ID, _ bool, rec *store.Record) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	p := s.placeOf(app, id)
	key := p.session(id)
	texts, err := s.texts(ctx, key, p.seen(id), p.mark())
	if err != nil {
		return s.read(ctx, err)
	}
	if texts[0].IsNil() {
		return s.absent(ctx, key)
	}
	return decodeAs(p, id, texts, rec)
}

// texts reads the keys of a session: its record, its last touch and the mark of its application.
func (s *Store) texts(ctx context.Context, session, seen, mark string) ([]rueidis.RedisMessage, error) {
	get := func() result {
		return s.do(ctx, s.client.B().Mget().Key(session, seen, mark).Build())
	}
	result := get()
	if broken(result) {
		result = get()
	}
	for try := range patience {
		if !isMoving(result) || !rest(ctx, try) {
			break
		}
		result = get()
	}
	return result.ToArray()
}

// broken reports whether a read should be sent again: a connection that Redis or a proxy has closed meanwhile fails once.
func broken(result result) bool {
	err := result.NonRedisError()
	return err != nil && !isContext(err)
}

// absent is the error where there is no text of a session: what is there, of another type, must not pass for nothing.
func (s *Store) absent(ctx context.Context, key string) error {
	kind, err := s.do(ctx, s.client.B().Type().Key(key).Build()).ToString()
	switch {
	case err != nil:
		return s.read(ctx, err)
	case kind == "none", kind == "string": // it was created just now
		return store.ErrNotFound
	}
	return s.foreign(ctx, []string{key})
}

// decodeAs fills rec, and tells by its error whether the session has ended.
func decodeAs(p place, id store.ID, texts []rueidis.RedisMessage, rec *store.Record) error {
	text, err := texts[0].ToString()
	if err != nil {
		return err
	}
	seen, _ := texts[1].ToString()
	switch err := decode(id, text, seen, rec); {
	case errors.Is(err, errNoTouch):
		return keyError(p.seen(id), err)
	case err != nil:
		return keyError(p.session(id), err)
	}
	if rec.End != "" {
		return store.ErrEnded
	}
	if texts[2].IsNil() {
		return nil
	}
	mark, err := texts[2].AsInt64()
	if err != nil {
		return keyError(p.mark(), ErrForeign)
	}
	if rec.CreatedAt <= store.Time(mark) {
		rec.Bury(store.ReasonRevoked, store.Time(mark))
		return store.ErrEnded
	}
	return nil
}
