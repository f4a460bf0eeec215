package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sojourn-go/sojourn/store"
)

// writes is how often a write is sent, if the server rolls it back (for example
// after a deadlock) or it wasn't sent at all.
const writes = 6

// write sends a statement, which is a transaction, and scans its one row. The
// error is pgx.ErrNoRows if there is none.
func (s *Store) write(ctx context.Context, statement string, args []any, dest ...any) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	for try := 1; ; try++ {
		sent, err := s.send(ctx, statement, args, dest)
		switch {
		case err == nil, errors.Is(err, pgx.ErrNoRows):
			return err
		case sent && !isCertain(err):
			s.kick() // it may have happened
			return fmt.Errorf("pgstore: %w: %w", store.ErrUncertain, err)
		case sent && try < writes && ctx.Err() == nil && (isAborted(err) || pgconn.SafeToRetry(err)):
			continue
		case s.closed.Load():
			return store.ErrClosed
		}
		return explain(err)
	}
}

func (s *Store) send(ctx context.Context, statement string, args, dest []any) (sent bool, err error) {
	return s.use(ctx, func(c *call) error {
		err := c.row(statement, args, dest...)
		if code(err) == readOnlyTransaction { // the server is a standby now; a new connection may find the primary
			_ = c.conn.Close(c.ctx)
		}
		if takeUnreplicated(c.conn) && err == nil {
			err = errUnreplicated
		}
		return err
	})
}

var errUnreplicated = errors.New("its wait for the synchronous standby was canceled: the server has it, and a failover may undo it")

// outcomes are the results of the schema's functions.
var outcomes = map[string]error{
	"done": nil, "ended before": nil, "not found": store.ErrNotFound, "ended": store.ErrEnded, "exists": store.ErrExists, "conflict": store.ErrConflict,
	"barrier": store.ErrBarrier, "limit": store.ErrLimit, "full": store.ErrFull, "repeated": store.ErrRepeated, "key reused": store.ErrKeyReused,
}

func errorOf(outcome string) error {
	err, known := outcomes[outcome]
	if !known {
		return fmt.Errorf("pgstore: the schema's functions returned %q: they are not this version's", outcome)
	}
	return err
}

// conclude returns the error of an outcome. If something has changed, it makes
// the other nodes poll.
func (s *Store) conclude(outcome string) error {
	err := errorOf(outcome)
	if err == nil {
		s.kick()
	}
	return err
}

// casualties are the sessions that Create and Update end.
type casualties struct {
	evicted, expired []pgtype.UUID
	why              []string
	at               []int64
}

func (c *casualties) list(app, subject string, now store.Time) (list []store.Ended) {
	for i, id := range c.expired {
		list = append(list, store.Ended{App: app, ID: id.Bytes, Subject: subject, Reason: store.Reason(c.why[i]), At: store.Time(c.at[i])})
	}
	for _, id := range c.evicted {
		list = append(list, store.Ended{App: app, ID: id.Bytes, Subject: subject, Reason: store.ReasonEvicted, At: now})
	}
	return list
}

const maxKey = 255

var errLongKey = errors.New("pgstore: an idempotency key has at most 255 bytes")

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, app string, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	if len(opt.Key) > maxKey {
		return nil, errLongKey
	}
	fresh := *rec
	fresh.Revision = 1
	args := appendRow(append(make([]any, 0, len(columns)+9), escape(app)), &fresh)
	args = append(args, int64(opt.Arrived), int64(opt.Now), limitOf(opt.Limit), opt.Limit.Refuse, textOrNull(opt.Key), opt.KeyBody[:],
		s.isFull(rec.Subject == ""), bytesOrNull(rec.Binding))
	var outcome string
	var c casualties
	var existing pgtype.UUID
	if err := s.write(ctx, s.sql.create, args, &outcome, &c.evicted, &c.expired, &c.why, &c.at, &existing); err != nil {
		return nil, err
	}
	if err := s.conclude(outcome); err != nil {
		if err == store.ErrRepeated { //nolint:errorlint // outcomes has it unwrapped
			rec.ID = existing.Bytes
		}
		return nil, err
	}
	rec.Revision = 1
	return c.list(app, rec.Subject, opt.Now), nil
}

// limitOf returns the limit, or 0 for no limit.
func limitOf(l store.Limit) int32 { return int32(max(0, min(l.Max, math.MaxInt32))) }

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) ([]store.Ended, error) {
	args := appendRow(append(make([]any, 0, len(columns)+8), escape(app)), rec)
	full := s.isFull(rec.Subject == "")
	if !opt.Login && !full && !s.server.pooled { // a pooler makes the server plan the statement each time
		switch err := s.replace(ctx, args, rec, opt.Now); {
		case err == nil:
			return nil, nil
		case !errors.Is(err, pgx.ErrNoRows):
			return nil, err
		}
	}
	args = append(args, opt.Login, int64(opt.Arrived), int64(opt.Now), limitOf(opt.Limit), opt.Limit.Refuse, full, bytesOrNull(rec.Binding))
	var outcome string
	var c casualties
	if err := s.write(ctx, s.sql.update, args, &outcome, &c.evicted, &c.expired, &c.why, &c.at); err != nil {
		return nil, err
	}
	if err := s.conclude(outcome); err != nil {
		return nil, err
	}
	rec.Revision++
	return c.list(app, rec.Subject, opt.Now), nil
}

// replace updates a session with the arguments that appendRow has made. The error
// is pgx.ErrNoRows if the record is not the live session's at this revision, or
// if it has another subject.
func (s *Store) replace(ctx context.Context, row []any, rec *store.Record, now store.Time) error {
	args := append(make([]any, 0, len(replaced)+3), row[0])
	for _, c := range replaced {
		args = append(args, row[1+c])
	}
	var outcome string
	if err := s.write(ctx, s.sql.replace, append(args, int64(now), bytesOrNull(rec.Binding)), &outcome); err != nil {
		return err
	}
	rec.Revision++
	s.kick()
	return nil
}

// Touch implements store.Store.
func (s *Store) Touch(ctx context.Context, app string, id store.ID, at, now store.Time, client store.Client) error {
	var outcome string
	args := []any{escape(app), uuid(id), int64(at), int64(now), ipText(client.IP), escape(client.UserAgent)}
	if err := s.write(ctx, s.sql.touch, args, &outcome); err != nil {
		return err
	}
	return errorOf(outcome) // a touch is no change of the feed
}

// Confirm implements store.Store. It reads the session and writes it at the same
// revision, again while others write in between.
func (s *Store) Confirm(ctx context.Context, app string, id store.ID, secret store.Hash, c store.Confirmation) error {
	var rec store.Record
	for {
		if err := s.Get(ctx, app, id, true, &rec); err != nil {
			return err
		}
		if rec.Secret.Hash != secret || !rec.Confirm(c) {
			return nil
		}
		var outcome string
		args := []any{escape(app), uuid(id), int64(rec.Revision), timeOrNull(rec.Secret.FirstSeenAt), timeOrNull(rec.Secret.ConfirmedAt), formerOrNull(&rec)}
		if err := s.write(ctx, s.sql.confirm, args, &outcome); err != nil {
			return err
		}
		if err := s.conclude(outcome); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

var (
	errNoReason  = errors.New("pgstore: an end needs a reason")
	errNoSubject = errors.New("pgstore: EndSubject needs a subject")
)

// End implements store.Store.
func (s *Store) End(ctx context.Context, app string, id store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	if reason == "" {
		return nil, errNoReason
	}
	var outcome, subject string
	if err := s.write(ctx, s.sql.end, []any{escape(app), uuid(id), escape(string(reason)), int64(at)}, &outcome, &subject); err != nil {
		return nil, err
	}
	if err := s.conclude(outcome); err != nil || outcome == "ended before" {
		return nil, err
	}
	return []store.Ended{{App: app, ID: id, Subject: unescape(subject), Reason: reason, At: at}}, nil
}

// EndSubject implements store.Store. It is one transaction, for any number of
// sessions.
func (s *Store) EndSubject(ctx context.Context, app, subject string, except store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	switch {
	case subject == "":
		return nil, errNoSubject
	case reason == "":
		return nil, errNoReason
	}
	var ids []pgtype.UUID
	if err := s.write(ctx, s.sql.endSubject, []any{escape(app), escape(subject), uuid(except), escape(string(reason)), int64(at)}, &ids); err != nil {
		return nil, err
	}
	s.kick()
	var list []store.Ended
	for _, id := range ids {
		list = append(list, store.Ended{App: app, ID: id.Bytes, Subject: subject, Reason: reason, At: at})
	}
	return list, nil
}

// EndAll implements store.Store.
func (s *Store) EndAll(ctx context.Context, app string, at store.Time) error {
	var outcome string
	if err := s.write(ctx, s.sql.endAll, []any{escape(app), int64(at)}, &outcome); err != nil {
		return err
	}
	return s.conclude(outcome)
}
