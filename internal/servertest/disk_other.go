//go:build !linux

package servertest

// SmallDisk skips the test: it needs Linux.
func SmallDisk(t TB, _ int64) string {
	t.Helper()
	t.Skipf("needs Linux: to mount a file system of its own")
	return ""
}
