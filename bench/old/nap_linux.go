package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// nap sleeps for a tenth of a millisecond or so. Go's own sleep takes up to a whole one where nothing else runs.
func nap() {
	ts := unix.NsecToTimespec(int64(50 * time.Microsecond))
	_ = unix.Nanosleep(&ts, nil) // a shorter one does no harm
}
