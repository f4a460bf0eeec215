package sqlitestore

import (
	"context"
	"sync"

	"github.com/sojourn-go/sojourn/store"
)

// counts know how many sessions there are. The first Count of an application reads its whole table, beside the
// writer; from then on the writer's differences are added.
type counts struct {
	mu    sync.Mutex
	byApp map[int64]*tally
}

type tally struct {
	sum   store.Count // of the differences since the file was opened
	base  store.Count // to add to it
	known bool        // base is
	ended int         // how many times EndAll has made base wrong
}

func plus(a, b store.Count) store.Count {
	return store.Count{Sessions: a.Sessions + b.Sessions, LoggedIn: a.LoggedIn + b.LoggedIn}
}

func minus(a, b store.Count) store.Count {
	return store.Count{Sessions: a.Sessions - b.Sessions, LoggedIn: a.LoggedIn - b.LoggedIn}
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

// add notes what a transaction has changed.
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

// set takes a count of the table as of noted, unless EndAll has come between.
func (c *counts) set(num int64, counted store.Count, noted tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.tally(num); t.ended == noted.ended {
		t.base, t.known = minus(counted, noted.sum), true
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

// recountOnce counts unless another call has just done so.
func (s *Store) recountOnce(ctx context.Context, num int64) error {
	s.counting.Lock()
	defer s.counting.Unlock()
	if _, known := s.writer.counts.get(num); known {
		return nil
	}
	return s.read(ctx, func(c *conn) error { return s.recount(ctx, c, num) })
}

// recount counts a whole application. It begins to read from within the writer's goroutine, between two commits,
// so that it knows which differences the table holds already.
func (s *Store) recount(ctx context.Context, c *conn, num int64) error {
	defer c.exec("ROLLBACK") //nolint:errcheck // it has only read
	var noted tally
	err := s.writeEnd(context.WithoutCancel(ctx), func(t *tx) error {
		if _, err := c.exec("ROLLBACK"); err != nil && !isIdle(err) {
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
	v, err := c.first("SELECT count(*), count(subject) FROM sessions, apps WHERE app = num AND num = ? AND end_reason IS NULL AND (ended_all_at IS NULL OR sessions.created_at > ended_all_at)", num)
	if err != nil {
		return err
	}
	s.writer.counts.set(num, store.Count{Sessions: toInt(v[0]), LoggedIn: toInt(v[1])}, noted)
	return nil
}
