//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package arena

// pages returns n bytes of zeroed memory; where there is no mmap they come from the Go heap,
// without pointers for the collector to follow.
func pages(n int) ([]byte, error) { return make([]byte, n), nil }

func freePages([]byte) {}
