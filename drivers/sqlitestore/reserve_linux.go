package sqlitestore

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// allocate gives a file that many bytes, with their blocks.
func allocate(f *os.File, size int64) error {
	if err := fallocate(f, 0, 0, size); !isUnsupported(err) {
		return err
	}
	return writeZeros(f, size)
}

// allocateAhead gives a file blocks from an offset on and leaves its length as
// it is.
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

// isDiskFull reports whether there is no room, or no more for this user.
func isDiskFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// isSparse reports whether a file lacks blocks, as a copy of one may: most
// programs that copy leave out what was never written.
func isSparse(info fs.FileInfo) bool { return blocks(info)*512 < info.Size() }

// blocks returns how many a file has, with those beyond its end.
func blocks(info fs.FileInfo) int64 {
	s, _ := info.Sys().(*syscall.Stat_t)
	return s.Blocks
}
