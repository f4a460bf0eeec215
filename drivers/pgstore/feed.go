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
	pollEvery = 250 * time.Millisecond // between two polls without a notification
	pollPause = 2 * time.Millisecond   // between two polls at least
	maxPolled = 10_000                 // changes of a poll; more become a gap

	firstWait = 100 * time.Millisecond // before the first new connection; doubled each time
	lastWait  = 2 * time.Second
)

// retention is how long changes are kept for nodes that have not read them. A
// node whose last poll is older than patience has a gap. The server's clock
// decides, because the node's own may have stood still.
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
	down   atomic.Bool // the connection was lost, or could not be made
	late   atomic.Bool // no notifications arrive
	gaps   atomic.Uint64
	wanted chan struct{} // closed by the first Watch, which starts the connection
	want   sync.Once

	mu        sync.Mutex // guards the fields below
	beats     []beat
	watches   []watch
	interrupt context.CancelFunc // ends the wait of the feed's goroutine; nil if it isn't waiting
}

// A beat is a heartbeat to report after the next poll.
type beat struct {
	n      uint64
	server int64 // the start time of the server that answered it
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

// Watch implements store.Feeder. It returns an error if the feed can't connect;
// later losses of the connection are gaps.
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

// Beat implements store.Feeder. It asks through the pool which server the store
// uses, so that a feed of another, replaced server doesn't count as live. Then
// it makes the feed poll: all changes that were acknowledged before are visible.
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

// request makes the feed poll at once.
func (f *feed) request(b *beat, w *watch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b != nil && f.live.Load() { // a feed without a connection drops it
		f.beats = append(f.beats, *b)
	}
	if w != nil {
		f.watches = append(f.watches, *w)
	}
	if f.interrupt != nil {
		f.interrupt()
	}
}

// take returns the requests that a poll which begins now answers.
func (f *feed) take() ([]beat, []watch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	beats, watches := f.beats, f.watches
	f.beats, f.watches = nil, nil
	return beats, watches
}

// wait calls fn with a context that is done at the next request, or after d.
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

// followFeed keeps the feed's connection and polls, from the first Watch until
// the store is closed.
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
			s.opt.Logger.Warn("pgstore: the change feed has no connection, so this node doesn't hear of other nodes' changes", "error", err)
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
				err = nil // a request or the timeout ended the wait
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

// A poller reads the changes that have become visible since its last read.
type poller struct {
	conn     *pgx.Conn
	mode     pgx.QueryExecMode
	sql      *statements
	timeout  time.Duration
	notified bool   // a notification has come since the last poll began
	payload  string // of the last notification

	xmax    string    // transactions from this one on are not in the last snapshot
	running []string  // nor are these transactions
	asOf    time.Time // shortly before the last snapshot
	started int64     // the server's start time, which identifies it
	life    string    // identifies the table of changes since it was last emptied; empty: not yet known
}

// poll is the statement of a poll. The rows that have become visible since an
// earlier snapshot are those of transactions that were running then or began
// later. The condition on pg_snapshot_xmax leaves out rows that a restored dump
// has brought from another server. The changes come in one row, because the node
// and the server spend less on arrays than on a row for each change. now() is
// before the snapshot, and clock_timestamp() after it.
var poll = `
SELECT pg_current_snapshot()::text, ` + microseconds("now()") + `, ` + microseconds("clock_timestamp()") + `, ` + microseconds("pg_postmaster_start_time()") + `, pg_is_in_recovery(),
	(SELECT l.id::text FROM sojourn.changes_life l ORDER BY l.id LIMIT 1),
	array_agg(c.kind), array_agg(c.name), array_agg(c.session), array_agg(c.revision)
FROM (
	SELECT kind, name, session, revision FROM (
		SELECT seq, kind, app, session, revision FROM sojourn.changes WHERE xid >= $1::text::xid8 AND xid < pg_snapshot_xmax(pg_current_snapshot())
		UNION ALL
		SELECT seq, kind, app, session, revision FROM sojourn.changes WHERE xid = ANY ($2::text[]::xid8[])
	) new LEFT JOIN sojourn.apps ON num = app ORDER BY seq LIMIT $3
) c`

// feedSettings are those of the feed's connection: enable_seqscan as suit says, and
// one plan for all polls, because a plan for each takes three times as long as
// the poll.
const feedSettings = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan"

// openPoller connects, and takes the snapshot from which on the feed reports
// changes.
func (s *Store) openPoller(ctx context.Context) (_ *poller, err error) {
	config := s.feed.config.Copy()
	hosts := time.Duration(1 + len(config.Fallbacks)) // each may be silent
	ctx, cancel := context.WithTimeout(ctx, hosts*config.ConnectTimeout+4*s.opt.Timeout)
	defer cancel()
	p := &poller{sql: &s.sql, timeout: 2 * s.opt.Timeout} // preparing the statement takes a round trip, too
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
	} else if _, err := p.conn.Exec(ctx, feedSettings); err != nil {
		return nil, err
	}
	if _, err := p.conn.Exec(ctx, s.sql.listen); err != nil {
		return nil, err
	}
	switch heard, err := s.hears(ctx, p); {
	case err != nil:
		return nil, err
	case s.feed.late.Swap(!heard) || heard: // the warning was logged before
	default:
		s.opt.Logger.Warn("pgstore: the change feed gets no notifications, and will be a quarter of a second late: its connection goes through a pooler in transaction mode: " +
			"set Options.FeedURL to a direct connection")
	}
	if _, err := p.poll(ctx, func(store.Change) {}); err != nil {
		return nil, err
	}
	return p, nil
}

// hears reports whether a notification that the pool sends reaches the poller.
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

// poll calls fn with each change since the last poll, and reports whether it has
// missed none.
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
		args = []any{p.mode, "18446744073709551615", []string{}, 1} // no transaction is as late
	}
	var snapshot string
	var before, after, started int64
	var standby bool
	var life pgtype.Text // invalid if the table has just been emptied
	var kinds []int16
	var apps []pgtype.Text
	var sessions []pgtype.UUID
	var revisions []pgtype.Int8
	if err := p.conn.QueryRow(ctx, p.sql.poll, args...).Scan(&snapshot, &before, &after, &started, &standby, &life, &kinds, &apps, &sessions, &revisions); err != nil {
		return false, err
	}
	complete = len(kinds) <= maxPolled
	for i, kind := range kinds[:min(len(kinds), maxPolled)] {
		fn(store.Change{Kind: store.ChangeKind(kind), App: unescape(apps[i].String), ID: sessions[i].Bytes, Revision: uint64(revisions[i].Int64)})
	}
	if standby {
		return false, errStandby
	}
	parts := strings.SplitN(snapshot, ":", 3)
	if len(parts) != 3 {
		return false, fmt.Errorf("the server returned the snapshot %q", snapshot)
	}
	if !first {
		if started != p.started {
			return false, errOtherServer
		}
		if age := time.UnixMicro(after).Sub(p.asOf); age > patience || age < -time.Second || life.String != p.life {
			complete = false
		}
	}
	p.xmax, p.running, p.asOf, p.started, p.life = parts[1], []string{}, time.UnixMicro(before), started, life.String
	if parts[2] != "" {
		p.running = strings.Split(parts[2], ",")
	}
	return complete, nil
}
