package arena

import "syscall"

// smallPages asks for pages of the base size. With a huge page, a shard that
// keeps a single session would take two megabytes.
func smallPages(b []byte) {
	const noHugePage = 15 // MADV_NOHUGEPAGE
	_ = syscall.Madvise(b, noHugePage)
}

// discard returns the memory of whole pages to the system. They read as zeros
// afterwards.
func discard(b []byte) { _ = syscall.Madvise(b, syscall.MADV_DONTNEED) }
