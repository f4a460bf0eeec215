package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	scsmemory "github.com/alexedwards/scs/v2/memstore"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// A sweepTarget is a store whose even sessions expire at once.
type sweepTarget struct {
	n     int                         // sessions, of which the odd ones below it are read
	read  func(i int) error           // called by one goroutine
	write call                        // called 2,000 times a second; nil: nothing is written
	sweep func() (ended int, _ error) // returns when the even sessions are gone
	held  func() time.Duration        // the longest time that the store held a lock; nil: unknown
}

// BenchmarkSweep measures the reads of one goroutine, as fast as it can, and of
// sqlitestore also 2,000 durable writes a second, while half of a million sessions
// expire; beside the same without a sweep.
func BenchmarkSweep(b *testing.B) {
	n := sized(1_000_000, 2000)
	runSweeps(b, "read", "sojourn-memstore", func() sweepTarget {
		s := filledMemory(b, n)
		sweep := func() (int, error) { return sweepAll(s, expired) }
		return sweepTarget{n: n, read: reader(s), held: s.LongestHold, sweep: sweep}
	})
	runSweeps(b, "read", "scs-memstore", func() sweepTarget { return sweepSCS(b, n) })
	runSweeps(b, "read", "sojourn-file", func() sweepTarget { return sweepFile(b, n) })
}

// runSweeps measures without a sweep, and then during one. A sweep can't be
// repeated, so each is measured once, whatever -benchtime says.
func runSweeps(b *testing.B, name, peer string, open func() sweepTarget) {
	open = sync.OnceValue(open)
	for _, when := range []string{"without", "during"} {
		measure := sync.OnceValue(func() figures { return open().measure(when == "during") })
		b.Run(fmt.Sprintf("case=%s-%s-a-sweep/peer=%s", name, when, peer), func(b *testing.B) {
			measure().report(b)
		})
	}
}

// measure measures during a sweep, or for a while without.
func (t sweepTarget) measure(sweep bool) figures {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	var reads, writes latencies
	wg.Go(func() { reads = t.readUntil(ctx) })
	if t.write != nil {
		wg.Go(func() { writes = pace(ctx, sized(2000, 200), 64, t.write) })
	}
	start, ended := time.Now(), 0
	if sweep {
		ended = must(t.sweep())
	} else {
		time.Sleep(time.Duration(sized(5000, 50)) * time.Millisecond)
	}
	took := time.Since(start)
	stop()
	wg.Wait()
	m := figures{}
	reads.report(m.add, "read-", 50, 99, 99.9, 99.99, 100)
	writes.report(m.add, "write-", 50, 99, 99.9, 100)
	if !sweep {
		return m
	}
	if ended < t.n/2 {
		panic(fmt.Sprintf("%d of %d sessions ended", ended, t.n))
	}
	m["ended/s"] = float64(ended) / took.Seconds()
	if t.held != nil {
		m["longest-hold-ns"] = float64(t.held())
	}
	return m
}

// readUntil reads random odd sessions until ctx is done.
func (t sweepTarget) readUntil(ctx context.Context) (took latencies) {
	random := rand.New(rand.NewPCG(1, 2))
	for ctx.Err() == nil {
		i := random.IntN(t.n/2)*2 + 1
		before := time.Now()
		check(t.read(i))
		took = append(took, time.Since(before))
		runtime.Gosched() // as between two requests
	}
	return took
}

// expired is when the even samples have expired.
var expired = fixed.start.Add(2 * shortIdle)

// sweepAll does what the engine does once a minute.
func sweepAll(s store.Store, now store.Time) (total int, err error) {
	for {
		ended, done, err := s.Sweep(context.Background(), app, now, 1024)
		total += len(ended)
		if done || err != nil {
			return total, err
		}
		time.Sleep(time.Millisecond)
	}
}

func filledMemory(tb testing.TB, n int) *memstore.Store {
	s := memstore.NewLimited(16 << 30)
	tb.Cleanup(func() { s.Close() })
	fixed.fill(s, 0, n, 2)
	return s
}

func reader(s store.Store) func(i int) error {
	var rec store.Record
	return func(i int) error { return fixed.get(s, &rec, i, false) }
}

// sweepFile writes too: half creations, half changes of sessions in use.
func sweepFile(tb testing.TB, n int) sweepTarget {
	s := nearcache.New(baseFile(tb, n).copyOf(tb).open(tb), nearcache.Options{})
	tb.Cleanup(func() { s.Close() })
	hot := min(100_000, n)
	readAll(s, hot) // fills the cache
	var next atomic.Int64
	read := reader(s)
	return sweepTarget{
		n:    n,
		read: func(i int) error { return read(i % hot) },
		write: func(h *hand, i int) error {
			if i%2 == 0 {
				return fixed.create(s, &h.rec, n+1+2*int(next.Add(1))) // an odd one, that stays
			}
			own := i%min(n, inUse) | 1
			return errors.Join(fixed.get(s, &h.rec, own, true), fixed.change(s, &h.rec, own))
		},
		sweep: func() (int, error) { return sweepAll(s, expired) },
	}
}

// sweepSCS waits for the cleanup of scs's store, which runs at a fixed interval.
// The default is a minute; the work is the same.
func sweepSCS(tb testing.TB, n int) sweepTarget {
	interval := time.Duration(sized(20_000, 1000)) * time.Millisecond
	s := scsmemory.NewWithCleanupInterval(interval)
	due := time.Now().Add(interval)
	tb.Cleanup(s.StopCleanup)
	codec := scs.GobCodec{}
	later := due.Add(time.Hour)
	for i := range n {
		data, err := codec.Encode(later, map[string]any{"subject": userID(i), "data": someValue(i)})
		check(errors.Join(err, s.Commit(userID(i), data, later)))
	}
	for time.Until(due) < interval/2 {
		due = due.Add(interval)
	}
	for i := 0; i < n; i += 2 { // these expire just before the next cleanup
		data, _, err := s.Find(userID(i))
		check(errors.Join(err, s.Commit(userID(i), data, due.Add(-time.Millisecond))))
	}
	if time.Until(due) < interval/3 && !testing.Short() {
		panic(fmt.Sprint("too late for the cleanup: ", time.Until(due), " left"))
	}
	return sweepTarget{
		n: n,
		read: func(i int) error {
			data, found, err := s.Find(userID(i))
			if err == nil && !found {
				err = fmt.Errorf("session %d is gone", i)
			}
			if err == nil {
				_, _, err = codec.Decode(data)
			}
			return err
		},
		sweep: func() (int, error) {
			time.Sleep(time.Until(due) + interval/10)
			return n / 2, nil
		},
	}
}
