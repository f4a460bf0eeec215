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
)

// A diary is a mapStore that writes down its calls, and makes them again when it is opened: the simplest store that
// survives, unless it is broken on purpose. Its file says no more than which of the notebooks of
// this process it is, and up to which entry.
type diary struct {
	*mapStore
	broken string
	order  sync.Mutex // calls are written down in the order in which they were made
	path   string
	book   int
	n      int // entries that are in the file
	closed bool
}

var (
	notebooks   [][]entry
	notebooksMu sync.Mutex
)

// An entry is a call that changes something.
type entry struct {
	Call    string
	App     string
	ID      store.ID
	Subject string
	Record  store.Record
	Create  store.CreateOptions
	Update  store.UpdateOptions
	At, Now store.Time
	Client  store.Client
	Secret  store.Hash
	Confirm store.Confirmation
	Reason  store.Reason
	Max     int
}

func openDiary(dir, broken string) (*diary, error) {
	notebooksMu.Lock()
	defer notebooksMu.Unlock()
	d := &diary{mapStore: newMapStore(""), broken: broken, path: filepath.Join(dir, "diary"), book: len(notebooks)}
	b, err := os.ReadFile(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		notebooks = append(notebooks, nil)
		return d, nil
	}
	var last int
	if _, err := fmt.Sscan(string(b), &last, &d.n); err != nil {
		return nil, err
	}
	notebooks = append(notebooks, slices.Clone(notebooks[last][:d.n])) // the old owner may go on in its own
	for _, e := range notebooks[d.book] {
		if _, _, err := d.make(context.Background(), e, clone(&e.Record)); err != nil && broken == "" {
			return nil, err // refused calls aren't in the diary
		}
	}
	return d, nil
}

// make makes a call.
func (d *diary) make(ctx context.Context, e entry, rec *store.Record) (ended []store.Ended, done bool, err error) {
	m := d.mapStore
	switch e.Call {
	case "Create":
		ended, err = m.Create(ctx, e.App, rec, e.Create)
	case "Update":
		ended, err = m.Update(ctx, e.App, rec, e.Update)
	case "Touch":
		err = m.Touch(ctx, e.App, e.ID, e.At, e.Now, e.Client)
	case "Confirm":
		err = m.Confirm(ctx, e.App, e.ID, e.Secret, e.Confirm)
	case "End":
		ended, err = m.End(ctx, e.App, e.ID, e.Reason, e.At)
	case "EndSubject":
		ended, err = m.EndSubject(ctx, e.App, e.Subject, e.ID, e.Reason, e.At)
	case "EndAll":
		err = m.EndAll(ctx, e.App, e.At)
	case "Sweep":
		ended, done, err = m.Sweep(ctx, e.App, e.Now, e.Max)
	}
	return ended, done, err
}

// note makes a call and writes it down, if it wasn't refused.
func (d *diary) note(ctx context.Context, e entry, rec *store.Record) ([]store.Ended, bool, error) {
	d.order.Lock()
	defer d.order.Unlock()
	if rec != nil {
		e.Record = *clone(rec)
	}
	ended, done, err := d.make(ctx, e, rec)
	if err != nil {
		return ended, done, err
	}
	switch d.broken {
	case "forgets each " + e.Call:
		return ended, done, nil
	case "forgets idempotency keys":
		e.Create.Key = ""
	case "forgets barriers without sessions":
		if e.Call == "EndSubject" && len(ended) == 0 {
			return ended, done, nil
		}
	}
	notebooksMu.Lock()
	notebooks[d.book] = append(notebooks[d.book], e)
	notebooksMu.Unlock()
	if d.broken == "the last write waits" {
		err = d.save()
		d.n++
	} else {
		d.n++
		err = d.save()
	}
	return ended, done, err
}

func (d *diary) save() error {
	return os.WriteFile(d.path, fmt.Appendf(nil, "%d %d", d.book, d.n), 0o600)
}

func (d *diary) Create(ctx context.Context, app string, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	ended, _, err := d.note(ctx, entry{Call: "Create", App: app, Create: opt}, rec)
	return ended, err
}

func (d *diary) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) ([]store.Ended, error) {
	ended, _, err := d.note(ctx, entry{Call: "Update", App: app, Update: opt}, rec)
	return ended, err
}

func (d *diary) Touch(ctx context.Context, app string, id store.ID, at, now store.Time, client store.Client) error {
	_, _, err := d.note(ctx, entry{Call: "Touch", App: app, ID: id, At: at, Now: now, Client: client}, nil)
	return err
}

func (d *diary) Confirm(ctx context.Context, app string, id store.ID, secret store.Hash, c store.Confirmation) error {
	_, _, err := d.note(ctx, entry{Call: "Confirm", App: app, ID: id, Secret: secret, Confirm: c}, nil)
	return err
}

func (d *diary) End(ctx context.Context, app string, id store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	ended, _, err := d.note(ctx, entry{Call: "End", App: app, ID: id, Reason: reason, At: at}, nil)
	return ended, err
}

func (d *diary) EndSubject(ctx context.Context, app, subject string, except store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	ended, _, err := d.note(ctx, entry{Call: "EndSubject", App: app, Subject: subject, ID: except, Reason: reason, At: at}, nil)
	return ended, err
}

func (d *diary) EndAll(ctx context.Context, app string, at store.Time) error {
	_, _, err := d.note(ctx, entry{Call: "EndAll", App: app, At: at}, nil)
	return err
}

func (d *diary) Sweep(ctx context.Context, app string, now store.Time, max int) ([]store.Ended, bool, error) {
	return d.note(ctx, entry{Call: "Sweep", App: app, Now: now, Max: max}, nil)
}

func (d *diary) Close() error {
	d.order.Lock()
	defer d.order.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	return errors.Join(d.save(), d.mapStore.Close())
}

// TestDurable: RunDurable must accept a right store.
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
	"the last write waits", // written when the store closes, but not in a crash
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

// TestBrokenDurable runs RunDurable against each broken diary in a process of its own, where it must fail.
func TestBrokenDurable(t *testing.T) {
	for _, name := range brokenDiaries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestBrokenDiary$/^(Kept|KnownSeed)$", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), diaryEnv+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("RunDurable accepts it")
			}
			if !strings.Contains(string(out), "--- FAIL: TestBrokenDiary/") {
				t.Errorf("it failed otherwise:\n%s", out)
			}
		})
	}
}

// TestBrokenDiary is what TestBrokenDurable runs.
func TestBrokenDiary(t *testing.T) {
	name := os.Getenv(diaryEnv)
	if name == "" {
		return // nothing to do on its own
	}
	RunDurable(t, func(t testing.TB, dir string) store.Store { return mustOpen(t, dir, name) })
}
