package pgstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sojourn-go/sojourn/store/overload"
)

const (
	mostOpening = 4 // connections that are made at the same time; one while they fail

	firstRetry = 50 * time.Millisecond // the first pause after a connection failed
	lastRetry  = time.Second
)

var errPoolClosed = errors.New("the pool is closed")

// A pool lends connections. It makes them in the background, a few at a time,
// with pauses while they fail. If a call gives up waiting, the next call gets
// the connection that is being made for it.
type pool struct {
	config *pgxpool.Config // the limits
	gate   *overload.Gate  // admits as many calls to acquire as there are connections
	dial   func(context.Context) (*pgx.Conn, error)

	ctx     context.Context // done when the pool is closed
	cancel  context.CancelFunc
	running sync.WaitGroup // the pool's goroutines, and lent connections

	mu       sync.Mutex    // guards all fields below
	idle     []*pooledConn // the last one is lent first
	total    int           // connections that are idle, lent or being made
	opening  int           // connections that are being made
	coming   int           // calls before the gate
	waiting  []*waiter     // the longest waiting one first
	failures int           // connections in a row that could not be made or have served no call
	retryAt  time.Time
	trying   bool // the last connection could not be made: the next one is a trial
	closed   bool

	opened   uint64
	waits    int64
	waitTime time.Duration
}

type pooledConn struct {
	*pgx.Conn
	expires time.Time
	since   time.Time // idle since
	served  bool      // a call has used it successfully
	broken  bool      // must not be lent again
}

// A waiter gets a connection, or the error that prevents one.
type waiter struct {
	got chan struct{}
	c   *pooledConn
	err error
}

func newPool(config *pgxpool.Config, gate *overload.Gate, dial func(context.Context) (*pgx.Conn, error)) *pool {
	p := &pool{config: config, gate: gate, dial: dial}
	gate.Resize(0)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.mu.Lock()
	p.grow()
	p.mu.Unlock()
	p.running.Go(p.tidy)
	return p
}

// want makes a connection if none is idle, for a call that comes to the gate.
func (p *pool) want() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.coming++
	if len(p.idle) == 0 {
		p.grow()
	}
}

// came follows want, when the gate has admitted or refused the call.
func (p *pool) came() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.coming--
}

// acquire returns a connection, which the caller gives back with give.
func (p *pool) acquire(ctx context.Context) (*pooledConn, error) {
	for {
		c, err := p.next(ctx)
		if err != nil {
			return nil, err
		}
		idle := time.Since(c.since)
		switch {
		case p.isExpired(c):
		case mustTry(c.Conn, idle) && c.Ping(ctx) != nil:
		default:
			return c, nil
		}
		c.broken = true
		p.give(c)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

func (p *pool) isExpired(c *pooledConn) bool {
	return p.config.MaxConnLifetime > 0 && time.Now().After(c.expires)
}

// next waits for a connection, which may be broken or expired.
func (p *pool) next(ctx context.Context) (*pooledConn, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errPoolClosed
	}
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = slices.Delete(p.idle, n-1, n)
		p.running.Add(1)
		p.mu.Unlock()
		return c, nil
	}
	w := &waiter{got: make(chan struct{})}
	p.waiting = append(p.waiting, w)
	p.waits++
	p.grow()
	p.mu.Unlock()

	began := time.Now()
	err := error(nil)
	select {
	case <-w.got:
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waitTime += time.Since(began)
	if i := slices.Index(p.waiting, w); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		return nil, err
	}
	if err != nil && w.c != nil { // the connection came at the same time
		p.put(w.c)
		p.running.Done()
		return nil, err
	}
	return w.c, w.err
}

// give returns a connection to the pool.
func (p *pool) give(c *pooledConn) {
	defer p.running.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.broken || c.IsClosed() || c.PgConn().TxStatus() != 'I' || c.PgConn().IsBusy() {
		if !c.served {
			p.fail()
		}
		p.drop(c)
		return
	}
	c.served, p.failures = true, 0
	p.put(c)
}

// put lends a connection to the call that has waited longest, or keeps it idle.
// The caller holds the lock, as for drop, resize, fail and grow.
func (p *pool) put(c *pooledConn) {
	c.since = time.Now()
	switch {
	case p.closed:
		p.drop(c)
	case len(p.waiting) > 0:
		w := p.waiting[0]
		p.waiting = slices.Delete(p.waiting, 0, 1)
		w.c = c
		p.running.Add(1)
		close(w.got)
	default:
		p.idle = append(p.idle, c)
	}
}

// drop closes a connection, and makes another one if calls need it.
func (p *pool) drop(c *pooledConn) {
	p.total--
	p.resize()
	p.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), p.config.ConnConfig.ConnectTimeout)
		defer cancel()
		_ = c.Close(ctx)
	})
	p.grow()
}

func (p *pool) resize() { p.gate.Resize(p.total - p.opening) }

// fail records that a connection could not be made.
func (p *pool) fail() {
	p.failures++
	p.retryAt = time.Now().Add(overload.Backoff(p.failures, firstRetry, lastRetry))
}

// grow makes the connections that are missing, for calls that wait and for calls
// that come to the gate.
func (p *pool) grow() {
	most := mostOpening
	if p.trying {
		most = 1
	}
	for !p.closed && p.opening < most && p.total < int(p.config.MaxConns) {
		missing := max(len(p.waiting)+p.coming, int(p.config.MinIdleConns)-len(p.idle), int(p.config.MinConns)-p.total+p.opening)
		if p.opening >= missing {
			return
		}
		p.opening++
		p.total++
		pause := time.Until(p.retryAt)
		p.running.Go(func() { p.open(pause) })
	}
}

func (p *pool) open(pause time.Duration) {
	var conn *pgx.Conn
	err := sleep(p.ctx, pause)
	if err == nil {
		conn, err = p.dial(p.ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opening--
	p.trying = err != nil
	if err == nil {
		p.opened++
		p.put(&pooledConn{Conn: conn, expires: time.Now().Add(p.config.MaxConnLifetime + rand.N(p.config.MaxConnLifetimeJitter+1))})
		p.resize()
		p.grow()
		return
	}
	p.total--
	p.fail()
	if p.total == p.opening { // no connection is left for the waiting calls
		for _, w := range p.waiting {
			w.err = err
			close(w.got)
		}
		p.waiting = nil
		p.gate.Dismiss(err)
	}
	p.grow()
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tidy closes connections that have been idle for long or have expired.
func (p *pool) tidy() {
	for sleep(p.ctx, p.config.HealthCheckPeriod) == nil {
		p.mu.Lock()
		kept := p.idle[:0]
		var old []*pooledConn
		for _, c := range p.idle {
			spare := p.total-len(old) > int(max(p.config.MinConns, p.config.MinIdleConns))
			if p.isExpired(c) || spare && time.Since(c.since) > p.config.MaxConnIdleTime {
				old = append(old, c)
			} else {
				kept = append(kept, c)
			}
		}
		clear(p.idle[len(kept):])
		p.idle = kept
		for _, c := range old {
			p.drop(c)
		}
		p.grow()
		p.mu.Unlock()
	}
}

// close closes all connections, and waits for the lent ones.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, w := range p.waiting {
		w.err = errPoolClosed
		close(w.got)
	}
	p.waiting = nil
	p.gate.Close(errPoolClosed)
	idle := p.idle
	p.idle = nil
	for _, c := range idle {
		p.drop(c)
	}
	p.mu.Unlock()
	p.cancel()
	p.running.Wait()
}

type poolStats struct {
	conns, inUse int
	waits        int64
	waitTime     time.Duration
	opened       uint64
}

func (p *pool) stats() poolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return poolStats{p.total - p.opening, p.total - p.opening - len(p.idle), p.waits, p.waitTime, p.opened}
}
