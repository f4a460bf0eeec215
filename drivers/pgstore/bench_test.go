package pgstore

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sojourn-go/sojourn/store"
)

const benchApp = "shop"

// newSession returns a session with about 250 bytes of values.
func newSession(subject string, now store.Time) *store.Record {
	rec := &store.Record{
		Subject: subject, Epoch: 1, CreatedAt: now, LastSeenAt: now, Idle: time.Hour, ExpiresAt: now.Add(24 * time.Hour),
		Client: store.Client{IP: netip.MustParseAddr("192.0.2.7"), UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
	}
	binary.BigEndian.PutUint64(rec.ID[:], uint64(now)<<16|0x7000|rand.Uint64N(1<<12))
	binary.BigEndian.PutUint64(rec.ID[8:], rand.Uint64()>>2|1<<63)
	for i := range rec.Secret.Hash {
		rec.Secret.Hash[i], rec.EpochHash[i] = byte(rand.Uint32()), byte(rand.Uint32())
	}
	rec.Secret.IssuedAt, rec.Secret.FirstSeenAt, rec.Secret.ConfirmedAt = now, now, now
	rec.LastClient = rec.Client
	if subject != "" {
		rec.AuthenticatedAt, rec.AMR, rec.Level = now, "pwd", 1
	}
	for _, key := range []string{"cart", "language", "theme"} {
		rec.Values = rec.Values.AppendSet(nil, key, []byte(`{"items":[{"sku":"A-`+strconv.Itoa(rand.IntN(1e6))+`","n":2},{"sku":"B-77","n":1}]}`))
	}
	return rec
}

func BenchmarkGet(b *testing.B) {
	s := openNew(b)
	now := store.TimeOf(time.Now())
	var ids []store.ID
	for range 1000 {
		rec := newSession("alice", now)
		if _, err := s.Create(b.Context(), benchApp, rec, store.CreateOptions{Arrived: now, Now: now}); err != nil {
			b.Fatal(err)
		}
		ids = append(ids, rec.ID)
	}
	execute(b, shared(b).URL(), `VACUUM ANALYZE "`+s.opt.Schema+`".sessions`)
	b.Run("Store", func(b *testing.B) {
		b.ReportAllocs()
		var rec store.Record
		for i := 0; b.Loop(); i++ {
			if err := s.Get(b.Context(), benchApp, ids[i%len(ids)], true, &rec); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, text := range map[string]string{ // the same row by pgx alone
		"SELECT":         "SELECT * FROM sojourn.sessions WHERE app = 1 AND id = $1",
		"SELECTWithMark": "SELECT s.*, a.ended_all_at FROM sojourn.apps a JOIN sojourn.sessions s ON s.app = a.num WHERE a.name = 'shop' AND s.id = $1",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			pool, err := pgxpool.New(b.Context(), shared(b).URL())
			if err != nil {
				b.Fatal(err)
			}
			defer pool.Close()
			text := in(s.opt.Schema, text)
			for i := 0; b.Loop(); i++ {
				rows, err := pool.Query(b.Context(), text, uuid(ids[i%len(ids)]))
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for rows.Next() {
					n += len(rows.RawValues())
				}
				rows.Close()
				if err := rows.Err(); err != nil || n < len(columns) {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkWrites(b *testing.B) {
	now := store.TimeOf(time.Now())
	for _, c := range []struct {
		name string
		prep int
		call func(ctx context.Context, s *Store, rec *store.Record) error
	}{
		{"CreateAnonymous", 0, func(ctx context.Context, s *Store, rec *store.Record) error {
			fresh := newSession("", now)
			_, err := s.Create(ctx, benchApp, fresh, store.CreateOptions{Arrived: now, Now: now})
			return err
		}},
		{"Update", 1, func(ctx context.Context, s *Store, rec *store.Record) error {
			_, err := s.Update(ctx, benchApp, rec, store.UpdateOptions{Arrived: now, Now: now})
			return err
		}},
		{"Touch", 1, func(ctx context.Context, s *Store, rec *store.Record) error {
			rec.LastSeenAt++
			return s.Touch(ctx, benchApp, rec.ID, rec.LastSeenAt, now, rec.Client)
		}},
		{"Login", 0, func(ctx context.Context, s *Store, rec *store.Record) error {
			fresh := newSession("user"+strconv.Itoa(rand.IntN(10_000)), now)
			_, err := s.Create(ctx, benchApp, fresh, store.CreateOptions{Arrived: now, Now: now, Limit: store.Limit{Max: 100}})
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := openNew(b)
			for _, parallel := range []int{1, 16} {
				b.Run(strconv.Itoa(parallel), func(b *testing.B) {
					var failed atomic.Int32
					b.SetParallelism((parallel + 1) / 2)
					b.RunParallel(func(pb *testing.PB) {
						rec := newSession("alice", now)
						if c.prep > 0 {
							if _, err := s.Create(b.Context(), benchApp, rec, store.CreateOptions{Arrived: now, Now: now}); err != nil {
								b.Error(err)
							}
						}
						for pb.Next() {
							if err := c.call(b.Context(), s, rec); err != nil {
								failed.Add(1)
								b.Error(err)
								return
							}
						}
					})
				})
			}
		})
	}
}
