package sqlitestore

import (
	"context"
	"sync"

	"github.com/sojourn-go/sojourn/store"
)

// counts hold the number of sessions of each application. The first Count of an
// application reads its whole table, beside the writer. From then on, the
// writer's differences are added.
type counts struct {
	mu    sync.Mutex
	byApp map[int64]*tally // by the application's number; guarded by mu
}

type tally struct {
	sum   store.Count // the differences since the file was opened
	base  store.Count // sum and base are the number of sessions
	known bool        // base is known
	ended int         // how often EndAll has made base wrong
}

func plus(a, b store.Count) store.Count {
	return store.Count{Sessions: a.Sessions + b.Sessions, LoggedIn: a.LoggedIn + b.LoggedIn}
}

func (c *counts) tally(num int64) *tally {
	if c.byApp == nil {
		c.byApp = map[int64]*tally{}
	}
	t := c.byApp[num]
	if t == nil {
		t = new(tally)
		c.byApp[num] = t
	}
	return t
}

// add adds the differences of a transaction. The counts of the applications in
// recount are unknown from then on.
func (c *counts) add(differences map[int64]store.Count, recount []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for num, n := range differences {
		t := c.tally(num)
		t.sum = plus(t.sum, n)
	}
	for _, num := range recount {
		t := c.tally(num)
		t.known = false
		t.ended++
	}
}

func (c *counts) get(num int64) (tally, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := *c.tally(num)
	return t, t.known
}

// set records a count of the table that was made at the tally noted, unless an
// EndAll came between.
func (c *counts) set(num int64, counted store.Count, noted tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.tally(num); t.ended == noted.ended {
		t.base = store.Count{Sessions: counted.Sessions - noted.sum.Sessions, LoggedIn: counted.LoggedIn - noted.sum.LoggedIn}
		t.known = true
	}
}

// Count implements store.Store.
func (s *Store) Count(ctx context.Context, name string) (store.Count, error) {
	for {
		if err := s.check(ctx); err != nil {
			return store.Count{}, err
		}
		a, ok := s.app(name)
		if !ok {
			return store.Count{}, nil
		}
		if t, known := s.writer.counts.get(a.num); known {
			return plus(t.base, t.sum), nil
		}
		if err := s.recountOnce(ctx, a.num); err != nil {
			return store.Count{}, err
		}
	}
}

// recountOnce counts the table unless another call has just done so. When ctx
// ends the call returns, and the count goes on, or a large file would never be
// counted.
func (s *Store) recountOnce(ctx context.Context, num int64) error {
	select {
	case s.counting <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	result := make(chan error, 1)
	go func() {
		defer func() { <-s.counting }()
		if _, known := s.writer.counts.get(num); known {
			result <- nil
			return
		}
		ctx := context.WithoutCancel(ctx)
		result <- s.read(ctx, func(c *conn) error { return s.recount(ctx, c, num) })
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// recount counts the sessions of an application. It begins its read on the
// writer's goroutine, between two commits, to know which differences the table
// already contains. It takes about a second for a million sessions, so Close
// doesn't wait for it. ctx must not end, because the writer uses c.
func (s *Store) recount(ctx context.Context, c *conn, num int64) error {
	defer c.exec("ROLLBACK") //nolint:errcheck // it has only read
	var noted tally
	err := s.writeEnd(ctx, func(t *tx) error {
		if err := c.rollback(); err != nil {
			return err
		}
		if _, err := c.exec("BEGIN"); err != nil {
			return err
		}
		noted, _ = t.w.counts.get(num)
		_, err := c.first("SELECT ended_all_at FROM apps WHERE num = ?", num) // begins to read
		return err
	})
	if err != nil {
		return err
	}
	var v []any
	err = c.until(s.ending, func() (err error) {
		v, err = c.first("SELECT count(*), count(subject) FROM sessions, apps WHERE app = num AND num = ? AND end_reason IS NULL AND (ended_all_at IS NULL OR sessions.created_at > ended_all_at)", num)
		return err
	})
	switch {
	case isInterrupted(err):
		return store.ErrClosed
	case err != nil:
		return err
	}
	s.writer.counts.set(num, store.Count{Sessions: toInt(v[0]), LoggedIn: toInt(v[1])}, noted)
	return nil
}
