package memstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// typical returns the n-th session of the kind that the memory target is about: a user ID of 11 bytes, 100 bytes of
// values, one of 1,000 user agents; every second one was rotated eight times.
func typical(rnd *rand.Rand, n int) *store.Record {
	const start = store.Time(1_790_000_000_000)
	created := start + store.Time(n)
	var id store.ID
	binary.BigEndian.PutUint64(id[:], uint64(created)<<16|0x7000|rnd.Uint64()&0xfff)
	binary.BigEndian.PutUint64(id[8:], rnd.Uint64()>>2|1<<63)
	hash := func() (h store.Hash) {
		for i := 0; i < len(h); i += 8 {
			binary.LittleEndian.PutUint64(h[i:], rnd.Uint64())
		}
		return h
	}
	client := store.Client{
		IP:        netip.AddrFrom4([4]byte(binary.LittleEndian.AppendUint32(nil, rnd.Uint32()))),
		UserAgent: agents[n%len(agents)],
	}
	rec := &store.Record{
		ID: id, Subject: fmt.Sprintf("user%07d", n), Epoch: 1,
		Secret:    store.Secret{Hash: hash(), IssuedAt: created, ConfirmedAt: created, Login: true},
		EpochHash: hash(), CreatedAt: created, AuthenticatedAt: created, LastSeenAt: created,
		Idle: 24 * time.Hour, ExpiresAt: created.Add(30 * 24 * time.Hour), AMR: "pwd", Level: 1,
		Client: client, LastClient: client,
		Values: store.Values(nil).AppendSet(nil, "cart", []byte(fmt.Sprintf(`{"x":"%086d"}`, n))),
	}
	if n%2 == 1 {
		const step = store.Time(15 * time.Minute / time.Millisecond)
		at := created
		for i := range 8 {
			at += step + store.Time(rnd.IntN(60_000))
			if i > 3 {
				h := hash()
				rec.Spent = append(rec.Spent, store.Spent{Print: h.Print(), Until: at})
			}
		}
		rec.Good = []store.Secret{{Hash: hash(), IssuedAt: at, FirstSeenAt: at + 73, ConfirmedAt: at + 61_000, Until: at + step}}
		at += step
		rec.Secret = store.Secret{Hash: hash(), IssuedAt: at, FirstSeenAt: at + 73, ConfirmedAt: at + 61_000}
		rec.LastSeenAt = at
	}
	return rec
}

var agents = func() (list [1000]string) {
	for i := range list {
		list[i] = fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", i)
	}
	return list
}()

var now = store.Time(1_790_000_000_000)

func filled(b testing.TB, n int) (*Store, []store.ID) {
	s := NewLimited(16 << 30)
	b.Cleanup(func() { s.Close() })
	rnd := rand.New(rand.NewPCG(1, 2))
	ids := make([]store.ID, n)
	for i := range ids {
		rec := typical(rnd, i)
		ids[i] = rec.ID
		if _, err := s.Create(context.Background(), "shop", rec, store.CreateOptions{Now: rec.CreatedAt, Arrived: rec.CreatedAt}); err != nil {
			b.Fatal(err)
		}
	}
	return s, ids
}

func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1000, 200_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, ids := filled(b, n)
			var rec store.Record
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := s.Get(context.Background(), "shop", ids[i*7919%n], false, &rec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkTouch(b *testing.B) {
	s, ids := filled(b, 1000)
	var rec store.Record
	s.Get(context.Background(), "shop", ids[0], true, &rec)
	at := rec.LastSeenAt
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		at++
		if err := s.Touch(context.Background(), "shop", ids[0], at, at, rec.LastClient); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	s, ids := filled(b, 1000)
	var rec store.Record
	s.Get(context.Background(), "shop", ids[0], true, &rec)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Update(context.Background(), "shop", &rec, store.UpdateOptions{Now: now}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	for _, anonymous := range []bool{false, true} {
		b.Run(fmt.Sprintf("anonymous=%v", anonymous), func(b *testing.B) {
			s := NewLimited(16 << 30)
			defer s.Close()
			rnd := rand.New(rand.NewPCG(1, 2))
			list := make([]*store.Record, 100_000)
			for i := range list {
				list[i] = typical(rnd, i)
				if anonymous {
					list[i].Subject = ""
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				rec := list[i%len(list)]
				binary.LittleEndian.PutUint64(rec.ID[8:], rnd.Uint64())
				if _, err := s.Create(context.Background(), "shop", rec, store.CreateOptions{Now: now, Arrived: now, Limit: store.Limit{Max: 100000}}); err != nil {
					b.Fatal(err)
				}
				if i%len(list) == len(list)-1 {
					b.StopTimer()
					s.Close()
					s = NewLimited(16 << 30)
					b.StartTimer()
				}
			}
		})
	}
}
