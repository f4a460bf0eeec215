// Package arena keeps session records compactly and out of the garbage
// collector's sight: a codec for records ([Encode], [Decode]), blocks of memory
// outside the Go heap ([Blocks]), and tables that find them ([Index], [Handles]).
//
// Neither the collector's mark work nor its heap goal grows with what is kept
// here. The price is that memory is unmapped by hand. Nothing in this package
// locks (but [Strings], which does): its callers hold a lock around
// every use, and never touch a slice that came from here after the lock is released.
package arena
