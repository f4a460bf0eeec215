package redisstore

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// An idempotency key is claimed before the session is created, and the claim is marked as done afterwards. Who finds a claim of another looks
// whether its session exists. If not, its creator is at work or has crashed: after claimLife its creation is barred, in the
// session's own bucket, and the claim is taken over.
//
// So a claim that is not marked tells nothing by itself. Once the session's tombstone is gone too, an hour after its end, nobody knows that it was made, and
// the next one makes another: after a crash just between the two writes, and no repeat since. A mark in the session's bucket for a
// day would tell, at the price of a third write for each Create; of the two sessions one has ended for good before the other begins.
const (
	claimLife = 2 * time.Second
	claimPoll = 4 * time.Millisecond
)

// claim claims the key, and returns the time of the claim. It waits for another's creation that is under way.
func (c *creation) claim(ctx context.Context, nonce string) (issued string, err error) {
	key, takeOver := c.s.claimKey(c.app, c.opt.Key), ""
	other, since := "", time.Now() // whose claim this waits for
	for {
		if err := c.s.step("claim"); err != nil {
			return "", err
		}
		a, err := c.s.run(ctx, call{claimScript, []string{key}, []string{c.rec.ID.String(), hex.EncodeToString(c.opt.KeyBody[:]),
			itoa(c.opt.Now), itoa(store.Time(store.IdempotencyLife.Milliseconds())), nonce, takeOver}})
		if err != nil {
			return "", c.s.before(ctx, err)
		}
		if a.text(0) == "mine" {
			return a.text(1), nil
		}
		id, err := store.ParseID(a.text(1))
		if err != nil {
			return "", keyError(key, errDamaged)
		}
		if other != a.text(4) {
			other, since = a.text(4), time.Now()
		}
		age := max(a.number(5), time.Since(since).Milliseconds()) // Redis' clock may have gone back
		made := a.text(3) != ""
		if !made {
			if made, err = c.madeUnder(ctx, id, a.text(4), age); err != nil {
				return "", err
			}
			if made {
				c.s.noteClaim(ctx, key, a.text(4), "done")
			}
		}
		if made {
			if a.text(2) != hex.EncodeToString(c.opt.KeyBody[:]) {
				return "", store.ErrKeyReused
			}
			c.rec.ID = id
			return "", store.ErrRepeated
		}
		if takeOver = ""; age > claimLife.Milliseconds() {
			takeOver = a.text(4)
			continue
		}
		select {
		case <-time.After(claimPoll):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// madeUnder reports whether the session of another's claim exists. If not, and the claim is old, it sees to it that it never will.
func (c *creation) madeUnder(ctx context.Context, id store.ID, nonce string, age int64) (bool, error) {
	p := c.s.placeOf(c.app, id)
	if age <= claimLife.Milliseconds() {
		a, err := c.s.run(ctx, call{lookScript, []string{p.session(id), p.seen(id), p.mark()}, []string{itoa(c.opt.Now)}})
		return err == nil && a.text(0) != "absent", c.s.before(ctx, err)
	}
	a, err := c.s.run(ctx, call{blockScript, []string{p.session(id), p.block(id, nonce)}, nil})
	return err == nil && a.text(0) == "made", c.s.before(ctx, err)
}

// settleClaim says what came of a claim. If nobody knows, it stays as it is.
func (c *creation) settleClaim(ctx context.Context, nonce string, err error) {
	switch {
	case err == nil:
		c.s.noteClaim(ctx, c.s.claimKey(c.app, c.opt.Key), nonce, "done")
	case !errors.Is(err, store.ErrUncertain) && !errors.Is(err, errCrash):
		c.s.noteClaim(ctx, c.s.claimKey(c.app, c.opt.Key), nonce, "back")
	}
}

func (s *Store) noteClaim(ctx context.Context, key, nonce, what string) {
	if s.step("note claim") != nil {
		return
	}
	ctx, cancel := s.after(ctx)
	defer cancel()
	_, _ = s.run(ctx, call{claimedScript, []string{key}, []string{nonce, what}}) // otherwise it lapses, or is found done
}

// before is the error of a step before the write that the caller asked for: nothing was written then.
func (s *Store) before(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if certain(err) {
		return s.write(err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("redisstore: nothing was written: %w", ctx.Err())
	}
	return s.explain(err)
}
