//go:build linux || darwin || freebsd

package sqlitestore

import "golang.org/x/sys/unix"

// diskSpace returns the size of a file system in bytes, and how many bytes this
// user may still write.
func diskSpace(dir string) (size, available int64) {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return unknown, unknown
	}
	return int64(s.Blocks) * int64(s.Bsize), int64(s.Bavail) * int64(s.Bsize) //nolint:unconvert // types differ between systems
}
