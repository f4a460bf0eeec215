//go:build !linux

package sqlitestore

import (
	"io/fs"
	"os"
)

func allocate(f *os.File, size int64) error { return writeZeros(f, size) }

// allocateAhead does nothing: on this system the spare file is the whole
// reserve.
func allocateAhead(*os.File, int64, int64) error { return nil }

func isDiskFull(error) bool { return false }

func isSparse(fs.FileInfo) bool { return false }

func blocks(fs.FileInfo) int64 { return 0 }
