package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"
	"github.com/sojourn-go/sojourn/internal/servertest"
)

// servers are what the shared stores are measured on: on this machine, reached by its loopback.
type servers struct {
	redis *servertest.RedisServer
	pg    *servertest.PostgreSQLServer

	rueidis rueidis.Client // without a store on top: the limit
	pool    *pgxpool.Pool
}

// How the servers differ from their packages' defaults. The peers use the same.
var (
	redisConfig = []string{"appendonly yes", "appendfsync everysec", "auto-aof-rewrite-percentage 0"}
	pgConfig    = []string{"shared_buffers = 256MB", "max_wal_size = 4GB"}
)

// pgConnections is how many each pool of the peers and limits has, as pgstore's.
const pgConnections = 16

func startServers(ctx context.Context, dir string) (_ *servers, err error) {
	s := new(servers)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.redis, err = servertest.StartRedis(servertest.RedisOptions{Dir: dir, Config: redisConfig}); err != nil {
		return nil, err
	}
	if s.pg, err = servertest.StartPostgreSQL(servertest.PostgreSQLOptions{Dir: dir, Config: pgConfig}); err != nil {
		return nil, err
	}
	if s.rueidis, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.redis.Addr()}}); err != nil {
		return nil, err
	}
	s.pool, err = newPool(ctx, s.pg.URL())
	return s, err
}

func newPool(ctx context.Context, url string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = pgConnections
	return pgxpool.NewWithConfig(ctx, config)
}

func (s *servers) close() {
	if s.pool != nil {
		s.pool.Close()
	}
	if s.rueidis != nil {
		s.rueidis.Close()
	}
	if s.pg != nil {
		s.pg.Close()
	}
	if s.redis != nil {
		s.redis.Close()
	}
}

// describe says what the servers are, and how they are set up.
func (s *servers) describe(ctx context.Context) ([]string, error) {
	info, err := s.info(ctx, "server")
	if err != nil {
		return nil, err
	}
	var version string
	if err := s.pool.QueryRow(ctx, "SHOW server_version").Scan(&version); err != nil {
		return nil, err
	}
	version, _, _ = strings.Cut(version, " ")
	return []string{
		fmt.Sprintf("Redis %s (%s)", info["redis_version"], strings.Join(redisConfig, ", ")),
		fmt.Sprintf("PostgreSQL %s (%s; fsync and synchronous_commit on, as by default)", version, strings.Join(pgConfig, ", ")),
	}, nil
}

// info returns a section of Redis' INFO.
func (s *servers) info(ctx context.Context, section string) (map[string]string, error) {
	text, err := s.rueidis.Do(ctx, s.rueidis.B().Info().Section(section).Build()).ToString()
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			values[key] = value
		}
	}
	if len(values) == 0 {
		return nil, errors.New("bench: redis says nothing about " + section)
	}
	return values, nil
}
