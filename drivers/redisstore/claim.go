package redisstore

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// Create claims an idempotency key before it creates the session, and marks the
// claim as done afterwards. A call that finds another's claim looks for that
// session. If there is none, its creator is at work or has crashed: once the
// claim is older than claimLife, the call bars that creation, in the session's
// own bucket, and replaces the claim.
//
// A claim that is not marked says nothing by itself. So if the creator crashed
// between its two writes, and nobody repeats the call until the session's
// tombstone is gone, an hour after its end, the next call creates another
// session. The first has ended for good by then. A mark in the session's bucket,
// kept for a day, would prevent this at the cost of a third write.
const (
	claimLife = 2 * time.Second
	claimPoll = 4 * time.Millisecond
)

// claim claims the key and returns the time of the claim. It waits while another
// call creates its session.
func (c *creation) claim(ctx context.Context, nonce string) (issued string, err error) {
	key, body := c.s.claimKey(c.app, c.opt.Key), hex.EncodeToString(c.opt.KeyBody[:])
	other, since, replaced := "", time.Now(), "" // the claim that this call waits for, or replaces
	for {
		if err := c.s.step("claim"); err != nil {
			return "", err
		}
		a, err := c.s.run(ctx, claimScript.call([]string{key},
			"session", c.rec.ID.String(), "body", body, "now", itoa(c.opt.Now),
			"life_ms", millis(store.IdempotencyLife), "nonce", nonce, "replaced", replaced))
		if err != nil {
			return "", c.s.stepError(ctx, err)
		}
		if a.text(0) == "mine" {
			return a.text(1), nil
		}
		id, err := store.ParseID(a.text(1))
		if err != nil {
			return "", keyError(key, errDamaged)
		}
		otherBody, made, otherNonce := a.text(2), a.text(3) != "", a.text(4)
		if other != otherNonce {
			other, since = otherNonce, time.Now()
		}
		old := max(a.number(5), time.Since(since).Milliseconds()) > claimLife.Milliseconds() // Redis' clock may go back
		if !made {
			if made, err = c.wasMade(ctx, id, otherNonce, old); err != nil {
				return "", err
			}
			if made {
				c.s.noteClaim(ctx, key, otherNonce, "done")
			}
		}
		switch {
		case made && otherBody != body:
			return "", store.ErrKeyReused
		case made:
			c.rec.ID = id
			return "", store.ErrRepeated
		}
		if replaced = ""; old {
			replaced = otherNonce
			continue
		}
		select {
		case <-time.After(claimPoll):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// wasMade reports whether the session of another's claim exists. If it doesn't
// and the claim is old, wasMade bars its creation.
func (c *creation) wasMade(ctx context.Context, id store.ID, nonce string, old bool) (bool, error) {
	p := c.s.placeOf(c.app, id)
	if old {
		a, err := c.s.run(ctx, blockScript.call([]string{p.session(id), p.block(id, nonce)}))
		return err == nil && a.text(0) == "made", c.s.stepError(ctx, err)
	}
	a, err := c.s.run(ctx, p.look(id, c.opt.Now))
	return err == nil && a.text(0) != "absent", c.s.stepError(ctx, err)
}

// settleClaim concludes a claim after an attempt. If the outcome is uncertain,
// the claim stays as it is.
func (c *creation) settleClaim(ctx context.Context, nonce string, err error) {
	switch {
	case err == nil:
		c.s.noteClaim(ctx, c.s.claimKey(c.app, c.opt.Key), nonce, "done")
	case !errors.Is(err, store.ErrUncertain) && !errors.Is(err, errCrash):
		c.s.noteClaim(ctx, c.s.claimKey(c.app, c.opt.Key), nonce, "back")
	}
}

// noteClaim concludes a claim. If it fails, the claim lapses, or a later call
// finds its session.
func (s *Store) noteClaim(ctx context.Context, key, nonce, what string) {
	if s.step("note claim") != nil {
		return
	}
	ctx, cancel := cleanup(ctx)
	defer cancel()
	_, _ = s.run(ctx, claimedScript.call([]string{key}, "nonce", nonce, "what", what))
}
