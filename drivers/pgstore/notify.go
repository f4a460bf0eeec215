package pgstore

import (
	"context"
	"time"
)

// kick makes the other nodes' feeds poll soon. It doesn't wait.
func (s *Store) kick() {
	select {
	case s.kicked <- struct{}{}:
	default: // a notification that isn't sent yet covers this change, too
	}
}

// notify sends one notification for all changes since the last notification. A
// transaction with a notification holds a lock of the whole cluster while it
// commits, so writes send none. If one is lost, the next poll finds the changes.
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
