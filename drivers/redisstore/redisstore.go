// Package redisstore keeps sessions in Redis 7 or newer, or a Redis Cluster,
// for many nodes of an application.
//
//	st, err := redisstore.Open(ctx, "redis://:password@10.0.0.5:6379/0", redisstore.Options{})
//	sessions, err := sojourn.New(nearcache.NewShared(st, nearcache.Options{}), sojourn.Options{})
//
// A read is one round trip, and so is a conditional write: a script in Redis
// compares the revision, writes, and sets the expiry in one step. A login takes
// two or three.
//
// # URLs
//
//	redis://user:password@host:port/db                rediss:// with TLS
//	redis-cluster://user:password@host1:port,host2    rediss-cluster:// with TLS
//
// with the parameters db, timeout, dial_timeout (as in 5s) and client_name.
// Keep a password out of the URL where a list of processes shows it: Options
// has a field for it.
//
// # What Redis must be told
//
// Set maxmemory and "maxmemory-policy noeviction" (Redis' default). With any
// other policy Redis drops sessions, or what remembers that one has ended, when
// memory gets short; Open refuses it. Anonymous sessions are refused with
// store.ErrFull from nine tenths of maxmemory on, logins when it is reached;
// ends go on.
//
// What an acknowledged write survives is up to Redis' persistence and
// replication (appendonly, appendfsync, min-replicas-to-write) and to
// Options.WaitReplicas: see docs/stores.md of the project.
//
// # The keys
//
// All begin with Options.Prefix, and can be read with redis-cli: a record is
// one JSON text, without any token.
//
//	sojourn:s:{tag}:shop:0196f7a0-...       a session, or its tombstone
//	sojourn:seen:{tag}:shop:0196f7a0-...    its last touch, if later than the record
//	sojourn:in:{tag}:shop, sojourn:anon:... the sessions of a bucket, logged in and anonymous, by creation
//	sojourn:due:{tag}:shop                  the same by the time when the sweep looks at them
//	sojourn:mark:{tag}:shop                 the time of EndAll
//	sojourn:compared:{tag}:shop             how far the bucket's sessions were compared with their subjects' indexes
//	sojourn:subject:{shop/ada}              a subject's sessions in the order of joining
//	sojourn:barrier:{shop/ada}              until when EndSubject ended them
//	sojourn:key:{shop/k1}                   what was created under an idempotency key
//	sojourn:block:...                       bars a write that comes too late
//
// All except sojourn:mark:... have a TTL that ends some hours after their use:
// the callers' clocks decide, Redis only frees the space.
//
// # The change feed
//
// Watch and Beat use a connection of their own to each master, on which Redis
// reports every key that is written under sojourn:feed: (server-assisted
// client-side caching, broadcast mode). Each change writes and removes one,
// whose name is the message. Whenever such a connection was lost or made, or
// the cluster changed, the feed reports a gap.
package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
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

// What is wrong with what was found in Redis, under errors.Is. The messages name the key.
var (
	ErrNewer   = errors.New("was written by a newer version of Sojourn")
	ErrForeign = errors.New("is not of this store: it is in the way")
)

// DefaultPrefix begins all keys where Options doesn't say otherwise.
const DefaultPrefix = "sojourn"

// Options are the settings of Open. The zero Options are good.
type Options struct {
	// Username and Password replace those of the URL, if they are not empty.
	Username, Password string

	// Credentials is called for each new connection. Its results replace those
	// of the URL and the two fields above: use it for rotated passwords. An
	// empty username means that of the URL or of Username. It may be called
	// concurrently, and the context limits its time to DialTimeout. Default:
	// they never change.
	Credentials func(ctx context.Context) (username, password string, err error)

	// TLSConfig is for rediss:// and rediss-cluster://; default the system's roots, TLS 1.2 or newer.
	TLSConfig *tls.Config

	// Prefix begins all keys: stores with different prefixes know nothing of each other. Letters, digits,
	// and any of . _ - and : inside; default DefaultPrefix.
	Prefix string

	// WaitReplicas has End, EndSubject and EndAll wait until so many replicas have the end, for at most WaitTimeout (default 1 s). If
	// fewer have, the error is store.ErrUncertain: the end happened, and a failover may undo it. 0: they don't wait.
	WaitReplicas int
	WaitTimeout  time.Duration

	// Timeout limits how long a call may take to be answered; default 3 s, or
	// the URL's. A connection that answers nothing for twice as long is given
	// up. DialTimeout is for making one, which no call's end cuts short; default
	// three times the Timeout.
	Timeout, DialTimeout time.Duration

	// Dial makes the connections, beneath TLS, where a tunnel leads to Redis or the addresses that a cluster names aren't
	// this host's names for them. The context bounds it. nil: as net.Dialer does.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Logger gets warnings: a clock that differs, a memory without limit. Default slog.Default().
	Logger *slog.Logger
}

// A Store is a store.Store and a store.Feeder in Redis. All methods may be called concurrently.
type Store struct {
	client  rueidis.Client
	gates   gates
	prefix  string
	opt     Options
	timeout time.Duration // of a call
	log     *slog.Logger
	feed    *feed

	closed  atomic.Bool
	ctx     context.Context // ends when the store closes
	cancel  context.CancelFunc
	stopped sync.WaitGroup

	watch    monitor
	sweeping sync.Mutex
	rounds   map[string]*round // by the application
	owed     map[string]bool   // keys of the buckets whose turn must begin anew, since a comparison failed

	fence, lapse time.Duration           // for tests: see subject.go
	hook         func(step string) error // for tests: called before each step of a call that takes several
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Feeder = (*Store)(nil)
)

var prefixForm = regexp.MustCompile(`^[A-Za-z0-9._-]+(:[A-Za-z0-9._-]+)*$`)

// Open connects to Redis and checks that it can be used. The errors say what is wrong, and never hold a password.
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
	if opt.Prefix == "" {
		opt.Prefix = DefaultPrefix
	}
	if !prefixForm.MatchString(opt.Prefix) {
		return nil, errors.New("the prefix must consist of letters, digits, and any of . _ - and : inside")
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	opt.WaitTimeout = firstOf(opt.WaitTimeout, time.Second)
	option := t.clientOption(&opt)
	s := &Store{
		timeout: option.ConnWriteTimeout / connFactor, gates: newGates(t.cluster, option.ConnWriteTimeout/connFactor), prefix: opt.Prefix, opt: opt, log: opt.Logger, fence: fence, lapse: fence, owed: map[string]bool{}, rounds: map[string]*round{},
	}
	if s.client, err = rueidis.NewClient(option); err != nil {
		if s.client != nil {
			s.client.Close()
		}
		return nil, s.explain(err)
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
	s.feed = newFeed(s, t.cluster, option)
	s.stopped.Go(s.monitor)
	return s, nil
}

// check is the beginning of every call.
func (s *Store) check(ctx context.Context) error {
	if s.closed.Load() {
		return store.ErrClosed
	}
	return ctx.Err()
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

// step is called before each step of a call that takes several.
func (s *Store) step(name string) error {
	if s.hook != nil {
		return s.hook(name)
	}
	return nil
}
