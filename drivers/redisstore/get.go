package redisstore

import (
	"context"
	"errors"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
)

// Get implements store.Store. It takes one round trip, two for an unknown ID.
// Every Get is strict.
func (s *Store) Get(ctx context.Context, app string, id store.ID, _ bool, rec *store.Record) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	p := s.placeOf(app, id)
	found := s.readAll(ctx, app, []store.ID{id})[0]
	if found.err != nil {
		return s.readError(ctx, found.err)
	}
	if found.answer[0].IsNil() {
		return s.absent(ctx, p.session(id))
	}
	return decodeAs(p, id, found.answer, rec)
}

// readAll reads the keys of sessions: record, touch and mark of each.
func (s *Store) readAll(ctx context.Context, app string, ids []store.ID) []outcome {
	e := exchange{n: len(ids), send: s.send, reads: true, build: func(i int, _ bool) rueidis.Completed {
		return s.client.B().Mget().Key(s.placeOf(app, ids[i]).readKeys(ids[i])...).Build()
	}}
	replies := e.run(ctx)
	outcomes := make([]outcome, len(ids))
	for i, r := range replies {
		if outcomes[i].err = r.err; r.err == nil {
			outcomes[i].answer, outcomes[i].err = r.ToArray()
		}
	}
	return outcomes
}

// absent returns the error for a session without a record. A key of another type
// is an error: it must not pass for an unknown session.
func (s *Store) absent(ctx context.Context, key string) error {
	kind, err := s.typeOf(ctx, key)
	switch {
	case err != nil:
		return s.readError(ctx, err)
	case kind == "none", kind == "string": // a string was created just now
		return store.ErrNotFound
	}
	return s.foreign(ctx, []string{key})
}

// decodeAs fills rec from the values of readKeys. The error tells whether the
// session has ended.
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
