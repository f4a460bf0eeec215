package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/sqlite3store"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/drivers/sqlitestore"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// workDir is where files are: BENCH_DIR, which must be on a disk for the figures
// to mean anything, or a temporary directory. TestMain removes the latter.
var workDir = sync.OnceValue(func() string {
	if dir := os.Getenv("BENCH_DIR"); dir != "" {
		return dir
	}
	dir, err := os.MkdirTemp("", "sojourn-bench-")
	if err := errors.Join(err, os.Chmod(dir, 0o711)); err != nil { // PostgreSQL's user enters it
		panic(err)
	}
	atExit = func() { os.RemoveAll(dir) }
	return dir
})

// sized returns n, or few under -short.
func sized(n, few int) int {
	if testing.Short() {
		return few
	}
	return n
}

// A storeFile is the path of a store's file, in a directory that holds nothing
// else.
type storeFile string

func newStoreFile(tb testing.TB) storeFile {
	return storeFile(filepath.Join(newDir(tb), "sessions.db"))
}

func newDir(tb testing.TB) string {
	dir := must(os.MkdirTemp(workDir(), "bench-"))
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// open allows for millions of sessions.
func (f storeFile) open(tb testing.TB) *sqlitestore.Store {
	s := must(sqlitestore.Open(tb.Context(), string(f), sqlitestore.Options{MaxBytes: 64 << 30}))
	return s
}

// size is that of the file with everything that lies beside it.
func (f storeFile) size(tb testing.TB) (total int64) {
	entries := must(os.ReadDir(filepath.Dir(string(f))))
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // otherwise it was removed meanwhile
			total += info.Size()
		}
	}
	return total
}

// baseFile returns a closed file with n samples. It is made once in BENCH_DIR, as
// an application would: each of 512 writers waits for its acknowledgement.
func baseFile(tb testing.TB, n int) storeFile {
	dir := filepath.Join(workDir(), fmt.Sprintf("base-%d", n))
	if _, err := os.Stat(dir); err == nil {
		return storeFile(filepath.Join(dir, "sessions.db"))
	}
	made := newStoreFile(tb)
	s := made.open(tb)
	fixed.fill(s, 0, n, 512)
	check(errors.Join(s.Close(), os.Rename(filepath.Dir(string(made)), dir)))
	return storeFile(filepath.Join(dir, "sessions.db"))
}

// copyOf returns a copy of a closed file. It copies page by page, as a database
// writes: the system keeps large pieces of what is written in large pieces, and a
// sync of one page in them takes up to half as long again.
func (f storeFile) copyOf(tb testing.TB) storeFile {
	to := newStoreFile(tb)
	src := must(os.Open(string(f)))
	defer src.Close()
	dst := must(os.Create(string(to)))
	must(io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, pageSize)))
	check(errors.Join(dst.Sync(), dst.Close()))
	return to
}

// BenchmarkFileRequest measures requests through the middleware, which answer when
// the session is on the disk: on sqlitestore with a million other sessions, beside
// what is possible and other libraries. scs has as durable a SQLite, but writes
// without comparing revisions; gorilla's files are never synced. Both start empty.
// -by-n is the number of visitors, each with a session of its own; in mixed, one
// of ten requests changes it.
func BenchmarkFileRequest(b *testing.B) {
	n := sized(1_000_000, 2000)
	visitors := []int{1, 16, 128, 512}
	if testing.Short() {
		visitors = []int{1, 16}
	}
	sites := lazily(b,
		peer{"sojourn", func() site {
			return sojournSite(baseFile(b, n).copyOf(b).open(b), sojourn.Options{})
		}},
		peer{"bare-log", func() site { return bareLogSite(newDir(b), 1024) }},
		peer{"bare-write-and-sync", func() site { return bareLogSite(newDir(b), 1) }},
		peer{"scs-sqlite", func() site { return scsFileSite(newDir(b)) }},
		peer{"gorilla-files", openGorillaFiles},
	)
	requestCase{name: "create", op: create}.atOnceOn(b, "", visitors, sites)
	requestCase{name: "change-string", setup: []op{create}, op: change}.atOnceOn(b, "", visitors, sites)
	requestCase{name: "mixed", setup: []op{create, change}, op: readChanged, tenth: change}.atOnceOn(b, "", visitors, sites)
}

// scsFileSite sets WAL and synchronous=FULL as sqlitestore does; scs sets neither.
// With more than one connection, scs's writers fail with SQLITE_BUSY.
func scsFileSite(dir string) site {
	options := url.Values{
		"_pragma":      {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)"},
		"_time_format": {"sqlite"}, // otherwise SQLite's julianday() can't read the driver's times
	}
	db := must(sql.Open("sqlite", "file:"+filepath.Join(dir, "scs.db")+"?"+options.Encode()))
	db.SetMaxOpenConns(1)
	must(db.Exec(`CREATE TABLE sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL);
		CREATE INDEX sessions_expiry_idx ON sessions(expiry)`)) // as its README says
	s := scsSite(sqlite3store.NewWithCleanupInterval(db, 0))
	s.close = db.Close
	return s
}

// BenchmarkFileUpdate changes sessions of a million by compare-and-set: those in
// use, which lie near together, or any, where each changes a page of its own.
func BenchmarkFileUpdate(b *testing.B) {
	n := sized(1_000_000, 2000)
	st := baseFile(b, n).copyOf(b).open(b)
	defer st.Close()
	for name, of := range map[string]int{"in-use": min(inUse, n), "any": n} {
		b.Run("case=update-"+name+"-by-128/peer=sojourn", func(b *testing.B) {
			atOnce(b, 128, func(w int) func() error { return anyUpdater(fixed, st, of) })
		})
	}
}

// anyUpdater reads and changes any of n samples.
func anyUpdater(smp samples, st store.Store, n int) func() error {
	var rec store.Record
	return func() error {
		i := rand.IntN(n)
		err := errors.Join(smp.get(st, &rec, i, true), smp.change(st, &rec, i))
		if errors.Is(err, store.ErrConflict) { // another goroutine changed the same
			return nil
		}
		return err
	}
}

// BenchmarkCachedRead reads sessions that are in use, by as many goroutines as
// there are CPUs: in memstore, in sqlitestore behind nearcache, and in
// sqlitestore itself. All hold the same sessions.
func BenchmarkCachedRead(b *testing.B) {
	n, hot := sized(1_000_000, 2000), sized(100_000, 1000)
	memory := sync.OnceValue(func() store.Store {
		s := memstore.NewLimited(16 << 30)
		b.Cleanup(func() { s.Close() })
		fixed.fill(s, 0, n, 2)
		return s
	})
	cache := sync.OnceValues(func() (cache, file store.Store) {
		f := baseFile(b, n).copyOf(b).open(b)
		c := nearcache.New(f, nearcache.Options{})
		b.Cleanup(func() { c.Close() }) // closes f
		readAll(c, hot)
		return c, f
	})
	b.Run("case=get/peer=sojourn-memstore", func(b *testing.B) { benchmarkGet(b, fixed, hot, false, memory()) })
	b.Run("case=get/peer=sojourn-cached", func(b *testing.B) {
		c, _ := cache()
		benchmarkGet(b, fixed, hot, true, c)
	})
	b.Run("case=get/peer=sojourn", func(b *testing.B) {
		_, f := cache()
		benchmarkGet(b, fixed, hot, false, f)
	})
}

func readAll(s store.Store, n int) {
	spread(0, n, 2, func() func(int) error {
		var rec store.Record
		return func(i int) error { return fixed.get(s, &rec, i, false) }
	})
}

// benchmarkGet reads any of n samples, from one of the stores after the other.
func benchmarkGet(b *testing.B, smp samples, n int, cached bool, stores ...store.Store) {
	var seed atomic.Uint64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var rec store.Record
		turn := int(seed.Add(1))
		random := rand.New(rand.NewPCG(uint64(turn), 17))
		for pb.Next() {
			turn++
			err := smp.get(stores[turn%len(stores)], &rec, random.IntN(n), false)
			if err == nil && cached && !rec.Cached {
				err = errors.New("not from memory")
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkSteady creates 10,000 sessions a second for a minute, checkpoints
// included, in a file of a million. A latency counts from when the creation was
// due. Run it with -benchtime 1x.
func BenchmarkSteady(b *testing.B) {
	n, rate, d := sized(1_000_000, 2000), sized(10_000, 500), time.Duration(sized(60_000, 200))*time.Millisecond
	st := baseFile(b, n).copyOf(b).open(b)
	defer st.Close()
	limit := openBareLog(newDir(b), 1024)
	defer limit.Close()
	for _, peer := range []struct {
		name   string
		worker func(w int) func(i int) error
	}{
		{"sojourn", func(int) func(int) error {
			var rec store.Record
			return func(i int) error { return fixed.create(st, &rec, n+i) }
		}},
		{"bare-log", func(int) func(int) error {
			write := limit.writer()
			return func(int) error { return write() }
		}},
	} {
		b.Run(fmt.Sprintf("case=create-%d-a-second/peer=%s", rate, peer.name), func(b *testing.B) {
			ctx, cancel := context.WithTimeout(b.Context(), d)
			defer cancel()
			h := pace(ctx, rate, 128, peer.worker)
			b.ReportMetric(0, "ns/op")
			h.report(b, "", 0.5, 0.99, 0.999, 0.9999, 1)
		})
	}
}

// BenchmarkOpen opens a file, warm or cold: then the system holds nothing of it
// in memory. Each is measured in a process of its own, for its memory: after
// opening, and after 200,000 reads of random sessions. Run it with -benchtime 1x.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{sized(1_000_000, 2000), sized(5_000_000, 3000)} {
		for _, state := range []string{"warm", "cold"} {
			b.Run(fmt.Sprintf("case=%d-sessions-%s/peer=sojourn", n, state), func(b *testing.B) {
				path := baseFile(b, n)
				alone(b, func(b *testing.B) {
					if state == "cold" {
						dropPages(b, string(path))
					}
					measureOpen(b, path, n)
				})
			})
		}
	}
}

func measureOpen(b *testing.B, path storeFile, n int) {
	b.ReportMetric(float64(path.size(b))/float64(n), "disk-B/session")
	before := settledMemory()
	start := time.Now()
	s := path.open(b)
	defer s.Close()
	b.ReportMetric(float64(time.Since(start)), "open-ns")
	var rec store.Record
	start = time.Now()
	check(fixed.get(s, &rec, n/2, true))
	b.ReportMetric(float64(time.Since(start)), "first-read-ns")
	b.ReportMetric(settledMemory()-before, "opened-B")
	random := rand.New(rand.NewPCG(3, 5))
	for range min(200_000, n) {
		check(fixed.get(s, &rec, random.IntN(n), false))
	}
	b.ReportMetric(settledMemory()-before, "reading-B")
	b.ReportMetric(0, "ns/op")
}

// dropPages makes the system forget what it holds of a file in memory.
func dropPages(b *testing.B, path string) {
	f := must(os.Open(path))
	defer f.Close()
	// It doesn't forget what isn't written yet.
	check(errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)))
}

// BenchmarkTurnover creates and sweeps the sessions of a day, on a clock that runs
// as fast as the store can follow: ten times as many come and expire as live at
// once. The metrics compare the largest and the last size of the file with the
// size when as many lived for the first time. Run it with -benchtime 1x.
func BenchmarkTurnover(b *testing.B) {
	b.Run("case=a-day/peer=sojourn", func(b *testing.B) {
		const step, steps = 10 * time.Minute, 144
		perStep := sized(1388, 10)
		life := 14 * step
		path := newStoreFile(b)
		s := path.open(b)
		defer s.Close()
		at := func(i int) store.Time { return fixed.start.Add(time.Duration(i) * step / time.Duration(perStep)) }
		create := func(from int) {
			spread(from, from+perStep, 128, func() func(int) error {
				var rec store.Record
				return func(i int) error {
					fixed.record(&rec, i)
					rec.CreatedAt, rec.AuthenticatedAt, rec.LastSeenAt, rec.ExpiresAt, rec.Idle = at(i), at(i), at(i), at(i).Add(life), life
					_, err := s.Create(context.Background(), app, &rec, store.CreateOptions{Arrived: at(i), Now: at(i)})
					return err
				}
			})
		}
		var first, most, last int64
		for i := range steps {
			create(i * perStep)
			if i < 13 {
				continue
			}
			if last = path.size(b); first == 0 {
				first = last
			}
			most = max(most, last)
			must(sweepAll(s, at((i+1)*perStep)))
		}
		b.ReportMetric(float64(first), "first-B")
		b.ReportMetric(float64(most)/float64(first), "most/first")
		b.ReportMetric(float64(last)/float64(first), "last/first")
	})
}
