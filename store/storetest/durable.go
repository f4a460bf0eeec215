package storetest

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// RunDurable checks that a store on a disk keeps everything that it has
// acknowledged. It makes random calls, as [Run] does, and reopens the store
// between them, with and without a crash. open opens the store whose files are
// in dir; each case calls it many times. Run it in addition to Run.
//
// A simulated crash copies the files while no call is under way, as a killed
// process would leave them. The driver's own tests must cover crashes during a
// call and power failures.
//
// SOJOURN_SOAK=1 adds a hundred long random walks. A larger number sets how
// many.
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

// A disk holds the files of one open store.
type disk struct {
	*testing.T
	open func(t testing.TB, dir string) store.Store
	dir  string
	s    store.Store
}

func newDisk(t *testing.T, open func(t testing.TB, dir string) store.Store) *disk {
	d := &disk{T: t, open: open, dir: t.TempDir()}
	d.s = open(t, d.dir)
	closeAtEnd(t, func() error { return d.s.Close() })
	return d
}

func (d *disk) fixture() *fixture { return newFixture(d.T, d.s) }

// kept covers what the random calls seldom meet: barriers and watermarks that
// outlive a restart before any session exists.
func (d *disk) kept() {
	f := d.fixture()
	f.endSubject("alice", t0)
	f.must(f.s.EndAll(f.ctx, "blog", t0))
	for _, crash := range []bool{true, false} {
		f.s = d.again(crash)
		rec := session("alice")
		f.wantErr(f.tryCreate(rec, created(rec)), store.ErrBarrier)
		rec = sessionAt("", t0+1)
		f.wantErr(f.in("blog").tryCreate(rec, store.CreateOptions{Arrived: t0, Now: t0 + 1}), store.ErrBarrier)
	}
}

// walk makes random calls, and reopens the store after about every hundred.
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

// again reopens the store, after Close or after a simulated crash.
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

// snapshot copies the files of a directory. A store may tidy up between calls,
// so snapshot starts again if a file has changed meanwhile.
func snapshot(to, from string) error {
	for deadline := time.Now().Add(patience); ; {
		before, err := stat(from)
		if err == nil {
			err = os.CopyFS(to, os.DirFS(from))
		}
		if err != nil {
			return err
		}
		after, err := stat(from)
		if err != nil || slices.Equal(before, after) {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("the store keeps changing its files, though no call is under way")
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
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			list = append(list, fileState{name, info.Size(), info.ModTime().UnixNano()})
		}
		return err
	})
	return list, err
}
