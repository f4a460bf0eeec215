package sqlitestore

import (
	"cmp"
	"context"
	"errors"

	"github.com/sojourn-go/sojourn/store"
)

const maxKey = 255

var errLongKey = errors.New("sqlitestore: an idempotency key has at most 255 bytes")

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, name string, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	if len(opt.Key) > maxKey {
		return nil, errLongKey
	}
	r := encode(rec)
	r.Revision, r.End, r.EndAt = 1, "", 0
	r.sweepAt = deadline(&r.Record)
	var ended []store.Ended
	var repeated store.ID
	err := s.write(ctx, func(t *tx) (err error) {
		ended, repeated, err = t.create(name, r, &opt)
		return err
	})
	switch {
	case err == store.ErrRepeated: //nolint:errorlint // if write wraps it, repeated must not be read
		rec.ID = repeated
		return nil, err
	case err != nil:
		return nil, err
	}
	rec.Revision = 1
	return ended, nil
}

func (t *tx) create(name string, r *row, opt *store.CreateOptions) (list []store.Ended, repeated store.ID, err error) {
	a, err := t.needApp(name)
	if err != nil {
		return nil, repeated, err
	}
	if opt.Key != "" {
		if repeated, err = t.repeats(a, opt); err != nil {
			return nil, repeated, err
		}
	}
	if a.mark >= opt.Arrived || a.mark >= r.CreatedAt {
		return nil, repeated, store.ErrBarrier
	}
	if ok, err := t.w.hasRoom(r.Subject == ""); err != nil || !ok {
		return nil, repeated, cmp.Or(err, store.ErrFull)
	}
	var adm admission
	if r.Subject != "" {
		if adm, err = t.admit(a, r.Subject, store.ID{}, opt.Limit, opt.Arrived, opt.Now); err != nil {
			return nil, repeated, err
		}
	}
	r.app, r.joined = a.num, adm.joined
	args := r.appendIndexed(r.append(make([]any, 0, len(recordColumns)+len(indexColumns)+3)))
	if _, err := t.w.conn.exec(insertRow, append(args, a.num, r.ID[:], timeOrNull(r.CreatedAt))...); err != nil {
		if isConstraint(err) {
			err = store.ErrExists
		}
		return nil, repeated, err
	}
	if opt.Key != "" {
		_, err := t.w.conn.exec("INSERT OR REPLACE INTO idempotency_keys (app, key, body, session, created_at) VALUES (?, ?, ?, ?, ?)",
			a.num, opt.Key, opt.KeyBody[:], r.ID[:], int64(opt.Now))
		if err != nil {
			return nil, repeated, err
		}
	}
	t.w.room.take(int64(textLength(r.data)))
	t.count(a.num, 1, flag(r.Subject != ""))
	t.changed(name, r.ID, 1)
	list, err = t.endAll(a, adm.ends)
	return list, repeated, err
}

// repeats returns ErrRepeated and the session that was created under the same
// key, or ErrKeyReused if its body was another.
func (t *tx) repeats(a app, opt *store.CreateOptions) (id store.ID, err error) {
	v, err := t.w.conn.first("SELECT body, session, created_at FROM idempotency_keys WHERE app = ? AND key = ?", a.num, opt.Key)
	if err != nil || v == nil || past(toTime(v[2]), store.IdempotencyLife, opt.Now) {
		return id, err
	}
	var body [32]byte
	fill(body[:], v[0])
	if body != opt.KeyBody {
		return id, store.ErrKeyReused
	}
	fill(id[:], v[1])
	return id, store.ErrRepeated
}
