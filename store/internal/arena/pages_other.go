//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package arena

// pages returns n bytes of zeroed memory. Without mmap it comes from the Go
// heap, and contains no pointers that the collector must follow.
func pages(n int) ([]byte, error) { return make([]byte, n), nil }

func freePages([]byte) {}
