package pgstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sojourn-go/sojourn/store/overload"
)

// A call is a statement under way. It runs on a goroutine of its own, so that it
// can continue when its caller gives up. Otherwise its connection would be lost,
// and a new connection costs a slow server far more than the rest of a statement.
type call struct {
	ctx  context.Context
	conn *pgx.Conn

	filling sync.Mutex // held while the caller's memory is written
	givenUp bool       // the caller's memory must not be written any more; guarded by filling
}

var errGivenUp = errors.New("the caller has given up")

// fill calls fn, which writes to the caller's memory, unless the caller has
// given up. fn must not wait for the server, because the caller waits for fn.
func (c *call) fill(fn func() error) error {
	c.filling.Lock()
	defer c.filling.Unlock()
	if c.givenUp {
		return errGivenUp
	}
	return fn()
}

func (c *call) giveUp() {
	c.filling.Lock()
	defer c.filling.Unlock()
	c.givenUp = true
}

// row runs a statement and scans the only row of its result.
func (c *call) row(statement string, args []any, dest ...any) error {
	found, err := c.conn.Query(c.ctx, statement, args...)
	if err != nil {
		return err
	}
	defer found.Close()
	if !found.Next() {
		if err := found.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := c.fill(func() error { return found.Scan(dest...) }); err != nil {
		return err
	}
	found.Close()
	return found.Err()
}

// use lends fn a connection, and waits for one if necessary. sent is false if fn
// was not called. If the context ends, use returns, and fn may run for another
// timeout: it must write to the caller's memory only in call.fill.
func (s *Store) use(ctx context.Context, fn func(*call) error) (sent bool, err error) {
	return s.useAfter(ctx, s.gate.Enter, fn)
}

// useFirst is use for calls that keep this node in service.
func (s *Store) useFirst(ctx context.Context, fn func(*call) error) error {
	_, err := s.useAfter(ctx, s.gate.EnterFirst, fn)
	return err
}

func (s *Store) useAfter(ctx context.Context, enter func(context.Context) (overload.Pass, error), fn func(*call) error) (sent bool, err error) {
	s.pool.want()
	pass, err := enter(ctx)
	s.pool.came()
	if err != nil {
		return false, fmt.Errorf("no connection: %w", err)
	}
	conn, err := s.pool.acquire(ctx)
	if err != nil {
		s.gate.Leave(pass, overload.Abandoned)
		return false, fmt.Errorf("no connection: %w", err)
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &call{ctx: own, conn: conn.Conn}
	done := make(chan error, 1)
	go func() {
		defer cancel()
		err := fn(c)
		outcome := overload.Failed
		if isAnswer(err) {
			outcome = overload.Served
		}
		s.pool.give(conn)
		s.gate.Leave(pass, outcome)
		done <- err
	}()
	select {
	case err := <-done:
		return true, err
	case <-ctx.Done():
	}
	c.giveUp()
	enough := time.AfterFunc(s.opt.Timeout, cancel)
	stop := context.AfterFunc(s.pool.ctx, cancel)
	context.AfterFunc(own, func() { enough.Stop(); stop() })
	return true, ctx.Err()
}

// isAnswer reports whether the server has finished a statement, with or without
// an error.
func isAnswer(err error) bool {
	return err == nil || errors.Is(err, pgx.ErrNoRows) || errors.Is(err, errGivenUp) || isStatementError(err)
}
