//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package arena

import (
	"fmt"
	"syscall"
)

// pages maps n bytes of zeroed memory outside the Go heap. The system provides
// a page of it at the first write.
func pages(n int) ([]byte, error) {
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("arena: mapping %d bytes: %w", n, err)
	}
	smallPages(b)
	return b, nil
}

func freePages(b []byte) {
	if b != nil {
		_ = syscall.Munmap(b) // can't fail: pages has mapped it
	}
}
