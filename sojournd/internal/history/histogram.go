package history

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Four buckets for each doubling, from 128 ns to 17 s.
const (
	shortest = 7 // the logarithm of the shortest time, in nanoseconds
	buckets  = 4 * (34 - shortest)
)

type counts [buckets]uint32

// A histogram counts durations since the start. Recorder.mu guards second and
// minute.
type histogram struct {
	now            [buckets]atomic.Uint32
	second, minute counts // at the end of the last second, of the last minute
}

func (h *histogram) add(d time.Duration) { h.now[bucketOf(d)].Add(1) }

func bucketOf(d time.Duration) int {
	if d < 1<<shortest {
		return 0
	}
	top := bits.Len64(uint64(d)) - 1
	return min(4*(top-shortest)+int(d>>(top-2)&3), buckets-1)
}

// middle is the duration in the middle of a bucket.
func middle(bucket int) time.Duration {
	top := bucket/4 + shortest
	quarter := time.Duration(1) << (top - 2)
	return time.Duration(4+bucket%4)*quarter + quarter/2
}

// since returns the calls since was, which it sets to the present counts.
func (h *histogram) since(was *counts) (c Calls) {
	var diff counts
	for i := range diff {
		n := h.now[i].Load()
		diff[i], was[i] = n-was[i], n
		c.N += diff[i]
	}
	if c.N == 0 {
		return c
	}
	c.P50, c.P99 = diff.quantile(c.N, .5), diff.quantile(c.N, .99)
	return c
}

func (c *counts) quantile(n uint32, q float64) time.Duration {
	rank := min(uint32(q*float64(n)), n-1)
	for i, m := range c {
		if rank < m {
			return middle(i)
		}
		rank -= m
	}
	return middle(buckets - 1)
}
