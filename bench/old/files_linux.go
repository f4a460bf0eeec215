package main

import "golang.org/x/sys/unix"

// fileLimit is how many files a Go program may have open: the runtime raises the limit as far as it may.
func fileLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(limit.Max, 1<<20))
}
