package sqlitestore

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"

	sqlite3 "modernc.org/sqlite/lib"
)

// A reserve is allocated room on the disk, to end sessions when other programs
// have filled the disk.
//
// Blocks are allocated beyond the end of the file, of its log and of the log's
// index, before they are needed. No other program can take them. When they
// aren't enough, the spare file is removed: on file systems that can't allocate
// ahead, while a reader holds the log, and at a start on a full disk. While the
// spare file is missing, the writer only ends sessions.
//
// Only the writer calls the methods, or Open before the writer runs.
type reserve struct {
	path  string // of the store
	ahead int64  // bytes beyond each end
	spare int64  // bytes that the spare file should have

	// SQLite loses its locks on a file when the process closes any descriptor of
	// it. So these files stay open as long as the store's connections.
	data, index *os.File

	dataEnd    int64 // bytes of the file that have blocks
	dataBlocks int64 // the file's blocks when dataEnd was set; a cut leaves fewer
	dataStale  bool  // SQLite may have cut the blocks beyond the length that it uses
	logEnd     int64 // bytes of the log that have blocks
	logSize    int64 // the log's length when logEnd was set
	indexEnd   int64 // bytes of the index that have blocks

	held atomic.Int64 // bytes that the spare file has
}

const (
	spareBytes    = 16 << 20
	spareFraction = 16 // on a small file system the spare file takes a sixteenth
	aheadBytes    = 1 << 20

	indexBlock     = 32 << 10 // bytes by which the index grows for each framesPerBlock of the log
	framesPerBlock = 4096
	frameBytes     = pageSize + 24
)

// pageSize is SQLite's default, in bytes. For a file with larger pages less is
// allocated ahead.
const pageSize = 4096

func newReserve(path string) *reserve {
	size, _ := diskSpace(filepath.Dir(path))
	spare := min(spareBytes, size/spareFraction/pageSize*pageSize)
	r := &reserve{path: path, spare: spare, ahead: min(aheadBytes, spare)}
	if info, err := os.Stat(r.name()); err == nil && !isSparse(info) {
		r.held.Store(info.Size())
	}
	return r
}

func (r *reserve) name() string { return r.path + "-reserve" }

// open must be called after the store's connections were opened.
func (r *reserve) open() (err error) {
	if r.data, err = os.OpenFile(r.path, os.O_RDWR, 0); err != nil {
		return err
	}
	r.index, err = os.OpenFile(r.path+"-shm", os.O_RDWR, 0)
	return err
}

// close must be called after the store's connections were closed.
func (r *reserve) close() {
	for _, f := range []*os.File{r.data, r.index} {
		if f != nil {
			_ = f.Close()
		}
	}
	r.refill() // the removed log has left room
}

// short reports whether the spare file is missing.
func (r *reserve) short() bool { return r.held.Load() < r.spare }

// refill creates the spare file if it is missing and there is room for it.
func (r *reserve) refill() {
	if !r.short() {
		return
	}
	if _, available := diskSpace(filepath.Dir(r.path)); available < r.spare {
		return
	}
	f, err := os.OpenFile(r.name(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return
	}
	if err := errors.Join(allocate(f, r.spare), f.Sync(), f.Close()); err != nil {
		_ = os.Remove(r.name())
		r.held.Store(0)
		return
	}
	r.held.Store(r.spare)
}

// release removes the spare file, and reports whether there was one.
func (r *reserve) release() bool {
	if r.held.Swap(0) == 0 {
		return false
	}
	return os.Remove(r.name()) == nil
}

// coverLog allocates blocks after the log's end, and reports whether there are
// enough.
func (r *reserve) coverLog() bool {
	name := r.path + "-wal"
	info, err := os.Stat(name)
	if err != nil {
		return true // SQLite creates the log, or reports the error
	}
	size := info.Size()
	if size < r.logSize { // SQLite has cut the log, with its further blocks
		r.logEnd = size
	}
	if r.logSize = size; size+r.ahead/2 <= r.logEnd {
		return true
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return true
	}
	defer f.Close() //nolint:errcheck // nothing was written
	r.logEnd = max(r.logEnd, size)
	end := size + r.ahead
	index := (end/frameBytes/framesPerBlock + 2) * indexBlock
	if index > r.indexEnd {
		if isDiskFull(allocateAhead(r.index, r.indexEnd, index-r.indexEnd)) {
			return false
		}
		r.indexEnd = index
	}
	if isDiskFull(allocateAhead(f, r.logEnd, end-r.logEnd)) {
		return false
	}
	r.logEnd = end
	return true
}

// logLeft reports whether the log has blocks after so many frames.
func (r *reserve) logLeft(frames int64) bool {
	return frames*frameBytes+r.ahead/2 <= max(r.logEnd, r.logSize)
}

// coverData makes sure that the file has blocks for end bytes, and if possible
// for more. The error is errDiskFull.
func (r *reserve) coverData(end int64) error {
	if !r.dataStale && end+r.ahead/2 <= r.dataEnd {
		return nil
	}
	info, err := r.data.Stat()
	if err != nil {
		return nil //nolint:nilerr // SQLite will report it
	}
	if r.dataStale = false; blocks(info) < r.dataBlocks {
		r.dataEnd = 0
	}
	// Don't allocate existing blocks again: a tmpfs that refuses the rest frees
	// them.
	r.dataEnd = max(r.dataEnd, info.Size())
	for _, want := range []int64{end + r.ahead, end} {
		if want <= r.dataEnd {
			return nil
		}
		if err = allocateAhead(r.data, r.dataEnd, want-r.dataEnd); !isDiskFull(err) {
			r.dataEnd = want
			if info, err := r.data.Stat(); err == nil {
				r.dataBlocks = blocks(info)
			}
			return nil
		}
	}
	return errDiskFull
}

var errDiskFull = errors.New("sqlitestore: the disk is full")

// lacksRoom reports whether a transaction failed because the disk is full.
func lacksRoom(err error) bool {
	return isFull(err) || errors.Is(err, errDiskFull) || extendedCode(err) == sqlite3.SQLITE_IOERR_SHMSIZE
}

// writeZeros fills a file up to a size. It is for file systems that can't
// allocate without writing.
func writeZeros(f *os.File, size int64) error {
	block := make([]byte, 64<<10)
	for at := int64(0); at < size; at += int64(len(block)) {
		if _, err := f.WriteAt(block[:min(int64(len(block)), size-at)], at); err != nil {
			return err
		}
	}
	return nil
}
