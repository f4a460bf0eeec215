package pgstore

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	upkeepEvery = 10 * time.Second
	pruneChunk  = 1000
	pruneMost   = 1000 // chunks of one prune
)

// keepUp removes changes that every node has read, and measures the server's
// clock and the size of the sessions.
func (s *Store) keepUp(ctx context.Context) {
	var seen []horizon
	for {
		if err := s.measure(ctx); err == nil {
			seen, _ = s.prune(ctx, seen)
		}
		if sleep(ctx, upkeepEvery) != nil {
			return
		}
	}
}

// A horizon is a transaction. All transactions before it had ended at a time of
// the server's clock.
type horizon struct {
	xmin string
	at   int64 // microseconds
}

// prune removes changes of transactions that ended more than the retention ago.
// Nodes with a younger snapshot have read them, and all others have a gap. prune
// returns the horizons that it needs next time.
func (s *Store) prune(ctx context.Context, seen []horizon) ([]horizon, error) {
	ctx, cancel := context.WithTimeout(ctx, upkeepEvery)
	defer cancel()
	var present horizon
	err := s.useFirst(ctx, func(c *call) error { return c.row(s.sql.keepUp, nil, &present.xmin, &present.at) })
	if err != nil {
		return seen, err
	}
	var old string
	for len(seen) > 0 && present.at-seen[0].at >= retention.Microseconds() {
		old, seen = seen[0].xmin, seen[1:]
	}
	err = s.useFirst(ctx, func(c *call) error {
		if _, err := c.conn.Exec(c.ctx, s.sql.pruneForeign); err != nil || old == "" {
			return err
		}
		for range pruneMost {
			done, err := c.conn.Exec(c.ctx, s.sql.prune, old, pruneChunk)
			if err != nil || done.RowsAffected() < pruneChunk {
				return err
			}
		}
		return nil
	})
	return append(seen, present), err
}

// measure measures the server's clock, and the size of all sessions.
func (s *Store) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	if _, err := s.askServer(ctx); err != nil {
		return err
	}
	if s.opt.MaxBytes <= 0 {
		return nil
	}
	var bytes int64
	err := s.useFirst(ctx, func(c *call) error { return c.row(s.sql.estimate, nil, &bytes) })
	switch {
	case err != nil:
		return err
	case bytes >= s.opt.MaxBytes:
		s.room.Store(noRoom)
	case bytes >= s.opt.MaxBytes/10*9:
		s.room.Store(roomForLogins)
	default:
		s.room.Store(roomForAll)
	}
	return nil
}

const (
	roomForAll = iota
	roomForLogins
	noRoom
)

// isFull reports whether a new session has no room.
func (s *Store) isFull(anonymous bool) bool {
	full := s.room.Load()
	return full == noRoom || full == roomForLogins && anonymous
}

// askServer returns the server's start time, which identifies it, and records
// its clock.
func (s *Store) askServer(ctx context.Context) (started int64, err error) {
	var serverTime int64
	var asked time.Time
	var took time.Duration
	err = s.useFirst(ctx, func(c *call) error {
		began := time.Now()
		if err := c.row(s.sql.heartbeat, nil, &started, &serverTime); err != nil {
			return err
		}
		return c.fill(func() error {
			asked, took = began, time.Since(began)
			return nil
		})
	})
	if err != nil {
		return 0, explain(err)
	}
	half := took / 2
	s.clock.note(time.UnixMicro(serverTime).Sub(asked.Add(half)), half, s.opt.Logger)
	return started, nil
}

// maxOffset is the difference between the server's clock and this machine's that
// causes a warning. Each node judges deadlines by its own clock, so nodes would
// disagree about what has expired.
const maxOffset = 2 * time.Second

// A clock records how far the server's clock is ahead of this machine's.
type clock struct {
	mu     sync.Mutex // guards the fields below
	ahead  time.Duration
	warned bool
}

// note records an offset that was measured with an uncertainty.
func (c *clock) note(offset, uncertainty time.Duration, log *slog.Logger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = offset
	apart := offset.Abs() - uncertainty
	switch {
	case apart > maxOffset && !c.warned:
		c.warned = true
		log.Warn("pgstore: the clocks of this machine and of the server are apart: check their time service", "server_ahead", offset)
	case apart < maxOffset/2 && c.warned:
		c.warned = false
		log.Info("pgstore: the clocks of this machine and of the server agree again", "server_ahead", offset)
	}
}

func (c *clock) isApart() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.warned
}

func (c *clock) offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead
}
