package nearcache_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"slices"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// scannable returns the bytes of heap that a garbage collection has to scan.
func scannable() int64 {
	runtime.GC()
	s := []metrics.Sample{{Name: "/gc/scan/heap:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// sized returns a session with n bytes of values.
func sized(n int) *store.Record {
	rec := session("alice")
	rec.Values = store.Values(nil).AppendSet(nil, "x", append(slices.Insert(make([]byte, n), 0, '"'), '"'))
	return rec
}

// TestMemoryIsBounded writes, reads and changes ten times as many sessions as
// fit, of all sizes.
func TestMemoryIsBounded(t *testing.T) {
	const limit = 8 << 20
	mem := memstore.New()
	c := nearcache.New(mem, nearcache.Options{MaxBytes: limit})
	defer c.Close()
	f := &fixture{TB: t, Cache: c}
	rnd := rand.New(rand.NewPCG(1, 2))
	var ids []store.ID
	half := int64(0)
	for i := 0; mem.Bytes() < 10*limit; i++ {
		if half == 0 && mem.Bytes() > 5*limit {
			half = scannable()
		}
		rec := sized(rnd.IntN(1 << rnd.IntN(17)))
		f.must(c.Create(ctx, app, rec, created))
		ids = append(ids, rec.ID)
		if i%3 == 0 {
			rec.Values = sized(rnd.IntN(1 << rnd.IntN(17))).Values
			f.must(c.Update(ctx, app, rec, updated))
		}
		f.must(f.get(ids[rnd.IntN(len(ids))]))
		if s := c.Stats(); s.Bytes > limit {
			t.Fatalf("%d bytes, the limit is %d", s.Bytes, limit)
		}
	}
	if grown := scannable() - half; grown > 1<<20 {
		t.Errorf("the collector scans %d bytes more with twice as many sessions", grown)
	}
	s := c.Stats()
	if s.Bytes < limit/2 || s.Evictions == 0 {
		t.Errorf("Stats = %+v", s)
	}
	t.Logf("Stats = %+v", s)
}

// TestLargeRecords checks that the cache does not keep a record that would
// displace too many others, nor the older record that it replaces.
func TestLargeRecords(t *testing.T) {
	f := owner(t)
	rec := sized(100)
	f.must(f.Create(ctx, app, rec, created))
	f.fromMemory(rec.ID)
	rec.Values = sized(nearcache.DefaultMaxBytes / 256).Values
	f.must(f.Update(ctx, app, rec, updated))
	f.fromStore(rec.ID, nil)
	f.fromStore(rec.ID, nil)
	rec.Values = sized(nearcache.DefaultMaxBytes / 512).Values
	f.must(f.Update(ctx, app, rec, updated))
	f.fromStore(rec.ID, nil)
	f.fromMemory(rec.ID)
}

// TestScan checks that sessions in use stay in memory while ten times as many
// as fit are read once.
func TestScan(t *testing.T) {
	c := nearcache.New(memstore.New(), nearcache.Options{MaxBytes: 2 << 20})
	defer c.Close()
	f := &fixture{TB: t, Cache: c}
	hot := make([]store.ID, 300)
	for i := range hot {
		rec := f.create("alice")
		hot[i] = rec.ID
	}
	before := c.Stats()
	for i := range 60_000 {
		f.create("")
		if i%2 == 0 {
			f.must(f.get(hot[rand.IntN(len(hot))]))
		}
	}
	if s := c.Stats(); s.Misses-before.Misses > 30 {
		t.Errorf("%d of 30,000 reads missed", s.Misses-before.Misses)
	}
}

func TestHitAllocates(t *testing.T) {
	for name, f := range map[string]*fixture{"owner": owner(t), "shared": shared(t, newNode())} {
		for !f.Stats().Live {
			runtime.Gosched()
		}
		rec := f.create("")
		var got store.Record
		n := testing.AllocsPerRun(100, func() { f.must(nil, f.Get(ctx, app, rec.ID, false, &got)) })
		if n != 0 || !got.Cached {
			t.Errorf("%s: %v allocations, cached %v", name, n, got.Cached)
		}
	}
}

// BenchmarkGet reads alternately from a memstore and from caches in front of
// it, and reports the medians.
func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			mem := newNode()
			own := nearcache.New(mem.Store, nearcache.Options{MaxBytes: 1 << 30})
			cluster := nearcache.NewShared(mem, nearcache.Options{MaxBytes: 1 << 30})
			defer own.Close()
			defer cluster.Close()
			for !cluster.Stats().Live {
				runtime.Gosched()
			}
			ids := make([]store.ID, n)
			var rec store.Record
			for i := range ids {
				r := session("alice")
				ids[i] = r.ID
				own.Create(ctx, app, r, created)
			}
			stores := []store.Store{mem.Store, own, cluster}
			names := []string{"memstore", "own", "shared"}
			var took [3][]time.Duration
			read := func(s store.Store, from, n int) {
				for i := from; i < from+n; i++ {
					if err := s.Get(ctx, app, ids[i*7919%len(ids)], false, &rec); err != nil {
						b.Fatal(err)
					}
				}
			}
			for _, s := range stores {
				read(s, 0, n)
			}
			const chunk = 100
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				for k := range stores {
					k = (k + i) % len(stores)
					begun := time.Now()
					read(stores[k], i*chunk, chunk)
					took[k] = append(took[k], time.Since(begun)/chunk)
				}
			}
			for k, name := range names {
				slices.Sort(took[k])
				b.ReportMetric(float64(took[k][len(took[k])/2]), name+"-ns/Get")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
