package main

import (
	"context"

	"github.com/sojourn-go/sojourn/drivers/pgstore"
	"github.com/sojourn-go/sojourn/drivers/redisstore"
)

// backends are the stores for many nodes.
func (s *servers) backends() []*backend { return []*backend{s.redisBackend(), s.pgBackend()} }

func (s *servers) redisBackend() *backend {
	open := func(ctx context.Context, space string) (sharedStore, error) {
		return redisstore.Open(ctx, s.redis.URL(), redisstore.Options{Prefix: space})
	}
	return &backend{
		name: redisDriver, open: open, hurry: open,
		spent: s.redisSpent, kept: s.redisKept,
		limitOfReads: s.redisReads, limitOfWrites: s.redisWrites,
	}
}

func (s *servers) pgBackend() *backend {
	open := func(ctx context.Context, url, space string) (sharedStore, error) {
		return pgstore.Open(ctx, url, pgstore.Options{Schema: space})
	}
	return &backend{
		name: pgDriver,
		open: func(ctx context.Context, space string) (sharedStore, error) { return open(ctx, s.pg.URL(), space) },
		hurry: func(ctx context.Context, space string) (sharedStore, error) {
			return open(ctx, s.pg.URL()+"&options=-c%20synchronous_commit%3Doff", space)
		},
		spent: s.pgSpent, kept: s.pgKept,
		limitOfReads: s.pgReads, limitOfWrites: s.pgWrites,
	}
}
