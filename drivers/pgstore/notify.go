package pgstore

import (
	"context"
	"time"
)

// kick has the other nodes' feeds look for changes soon. It doesn't wait.
func (s *Store) kick() {
	select {
	case s.kicked <- struct{}{}:
	default: // a notification that is not sent yet does for this change too
	}
}

// notify sends one notification for all changes that were made since the one before: a transaction with a notification holds a lock of the
// whole cluster while it commits, and so is none of the writers'. One that gets lost is made up for by the next poll.
func (s *Store) notify(ctx context.Context) {
	for {
		select {
		case <-s.kicked:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		_ = s.sendNotification(ctx, "")
		if pause := pollPause - time.Since(began); pause > 0 {
			time.Sleep(pause)
		}
	}
}

func (s *Store) sendNotification(ctx context.Context, payload string) error {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	return s.useFirst(ctx, func(c *call) error {
		_, err := c.conn.Exec(c.ctx, s.sql.notify, payload)
		return err
	})
}
