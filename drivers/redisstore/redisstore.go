// Package redisstore keeps sessions in Redis 7 or newer, or in a Redis Cluster,
// for many nodes of an application.
//
//	st, err := redisstore.Open(ctx, "redis://:password@10.0.0.5:6379/0", redisstore.Options{})
//	sessions, err := sojourn.New(nearcache.NewShared(st, nearcache.Options{}), sojourn.Options{})
//
// A read takes one round trip. So does a conditional write: a script in Redis
// compares the revision, writes, and sets the expiry in one step. A login takes
// two or three.
//
// # URLs
//
//	redis://user:password@host:port/db                                 rediss:// with TLS
//	redis-cluster://user:password@host1:port,host2                     rediss-cluster:// with TLS
//	redis-sentinel://user:password@host1:26379,host2/db?master_set=m   rediss-sentinel:// with TLS
//	unix://user:password@/run/redis/redis.sock?db=0
//
// "valkey" may stand for "redis". The parameters are db, prefix (of all keys),
// timeout, dial_timeout (as in 5s) and client_name. Use Options.Password instead
// of the URL if other users can list the arguments of this process.
//
// A URL for Redis Sentinel has the sentinels' addresses, and in master_set the
// name of the master that they watch. User and password are Redis' own; those of
// the sentinels, if they have any, are in sentinel_user and sentinel_password.
// The store moves to a new master as soon as a sentinel reports it, and also asks
// the sentinels once a second. Set min-replicas-to-write in Redis. Otherwise a
// master that is cut off from the sentinels still serves some nodes, and what they
// write there will be lost.
//
// # How to configure Redis
//
// Set maxmemory, and leave maxmemory-policy at its default, noeviction. With any
// other policy Redis drops sessions and tombstones when memory gets short, so
// Open refuses it. From nine tenths of maxmemory on, Create refuses anonymous
// sessions with store.ErrFull; at maxmemory it refuses logins too. Sessions can
// end at any time.
//
// What an acknowledged write survives depends on Redis' persistence and
// replication (appendonly, appendfsync, min-replicas-to-write) and on
// Options.WaitReplicas: see docs/stores.md of the project.
//
// # The keys
//
// All keys begin with Options.Prefix. A record is a JSON text without any token;
// redis-cli can show it.
//
//	sojourn:s:{tag}:shop:0196f7a0-...       a session, or its tombstone
//	sojourn:seen:{tag}:shop:0196f7a0-...    its last touch, if later than the record
//	sojourn:in:{tag}:shop, sojourn:anon:... the sessions of a bucket, logged in and anonymous, by creation
//	sojourn:due:{tag}:shop                  the same by the time when the sweep examines them
//	sojourn:ended:{tag}:shop:SHA-1          what the bucket knows of a user's sessions that ended lately
//	sojourn:mark:{tag}:shop                 the time of EndAll
//	sojourn:compared:{tag}:shop             how far the bucket's sessions were compared with their subjects' indexes
//	sojourn:subject:{shop/ada}              a subject's sessions in the order of joining
//	sojourn:barrier:{shop/ada}              until when EndSubject ended them
//	sojourn:key:{shop/k1}                   what was created under an idempotency key
//	sojourn:block:...                       bars a write that comes too late
//
// All except sojourn:mark:... expire some hours after their use. The callers'
// clocks decide what has expired; Redis only frees the space.
//
// # The change feed
//
// Watch and Beat use a connection of their own to each master. On it Redis
// reports every key that is written under sojourn:feed: (server-assisted
// client-side caching in broadcast mode). Each change writes and removes such a
// key, whose name is the message. When a connection is lost or made, or the
// cluster changes, the feed reports a gap.
package redisstore

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
)

// DefaultPrefix begins all keys unless Options.Prefix is set.
const DefaultPrefix = "sojourn"

// Options are the settings of Open. The zero value is ready for use.
type Options struct {
	// Username and Password replace those of the URL, if they are not empty.
	Username, Password string

	// Credentials is called for each new connection. Its results replace those
	// of the URL and the two fields above: use it for rotated passwords. An
	// empty username means that of the URL or of Username. It may be called
	// concurrently, and the context limits its time to DialTimeout. Default:
	// they never change.
	Credentials func(ctx context.Context) (username, password string, err error)

	// TLSConfig is for URLs with rediss, sentinels' connections too. Default: the system's
	// roots and TLS 1.2 or newer.
	TLSConfig *tls.Config

	// Prefix begins all keys. Stores with different prefixes are independent. It
	// consists of letters, digits, and any of . _ - and, inside, colons. Default:
	// the URL's, or DefaultPrefix.
	Prefix string

	// WaitReplicas is how many replicas must have an end before End, EndSubject
	// and EndAll return. They wait for at most WaitTimeout (default 1 s). If too
	// few have it by then, the error is store.ErrUncertain: the end happened, but
	// a failover may undo it. Default: 0, no wait.
	WaitReplicas int
	WaitTimeout  time.Duration

	// Timeout limits how long a call waits for its answer. Default: that of the
	// URL, or 3 s. A connection that is silent for twice as long is closed.
	// DialTimeout limits how long it takes to connect; default: three times the
	// Timeout. A connection is made even if the call that needed it has ended.
	Timeout, DialTimeout time.Duration

	// Dial makes the connections, beneath TLS. Set it if a tunnel leads to Redis,
	// or if this host can't reach the addresses that a cluster names. The context
	// limits it. Default: that of net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Logger gets warnings, as about a clock that differs. Default: slog.Default().
	Logger *slog.Logger
}

// A Store is a store.Store and a store.Feeder in Redis. All methods may be
// called concurrently.
type Store struct {
	client  rueidis.Client
	gates   gates
	prefix  string
	opt     Options
	timeout time.Duration // of a call
	log     *slog.Logger
	feed    *feed

	reads, updates *batcher // nil for a cluster, where a command has keys of one bucket

	closed  atomic.Bool
	ctx     context.Context // ends when the store closes
	cancel  context.CancelFunc
	stopped sync.WaitGroup

	watch monitor

	sweeping sync.Mutex
	rounds   map[string]*round // guarded by sweeping: by application
	owed     map[string]bool   // guarded by sweeping: keys "compared" of buckets whose turn must begin again, because a comparison failed

	fence, lapse time.Duration           // of reservations; tests change them
	hook         func(step string) error // tests only, see step
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Feeder = (*Store)(nil)
)

var prefixForm = regexp.MustCompile(`^[A-Za-z0-9._-]+(:[A-Za-z0-9._-]+)*$`)

// Open connects to Redis and checks that it can hold sessions. The errors say
// what is wrong and never contain a password.
func Open(ctx context.Context, url string, opt Options) (_ *Store, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("redisstore: open: %w", err)
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	opt.Prefix = cmp.Or(opt.Prefix, t.prefix, DefaultPrefix)
	if !prefixForm.MatchString(opt.Prefix) {
		return nil, errPrefix
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	opt.WaitTimeout = cmp.Or(max(opt.WaitTimeout, 0), time.Second)
	option := t.clientOption(&opt)
	timeout := option.ConnWriteTimeout / connFactor
	s := &Store{
		timeout: timeout,
		gates:   newGates(t.cluster, timeout),
		prefix:  opt.Prefix,
		opt:     opt,
		log:     opt.Logger,
		fence:   fence,
		lapse:   fence,
		owed:    map[string]bool{},
		rounds:  map[string]*round{},
		watch:   monitor{warnings: map[string]string{}},
	}
	if s.client, err = rueidis.NewClient(option); err != nil {
		if s.client != nil {
			s.client.Close()
		}
		return nil, explain(err)
	}
	defer func() {
		if err != nil {
			s.client.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, option.ConnWriteTimeout)
	defer cancel()
	if err := s.examine(ctx); err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if !t.cluster {
		s.reads = &batcher{s: s, build: s.readTogether, reads: true}
		s.updates = &batcher{s: s, build: s.updateTogether}
	}
	s.feed = newFeed(s, t.cluster, option)
	s.stopped.Go(s.monitor)
	return s, nil
}

// Close implements store.Store. It waits for the calls that have begun.
func (s *Store) Close() error {
	if !s.closed.Swap(true) {
		s.cancel()
		s.feed.close()
		s.client.Close()
	}
	s.stopped.Wait()
	return nil
}
