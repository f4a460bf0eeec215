//go:build !linux

package servertest

// SmallDisk is for Linux: elsewhere the test is skipped.
func SmallDisk(t TB, _ int64) string {
	t.Helper()
	t.Skipf("needs Linux: to mount a file system of its own")
	return ""
}
