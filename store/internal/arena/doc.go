// Package arena keeps session records compactly and outside the Go heap: a
// codec for records ([Encode], [Decode]), memory for them ([Slots]), and a hash
// table that finds them ([Index]). A [Table] puts these together.
//
// Neither the work nor the heap goal of the garbage collector grows with what
// is kept here. In exchange the memory must be freed by Close: the collector
// doesn't free it. Nothing in this package locks, except [Strings] and [Apps].
// Callers hold a lock around every use, and don't use a slice of this memory
// after they release the lock, or after the next change.
package arena
