package redisstore

import (
	"cmp"
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
	found := s.read(ctx, app, p, id)
	if found.err != nil {
		return s.readError(ctx, found.err)
	}
	if found.absent {
		return s.absent(ctx, p.session(id))
	}
	return found.decode(p, id, rec)
}

// A reading is what readKeys hold: record, touch and mark of a session. The touch
// may be empty, and the mark nil. The error is the raw one: see readError.
type reading struct {
	text, seen string
	mark       rueidis.RedisMessage
	absent     bool // there is no record
	err        error
}

func readingOf(texts []rueidis.RedisMessage, err error) (r reading) {
	if err != nil || len(texts) < 3 {
		return reading{err: cmp.Or(err, errDamaged)}
	}
	r.text, err = texts[0].ToString()
	if r.absent = rueidis.IsRedisNil(err); !r.absent {
		r.err = err
	}
	r.seen, _ = texts[1].ToString()
	r.mark = texts[2]
	return r
}

// read reads a session.
func (s *Store) read(ctx context.Context, app string, p place, id store.ID) reading {
	if s.reads != nil {
		if a, alone, err := s.reads.do(ctx, p.readKeys(id), nil); !alone {
			return readingOf(a, err)
		}
	}
	return s.readAll(ctx, app, []store.ID{id})[0]
}

// readTogether returns the command for several reads.
func (s *Store) readTogether(calls []*batched, _ bool) rueidis.Completed {
	keys := make([]string, 0, 3*len(calls))
	for _, c := range calls {
		keys = append(keys, c.keys...)
	}
	return s.client.B().Mget().Key(keys...).Build()
}

// readAll reads sessions.
func (s *Store) readAll(ctx context.Context, app string, ids []store.ID) []reading {
	e := exchange{n: len(ids), send: s.send, reads: true, build: func(i int, _ bool) rueidis.Completed {
		return s.client.B().Mget().Key(s.placeOf(app, ids[i]).readKeys(ids[i])...).Build()
	}}
	readings := make([]reading, len(ids))
	for i, r := range e.run(ctx) {
		readings[i] = readingOf(r.list())
	}
	return readings
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

// decode fills rec. The error tells whether the session has ended.
func (r *reading) decode(p place, id store.ID, rec *store.Record) error {
	switch err := decode(id, r.text, r.seen, rec); {
	case errors.Is(err, errNoTouch):
		return keyError(p.seen(id), err)
	case err != nil:
		return keyError(p.session(id), err)
	}
	if rec.End != "" {
		return store.ErrEnded
	}
	if r.mark.IsNil() {
		return nil
	}
	mark, err := r.mark.AsInt64()
	if err != nil {
		return keyError(p.mark(), ErrForeign)
	}
	if rec.CreatedAt <= store.Time(mark) {
		rec.Bury(store.ReasonRevoked, store.Time(mark))
		return store.ErrEnded
	}
	return nil
}
