package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// workDir makes a directory for the files of the durable part: in the one given, else in the system's for temporary files,
// and where that is in memory, in this one. The returned function removes it.
func workDir(given string, need int64) (dir string, remove func() error, err error) {
	parent := given
	if given == "" {
		parent = os.TempDir()
		if errors.Is(checkDisk(parent, need), errInMemory) {
			parent = "."
		}
	}
	if err := checkDisk(parent, need); err != nil {
		return "", nil, err
	}
	if parent, err = filepath.Abs(parent); err != nil {
		return "", nil, err
	}
	dir, err = os.MkdirTemp(parent, "sojourn-bench-")
	return dir, func() error { return os.RemoveAll(dir) }, err
}

// A storeFile is the path of a store's file, in a directory that holds nothing else.
type storeFile string

// newStoreFile makes the directory.
func newStoreFile(dir, name string) (storeFile, error) {
	dir = filepath.Join(dir, name)
	return storeFile(filepath.Join(dir, "sessions.db")), os.Mkdir(dir, 0o700)
}

func (f storeFile) remove() error { return os.RemoveAll(filepath.Dir(string(f))) }

// size is that of the file with its log and whatever else lies beside it.
func (f storeFile) size() (total int64, err error) {
	entries, err := os.ReadDir(filepath.Dir(string(f)))
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			return 0, err
		default:
			total += info.Size()
		}
	}
	return total, err
}

// pageSize is that of the files' pages and of the system's.
const pageSize = 4096

// copyTo copies the file of a store that is closed.
func (f storeFile) copyTo(to storeFile) error {
	src, err := os.Open(string(f))
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(string(to), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// Page by page, as a database writes it: of what is written in large pieces the system keeps large pieces in memory, and
	// a sync of one page in them takes longer: up to half as long again, on a busy machine.
	if _, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, pageSize)); err != nil {
		return errors.Join(err, dst.Close())
	}
	return errors.Join(dst.Sync(), dst.Close()) // else writing it back would disturb what is measured next
}
