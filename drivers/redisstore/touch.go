package redisstore

import (
	"context"
	"errors"

	"github.com/sojourn-go/sojourn/store"
)

// Touch implements store.Store, in one round trip.
func (s *Store) Touch(ctx context.Context, app string, id store.ID, at, now store.Time, client store.Client) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	a, err := s.run(ctx, touchScript.call(s.placeOf(app, id).readKeys(id),
		"at", itoa(at), "now", itoa(now), "touch", encodeSeen(at, client)))
	if err != nil {
		return s.writeError(err)
	}
	switch a.text(0) {
	case "ok":
		return nil
	case "absent":
		return store.ErrNotFound
	}
	return store.ErrEnded
}

// Confirm implements store.Store: a read and a conditional write, again until
// no other write comes between them.
func (s *Store) Confirm(ctx context.Context, app string, id store.ID, secret store.Hash, c store.Confirmation) error {
	var rec store.Record
	for {
		if err := s.Get(ctx, app, id, true, &rec); err != nil {
			return err
		}
		if rec.Secret.Hash != secret || !rec.Confirm(c) {
			return nil
		}
		u := update{s: s, app: app, rec: &rec, e: encode(&rec)}
		a, err := u.write(ctx, ticket{})
		if err == nil && a.text(0) != "ok" {
			return errAnswer
		}
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}
