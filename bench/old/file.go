package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/sojourn-go/sojourn/drivers/sqlitestore"
	"github.com/sojourn-go/sojourn/store"
)

// openFile opens a file with sqlitestore, as an application does that allows for millions of sessions.
func openFile(ctx context.Context, path storeFile) (*sqlitestore.Store, error) {
	return sqlitestore.Open(ctx, string(path), sqlitestore.Options{MaxBytes: 64 << 30})
}

// openSojournKeeper keeps sessions in a copy of the file at path, which holds n.
func openSojournKeeper(path storeFile) func(context.Context, string, int) (keeper, error) {
	return func(ctx context.Context, dir string, _ int) (keeper, error) {
		mine, err := newStoreFile(dir, "writes")
		if err != nil {
			return nil, err
		}
		if err := path.copyTo(mine); err != nil {
			return nil, err
		}
		s, err := openFile(ctx, mine)
		return storeKeeper{s}, err
	}
}

// fillers is how many goroutines fill a file: sessions that are created at once share a sync.
const fillers = 512

// fillFile creates sessions from up to to in the file, as an application would: each is acknowledged.
func fillFile(ctx context.Context, path storeFile, from, to int, say func(string)) error {
	s, err := openFile(ctx, path)
	if err != nil {
		return err
	}
	return errors.Join(fillStore(ctx, s, from, to, fillers, say), s.Close())
}

// fillStore creates sessions from up to to, by so many workers.
func fillStore(ctx context.Context, s store.Store, from, to, workers int, say func(string)) error {
	return spread(ctx, from, to, workers, func() func(int) error {
		h := storeKeeper{s}.hand()
		return func(i int) error {
			if i%50_000 == 0 {
				say(fmt.Sprintf("filling: %s of %s sessions", count(i), count(to)))
			}
			return h.create(i)
		}
	})
}

// spread has workers do from up to to, each number once, until one of them fails.
func spread(ctx context.Context, from, to, workers int, worker func() func(i int) error) error {
	var next atomic.Int64
	next.Store(int64(from))
	var failed atomic.Bool
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		do := worker()
		wg.Go(func() {
			for ctx.Err() == nil && !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= to {
					return
				}
				if errs[w] = do(i); errs[w] != nil {
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}
