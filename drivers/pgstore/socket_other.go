//go:build !linux

package pgstore

import "syscall"

// limitUnacknowledged does nothing where the kernel has no such limit: keepalives and timeouts remain.
func limitUnacknowledged(network, address string, c syscall.RawConn) error { return nil }
