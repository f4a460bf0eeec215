package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
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
	n     int                                      // sessions, of which the odd ones below it are read
	read  func(i int) error                        // called by one goroutine
	write func(w int) func(n int) error            // called 2,000 times a second; nil: nothing is written
	sweep func() (ended int, _ error)              // returns when the even sessions are gone
	limit interface{ LongestHold() time.Duration } // of a store that knows how long it held a lock; may be nil
}

// BenchmarkSweep measures the reads of one goroutine, as fast as it can, and of
// sqlitestore also 2,000 durable writes a second, while half of a million sessions
// expire; beside the same without a sweep. Run it with -benchtime 1x.
func BenchmarkSweep(parent *testing.B) {
	n := sized(1_000_000, 2000)
	for _, peer := range []struct {
		name string
		open func(tb testing.TB, n int) sweepTarget
	}{{"sojourn-memstore", sweepMemstore}, {"scs-memstore", sweepSCS}, {"sojourn-file", sweepFile}} {
		var target sweepTarget
		for _, sweep := range []bool{false, true} {
			parent.Run(sweepCase("read", sweep)+peer.name, func(b *testing.B) {
				if target.read == nil {
					target = peer.open(parent, n)
				}
				target.run(b, sweep)
			})
		}
	}
}

func sweepCase(of string, sweep bool) string {
	if sweep {
		return "case=" + of + "-during-a-sweep/peer="
	}
	return "case=" + of + "-without-a-sweep/peer="
}

// run measures during a sweep, or for as long without.
func (t sweepTarget) run(b *testing.B, sweep bool) {
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	var writes *histogram
	written := make(chan error, 1)
	if t.write == nil {
		written <- nil
	} else {
		go func() {
			var err error
			writes, err = pace(ctx, sized(2000, 200), 64, t.write)
			written <- err
		}()
	}
	var reads histogram
	var over atomic.Bool
	read := make(chan error, 1)
	go func() { read <- t.readUntil(&over, &reads) }()
	ended, err := 0, error(nil)
	start := time.Now()
	if sweep {
		ended, err = t.sweep()
	} else {
		time.Sleep(time.Duration(sized(5000, 50)) * time.Millisecond)
	}
	took := time.Since(start)
	over.Store(true)
	stop()
	if err := errors.Join(err, <-read, <-written); err != nil {
		b.Fatal(err)
	}
	reads.report(b, "read-", 0.5, 0.99, 0.999, 0.9999, 1)
	if writes != nil {
		writes.report(b, "write-", 0.5, 0.99, 0.999, 1)
	}
	b.ReportMetric(0, "ns/op")
	if !sweep {
		return
	}
	if ended < t.n/2 {
		b.Fatalf("%d of %d sessions ended", ended, t.n)
	}
	b.ReportMetric(float64(ended)/took.Seconds(), "ended/s")
	if t.limit != nil {
		b.ReportMetric(float64(t.limit.LongestHold()), "longest-hold-ns")
	}
}

func (t sweepTarget) readUntil(over *atomic.Bool, h *histogram) error {
	random := rand.New(rand.NewPCG(1, 2))
	for !over.Load() {
		i := random.IntN(t.n/2)*2 + 1
		before := time.Now()
		if err := t.read(i); err != nil {
			return err
		}
		h.add(time.Since(before))
		runtime.Gosched() // as between two requests
	}
	return nil
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

func sweepMemstore(tb testing.TB, n int) sweepTarget {
	s := memstore.NewLimited(16 << 30)
	tb.Cleanup(func() { s.Close() })
	if err := fixed.fill(s, 0, n, 2); err != nil {
		tb.Fatal(err)
	}
	t := sweepTarget{n: n, read: reader(s), sweep: func() (int, error) { return sweepAll(s, expired) }}
	t.limit, _ = any(s).(interface{ LongestHold() time.Duration })
	return t
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
	if err := readAll(s, hot); err != nil { // fills the cache
		tb.Fatal(err)
	}
	var next atomic.Int64
	read := reader(s)
	return sweepTarget{
		n:    n,
		read: func(i int) error { return read(i % hot) },
		write: func(int) func(int) error {
			var rec store.Record
			return func(i int) error {
				if i%2 == 0 {
					return fixed.create(s, &rec, n+1+2*int(next.Add(1))) // an odd one, that stays
				}
				own := i%min(n, inUse) | 1
				return errors.Join(fixed.get(s, &rec, own, true), fixed.change(s, &rec, own))
			}
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
	for i := range n {
		deadline := due.Add(time.Hour)
		if i%2 == 0 {
			deadline = due.Add(-time.Millisecond)
		}
		data, err := codec.Encode(deadline, map[string]any{"subject": userID(i), "data": someValue(i)[:98]})
		if err := errors.Join(err, s.Commit(userID(i), data, deadline)); err != nil {
			tb.Fatal(err)
		}
	}
	if time.Until(due) < interval/3 {
		tb.Fatal(fmt.Sprint("the store was not full in time: ", time.Until(due), " left"))
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
