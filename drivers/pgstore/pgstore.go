// Package pgstore keeps sessions in PostgreSQL, for any number of nodes.
//
//	st, err := pgstore.Open(ctx, "postgres://shop@db.example.com/shop", pgstore.Options{Password: password})
//	sessions, err := sojourn.New(nearcache.NewShared(st, nearcache.Options{}), sojourn.Options{})
//
// Open creates the tables, in a schema of their own. Many nodes may start at
// once. The store needs PostgreSQL 13 or newer; the tests run on PostgreSQL 15
// from Debian 12.
//
// # Writes
//
// Each call is one statement, and each write is one transaction: a plain UPDATE,
// or a function of the schema where a write does more. A node that dies, hangs or
// sleeps holds no lock. A write is acknowledged when the server has committed it;
// the server's settings (synchronous_commit, replication) decide what a committed
// write survives. If the connection ends before the answer, the write may have
// happened, and the error is store.ErrUncertain.
//
// # The change feed
//
// A write records its changes in an unlogged table, in its own transaction. Each
// node reads the table on a connection of its own: everything that has become
// visible since its last read, by the server's own snapshots. So it misses
// nothing, however transactions overlap. NOTIFY wakes the reader, and a lost
// notification costs a quarter of a second. The feed reports a gap when the
// order is broken: by a lost connection, a server that was restarted, recovered
// from a crash or replaced by a standby, or a reader that slept.
//
// # PgBouncer
//
// The store notices a pooler in transaction mode, and then uses no named
// prepared statements. Set Options.FeedURL to a direct connection. Without it
// the feed is a quarter of a second late, and a warning says so.
//
// # Looking inside
//
//	psql -c "SELECT * FROM sojourn.session_list WHERE subject = 'ada'"
package pgstore

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/overload"
)

// The defaults of Options.
const (
	DefaultSchema   = "sojourn"
	DefaultMaxConns = 16
	DefaultTimeout  = 5 * time.Second
)

// Options are the settings of Open. The zero value has good defaults.
type Options struct {
	// Password replaces the URL's password. Default: the URL's.
	Password string

	// Credentials is called for each new connection. Its results replace the
	// URL's username and password, and Password: use it for rotated passwords,
	// IAM or Vault. An empty username means the URL's. It may be called
	// concurrently, and the context limits its time. Default: the credentials
	// never change. The files that the URL names (sslrootcert, sslcert, sslkey,
	// passfile) are read for each new connection in any case.
	Credentials func(ctx context.Context) (username, password string, err error)

	// FeedURL is a URL of the same server without a pooler in transaction mode,
	// for the change feed's one connection. Password and Credentials apply to it
	// too. Default: the URL of Open.
	FeedURL string

	// Schema is the schema of the tables, which Open creates: lower-case letters,
	// digits and underscores. Stores in different schemas of a database are
	// independent. Default: the URL's parameter schema, or DefaultSchema.
	Schema string

	// MaxConns limits the connections of this store, besides the feed's. Default:
	// the URL's pool_max_conns, or else DefaultMaxConns.
	MaxConns int

	// Timeout limits each call except Count, which reads all sessions. The
	// call's context may end it sooner. A new connection may take five times as
	// long, unless the URL has a connect_timeout. Default: DefaultTimeout.
	Timeout time.Duration

	// MaxBytes is the size of all sessions together, in bytes, above which new
	// sessions get store.ErrFull; anonymous sessions above nine tenths of it. The
	// server estimates the size every ten seconds. Default: no limit except the
	// server's disk.
	MaxBytes int64

	// Logger gets warnings about the server's clock and the change feed. Default:
	// slog.Default().
	Logger *slog.Logger
}

// A Store is a store.Store and a store.Feeder in a database. All methods may be
// called concurrently.
type Store struct {
	opt    Options
	sql    statements
	server server
	dialer dialer
	pool   *pool
	gate   *overload.Gate

	feed   feed
	kicked chan struct{} // holds an item while a notification must be sent
	clock  clock
	room   atomic.Int32 // roomForAll, roomForLogins or noRoom

	closed   atomic.Bool
	stop     context.CancelFunc
	running  sync.WaitGroup
	released chan struct{} // closed when Close is over

	sweeping sync.Mutex
	stages   map[string]int // the next stage of each application's sweep; guarded by sweeping
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Feeder = (*Store)(nil)
)

// Open connects to the database of a URL, and creates or updates the schema:
//
//	postgres://user@host:5432/database?sslmode=verify-full
//	postgres://user@host1,host2/database?sslmode=verify-full
//
// The URL may have all parameters of libpq and of pgxpool, and schema, as
// Options.Schema. For a Unix socket, the host is its directory:
// postgres:///database?host=/run/postgresql. Of several hosts, the
// store uses the one that takes writes, whatever target_session_attrs says, also
// after a failover. It never reads a standby.
//
// The error is ErrURL, ErrUnreached, ErrDenied, ErrOldServer, ErrUnsuitable,
// ErrReadOnly, ErrNotOurs if the schema is another program's, or ErrNewer if a
// newer version has updated it. Then nothing was changed. No error contains a
// password.
func Open(ctx context.Context, url string, opt Options) (*Store, error) {
	s, err := open(ctx, url, opt)
	if err != nil {
		return nil, fmt.Errorf("pgstore: %w", err)
	}
	return s, nil
}

// open is Open with functions that change the store before it starts, for tests.
func open(ctx context.Context, url string, opt Options, change ...func(*Store, *pgx.ConnConfig)) (*Store, error) {
	if opt.Timeout <= 0 {
		opt.Timeout = DefaultTimeout
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	if opt.Schema != "" && !isSchemaName(opt.Schema) {
		return nil, fmt.Errorf("Options.Schema: %w", errSchemaName)
	}
	config, err := parse(url, &opt)
	if err != nil {
		return nil, err
	}
	opt.Schema = cmp.Or(opt.Schema, DefaultSchema)
	feedConfig := config
	if opt.FeedURL != "" {
		if feedConfig, err = parse(opt.FeedURL, &opt); err != nil {
			return nil, fmt.Errorf("Options.FeedURL: %w", err)
		}
	}
	switch {
	case opt.MaxConns > 0:
		config.MaxConns = int32(min(opt.MaxConns, 10_000))
	case !strings.Contains(url, "pool_max_conns="):
		config.MaxConns = DefaultMaxConns
	}
	s := &Store{opt: opt, gate: overload.NewGate(int(config.MaxConns), opt.Timeout), sql: statementsIn(opt.Schema), kicked: make(chan struct{}, 1), released: make(chan struct{}), stages: map[string]int{}}
	s.dialer.opt = &s.opt
	if s.server, err = s.greet(ctx, config.ConnConfig, opt.Schema); err != nil {
		return nil, explainConnect(err)
	}
	suit(config.ConnConfig, s.server.pooled)
	for _, fn := range change {
		fn(s, config.ConnConfig)
	}
	s.pool = newPool(config, s.gate, func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := s.dialer.dial(ctx, config.ConnConfig)
		if err == nil {
			ctx, cancel := context.WithTimeout(ctx, config.ConnConfig.ConnectTimeout)
			defer cancel()
			s.warm(ctx, conn)
		}
		return conn, err
	})
	s.feed.config = feedConfig.ConnConfig.Copy()
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.feed.ctx, s.feed.wanted = ctx, make(chan struct{})
	s.running.Go(func() { s.followFeed(ctx) })
	s.running.Go(func() { s.notify(ctx) })
	s.running.Go(func() { s.keepUp(ctx) })
	return s, nil
}

// greet makes the first connection, examines the server and prepares the schema.
func (s *Store) greet(ctx context.Context, config *pgx.ConnConfig, schema string) (server, error) {
	config, err := s.dialer.renew(ctx, config)
	if err != nil {
		return server{}, err
	}
	conn, err := s.dialer.reach(ctx, config)
	if err != nil {
		return server{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // all writes are committed
	found, err := examine(ctx, conn)
	if err != nil {
		return found, err
	}
	return found, prepare(ctx, config, conn, schema)
}

// Close implements store.Store. It waits for calls that have begun.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		<-s.released
		return nil
	}
	defer close(s.released)
	s.stop()
	s.running.Wait()
	s.feed.out.Close()
	s.pool.close()
	return nil
}

// check returns the error of a call that can't begin.
func (s *Store) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return store.ErrClosed
	}
	return nil
}

var _ store.Warner = (*Store)(nil)

// Warnings implements store.Warner.
func (s *Store) Warnings() (list []store.Warning) {
	if s.feed.down.Load() {
		list = append(list, store.Warning{Code: "feed", Text: "the change feed has no connection, so every read goes to PostgreSQL: the log says why"})
	}
	if s.feed.late.Load() {
		list = append(list, store.Warning{Code: "notifications", Text: "the change feed gets no notifications, and is a quarter of a second late: set Options.FeedURL to a direct connection"})
	}
	if s.clock.isApart() {
		list = append(list, store.Warning{Code: "clock", Text: fmt.Sprintf("the clocks of PostgreSQL and of this machine differ by %v: check their time service", s.clock.offset().Abs().Round(time.Millisecond))})
	}
	return list
}

// Stats are figures of a Store at one moment.
type Stats struct {
	Server      string        // the server's version
	ClockOffset time.Duration // the server's clock minus this machine's, as last measured
	FeedLive    bool          // the change feed is connected; false if nobody watches
	Gaps        uint64        // how often the feed has lost changes

	Conns    int           // open connections, besides the feed's
	InUse    int           // connections that calls use now
	Waits    int64         // calls that had to wait for a connection
	WaitTime time.Duration // the sum of their waiting times
	Opened   uint64        // connections that were made
	Refused  uint64        // calls that were refused at once, because too many waited
}

// Stats returns the present figures.
func (s *Store) Stats() Stats {
	p := s.pool.stats()
	return Stats{
		Server: s.server.version, ClockOffset: s.clock.offset(), FeedLive: s.feed.live.Load(), Gaps: s.feed.gaps.Load(),
		Conns: p.conns, InUse: p.inUse, Waits: p.waits, WaitTime: p.waitTime, Opened: p.opened, Refused: s.gate.Refused(),
	}
}
