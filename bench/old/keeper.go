package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/sojourn-go/sojourn/store"
)

// A keeper keeps the sample sessions on disk.
type keeper interface {
	// hand returns the operations of one goroutine.
	hand() hand
	Close() error
}

// A hand's operations on session i return when they are as durable as the keeper makes them.
type hand struct {
	create func(i int) error // a new session
	update func(i int) error // reads a session and writes it back with other values
	read   func(i int) error
}

// A keeperOp is what is measured.
type keeperOp string

const (
	opCreate keeperOp = "create"
	opUpdate keeperOp = "compare-and-set of sessions in use"
	opRandom keeperOp = "compare-and-set of any session"
	opMix    keeperOp = "90 % reads, 10 % compare-and-set"
)

var keeperOps = []keeperOp{opCreate, opUpdate, opRandom, opMix}

// inUse is how many sessions are read and changed, but by opRandom: what a site's visitors use at once is a small part of what
// is kept, and lies near together, for the sessions are in the order of their creation.
const inUse = 10_000

// A keeperKind is one way to keep sessions.
type keeperKind struct {
	name  string
	note  string // what a reader must know to compare
	share int    // it begins with a part of the sessions: one in so many
	alone bool   // measured with one writer only
	open  func(ctx context.Context, dir string, n int) (keeper, error)
}

// The keepers that are measured beside sojourn.
var peerKeepers = []keeperKind{
	{bareLog, "one goroutine appends what all waiting writers bring to a log of 64 MiB that is written over, fdatasync, acknowledges all; sessions and revisions in memory: the limit of any store that syncs", 10, false, openLogKeeper},
	{bareSync, "write and fdatasync for each session, by the writer itself", 10, true, openRawKeeper},
	{"scs sqlite", "sqlite3store on modernc's driver with WAL and synchronous=FULL as sojourn's, for by default it has neither; one connection, for with more it fails with SQLITE_BUSY; writes the last that comes, compares nothing", 10, false, openSCSKeeper},
	{"gorilla files", "FilesystemStore; writes the last that comes, and syncs nothing: its figures are those of the page cache", 100, false, openGorillaKeeper},
}

const sojournNote = "sqlitestore: SQLite, one transaction and one sync for all that wait; compares revisions"

const (
	sojournKeeper = "sojourn"
	bareLog       = "bare log"
	bareSync      = "bare write and sync"
)

// storeKeeper keeps them in a store of this project.
type storeKeeper struct{ store.Store }

func (k storeKeeper) hand() hand {
	ctx := context.Background()
	var rec store.Record
	now := sampleStart + 1
	changes := 0
	return hand{
		create: func(i int) error {
			sampleRecord(&rec, i)
			_, err := k.Create(ctx, sampleApp, &rec, store.CreateOptions{Limit: store.Limit{Max: 100}, Arrived: rec.CreatedAt, Now: rec.CreatedAt})
			return err
		},
		update: func(i int) error {
			for {
				if err := k.readInto(&rec, i, true); err != nil {
					return err
				}
				changes++
				rec.Values = sampleValues(rec.Values, i+changes)
				_, err := k.Update(ctx, sampleApp, &rec, store.UpdateOptions{Arrived: now, Now: now})
				if !errors.Is(err, store.ErrConflict) {
					return err
				}
			}
		},
		read: func(i int) error { return k.readInto(&rec, i, false) },
	}
}

func (k storeKeeper) readInto(rec *store.Record, i int, strict bool) error {
	if err := k.Get(context.Background(), sampleApp, sampleID(i), strict, rec); err != nil {
		return fmt.Errorf("bench: session %d: %w", i, err)
	}
	return nil
}
