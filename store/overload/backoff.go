package overload

import (
	"math/rand/v2"
	"time"
)

// Backoff returns how long to wait after a number of failures in a row. The
// time is first after one failure, and doubles with each further one up to
// most. Half of it is random, so callers that failed together don't come back
// together. After no failure it is 0.
func Backoff(failures int, first, most time.Duration) time.Duration {
	if failures <= 0 {
		return 0
	}
	d := first
	for range failures - 1 {
		if d *= 2; d >= most {
			break
		}
	}
	d = min(d, most)
	return d/2 + rand.N(d/2+1)
}
