package storetest

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// RunDurable tests that a store on a disk remembers everything that it has acknowledged: the random calls of [Run],
// with crashes and reopenings among them. open opens the store whose files are in a directory; it is called
// many times for each. Run it besides Run.
//
// A crash is what a killed process leaves when nothing was under way: the files as they are. What was under way
// at the moment, and what a power failure leaves, is the driver's own to test.
//
// SOJOURN_SOAK=1 takes a hundred walks, a larger number so many.
func RunDurable(t *testing.T, open func(t testing.TB, dir string) store.Store) {
	steps := 1000
	if testing.Short() {
		steps = 300
	}
	t.Run("Kept", func(t *testing.T) { newDisk(t, open).kept() })
	t.Run("KnownSeed", func(t *testing.T) { newDisk(t, open).walk(1, steps) })
	t.Run("Random", func(t *testing.T) { newDisk(t, open).walk(seedOf(t), steps) })
	t.Run("SideBySide", func(t *testing.T) { newDisk(t, open).crowd(seedOf(t), steps/100) })
	if n, _ := strconv.Atoi(os.Getenv("SOJOURN_SOAK")); n > 0 {
		if n == 1 {
			n = 100
		}
		for i := range n {
			t.Run("Soak"+strconv.Itoa(i), func(t *testing.T) { newDisk(t, open).walk(seedOf(t), 5*steps) })
		}
	}
}

// A disk holds the files of one store, which is open.
type disk struct {
	*testing.T
	open func(t testing.TB, dir string) store.Store
	dir  string
	s    store.Store
}

func newDisk(t *testing.T, open func(t testing.TB, dir string) store.Store) *disk {
	d := &disk{T: t, open: open, dir: t.TempDir()}
	d.s = open(t, d.dir)
	t.Cleanup(func() {
		if err := d.s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return d
}

func (d *disk) fixture() *fixture { return &fixture{T: d.T, s: d.s, ctx: d.Context()} }

// kept is about what the random calls seldom meet: what an end leaves for sessions that there are none of yet.
func (d *disk) kept() {
	f := d.fixture()
	f.endSubject("alice", t0)
	f.must(f.s.EndAll(f.ctx, "blog", t0))
	for _, crash := range []bool{true, false} {
		f.s = d.again(crash)
		rec := session("alice")
		f.wantErr(f.tryCreate(rec, created(rec)), store.ErrBarrier)
		rec = sessionAt("", t0+1)
		_, err := f.s.Create(f.ctx, "blog", rec, store.CreateOptions{Arrived: t0, Now: t0 + 1})
		f.wantErr(err, store.ErrBarrier)
	}
}

// walk takes random steps, about a hundred between two openings.
func (d *disk) walk(seed uint64, steps int) {
	w := newWalk(d.fixture(), seed, walkApps...)
	for w.step < steps {
		w.steps(1 + w.rnd.IntN(200))
		w.s = d.again(w.rnd.IntN(2) == 0)
		w.compareAll()
	}
}

func (d *disk) crowd(seed uint64, rounds int) {
	c := newCrowd(d.fixture(), seed)
	for round := range rounds {
		c.steps(20)
		s := d.again(round%2 == 0)
		for _, w := range c.walks {
			w.s = s
		}
		c.compareAll()
	}
}

// again opens the store another time, after it was closed or after a crash.
func (d *disk) again(crash bool) store.Store {
	d.Helper()
	left := d.dir
	if crash {
		d.dir = d.TempDir()
		if err := snapshot(d.dir, left); err != nil {
			d.Fatal(err)
		}
	}
	if err := d.s.Close(); err != nil {
		d.Fatalf("Close: %v", err)
	}
	if crash {
		if err := os.RemoveAll(left); err != nil {
			d.Fatal(err)
		}
	}
	d.s = d.open(d.T, d.dir)
	return d.s
}

// snapshot copies the files of a directory, and does so again if one has changed meanwhile: a
// store may tidy up between calls.
func snapshot(to, from string) error {
	for deadline := time.Now().Add(patience); ; {
		before, err := stat(from)
		if err != nil {
			return err
		}
		for _, f := range before {
			if err := copyFile(filepath.Join(to, f.name), filepath.Join(from, f.name)); err != nil {
				return err
			}
		}
		after, err := stat(from)
		if err != nil || slices.Equal(before, after) {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("the files of the store change all the time, though nothing is written")
		}
		if err := os.RemoveAll(to); err != nil {
			return err
		}
	}
}

type fileState struct {
	name          string
	size, changed int64
}

// stat lists the files below a directory.
func stat(dir string) (list []fileState, err error) {
	err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, err = filepath.Rel(dir, name)
		list = append(list, fileState{name, info.Size(), info.ModTime().UnixNano()})
		return err
	})
	return list, err
}

func copyFile(to, from string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return err
	}
	return dst.Close()
}
