package sqlitestore

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// typical is a login with a client and 100 bytes of values.
func typical(n int, at store.Time) *store.Record {
	rec := &store.Record{Subject: fmt.Sprintf("user-%d", rand.IntN(1_000_000)), Epoch: 1, CreatedAt: at, AuthenticatedAt: at, LastSeenAt: at,
		Idle: 24 * time.Hour, ExpiresAt: at + 30*86_400_000, AMR: "pwd", Level: 1, Secret: store.Secret{IssuedAt: at, ConfirmedAt: at, Login: true}}
	binary.BigEndian.PutUint64(rec.ID[:], uint64(at)<<16|0x7000|rand.Uint64()&0xfff)
	binary.BigEndian.PutUint64(rec.ID[8:], rand.Uint64())
	for i := range 4 {
		binary.BigEndian.PutUint64(rec.Secret.Hash[8*i:], rand.Uint64())
		binary.BigEndian.PutUint64(rec.EpochHash[8*i:], rand.Uint64())
	}
	rec.Client = store.Client{IP: netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}),
		UserAgent: fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", n%1000)}
	rec.LastClient = rec.Client
	rec.Values = rec.Values.AppendSet(nil, "data", fmt.Appendf(nil, `"%0100d"`, n))
	return rec
}

func BenchmarkCreate(b *testing.B) {
	for _, writers := range []int{1, 16, 128, 512} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			s := open(b)
			defer s.Close()
			var n atomic.Int64
			var all sync.WaitGroup
			start := store.TimeOf(time.Now())
			b.ReportAllocs()
			b.ResetTimer()
			for range writers {
				all.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						at := start + store.Time(i/20)
						if _, err := s.Create(context.Background(), "shop", typical(int(i), at), store.CreateOptions{Now: at, Arrived: at, Limit: store.Limit{Max: 100}}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := open(b)
	defer s.Close()
	var ids []store.ID
	at := store.TimeOf(time.Now())
	var all sync.WaitGroup
	for i := range 50_000 {
		rec := typical(i, at+store.Time(i/20))
		ids = append(ids, rec.ID)
		all.Go(func() { create(b, s, rec) })
	}
	all.Wait()
	var rec store.Record
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := s.Get(context.Background(), "shop", ids[i*7919%len(ids)], true, &rec); err != nil {
			b.Fatal(err)
		}
	}
}
