//go:build !linux

package pgstore

import "syscall"

// limitUnacknowledged does nothing on systems without such a limit. Keepalives
// and timeouts remain.
func limitUnacknowledged(network, address string, c syscall.RawConn) error { return nil }
