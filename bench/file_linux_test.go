package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/sqlite3store"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/drivers/sqlitestore"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// A storeFile is the path of a store's file, alone in its directory.
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
	return must(sqlitestore.Open(tb.Context(), string(f), sqlitestore.Options{MaxBytes: 64 << 30}))
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
	if _, err := os.Stat(dir); err != nil {
		made := newStoreFile(tb)
		s := made.open(tb)
		fixed.fill(s, 0, n, 512)
		check(errors.Join(s.Close(), os.Rename(filepath.Dir(string(made)), dir)))
	}
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
	visitors := []int{1, 16, 128, 512}[:sized(4, 2)]
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
			atOnce(b, 128, updateAny(fixed, st, of))
		})
	}
}

// updateAny reads and changes any of n samples.
func updateAny(smp samples, st store.Store, n int) call {
	return func(h *hand, _ int) error {
		i := rand.IntN(n)
		err := errors.Join(smp.get(st, &h.rec, i, true), smp.change(st, &h.rec, i))
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
	memory := filledMemory(b, n)
	file := baseFile(b, n).copyOf(b).open(b)
	cache := nearcache.New(file, nearcache.Options{})
	defer cache.Close() // closes the file
	readAll(cache, hot)
	b.Run("case=get/peer=sojourn-memstore", func(b *testing.B) { benchmarkGet(b, fixed, hot, false, memory) })
	b.Run("case=get/peer=sojourn-cached", func(b *testing.B) { benchmarkGet(b, fixed, hot, true, cache) })
	b.Run("case=get/peer=sojourn", func(b *testing.B) { benchmarkGet(b, fixed, hot, false, file) })
}

func readAll(s store.Store, n int) {
	spread(0, n, 2, func(h *hand, i int) error { return fixed.get(s, &h.rec, i, false) })
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
// included, in a file of a million.
func BenchmarkSteady(b *testing.B) {
	n, rate, d := sized(1_000_000, 2000), sized(10_000, 500), time.Duration(sized(60_000, 200))*time.Millisecond
	st := baseFile(b, n).copyOf(b).open(b)
	defer st.Close()
	limit := openBareLog(newDir(b), 1024)
	defer limit.Close()
	for _, peer := range []struct {
		name string
		do   call
	}{
		{"sojourn", func(h *hand, i int) error { return fixed.create(st, &h.rec, n+i) }},
		{"bare-log", func(*hand, int) error { return limit.append() }},
	} {
		b.Run(fmt.Sprintf("case=create-%d-a-second/peer=%s", rate, peer.name), func(b *testing.B) {
			ctx, cancel := context.WithTimeout(b.Context(), d)
			defer cancel()
			took := pace(ctx, rate, 128, peer.do)
			b.ReportMetric(0, "ns/op")
			took.report(b.ReportMetric, "", 50, 99, 99.9, 99.99, 100)
		})
	}
}

// BenchmarkOpen opens a file, warm or cold: then the system holds nothing of it
// in memory. Each is measured in a process of its own, for its memory: after
// opening, and after 200,000 reads of random sessions.
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
// size when as many lived for the first time.
func BenchmarkTurnover(b *testing.B) {
	b.Run("case=a-day/peer=sojourn", func(b *testing.B) {
		const step, steps = 10 * time.Minute, 144
		perStep := sized(1388, 10)
		life := 14 * step
		path := newStoreFile(b)
		s := path.open(b)
		defer s.Close()
		at := func(i int) store.Time { return fixed.start.Add(time.Duration(i) * step / time.Duration(perStep)) }
		create := func(h *hand, i int) error {
			rec, now := &h.rec, at(i)
			fixed.record(rec, i)
			rec.CreatedAt, rec.AuthenticatedAt, rec.LastSeenAt, rec.ExpiresAt, rec.Idle = now, now, now, now.Add(life), life
			_, err := s.Create(context.Background(), app, rec, store.CreateOptions{Arrived: now, Now: now})
			return err
		}
		var first, most, last int64
		for i := range steps {
			spread(i*perStep, (i+1)*perStep, 128, create)
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

const (
	pageSize = 4096     // of files and of the system
	logSize  = 64 << 20 // of a bare log
)

// A bareLog is the limit of every store that syncs: one goroutine appends what all
// waiting writers bring, syncs once, and acknowledges all. It writes over blocks
// that exist, so that a sync writes only data.
type bareLog struct {
	file     *os.File
	at       int64
	most     int             // records in a group
	requests chan chan error // each is a record to write
	stopped  chan struct{}
}

// record is as long as a session of the samples in binary form.
var record = make([]byte, 340)

func openBareLog(dir string, most int) *bareLog {
	file := must(os.Create(filepath.Join(dir, "log")))
	for at := int64(0); at < logSize; at += pageSize {
		must(file.WriteAt(make([]byte, pageSize), at))
	}
	check(file.Sync())
	l := &bareLog{file: file, most: most, requests: make(chan chan error, most), stopped: make(chan struct{})}
	go l.run()
	return l
}

func (l *bareLog) run() {
	defer close(l.stopped)
	var group []chan error
	var b []byte
	for first := range l.requests {
		group, b = append(group[:0], first), append(b[:0], record...)
		for len(l.requests) > 0 && len(group) < l.most {
			group, b = append(group, <-l.requests), append(b, record...)
		}
		err := l.write(b)
		for _, done := range group {
			done <- err
		}
	}
}

// write returns when b is on disk.
func (l *bareLog) write(b []byte) error {
	if l.at+int64(len(b)) > logSize {
		l.at = 0
	}
	must(l.file.WriteAt(b, l.at))
	l.at += int64(len(b))
	for {
		if err := unix.Fdatasync(int(l.file.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// append returns when a record is on disk.
func (l *bareLog) append() error {
	done := make(chan error, 1)
	l.requests <- done
	return <-done
}

func (l *bareLog) Close() error {
	close(l.requests)
	<-l.stopped
	return l.file.Close()
}

// bareLogSite logs a record for each session that is created or changed. A read
// costs it nothing.
func bareLogSite(dir string, most int) site {
	l := openBareLog(dir, most)
	s := newHTTPSite()
	s.close = l.Close
	for _, o := range []op{create, change} {
		s.handlers[o] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			answer(w, ok, l.append())
		})
	}
	s.handlers[readChanged] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, ok, nil) })
	return s
}
