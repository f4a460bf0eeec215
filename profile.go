package sojourn

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sojourn-go/sojourn/store"
)

const (
	// profileLife is how long a profile lasts after its last use.
	profileLife = 400 * day

	// profileRenewal is how old the last noted use may become before a use that
	// changes nothing is written.
	profileRenewal = profileLife / 20
)

// UpdateProfile reads and changes the profile of a user: a few values that belong
// to the user and not to a session. They stay when the user's sessions end, and the
// next sign-in finds them on any device. Package mirror keeps preferences there.
// Applications that have a table of users keep their own data in it.
//
// fn gets the values and may change the map. If another call, on any node, came
// first, fn runs again on the newer values. So parallel calls lose nothing, and fn
// must do nothing but change the map. If fn returns an error, nothing changes, and UpdateProfile
// returns that error. If fn changes nothing, nothing is written. To erase a
// profile, clear the map.
//
// A profile lasts for 400 days after its last use, which is noted once in twenty
// days at most. It is stored under the application "NAME/profiles", so lists,
// counts and ends of sessions don't see it. Names, values and limits are those of
// a session: ErrValue, ErrTooLarge. ErrEnded: the profile expired within the last
// hour. It can be used again an hour after its expiry. ErrConflict: too many
// other calls came first. ErrUnsupported: the engine has no store.
func (e *Engine) UpdateProfile(ctx context.Context, subject string, fn func(values map[string]json.RawMessage) error) error {
	if err := checkSubject(subject); err != nil {
		return err
	}
	if e.store == nil {
		return fmt.Errorf("%w: UpdateProfile needs a store", ErrUnsupported)
	}
	e.profiles.Store(true)
	id := hashedID(sha256.Sum256([]byte("sojourn profile\x00" + e.opt.App + "\x00" + subject)))
	turn := e.queue.enter(id)
	defer e.queue.leave(id, turn)
	detached := newDetached(ctx)
	defer detached.release()
	for range maxConflicts {
		rec, err := e.profile(ctx, id, subject)
		if err != nil {
			return wrap("read a profile", err)
		}
		values, err := e.applyToProfile(rec.Values, fn)
		if err != nil {
			return err
		}
		now, changed := e.now(), !values.Equal(rec.Values)
		if !changed && (rec.Revision == 0 || now.Sub(rec.LastSeenAt) < profileRenewal) {
			return nil
		}
		rec.Values, rec.LastSeenAt, rec.ExpiresAt = values, now, now.Add(profileLife)
		if rec.Revision == 0 {
			_, err = e.store.Create(detached, e.profileApp(), rec, store.CreateOptions{Arrived: now, Now: now})
		} else {
			_, err = e.store.Update(detached, e.profileApp(), rec, store.UpdateOptions{Arrived: now, Now: now})
		}
		if !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict) {
			return wrap("write a profile", err)
		}
	}
	return fmt.Errorf("%w: write a profile: %d other calls came first", ErrConflict, maxConflicts)
}

// profileApp is the name under which the store keeps the profiles. No application
// can have this name.
func (e *Engine) profileApp() string { return e.opt.App + "/profiles" }

// profile reads a profile from the store, not from a cache. A profile that doesn't
// exist has the revision 0. Its record has the subject, so that a store that is
// nearly full takes it like a login.
func (e *Engine) profile(ctx context.Context, id ID, subject string) (*store.Record, error) {
	now, rec := e.now(), new(store.Record)
	switch err := e.store.Get(ctx, e.profileApp(), id, true, rec); {
	case errors.Is(err, store.ErrNotFound):
		return &store.Record{ID: id, Subject: subject, CreatedAt: now, Idle: profileLife}, nil
	case err != nil:
		return nil, err
	}
	if reason, at := rec.ExpiredAt(now); reason != "" {
		if _, err := e.store.End(ctx, e.profileApp(), id, reason, at); err != nil && !gone(err) {
			return nil, err
		}
		return nil, store.ErrEnded
	}
	return rec, nil
}

// applyToProfile returns the values after fn has changed them.
func (e *Engine) applyToProfile(packed store.Values, fn func(map[string]json.RawMessage) error) (store.Values, error) {
	values := make(map[string]json.RawMessage)
	for key, raw := range packed.All() {
		values[key] = bytes.Clone(raw)
	}
	if err := fn(values); err != nil {
		return nil, err
	}
	return pack(values, &e.opt)
}
