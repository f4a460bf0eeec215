package storetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// A diary records the calls of a mapStore, and repeats them when it is opened.
// It is the simplest store that survives a restart, unless a test breaks it on
// purpose. Its file holds only the number of one of this process's notebooks
// and the number of its entries.
type diary struct {
	broken string
	path   string
	book   int

	order  sync.Mutex // held during a call, so that the entries have the order of the calls
	n      int        // number of entries in the file
	closed bool
}

var (
	notebooksMu sync.Mutex
	notebooks   [][]driver.Call // guarded by notebooksMu
)

func openDiary(dir, broken string) (store.Store, error) {
	notebooksMu.Lock()
	defer notebooksMu.Unlock()
	m := newMapStore("")
	d := &diary{broken: broken, path: filepath.Join(dir, "diary"), book: len(notebooks)}
	b, err := os.ReadFile(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		notebooks = append(notebooks, nil)
		return driver.Intercept(m, d.call), nil
	}
	var last int
	if _, err := fmt.Sscan(string(b), &last, &d.n); err != nil {
		return nil, err
	}
	notebooks = append(notebooks, slices.Clone(notebooks[last][:d.n])) // the diary that owned it may still write to it
	for _, c := range notebooks[d.book] {
		if c.Record != nil {
			c.Record = clone(c.Record)
		}
		if r := c.On(context.Background(), m); r.Err != nil && broken == "" {
			return nil, r.Err // a diary records no failed calls
		}
	}
	return driver.Intercept(m, d.call), nil
}

// call makes a call, and records it if it succeeded and may have changed
// something.
func (d *diary) call(ctx context.Context, c driver.Call) driver.Result {
	switch c.Op {
	case driver.Get, driver.List, driver.Count, driver.Barrier:
		return c.Do(ctx)
	}
	d.order.Lock()
	defer d.order.Unlock()
	if c.Op == driver.Close {
		if d.closed {
			return driver.Result{}
		}
		d.closed = true
		return driver.Result{Err: errors.Join(d.save(), c.Do(ctx).Err)}
	}
	entry := c
	if c.Record != nil {
		entry.Record = clone(c.Record)
	}
	r := c.Do(ctx)
	if r.Err != nil {
		return r
	}
	switch d.broken {
	case "forgets each " + c.Op.String():
		return r
	case "forgets idempotency keys":
		if c.Op == driver.Create {
			opt := *c.Create
			opt.Key = ""
			entry.Create = &opt
		}
	case "forgets barriers without sessions":
		if c.Op == driver.EndSubject && len(r.Ended) == 0 {
			return r
		}
	}
	notebooksMu.Lock()
	notebooks[d.book] = append(notebooks[d.book], entry)
	notebooksMu.Unlock()
	if d.broken == "the last write waits" {
		r.Err = d.save()
		d.n++
	} else {
		d.n++
		r.Err = d.save()
	}
	return r
}

func (d *diary) save() error {
	return os.WriteFile(d.path, fmt.Appendf(nil, "%d %d", d.book, d.n), 0o600)
}

// TestDurable checks that RunDurable accepts a correct store.
func TestDurable(t *testing.T) {
	RunDurable(t, func(t testing.TB, dir string) store.Store { return mustOpen(t, dir, "") })
}

func mustOpen(t testing.TB, dir, broken string) store.Store {
	d, err := openDiary(dir, broken)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var brokenDiaries = []string{
	"the last write waits", // Close writes it, so a crash loses it
	"forgets each Create",
	"forgets each Update",
	"forgets each Touch",
	"forgets each Confirm",
	"forgets each End",
	"forgets each EndSubject",
	"forgets each EndAll",
	"forgets each Sweep",
	"forgets barriers without sessions",
	"forgets idempotency keys",
}

const diaryEnv = "SOJOURN_STORETEST_DIARY"

// TestBrokenDurable checks that RunDurable rejects each broken diary. It runs
// each in another process.
func TestBrokenDurable(t *testing.T) {
	for _, name := range brokenDiaries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestBrokenDiary$/^(Kept|KnownSeed)$", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), diaryEnv+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("RunDurable passes on the broken store")
			}
			if !strings.Contains(string(out), "--- FAIL: TestBrokenDiary/") {
				t.Errorf("it failed in another way:\n%s", out)
			}
		})
	}
}

// TestBrokenDiary is the process that TestBrokenDurable starts.
func TestBrokenDiary(t *testing.T) {
	name := os.Getenv(diaryEnv)
	if name == "" {
		return // TestBrokenDurable did not start it
	}
	RunDurable(t, func(t testing.TB, dir string) store.Store { return mustOpen(t, dir, name) })
}
