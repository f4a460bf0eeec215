package sqlitestore

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// allocate makes a file size bytes long, and gives it their blocks.
func allocate(f *os.File, size int64) error {
	if err := fallocate(f, 0, 0, size); !isUnsupported(err) {
		return err
	}
	return writeZeros(f, size)
}

// allocateAhead gives a file blocks from an offset on, and leaves its length
// unchanged.
func allocateAhead(f *os.File, offset, length int64) error {
	return fallocate(f, unix.FALLOC_FL_KEEP_SIZE, offset, length)
}

func fallocate(f *os.File, mode uint32, offset, length int64) error {
	for {
		if err := unix.Fallocate(int(f.Fd()), mode, offset, length); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func isUnsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}

// isDiskFull reports whether the disk, or this user's quota, is full.
func isDiskFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// isSparse reports whether a file lacks blocks, as a copy of one may: most
// copying programs leave out blocks that were never written.
func isSparse(info fs.FileInfo) bool { return blocks(info)*512 < info.Size() }

// blocks returns the number of a file's blocks, including those beyond its end.
func blocks(info fs.FileInfo) int64 {
	s, _ := info.Sys().(*syscall.Stat_t)
	return s.Blocks
}
