package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

const (
	maxKey = 255

	// fence is how long a session may be written under a reservation or claim. A
	// node that was paused for longer finds it lapsed, and so do the others.
	fence = 30 * time.Second

	// attempts limits how often a call begins again because others undid it. That
	// takes a paused node, or an EndSubject at the same time.
	attempts = 8
)

// Create implements store.Store. It takes one round trip for an anonymous
// session, two for a subject's, and two more under an idempotency key. At the
// limit it takes two more, to examine the subject's sessions and to end some.
//
// If a node dies right after it has created a session under an idempotency key,
// the session itself tells later calls so: while it lives, and for an hour after
// its end. A call after that hour, and within the day, creates another session.
// Two never live at the same time.
func (s *Store) Create(ctx context.Context, app string, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if len(opt.Key) > maxKey {
		return nil, errLongKey
	}
	c := creation{s: s, app: app, rec: rec, opt: &opt, e: encode(rec)}
	ended, err := again(func() ([]store.Ended, error) { return c.attempt(ctx) })
	if err == nil {
		rec.Revision = 1
	}
	return ended, err
}

// again makes attempts until one does not return errAgain. It returns what all
// of them ended.
func again(attempt func() ([]store.Ended, error)) (ended []store.Ended, err error) {
	for range attempts {
		list, err := attempt()
		ended = append(ended, list...)
		if !errors.Is(err, errAgain) {
			return ended, err
		}
	}
	return ended, errTooLate
}

// A creation is a call of Create.
type creation struct {
	s   *Store
	app string
	rec *store.Record
	opt *store.CreateOptions
	e   encoding
}

// attempt creates the session. If it fails for certain, it gives back what it
// has reserved and claimed; otherwise that lapses.
func (c *creation) attempt(ctx context.Context) (ended []store.Ended, err error) {
	nonce := newNonce()
	ticket, issued := "", ""
	if c.opt.Key != "" {
		if issued, err = c.claim(ctx, nonce); err != nil {
			return nil, err
		}
		defer func() { c.settleClaim(ctx, nonce, err) }()
	}
	if c.rec.Subject == "" && !c.s.watch.hasRoomForVisitors(len(c.rec.Values)) {
		return nil, store.ErrFull
	}
	if c.rec.Subject != "" {
		j := joining{s: c.s, app: c.app, subject: c.rec.Subject, id: c.rec.ID, nonce: nonce,
			limit: c.opt.Limit, arrived: c.opt.Arrived, now: c.opt.Now, expires: c.rec.ExpiresAt}
		ended, err = j.join(ctx, c.precheck)
		if err != nil {
			return ended, err
		}
		ticket, issued = j.ticket, j.issued
		defer func() { j.conclude(ctx, err) }()
	}
	if err := c.s.step("create"); err != nil {
		return ended, err
	}
	evictedAt, err := c.write(ctx, nonce, ticket, issued)
	if evictedAt != 0 {
		ended = append(ended, store.Ended{App: c.app, ID: c.rec.ID, Subject: c.rec.Subject, Reason: store.ReasonEvicted, At: evictedAt})
	}
	return ended, err
}

// precheck returns the error with which the creation would fail, before it ends
// other sessions. look is the answer of look.lua for the session.
func (c *creation) precheck(look answer) error {
	if look.text(0) != "absent" {
		return store.ErrExists
	}
	if mark := look.text(1); mark != "" {
		if at := store.Time(look.number(1)); at >= c.opt.Arrived || at >= c.rec.CreatedAt {
			return store.ErrBarrier
		}
	}
	return nil
}

// write adds the session. evictedAt is not zero if another login has evicted the
// session in the meantime: then it was created, and has ended.
func (c *creation) write(ctx context.Context, nonce, ticket, issued string) (evictedAt store.Time, err error) {
	rec, p := c.rec, c.s.placeOf(c.app, c.rec.ID)
	a, err := c.s.run(ctx, createScript.call(p.writeKeys(rec.ID, nonce, 1),
		"id", rec.ID.String(), "record", c.e.full(rec.CreatedAt, ticket), "created", itoa(rec.CreatedAt),
		"arrived", itoa(c.opt.Arrived), "now", itoa(c.opt.Now), "till", itoa(deadline(rec)),
		"expires", itoa(rec.ExpiresAt), "issued", issued, "fence", c.s.fenceMillis()))
	if err != nil {
		return 0, c.s.writeError(err)
	}
	switch a.text(0) {
	case "ok":
		return 0, nil
	case "exists":
		return 0, store.ErrExists
	case "barrier":
		return 0, store.ErrBarrier
	case "again":
		return 0, errAgain
	case "evicted":
		return store.Time(a.number(1)), nil
	}
	return 0, errAnswer
}

func (s *Store) fenceMillis() string { return millis(s.fence) }

// deadline is the earlier of the session's two.
func deadline(rec *store.Record) store.Time {
	return min(rec.LastSeenAt.Add(rec.Idle), rec.ExpiresAt)
}

// newNonce names a reservation or a claim. It is so short that "id ticket" has
// at most 64 bytes: a sorted set with longer members takes a kilobyte more.
func newNonce() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// life returns for how many milliseconds to keep a key that is used until a
// time, as life in common.lua does.
func life(till, now store.Time) string {
	const slack = store.Time(6 * time.Hour / time.Millisecond)
	return itoa(min(max(till-now, 0), math.MaxInt64>>11) + slack)
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
