package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// checkDisk returns an error if dir is not on a disk, or too little of it is free.
func checkDisk(dir string, need int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("bench: statfs %s: %w", dir, err)
	}
	if s.Type == unix.TMPFS_MAGIC || s.Type == unix.RAMFS_MAGIC {
		return fmt.Errorf("%w: %s: what is written there survives nothing, and a sync costs nothing; name a directory on a disk with -dir", errInMemory, dir)
	}
	if free := int64(s.Bavail) * s.Bsize; free < need {
		return fmt.Errorf("bench: %s has %s free, and %s are needed; name another directory with -dir, or leave this part out with -skip-durable",
			dir, size(float64(free)), size(float64(need)))
	}
	return nil
}

var errInMemory = errors.New("bench: a file system in memory")

// syncData returns when the file's data is on disk.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// dropPages has the system forget what it holds of a file in memory, which needs no rights.
func dropPages(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil { // it doesn't forget what isn't written yet
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
