package pgstore

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// limitUnacknowledged has the kernel give up a connection whose other end doesn't acknowledge what was sent.
func limitUnacknowledged(network, address string, c syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	return firstError(c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unacknowledged.Milliseconds()))
	}), &err)
}

func firstError(err error, other *error) error {
	if err != nil {
		return err
	}
	return *other
}
