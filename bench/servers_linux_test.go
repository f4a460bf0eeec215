package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/pgxstore"
	"github.com/boj/redistore"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/drivers/pgstore"
	"github.com/sojourn-go/sojourn/drivers/redisstore"
	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// A backend is a server that many nodes share, on this machine's loopback.
type backend struct {
	name  string
	open  func(space string) sharedStore
	hurry func(space string) sharedStore // for filling: acknowledges before it is durable
	spent func() figures                 // by the server since its start
	kept  func(space string) (bytes float64)
	peers []peer // other libraries on the same server

	// get and set are what the same client does without a session store: get reads
	// a value of rawSize bytes; set compares its revision, and writes the next.
	get func(ctx context.Context, i int) error
	set func(ctx context.Context, i, revision int) error

	getCached func(ctx context.Context, i int) error // from the client's own memory; nil if it has none
}

// rawSize is about the size of a sample's record in both stores.
const rawSize = 700

type sharedStore interface {
	store.Store
	store.Feeder
}

func backends(b *testing.B) []*backend {
	list, err := startBackends()
	servertest.Check(b, err)
	return list
}

// startBackends starts the servers once, until the program ends. PostgreSQL syncs
// every commit, as by default.
var startBackends = sync.OnceValues(func() ([]*backend, error) {
	r, err := servertest.StartRedis(servertest.RedisOptions{Dir: workDir(), Config: []string{"appendonly yes", "appendfsync everysec", "auto-aof-rewrite-percentage 0"}})
	if err != nil {
		return nil, err
	}
	atEnd(r.Close)
	pg, err := servertest.StartPostgreSQL(servertest.PostgreSQLOptions{Dir: workDir(), Config: []string{"shared_buffers = 256MB", "max_wal_size = 4GB"}})
	if err != nil {
		return nil, err
	}
	atEnd(pg.Close)
	client := must(rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{r.Addr()}}))
	pool := newPool(pg.URL())
	must(pool.Exec(context.Background(), `CREATE TABLE raw (id int PRIMARY KEY, revision bigint NOT NULL, data bytea NOT NULL) WITH (fillfactor = 70);
		ALTER TABLE raw ALTER data SET STORAGE EXTERNAL`))
	return []*backend{redisBackend(r, client), pgBackend(pg, pool)}, nil
})

// newPool has as many connections as pgstore.
func newPool(url string) *pgxpool.Pool {
	config := must(pgxpool.ParseConfig(url))
	config.MaxConns = 16
	return must(pgxpool.NewWithConfig(context.Background(), config))
}

func redisBackend(r *servertest.RedisServer, c rueidis.Client) *backend {
	open := func(space string) sharedStore {
		return must(redisstore.Open(context.Background(), r.URL(), redisstore.Options{Prefix: space}))
	}
	// number reads numbers of INFO, and adds them up.
	number := func(names ...string) (sum float64) {
		text := must(c.Do(context.Background(), c.B().Info().Section("everything").Build()).ToString())
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			if slices.Contains(names, name) {
				sum += must(strconv.ParseFloat(value, 64))
			}
		}
		return sum
	}
	script := rueidis.NewLuaScript(`
local old = redis.call('GET', KEYS[1])
if old and string.sub(old, 1, 16) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', 3600000)
return 1`)
	key := func(i int) string { return fmt.Sprintf("raw:session:{%d}:default:%036d", i%256, i) }
	return &backend{
		name: "redis", open: open, hurry: open,
		kept: func(string) float64 { return number("used_memory") },
		spent: func() figures {
			return figures{
				"cpu-ns": 1e9 * number("used_cpu_user", "used_cpu_sys"),
				"in-B":   number("total_net_input_bytes"),
				"out-B":  number("total_net_output_bytes"),
				"log-B":  number("aof_current_size"),
			}
		},
		get: func(ctx context.Context, i int) error { return c.Do(ctx, c.B().Get().Key(key(i)).Build()).Error() },
		getCached: func(ctx context.Context, i int) error {
			return c.DoCache(ctx, c.B().Get().Key(key(i)).Cache(), time.Hour).Error()
		},
		set: func(ctx context.Context, i, revision int) error {
			value := make([]byte, rawSize)
			noise(value, i, uint64(revision))
			copy(value, fmt.Sprintf("%016x", revision+1))
			done, err := script.Exec(ctx, c, []string{key(i)}, []string{fmt.Sprintf("%016x", revision), string(value)}).AsInt64()
			if err == nil && done != 1 {
				err = errors.New("the script refused the right revision")
			}
			return err
		},
		peers: []peer{
			{"scs", func() site {
				client := redis.NewClient(&redis.Options{Addr: r.Addr()})
				s := scsSite(goredisstore.New(client))
				s.close = client.Close
				return s
			}},
			{"gorilla", func() site {
				key := make([]byte, 32)
				_, _ = rand.Read(key)
				st := must(redistore.NewRediStore(16, "tcp", r.Addr(), "", "", key))
				s := gorillaSite(st)
				s.close = st.Close
				return s
			}},
		},
	}
}

func pgBackend(pg *servertest.PostgreSQLServer, pool *pgxpool.Pool) *backend {
	open := func(options, space string) sharedStore {
		return must(pgstore.Open(context.Background(), pg.URL()+options, pgstore.Options{Schema: space}))
	}
	const insert = "INSERT INTO raw VALUES ($1, 1, $2)"
	const update = "UPDATE raw SET revision = revision + 1, data = $3 WHERE id = $1 AND revision = $2"
	return &backend{
		name:  "postgresql",
		open:  func(space string) sharedStore { return open("", space) },
		hurry: func(space string) sharedStore { return open("&options=-c%20synchronous_commit%3Doff", space) },
		kept: func(space string) (bytes float64) {
			must(pool.Exec(context.Background(), "VACUUM (ANALYZE)"))
			check(pool.QueryRow(context.Background(), `SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8
				FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'`, space).Scan(&bytes))
			return bytes
		},
		spent: func() figures {
			var logged float64
			check(pool.QueryRow(context.Background(), "SELECT (pg_current_wal_insert_lsn() - '0/0')::float8").Scan(&logged))
			return figures{"cpu-ns": 1e9 * processTreeCPU(pg.PID()), "log-B": logged}
		},
		get: func(ctx context.Context, i int) error {
			var revision int64
			var data []byte
			return pool.QueryRow(ctx, "SELECT revision, data FROM raw WHERE id = $1", i).Scan(&revision, &data)
		},
		set: func(ctx context.Context, i, revision int) error {
			value := make([]byte, rawSize)
			noise(value, i, uint64(revision))
			if revision == 0 {
				_, err := pool.Exec(ctx, insert, i, value)
				return err
			}
			tag, err := pool.Exec(ctx, update, i, revision, value)
			if err == nil && tag.RowsAffected() != 1 {
				err = errors.New("the update refused the right revision")
			}
			return err
		},
		peers: []peer{{"scs", func() site {
			pool := newPool(pg.URL())
			must(pool.Exec(context.Background(), `CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL);
				CREATE INDEX IF NOT EXISTS sessions_expiry_idx ON sessions (expiry)`))
			s := scsSite(pgxstore.NewWithCleanupInterval(pool, 0))
			s.close = func() error { pool.Close(); return nil }
			return s
		}}},
	}
}

// processTreeCPU returns the CPU seconds of a process and its children, of those
// that have ended too. See proc_pid_stat(5).
func processTreeCPU(pid int) (seconds float64) {
	children := must(os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)))
	for _, pid := range append(strings.Fields(string(children)), strconv.Itoa(pid)) {
		text, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			continue // it has ended meanwhile
		}
		_, rest, _ := strings.Cut(string(text), ") ") // after the name, which may hold blanks
		for _, ticks := range strings.Fields(rest)[11:15] {
			n, _ := strconv.ParseFloat(ticks, 64)
			seconds += n / 100 // on every Linux that Go runs on
		}
	}
	return seconds
}

// A node is what an application has on each machine: a connection to the store,
// and a cache in front of it.
type node struct {
	store sharedStore
	cache *nearcache.Cache
}

// openNodes opens n nodes in this process. They are closed when the benchmark ends.
func (be *backend) openNodes(b *testing.B, space string, n int) (nodes []*node) {
	for range n {
		s := be.open(space)
		c := nearcache.NewShared(s, nearcache.Options{})
		b.Cleanup(func() { c.Close() })
		nodes = append(nodes, &node{s, c})
	}
	for _, n := range nodes {
		for start := time.Now(); !n.cache.Stats().Live; time.Sleep(time.Millisecond) {
			if time.Since(start) > patience {
				b.Fatal("a cache doesn't trust its feed")
			}
		}
	}
	return nodes
}

// patience is how long something may take that usually takes a moment.
const patience = 20 * time.Second

// openEngines opens three nodes with an engine on each.
func (be *backend) openEngines(b *testing.B, space string, opt sojourn.Options) (engines []*sojourn.Engine) {
	for _, n := range be.openNodes(b, space, 3) {
		e := must(sojourn.New(n.cache, opt))
		b.Cleanup(func() { e.Close(context.Background()) })
		engines = append(engines, e)
	}
	return engines
}
