package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/overload"
)

const (
	pollEvery = 250 * time.Millisecond // without a notification
	pollPause = 2 * time.Millisecond   // at least from one poll to the next, however many notifications come
	maxPolled = 10_000                 // changes at a time; of more a gap is made

	firstWait = 100 * time.Millisecond // before a lost connection is made again; doubled each time
	lastWait  = 2 * time.Second
)

// How long changes are kept for nodes that have not read them. A node whose last poll was longer ago than the patience has a gap:
// by the server's clock, since its own may have stood still.
const (
	retention = 60 * time.Second
	patience  = 45 * time.Second
)

// A feed follows the table of changes, for all watchers of this process.
type feed struct {
	config *pgx.ConnConfig
	ctx    context.Context
	out    driver.Feed

	live   atomic.Bool
	down   atomic.Bool // it has lost its connection, or got none
	late   atomic.Bool // it gets no notifications
	gaps   atomic.Uint64
	wanted chan struct{} // closed by the first Watch: before, there is no connection
	want   sync.Once

	mu        sync.Mutex
	beats     []beat
	watches   []watch
	interrupt context.CancelFunc // ends the waiting of the goroutine that follows; nil if it isn't waiting
}

// A beat is a heartbeat that is to be reported after the next poll.
type beat struct {
	n      uint64
	server int64 // the server that has answered it, by the time of its start
}

// A watch is a call of Watch that waits for the next poll.
type watch struct {
	ctx   context.Context
	reply chan<- watched
}

type watched struct {
	changes <-chan store.Change
	err     error
}

// Watch implements store.Feeder. The error is one of the server or of its connection; later losses of the connection
// are gaps.
func (s *Store) Watch(ctx context.Context) (<-chan store.Change, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	f := &s.feed
	reply := make(chan watched, 1)
	f.request(nil, &watch{ctx, reply})
	f.want.Do(func() { close(f.wanted) })
	select {
	case w := <-reply:
		return w.changes, w.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-f.ctx.Done():
		return nil, store.ErrClosed
	}
}

// Beat implements store.Feeder. It asks the server through the pool which one it is, so that the feed of another one, which may have been
// replaced, doesn't pass for live, and has the feed look for changes: all that were acknowledged before are visible.
func (s *Store) Beat(ctx context.Context, n uint64) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	started, err := s.askServer(ctx)
	if err != nil {
		return err
	}
	s.feed.request(&beat{n, started}, nil)
	return nil
}

// request has the feed poll at once.
func (f *feed) request(b *beat, w *watch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b != nil && f.live.Load() { // of no use to a feed that has no connection
		f.beats = append(f.beats, *b)
	}
	if w != nil {
		f.watches = append(f.watches, *w)
	}
	if f.interrupt != nil {
		f.interrupt()
	}
}

// take returns what is to be reported after a poll that begins now.
func (f *feed) take() ([]beat, []watch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	beats, watches := f.beats, f.watches
	f.beats, f.watches = nil, nil
	return beats, watches
}

// wait calls fn with a context that is done when something was requested, at the latest after d.
func (f *feed) wait(ctx context.Context, d time.Duration, fn func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	f.mu.Lock()
	if len(f.beats)+len(f.watches) > 0 {
		cancel()
	}
	f.interrupt = cancel
	f.mu.Unlock()
	fn(ctx)
	f.mu.Lock()
	f.interrupt = nil
	f.mu.Unlock()
}

// followFeed keeps a connection and polls it, from the first Watch on as long as the store is open.
func (s *Store) followFeed(ctx context.Context) {
	f := &s.feed
	select {
	case <-f.wanted:
	case <-ctx.Done():
		return
	}
	opened := false
	failures, failed := 0, false
	for ctx.Err() == nil {
		failures++
		p, err := s.openPoller(ctx)
		if err == nil {
			if failed {
				s.opt.Logger.Info("pgstore: the change feed is connected again")
			}
			failed = false
			f.down.Store(false)
			began := time.Now()
			f.live.Store(true)
			if opened {
				f.gap()
			}
			opened = true
			err = f.follow(ctx, p)
			f.live.Store(false)
			closeSoon(p.conn)
			if time.Since(began) > lastWait {
				failures = 1
			}
		}
		if ctx.Err() != nil {
			return
		}
		if !failed {
			s.opt.Logger.Warn("pgstore: the change feed has no connection; what other nodes change is not heard of", "error", err)
			failed = true
			f.down.Store(true)
		}
		_, watches := f.take()
		for _, w := range watches {
			w.reply <- watched{err: explain(err)}
		}
		_ = sleep(ctx, overload.Backoff(failures, firstWait, lastWait))
	}
}

func (f *feed) gap() {
	f.gaps.Add(1)
	f.out.Publish(store.Change{Kind: store.Gap})
}

var errOtherServer = errors.New("the feed is connected to another server than the store")

// follow polls until the connection fails.
func (f *feed) follow(ctx context.Context, p *poller) error {
	for {
		began := time.Now()
		beats, watches := f.take()
		complete, err := p.poll(ctx, func(c store.Change) { f.out.Publish(c) })
		for _, b := range beats {
			if err == nil && b.server != p.started {
				err = errOtherServer
			}
		}
		if err != nil {
			f.mu.Lock()
			f.watches = append(watches, f.watches...)
			f.mu.Unlock()
			return err
		}
		if !complete {
			f.gap()
		}
		for _, b := range beats {
			f.out.Publish(store.Change{Kind: store.Beat, Revision: b.n})
		}
		for _, w := range watches {
			changes, err := f.out.Watch(w.ctx)
			w.reply <- watched{changes, err}
		}
		if pause := pollPause - time.Since(began); pause > 0 {
			time.Sleep(pause)
		}
		if p.notified {
			continue
		}
		f.wait(ctx, pollEvery, func(ctx context.Context) {
			if err = p.conn.PgConn().WaitForNotification(ctx); ctx.Err() != nil {
				err = nil // it was told to wait no longer
			}
		})
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// A poller reads the changes that have become visible since it read last.
type poller struct {
	conn     *pgx.Conn
	mode     pgx.QueryExecMode
	sql      *statements
	timeout  time.Duration
	notified bool   // since the last poll began
	payload  string // of the last notification

	xmax    string   // of the last snapshot: what began later is not in it
	running []string // nor are these transactions
	asOf    time.Time
	started int64  // when the server was started, which names it
	life    string // of the table of changes: names the time since it was emptied; empty: it has none yet
}

// poll is the statement. What is visible now and wasn't in an earlier snapshot are the rows of transactions that were running then, or
// began later. The first condition leaves out what a restored dump has brought from another server.
var poll = `
WITH present AS MATERIALIZED (
	SELECT pg_current_snapshot() AS snapshot, ` + microseconds("clock_timestamp()") + ` AS asof, ` + microseconds("pg_postmaster_start_time()") + ` AS started,
		pg_is_in_recovery() AS standby, (SELECT l.id::text FROM sojourn.changes_life l ORDER BY l.id LIMIT 1) AS life
)
SELECT p.snapshot::text, p.asof, p.started, p.standby, p.life, c.kind, a.name, c.session, c.revision
FROM present p
LEFT JOIN (
	SELECT seq, xid, kind, app, session, revision FROM sojourn.changes WHERE xid >= $1::text::xid8
	UNION ALL
	SELECT seq, xid, kind, app, session, revision FROM sojourn.changes WHERE xid = ANY ($2::text[]::xid8[])
) c ON c.xid < pg_snapshot_xmax(p.snapshot)
LEFT JOIN sojourn.apps a ON a.num = c.app
ORDER BY c.seq LIMIT $3`

// openPoller connects, and takes the snapshot from which on changes are reported.
func (s *Store) openPoller(ctx context.Context) (_ *poller, err error) {
	config := s.feed.config.Copy()
	hosts := time.Duration(1 + len(config.Fallbacks)) // each of which may be silent
	ctx, cancel := context.WithTimeout(ctx, hosts*config.ConnectTimeout+4*s.opt.Timeout)
	defer cancel()
	p := &poller{sql: &s.sql, timeout: 2 * s.opt.Timeout} // to prepare the statement takes a round trip too
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { p.notified, p.payload = true, n.Payload }
	if p.conn, err = s.dialer.dial(ctx, config); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeSoon(p.conn)
		}
	}()
	found, err := examine(ctx, p.conn)
	if err != nil {
		return nil, err
	}
	if p.mode = config.DefaultQueryExecMode; found.pooled {
		p.mode = pgx.QueryExecModeCacheDescribe
	} else if _, err := p.conn.Exec(ctx, "SET enable_seqscan = off"); err != nil { // as suit says
		return nil, err
	}
	if _, err := p.conn.Exec(ctx, s.sql.listen); err != nil {
		return nil, err
	}
	switch heard, err := s.hears(ctx, p); {
	case err != nil:
		return nil, err
	case s.feed.late.Swap(!heard) || heard: // it was said before
	default:
		s.opt.Logger.Warn("pgstore: the change feed gets no notifications, and will be a quarter of a second late: its connection goes through a pooler in transaction mode: " +
			"set Options.FeedURL to a direct connection")
	}
	if _, err := p.poll(ctx, func(store.Change) {}); err != nil {
		return nil, err
	}
	return p, nil
}

// hears reports whether a notification that the pool sends arrives.
func (s *Store) hears(ctx context.Context, p *poller) (bool, error) {
	nonce := fmt.Sprint("test ", time.Now().UnixNano())
	if err := s.sendNotification(ctx, nonce); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for p.payload != nonce {
		if err := p.conn.PgConn().WaitForNotification(ctx); err != nil {
			if ctx.Err() != nil {
				return false, nil
			}
			return false, err
		}
	}
	return true, nil
}

var errStandby = errors.New("the feed's server has become a standby")

// poll calls fn with each change since the last poll, and reports whether these are all.
func (p *poller) poll(ctx context.Context, fn func(store.Change)) (complete bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	p.notified = false
	first := p.xmax == ""
	if p.life == "" {
		if _, err := p.conn.Exec(ctx, p.sql.begin, p.mode); err != nil {
			return false, err
		}
	}
	args := []any{p.mode, p.xmax, p.running, maxPolled + 1}
	if first {
		args = []any{p.mode, "18446744073709551615", []string{}, 1} // nothing is as late
	}
	found, err := p.conn.Query(ctx, p.sql.poll, args...)
	if err != nil {
		return false, err
	}
	defer found.Close()
	var snapshot string
	var asOf, started int64
	var standby bool
	var life pgtype.Text // invalid if the table was emptied since it was asked for
	complete = true
	for n := 0; found.Next(); n++ {
		var kind, revision pgtype.Int8
		var app pgtype.Text
		var session pgtype.UUID
		if err := found.Scan(&snapshot, &asOf, &started, &standby, &life, &kind, &app, &session, &revision); err != nil {
			return false, err
		}
		switch {
		case n >= maxPolled:
			complete = false
		case kind.Valid:
			fn(store.Change{Kind: store.ChangeKind(kind.Int64), App: unescape(app.String), ID: session.Bytes, Revision: uint64(revision.Int64)})
		}
	}
	if err := found.Err(); err != nil {
		return false, err
	}
	if standby {
		return false, errStandby
	}
	parts := strings.SplitN(snapshot, ":", 3)
	if len(parts) != 3 {
		return false, fmt.Errorf("a snapshot that reads %q", snapshot)
	}
	now := time.UnixMicro(asOf)
	if !first {
		if started != p.started {
			return false, errOtherServer
		}
		if age := now.Sub(p.asOf); age > patience || age < -time.Second || life.String != p.life {
			complete = false
		}
	}
	p.xmax, p.running, p.asOf, p.started, p.life = parts[1], []string{}, now, started, life.String
	if parts[2] != "" {
		p.running = strings.Split(parts[2], ",")
	}
	return complete, nil
}
