package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/pgxstore"
	"github.com/boj/redistore"
	"github.com/redis/go-redis/v9"
)

// sharedCases are the requests that are measured through the middleware.
var sharedCases = []benchCase{
	{name: "read the subject", setup: []op{login}, op: readSubject},
	{name: "read one string", setup: []op{create}, op: readTheme},
	{name: "change one string", setup: []op{create}, op: change, check: readChanged},
}

const (
	scsRedis      = "scs, Redis"
	scsPostgreSQL = "scs, PostgreSQL"
	gorillaRedis  = "gorilla, Redis"
)

// requests compares requests through the middleware: of this one with the cache and without, and of others on the same servers.
func (s *sharedRun) requests(ctx context.Context) (err error) {
	who, closeIdle, err := s.sharedContenders(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeIdle()) }()
	for _, c := range who {
		s.r.Notes = append(s.r.Notes, strings.TrimSpace(c.name+" "+c.version())+": "+c.note)
	}
	for _, n := range s.s.requests.goroutines {
		for _, c := range sharedCases {
			say := func(text string) { s.say("requests, " + c.name + ", " + visitorsWord(n) + text) }
			result, err := compareVisitors(ctx, who, c, n, s.s.requests.rounds, s.s.requests.slice, say)
			if err != nil {
				return err
			}
			s.r.Requests = append(s.r.Requests, result)
		}
	}
	return nil
}

// sharedContenders are the libraries with their stores on the servers. Of sojourn with its cache there are other nodes too, which serve nothing.
func (s *sharedRun) sharedContenders(ctx context.Context) (all []contender, closeIdle func() error, err error) {
	const space = "requests"
	var idle closeList
	closeIdle = func() error { return idle.close(nil) }
	all = []contender{{fromMemory, contenders[0].module, openSojourn, "one process"}}
	for _, b := range s.backends {
		_, closeNodes, err := b.openNodes(ctx, space, nodeCount-1)
		if err != nil {
			return nil, nil, errors.Join(err, closeIdle())
		}
		idle.add(closeNodes)
		all = append(all,
			contender{cached(b.name), contenders[0].module, func() (site, error) {
				nodes, closeNode, err := b.openNodes(ctx, space, 1)
				if err != nil {
					return nil, err
				}
				if err := nodes[0].waitLive(ctx); err != nil {
					return nil, errors.Join(err, closeNode())
				}
				return sojournSite(nodes[0].cache)
			}, "the driver behind nearcache.NewShared, beside two other nodes"},
			contender{b.name, contenders[0].module, func() (site, error) {
				st, err := b.open(ctx, space)
				if err != nil {
					return nil, err
				}
				return sojournSite(st)
			}, "the driver alone: each request reads the server"})
	}
	return append(all, s.servers.peers(ctx)...), closeIdle, nil
}

// peers are the other libraries.
func (s *servers) peers(ctx context.Context) []contender {
	return []contender{
		{scsRedis, "github.com/alexedwards/scs/goredisstore", func() (site, error) {
			client := redis.NewClient(&redis.Options{Addr: s.redis.Addr()})
			site := scsSite(goredisstore.New(client))
			site.close = client.Close
			return site, nil
		}, "scs with goredisstore: GET, and SET of the whole session by the last writer"},
		{scsPostgreSQL, "github.com/alexedwards/scs/pgxstore", func() (site, error) {
			pool, err := newPool(ctx, s.pg.URL())
			if err != nil {
				return nil, err
			}
			_, err = pool.Exec(ctx, `CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL);
				CREATE INDEX IF NOT EXISTS sessions_expiry_idx ON sessions (expiry)`)
			if err != nil {
				pool.Close()
				return nil, fmt.Errorf("bench: pgxstore: %w", err)
			}
			site := scsSite(pgxstore.NewWithCleanupInterval(pool, 0))
			site.close = func() error { pool.Close(); return nil }
			return site, nil
		}, "scs with pgxstore: the whole session by the last writer"},
		{gorillaRedis, "github.com/boj/redistore", func() (site, error) {
			key := make([]byte, 32)
			_, _ = rand.Read(key)
			store, err := redistore.NewRediStore(16, "tcp", s.redis.Addr(), "", "", key)
			if err != nil {
				return nil, err
			}
			site := gorillaSite(store)
			site.close = store.Close
			return site, nil
		}, "gorilla/sessions with boj/redistore: the whole session by the last writer"},
	}
}

func visitorsWord(n int) string {
	if n == 1 {
		return "1 visitor"
	}
	return fmt.Sprint(n, " visitors at once")
}
