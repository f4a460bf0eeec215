// Package pgstore keeps sessions in PostgreSQL, for any number of nodes.
//
//	st, err := pgstore.Open(ctx, "postgres://shop@db.example.com/shop", pgstore.Options{Password: password})
//	sessions, err := sojourn.New(nearcache.NewShared(st, nearcache.Options{}), sojourn.Options{})
//
// Open makes the tables, in a schema of their own; many nodes may start at once. The tests run on PostgreSQL 15 from
// Debian 12; it takes 13 or newer.
//
// # What a write means
//
// Each call is one statement, and each write one transaction of the server, which calls a function of the schema. A node that dies,
// hangs or sleeps in the middle holds no lock. A write is acknowledged when the server has committed it; what that survives is
// the server's settings (synchronous_commit, replication). When the connection ends before the answer came, the write may or
// may not have happened, and the error is store.ErrUncertain.
//
// # The change feed
//
// A write notes what it changes in an unlogged table, in its own transaction. Each node reads from there, on a connection of its own,
// what has become visible since it read last, by the server's own snapshots: nothing is missed, however transactions overlap.
// NOTIFY wakes it up, and a notification that gets lost costs a quarter of a second. Whatever breaks the order (the connection lost, the
// server restarted, recovered from a crash, or replaced by a standby, a reader that slept) is reported as a gap.
//
// # PgBouncer
//
// A pooler in transaction mode is noticed, and served without named prepared statements. The feed needs a direct connection: set
// Options.FeedURL. Without it the feed works all the same, but changes are seen a quarter of a second late, and a warning says so.
//
// # Looking inside
//
//	psql -c "SELECT * FROM sojourn.session_list WHERE subject = 'ada'"
package pgstore

import (
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

// Options are the settings of Open. The zero Options are good.
type Options struct {
	// Password replaces the URL's, so that it need not stand there.
	Password string

	// Credentials is called for each new connection. Its results replace the
	// URL's username and password, and Password: use it for rotated passwords,
	// and for those of IAM or Vault. An empty username means the URL's. It may
	// be called concurrently, and the context limits its time. Default: they
	// never change. The files that the URL names (sslrootcert, sslcert, sslkey,
	// passfile) are read for each new connection in any case.
	Credentials func(ctx context.Context) (username, password string, err error)

	// FeedURL is a URL of the same server without a pooler in transaction mode, for the change feed's one connection. The password is
	// that of Password too, if given. Empty: the URL that Open gets.
	FeedURL string

	// Schema is the name of the schema that holds the tables; Open makes it. Of small letters, digits and underscores.
	// Empty: DefaultSchema. One database may hold several stores, each in a schema of its own.
	Schema string

	// MaxConns limits the connections of this store, besides the feed's. 0: the URL's pool_max_conns, or else DefaultMaxConns.
	MaxConns int

	// Timeout bounds each call; the context of a call may end it sooner.
	// Count, which reads all sessions, has no bound of its own. A connection
	// is made in the background, for five times as long unless the URL has a
	// connect_timeout. 0: DefaultTimeout.
	Timeout time.Duration

	// MaxBytes is the size of all sessions together, in bytes as the server estimates them, from which on new ones are refused with
	// store.ErrFull: anonymous ones from nine tenths of it. It is measured every ten seconds. 0: no limit but the server's disk.
	MaxBytes int64

	// Logger gets warnings: about the server's clock, and about a feed that doesn't work as it should. nil: slog.Default().
	Logger *slog.Logger
}

// A Store is a store.Store and a store.Feeder in a database. All methods may be called concurrently.
type Store struct {
	opt    Options
	sql    statements
	server server
	dialer dialer
	pool   *pool
	gate   *overload.Gate

	feed   feed
	kicked chan struct{} // there is something to notify others of
	clock  clock
	room   atomic.Int32 // a fullness

	closed   atomic.Bool
	stop     context.CancelFunc
	running  sync.WaitGroup
	released chan struct{} // Close is over

	sweeping sync.Mutex
	stages   map[string]int // of each application's sweep; guarded by sweeping
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Feeder = (*Store)(nil)
)

// Open connects to the database that a URL names, as in
//
//	postgres://user@host:5432/database?sslmode=verify-full
//	postgres://user@host1,host2/database?sslmode=verify-full
//
// with all parameters of libpq and of pgxpool, and makes or updates the schema. Of several hosts the one that takes writes is used, whatever
// target_session_attrs says, also after a failover; a standby is never read.
//
// The error is ErrURL, ErrUnreached, ErrDenied, ErrOldServer, ErrUnsuitable, ErrReadOnly, ErrNotOurs if the schema is another
// program's, or ErrNewer if a newer version has updated it. Nothing was changed then. No error holds a password.
func Open(ctx context.Context, url string, opt Options) (*Store, error) {
	s, err := open(ctx, url, opt)
	if err != nil {
		return nil, fmt.Errorf("pgstore: %w", err)
	}
	return s, nil
}

// open has tests change what is about to begin.
func open(ctx context.Context, url string, opt Options, change ...func(*Store, *pgx.ConnConfig)) (*Store, error) {
	if opt.Schema == "" {
		opt.Schema = DefaultSchema
	}
	if opt.Timeout <= 0 {
		opt.Timeout = DefaultTimeout
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	if !schemaName.MatchString(opt.Schema) || strings.HasPrefix(opt.Schema, "pg_") {
		return nil, errSchemaName
	}
	config, err := parse(url, &opt)
	if err != nil {
		return nil, err
	}
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

// greet makes the first connection, which examines the server and prepares the schema.
func (s *Store) greet(ctx context.Context, config *pgx.ConnConfig, schema string) (server, error) {
	config, err := s.dialer.renew(ctx, config)
	if err != nil {
		return server{}, err
	}
	conn, err := s.dialer.reach(ctx, config)
	if err != nil {
		return server{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // what was written is committed
	found, err := examine(ctx, conn)
	if err != nil {
		return found, err
	}
	return found, prepare(ctx, config, conn, schema)
}

// Close implements store.Store. It waits for the calls that have begun.
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

// check is the beginning of every call.
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
		list = append(list, store.Warning{Code: "notifications", Text: "the change feed gets no notifications, and is a quarter of a second late: let Options.FeedURL lead to the server directly"})
	}
	if s.clock.isApart() {
		list = append(list, store.Warning{Code: "clock", Text: fmt.Sprintf("the clocks of PostgreSQL and of this machine differ by %v: check their time service", s.clock.offset().Abs().Round(time.Millisecond))})
	}
	return list
}

// Stats are figures of a store at a moment.
type Stats struct {
	Server      string        // the server's version
	ClockOffset time.Duration // the server's clock less this machine's, as last measured; each node judges deadlines by its own
	FeedLive    bool          // the change feed has its connection; false too if nobody watches
	Gaps        uint64        // how often the feed has lost changes

	Conns    int           // connections that are open, besides the feed's
	InUse    int           // of these
	Waits    int64         // how often a call had to wait for one
	WaitTime time.Duration // and how long, all together
	Opened   uint64        // connections that were made
	Refused  uint64        // calls that were refused at once, since too many waited
}

// Stats returns the present figures.
func (s *Store) Stats() Stats {
	p := s.pool.stats()
	return Stats{
		Server: s.server.version, ClockOffset: s.clock.offset(), FeedLive: s.feed.live.Load(), Gaps: s.feed.gaps.Load(),
		Conns: p.conns, InUse: p.inUse, Waits: p.waits, WaitTime: p.waitTime, Opened: p.opened, Refused: s.gate.Refused(),
	}
}
