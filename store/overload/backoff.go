package overload

import (
	"math/rand/v2"
	"time"
)

// Backoff returns how long to wait after a number of failures in a row: first
// after one, doubled by each further one up to most, half of it at random, so
// that those who failed together don't come back together. 0 after none.
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
