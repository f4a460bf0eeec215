package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/sojourn-go/sojourn/store"
)

// A ring is a file that is written over and over, like the write-ahead log of a database: its blocks are there, so that
// a sync has nothing but the data to write.
type ring struct {
	file *os.File
	at   int64
}

const ringSize = 64 << 20

func openRing(path string) (*ring, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	r := &ring{file: file}
	for zeros := make([]byte, pageSize); r.at < ringSize; r.at += int64(len(zeros)) {
		if _, err := file.WriteAt(zeros, r.at); err != nil {
			return nil, err
		}
	}
	return r, file.Sync()
}

// write returns when b is on disk.
func (r *ring) write(b []byte) error {
	if r.at+int64(len(b)) > ringSize {
		r.at = 0
	}
	if _, err := r.file.WriteAt(b, r.at); err != nil {
		return err
	}
	r.at += int64(len(b))
	return syncData(r.file)
}

// A logKeeper is the least that a durable store could do: a log, and all sessions in memory.
type logKeeper struct {
	ring     *ring
	requests chan *logRequest
	stopped  chan struct{}

	mu     sync.RWMutex
	slots  []byte   // the encoded sessions, one after another, of the same size each
	revs   []uint64 // their revisions
	filled int
}

// A logRequest is what one writer wants to have written.
type logRequest struct {
	i       int
	rev     uint64 // that the session must have; 0: the session is new
	encoded []byte
	done    chan error
}

const slotSize = 512

func openLogKeeper(_ context.Context, dir string, n int) (keeper, error) {
	r, err := openRing(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	k := &logKeeper{
		ring: r, requests: make(chan *logRequest, 1024), stopped: make(chan struct{}),
		slots: make([]byte, n*slotSize), revs: make([]uint64, n), filled: n,
	}
	var rec store.Record
	var b []byte
	for i := range n {
		sampleRecord(&rec, i)
		rec.Revision = 1
		b = appendRecord(b[:0], &rec)
		k.put(i, 1, b)
	}
	go k.commit()
	return k, nil
}

// put notes a session in memory, if it is one of those that are read.
func (k *logKeeper) put(i int, rev uint64, encoded []byte) {
	if i < k.filled {
		k.revs[i] = rev
		copy(k.slots[i*slotSize:(i+1)*slotSize], encoded)
	}
}

// commit writes what waits, in one group after the other.
func (k *logKeeper) commit() {
	defer close(k.stopped)
	var group []*logRequest
	var b []byte
	for first := range k.requests {
		group, b = append(group[:0], first), b[:0]
	more:
		for {
			select {
			case next, open := <-k.requests:
				if !open {
					break more
				}
				group = append(group, next)
			default:
				break more
			}
		}
		k.mu.Lock()
		accepted := group[:0]
		for _, r := range group {
			if r.rev != 0 && k.revs[r.i] != r.rev {
				r.done <- fmt.Errorf("bench: session %d has another revision", r.i)
				continue
			}
			b = append(b, r.encoded...)
			k.put(r.i, r.rev+1, r.encoded)
			accepted = append(accepted, r)
		}
		k.mu.Unlock()
		err := k.ring.write(b)
		for _, r := range accepted {
			r.done <- err
		}
	}
}

func (k *logKeeper) hand() hand {
	var rec store.Record
	changes := 0
	slot := make([]byte, slotSize)
	request := logRequest{done: make(chan error, 1)}
	send := func(i int, rev uint64) error {
		rec.Revision = rev + 1
		request.i, request.rev = i, rev
		request.encoded = appendRecord(request.encoded[:0], &rec)
		k.requests <- &request
		return <-request.done
	}
	read := func(i int) (rev uint64) {
		k.mu.RLock()
		defer k.mu.RUnlock()
		copy(slot, k.slots[i*slotSize:(i+1)*slotSize])
		return k.revs[i]
	}
	return hand{
		create: func(i int) error {
			sampleRecord(&rec, i)
			return send(i, 0)
		},
		update: func(i int) error {
			rev := read(i)
			sampleRecord(&rec, i)
			changes++
			rec.Values = sampleValues(rec.Values, i+changes)
			return send(i, rev)
		},
		read: func(i int) error {
			if read(i) == 0 {
				return fmt.Errorf("bench: session %d is missing", i)
			}
			return nil
		},
	}
}

func (k *logKeeper) Close() error {
	close(k.requests)
	<-k.stopped
	return k.ring.file.Close()
}

// A rawKeeper writes and syncs, and keeps nothing: one writer only.
type rawKeeper struct{ ring *ring }

func openRawKeeper(_ context.Context, dir string, _ int) (keeper, error) {
	r, err := openRing(filepath.Join(dir, "raw"))
	return rawKeeper{r}, err
}

func (k rawKeeper) hand() hand {
	var rec store.Record
	var b []byte
	return hand{create: func(i int) error {
		sampleRecord(&rec, i)
		b = appendRecord(b[:0], &rec)
		return k.ring.write(b)
	}}
}

func (k rawKeeper) Close() error { return k.ring.file.Close() }
