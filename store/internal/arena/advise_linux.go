package arena

import "syscall"

// smallPages asks for pages of the base size: a huge page would make a shard that holds
// one session cost two megabytes.
func smallPages(b []byte) {
	const noHugePage = 15 // MADV_NOHUGEPAGE
	_ = syscall.Madvise(b, noHugePage)
}
