package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/sojourn-go/sojourn/drivers/sqlitestore"
)

// FileOptions are the options of work on a store's file.
type FileOptions struct {
	Store        string    // the URL
	File         string    // path of the backup
	KeepSessions bool      // Restore does not end the sessions
	Out          io.Writer // gets messages for people
	Progress     io.Writer // gets a progress bar if it is a terminal
}

// Backup copies the store to a new file. A server may be using the store.
func Backup(ctx context.Context, o FileOptions) error {
	path, err := o.path("back up")
	if err != nil {
		return err
	}
	if o.File == "-" {
		return errors.New("backup -: a backup is written to a file only: name one")
	}
	if dir := filepath.Dir(o.File); !isDir(dir) {
		return fmt.Errorf("there is no directory %s for the backup: make it first, or name another", dir)
	}
	began := time.Now()
	err = o.during("Backing up", func(p sqlitestore.Progress) error { return sqlitestore.Backup(ctx, path, o.File, p) })
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted: there is no backup")
	} else if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.Out, "Backed up %s to %s: %s.\n", path, o.File, effort(o.File, began))
	return err
}

// Restore replaces the store with a backup. No server may be using the store.
func Restore(ctx context.Context, o FileOptions) error {
	path, err := o.path("restore")
	if err != nil {
		return err
	}
	if same(o.File, path) {
		return fmt.Errorf("%s is the store itself: name a backup of it", o.File)
	}
	began := time.Now()
	var kept string
	err = o.during("Restoring", func(p sqlitestore.Progress) (err error) {
		kept, err = sqlitestore.Restore(ctx, o.File, path, sqlitestore.RestoreOptions{KeepSessions: o.KeepSessions}, p)
		return err
	})
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted: nothing was changed")
	} else if err != nil {
		return err
	}
	sessions := "All its sessions are ended, because it may hold some that ended after the backup: all users must sign in again."
	if o.KeepSessions {
		sessions = "Its sessions go on, including those that ended after the backup was made."
	}
	was := "There was no store before."
	if kept != "" {
		was = "The store that was there is kept as " + kept + "; delete it when you don't need it any more."
	}
	_, err = fmt.Fprintf(o.Out, "Restored %s from %s: %s.\n%s\n%s\n", path, o.File, effort(path, began), sessions, was)
	return err
}

// Check looks for damage in the store. A server may be using the store.
func Check(ctx context.Context, o FileOptions) error {
	path, err := o.path("check")
	if err != nil {
		return err
	}
	began := time.Now()
	err = o.during("Checking", func(p sqlitestore.Progress) error { return sqlitestore.Check(ctx, path, p) })
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted: the check is not complete")
	} else if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.Out, "%s is sound: %s.\n", path, effort(path, began))
	return err
}

// path returns the store's file. What is the verb for errors.
func (o FileOptions) path(what string) (string, error) {
	if server := (StoreOptions{URL: o.Store}); server.redis() || server.postgreSQL() {
		scheme, _, _ := strings.Cut(o.Store, ":")
		return "", UsageError{fmt.Errorf("--store %q: this is for a store in a file, as in %s. To %s a database, use its own tools", scheme+":…", exampleStore, what)}
	}
	path, err := storePath(o.Store)
	if err != nil {
		return "", usage(errors.New(strings.ReplaceAll(err.Error(), exampleStores, exampleStore)))
	}
	if path == "" {
		return "", UsageError{fmt.Errorf("--store %q: the store in memory ends with its process, so there is nothing to %s: name a file, as in %s", o.Store, what, exampleStore)}
	}
	return path, nil
}

// during shows the progress of the work on a terminal.
func (o FileOptions) during(what string, work func(sqlitestore.Progress) error) error {
	if terminal(o.Progress) == nil {
		return work(nil)
	}
	return During(o.Progress, what, func(report func(done, total int64)) error { return work(report) })
}

// effort returns the size of a file and the duration of the work on it.
func effort(path string, began time.Time) string {
	took := time.Since(began).Round(time.Millisecond)
	if took > 10*time.Second {
		took = took.Round(time.Second)
	}
	info, err := os.Stat(path)
	if err != nil {
		return took.String()
	}
	return fmt.Sprintf("%s in %v", humanize.IBytes(uint64(info.Size())), took)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
