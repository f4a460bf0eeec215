package console

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/drivers/sqlitestore"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// BenchmarkPages measures pages of the console over a million sessions in the
// embedded store:
//
//	go test -run - -bench Pages -benchtime 20x ./internal/console
func BenchmarkPages(b *testing.B) {
	w := newWorld(b)
	file, err := sqlitestore.Open(b.Context(), filepath.Join(b.TempDir(), "sojourn.db"), sqlitestore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, file, 1_000_000)
	st := nearcache.New(file, nearcache.Options{})
	b.Cleanup(func() { _ = st.Close() })
	if w.shop, err = sojourn.New(st, sojourn.Options{App: "shop"}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = w.shop.Close(context.Background()) })
	w.reload()
	operator := w.as("ann")
	for name, path := range map[string]string{
		"overview": "/", "list": "/apps/shop/sessions", "subject": "/find?q=user-777777", "subject's page": "/apps/shop/subject?subject=user-777777",
		"prefix": "/apps/shop/sessions?match=prefix&subject=user-7777", "filter": "/apps/shop/sessions?network=10.1.2.0%2F24",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if a := operator.get(path); a.StatusCode >= 400 {
					b.Fatal(a.StatusCode)
				}
			}
		})
	}
}

// fill creates sessions of users, some of them many.
func fill(b *testing.B, st store.Store, n int) {
	b.Helper()
	now := store.TimeOf(time.Now())
	var workers sync.WaitGroup
	const parallel = 128
	for worker := range parallel {
		workers.Go(func() {
			for i := worker; i < n; i += parallel {
				var id store.ID
				_, _ = rand.Read(id[:])
				binary.BigEndian.PutUint64(id[:8], uint64(now)<<16|0x7000|uint64(id[7]))
				id[8] = id[8]&0x3f | 0x80
				var ip [4]byte
				binary.BigEndian.PutUint32(ip[:], uint32(i)|10<<24)
				client := store.Client{IP: netip.AddrFrom4(ip), UserAgent: firefox}
				rec := store.Record{
					ID: id, Subject: fmt.Sprint("user-", i), CreatedAt: now, AuthenticatedAt: now, LastSeenAt: now, Idle: 24 * time.Hour, ExpiresAt: now.Add(30 * day),
					Client: client, LastClient: client, Secret: store.Secret{Hash: store.Hash(append(id[:], id[:]...)), IssuedAt: now},
				}
				if _, err := st.Create(context.Background(), "shop", &rec, store.CreateOptions{Now: now, Arrived: now}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
}
