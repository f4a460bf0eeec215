package servertest

import (
	"errors"
	"os"
	"strconv"
	"syscall"
)

// SmallDisk mounts a file system of the given size in bytes, for a test that
// fills it. It requires root. Otherwise it skips the test, or fails it if
// SOJOURN_REQUIRE_ALL is set.
func SmallDisk(t TB, size int64) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sojourn-disk-")
	Check(t, err)
	t.Cleanup(func() { os.Remove(dir) })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+strconv.FormatInt(size, 10)); err != nil {
		if os.Getenv("SOJOURN_REQUIRE_ALL") == "1" || !errors.Is(err, syscall.EPERM) {
			t.Fatalf("mount: %v", err)
		}
		t.Skipf("needs root: to mount a file system of its own: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Logf("unmount: %v", err)
		}
	})
	return dir
}
