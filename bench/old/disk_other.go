//go:build !linux

package main

import (
	"errors"
	"os"
)

var errInMemory = errors.New("bench: a file system in memory")

func checkDisk(string, int64) error {
	return errors.New("bench: durable writes are measured on Linux only; leave them out with -skip-durable")
}

func syncData(f *os.File) error { return f.Sync() }

func dropPages(string) error { return errors.ErrUnsupported }
