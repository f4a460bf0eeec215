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

	// fence is how long a reservation or a claim may be written under. A node that was paused for longer finds it
	// lapsed, and so do the others.
	fence = 30 * time.Second

	attempts = 8 // of a call that others undid; it takes a paused node, or an EndSubject at the same time
)

var (
	errLongKey = errors.New("redisstore: an idempotency key has at most 255 bytes")
	errTooLate = errors.New("redisstore: the login took longer than its reservation lasts, again and again")
)

// errAgain: what was reserved has lapsed or was taken back, and nothing was written.
var errAgain = errors.New("redisstore: the reservation has lapsed")

// Create implements store.Store: one round trip for an anonymous session, two for a subject's, two more under an
// idempotency key. At the limit it takes two more to look at the subject's sessions and end some.
//
// An idempotency key whose Create died right after it had made its session, before it noted so, is judged by that session: it counts as made while the session
// lives and for an hour after its end. Whoever repeats the Create only after that, and within the day, makes another one; two that
// live at a time there never are.
func (s *Store) Create(ctx context.Context, app string, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if len(opt.Key) > maxKey {
		return nil, errLongKey
	}
	c := creation{s: s, app: app, rec: rec, opt: &opt, e: encode(rec)}
	var ended []store.Ended
	for range attempts {
		err := c.attempt(ctx)
		ended = append(ended, c.ended...)
		if errors.Is(err, errAgain) {
			continue
		}
		if err == nil {
			rec.Revision = 1
		}
		return ended, err
	}
	return ended, errTooLate
}

// A creation is one attempt after the other at a Create.
type creation struct {
	s     *Store
	app   string
	rec   *store.Record
	opt   *store.CreateOptions
	e     encoding
	ended []store.Ended
}

// attempt creates the session. What it reserves and claims it gives back when it fails for certain; otherwise that
// lapses.
func (c *creation) attempt(ctx context.Context) (err error) {
	c.ended = nil
	nonce := newNonce()
	issued := ""
	if c.opt.Key != "" {
		if issued, err = c.claim(ctx, nonce); err != nil {
			return err
		}
		defer func() { c.settleClaim(ctx, nonce, err) }()
	}
	if c.rec.Subject == "" && !c.s.watch.hasRoomForVisitors(len(c.rec.Values)) {
		return store.ErrFull
	}
	ticket := ""
	if c.rec.Subject != "" {
		j := joining{s: c.s, app: c.app, subject: c.rec.Subject, id: c.rec.ID, nonce: nonce,
			limit: c.opt.Limit, arrived: c.opt.Arrived, now: c.opt.Now, expires: c.rec.ExpiresAt}
		err = j.join(ctx, c.precheck)
		c.ended = append(c.ended, j.ended...)
		if err != nil {
			return err
		}
		ticket, issued = j.ticket, j.issued
		defer func() { j.conclude(ctx, err) }()
	}
	if err := c.s.step("create"); err != nil {
		return err
	}
	return c.write(ctx, nonce, ticket, issued)
}

// precheck says what would make the creation fail, before it ends anybody. It is called with what is at the session's place.
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

func (c *creation) write(ctx context.Context, nonce, ticket, issued string) error {
	s, id, p := c.s, c.rec.ID, c.s.placeOf(c.app, c.rec.ID)
	index, other := p.in(), p.anon()
	if c.rec.Subject == "" {
		index, other = other, index
	}
	a, err := s.run(ctx, call{createScript,
		[]string{p.session(id), p.seen(id), p.mark(), index, other, p.due(), p.block(id, nonce), p.changed(id, 1), p.gone(id)},
		[]string{id.String(), c.e.full(c.rec.CreatedAt, ticket), itoa(c.rec.CreatedAt), itoa(c.opt.Arrived), itoa(c.opt.Now),
			itoa(deadline(c.rec)), itoa(c.rec.ExpiresAt), issued, s.fenceMillis()}})
	if err != nil {
		return s.write(err)
	}
	switch a.text(0) {
	case "ok":
		return nil
	case "exists":
		return store.ErrExists
	case "barrier":
		return store.ErrBarrier
	case "again":
		return errAgain
	case "evicted": // by a login that came between: it was made, and ended at once
		c.ended = append(c.ended, store.Ended{App: c.app, ID: id, Subject: c.rec.Subject, Reason: store.ReasonEvicted, At: store.Time(a.number(1))})
		return nil
	}
	return errAnswer
}

var errAnswer = errors.New("redisstore: a script gave an answer that it doesn't know")

func (s *Store) fenceMillis() string { return strconv.FormatInt(s.fence.Milliseconds(), 10) }

// deadline is the earlier of the two.
func deadline(rec *store.Record) store.Time {
	return min(rec.LastSeenAt.Add(rec.Idle), rec.ExpiresAt)
}

// newNonce names a reservation or a claim. It is so short that "id ticket" has at most 64 bytes: a sorted set of longer members takes
// Redis a kilobyte more.
func newNonce() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// life is how many milliseconds from now on a key must last for a session that is of use until a time. The scripts have the same.
func life(till, now store.Time) string {
	const slack = store.Time(6 * time.Hour / time.Millisecond)
	return itoa(min(max(till-now, 0), math.MaxInt64>>11) + slack)
}
