//go:build !linux

package main

// fileLimit is how many files a program may have open, for all that is known.
func fileLimit() int { return 1024 }
