package sqlitestore

import (
	"cmp"
	"context"

	"github.com/sojourn-go/sojourn/store"
)

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, name string, rec *store.Record, opt store.UpdateOptions) ([]store.Ended, error) {
	r := encode(rec)
	r.End, r.EndAt = "", 0
	var ended []store.Ended
	err := s.write(ctx, func(t *tx) (err error) {
		next := *r // do may run again
		ended, err = t.update(name, &next, &opt)
		return err
	})
	if err != nil {
		return nil, err
	}
	rec.Revision++
	return ended, nil
}

func (t *tx) update(name string, r *row, opt *store.UpdateOptions) ([]store.Ended, error) {
	var old row
	a, err := t.findLive(name, r.ID, opt.Now, &old)
	switch {
	case err != nil:
		return nil, err
	case old.Revision != r.Revision:
		return nil, store.ErrConflict
	case textLength(r.data) > textLength(old.data):
		if ok, err := t.w.hasRoom(r.Subject == ""); err != nil || !ok {
			return nil, cmp.Or(err, store.ErrFull)
		}
	}
	var adm admission
	if r.Subject != "" && (opt.Login || r.Subject != old.Subject) {
		if adm, err = t.admit(a, r.Subject, r.ID, opt.Limit, opt.Arrived, opt.Now); err != nil {
			return nil, err
		}
	}
	r.Revision++
	r.app, r.CreatedAt, r.joined = old.app, old.CreatedAt, old.joined
	if old.LastSeenAt > r.LastSeenAt {
		r.LastSeenAt, r.LastClient = old.LastSeenAt, old.LastClient
	}
	moved := r.Subject != old.Subject
	if moved {
		r.joined = adm.joined
		t.count(a.num, 0, flag(r.Subject != "")-flag(old.Subject != ""))
	}
	// The sweep may examine the row early, when it finds the new deadline, but
	// not late.
	r.sweepAt = min(old.sweepAt, deadline(&r.Record))
	if err := t.save(r, moved || r.sweepAt != old.sweepAt); err != nil {
		return nil, err
	}
	t.w.room.take(int64(textLength(r.data) - textLength(old.data)))
	t.changed(name, r.ID, r.Revision)
	return t.endAll(a, adm.ends)
}

// findLive reads a session that is live at now.
func (t *tx) findLive(name string, id store.ID, now store.Time, r *row) (app, error) {
	a, err := t.find(name, id, r)
	if err == nil && !a.live(r, now) {
		err = store.ErrEnded
	}
	return a, err
}

func textLength(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []byte:
		return len(v)
	}
	return 0
}

// Touch implements store.Store.
func (s *Store) Touch(ctx context.Context, name string, id store.ID, at, now store.Time, client store.Client) error {
	return s.write(ctx, func(t *tx) error {
		var r row
		if _, err := t.findLive(name, id, now, &r); err != nil {
			return err
		}
		if at <= r.LastSeenAt {
			return nil
		}
		r.LastSeenAt, r.LastClient = at, client
		lastIP, lastAgent := r.lastClient()
		_, err := t.w.conn.exec("UPDATE sessions SET last_seen_at = ?, last_ip = ?, last_user_agent = ? WHERE app = ? AND id = ?",
			int64(at), lastIP, lastAgent, r.app, id[:])
		return err
	})
}

// Confirm implements store.Store.
func (s *Store) Confirm(ctx context.Context, name string, id store.ID, secret store.Hash, c store.Confirmation) error {
	return s.write(ctx, func(t *tx) error {
		var r row
		a, err := t.find(name, id, &r)
		switch {
		case err != nil:
			return err
		case a.ended(&r):
			return store.ErrEnded
		case r.Secret.Hash != secret:
			return nil
		}
		var rec store.Record
		if err := r.decode(&rec); err != nil {
			return err
		}
		if !rec.Confirm(c) {
			return nil
		}
		r.Secret = rec.Secret
		r.Revision++
		r.former = former(&rec)
		if err := t.save(&r, false); err != nil {
			return err
		}
		t.changed(name, id, r.Revision)
		return nil
	})
}
