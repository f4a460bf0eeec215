package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// An openingResult is what a file of so many sessions costs: measured in a process of its own, for its memory.
type openingResult struct {
	Sessions int
	Cold     bool // the system held nothing of the file in memory
	Open     time.Duration
	First    time.Duration // the first Get after it
	Disk     int64         // bytes of the file, after a clean Close
	Resident int64         // growth of VmRSS by opening
	Serving  int64         // growth of VmRSS after reads of random sessions from the file
}

// openingReads are as many reads as fill whatever keeps pages in memory.
const openingReads = 200_000

// measureOpening opens the file of a job, in a child process.
func measureOpening(j job, progress func(string)) (result openingResult, err error) {
	path := storeFile(j.Path)
	result = openingResult{Sessions: j.Sessions, Cold: j.Cold}
	if result.Disk, err = path.size(); err != nil {
		return result, err
	}
	if j.Cold {
		if err := dropPages(j.Path); err != nil {
			return result, err
		}
	}
	settle()
	before, _, err := processMemory()
	if err != nil {
		return result, err
	}
	progress("opening")
	ctx := context.Background()
	start := time.Now()
	s, err := openFile(ctx, path)
	if err != nil {
		return result, err
	}
	result.Open = time.Since(start)
	defer func() { err = errors.Join(err, s.Close()) }()
	var rec store.Record
	start = time.Now()
	if err := (storeKeeper{s}).readInto(&rec, j.Sessions/2, true); err != nil {
		return result, err
	}
	result.First = time.Since(start)
	settle()
	opened, _, err := processMemory()
	if err != nil {
		return result, err
	}
	result.Resident = opened - before
	progress("reading")
	random := rand.New(rand.NewPCG(3, 5))
	read := storeKeeper{s}.hand().read
	for range min(openingReads, j.Sessions) {
		if err := read(random.IntN(j.Sessions)); err != nil {
			return result, err
		}
	}
	settle()
	serving, _, err := processMemory()
	result.Serving = serving - before
	return result, err
}
