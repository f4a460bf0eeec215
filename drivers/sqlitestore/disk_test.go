//go:build linux

package sqlitestore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

// mount mounts a small file system in memory at a new directory.
func mount(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size="+strconv.Itoa(size)); err != nil {
		needsRoot(t, err)
	}
	t.Cleanup(func() {
		// A child that another test is starting has all files open until its exec.
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func needsRoot(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("SOJOURN_REQUIRE_ALL") == "1" || os.Getuid() == 0 && !errors.Is(err, syscall.EPERM) {
		t.Fatalf("mount: %v", err)
	}
	t.Skipf("needs root: to mount a file system of its own: %v", err)
}

// A fullDisk is a store on a disk of 256 MB, most of which a ballast takes.
type fullDisk struct {
	*testing.T
	dir  string
	s    *Store
	mu   sync.Mutex
	acks []*store.Record
	n    int
}

func newFullDisk(t *testing.T) *fullDisk {
	d := &fullDisk{T: t, dir: mount(t, 256<<20)}
	if err := os.WriteFile(d.ballast(), make([]byte, 200<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d.open()
	return d
}

func (d *fullDisk) ballast() string { return filepath.Join(d.dir, "ballast") }
func (d *fullDisk) path() string    { return filepath.Join(d.dir, "sessions.db") }

func (d *fullDisk) open() {
	d.Helper()
	s, err := Open(d.Context(), d.path(), Options{})
	if err != nil {
		d.Fatal(err)
	}
	d.s = s
}

// create creates a session of 50 KB.
func (d *fullDisk) create(subject string) error {
	d.mu.Lock()
	d.n++
	rec := session(d.n, subject, present)
	d.mu.Unlock()
	rec.Values = rec.Values.AppendSet(nil, "pad", []byte(strconv.Quote(strings.Repeat("x", 50_000))))
	_, err := d.s.Create(d.Context(), "shop", rec, store.CreateOptions{Arrived: present, Now: present})
	if err == nil {
		d.mu.Lock()
		d.acks = append(d.acks, rec)
		d.mu.Unlock()
	}
	return err
}

// fill creates sessions, several at a time, until there is no room, and checks
// the errors.
func (d *fullDisk) fill(subject string) {
	d.Helper()
	before := len(d.acks)
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for {
				if err := d.create(subject); err != nil {
					if !errors.Is(err, store.ErrFull) {
						d.Errorf("the disk is full, and Create says: %v", err)
					}
					return
				}
			}
		})
	}
	writers.Wait()
	if err := d.create(subject); !errors.Is(err, store.ErrFull) {
		d.Errorf("on a full disk: %v", err)
	}
	d.Logf("%d sessions of %q", len(d.acks)-before, subject)
	if len(d.acks) == before {
		d.Errorf("none had room")
	}
}

// wantAll checks that every acknowledged session is there, except the first
// ones, which have ended.
func (d *fullDisk) wantAll(ended int) {
	d.Helper()
	for i, rec := range d.acks {
		err := stateOf(d.s, withRevision(rec))
		if i < ended && !errors.Is(err, store.ErrEnded) || i >= ended && err != nil {
			d.Fatalf("session %d of %d, of which %d have ended: %v", i, len(d.acks), ended, err)
		}
	}
}

func (d *fullDisk) end(i int) error {
	_, err := d.s.End(d.Context(), "shop", d.acks[i].ID, store.ReasonLogout, present)
	return err
}

// TestI6FullDisk fills a small disk. Acknowledged writes stay, the errors name
// the cause, and logins find room when visitors don't any more. When there is
// room again, the same store continues.
func TestI6FullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	t.Parallel()
	d := newFullDisk(t)
	d.fill("")
	d.fill("ada")
	d.wantAll(0)
	ended := 0
	for ; ended < 20; ended++ {
		if err := d.end(ended); err != nil {
			if !errors.Is(err, store.ErrFull) {
				t.Errorf("End: %v", err)
			}
			break
		}
	}
	if ended < 20 {
		t.Errorf("only %d sessions could be ended: no room was kept for that", ended)
	}
	d.wantAll(ended)
	if _, _, err := d.s.Sweep(t.Context(), "shop", present, 100); err != nil && !errors.Is(err, store.ErrFull) {
		t.Errorf("Sweep: %v", err)
	}

	if err := os.Remove(d.ballast()); err != nil {
		t.Fatal(err)
	}
	for ; ended < 30; ended++ {
		if err := d.end(ended); err != nil {
			t.Fatalf("End when there is room again: %v", err)
		}
	}
	if err := d.create("ada"); err != nil {
		t.Fatalf("Create when there is room again: %v", err)
	}
	d.wantAll(ended)
	closeStore(t, d.s)
	d.open()
	d.wantAll(ended)
	closeStore(t, d.s)
	if err := Check(t.Context(), d.path(), nil); err != nil {
		t.Error(err)
	}
}

// flood lets other programs take the rest of the disk.
func (d *fullDisk) flood() { flood(d.T, filepath.Join(d.dir, "flood")) }

func flood(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func (d *fullDisk) ebb() {
	d.Helper()
	if err := os.Remove(filepath.Join(d.dir, "flood")); err != nil {
		d.Fatal(err)
	}
}

// TestI6NoBlockLeft: other programs have filled the disk. Writes that need more
// room get ErrFull. Writes that need none continue, in the room that the store
// has kept for its log. The same store takes new sessions when there is room
// again.
func TestI6NoBlockLeft(t *testing.T) {
	d := newFullDisk(t)
	for range 20 {
		if err := d.create("ada"); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, d.s) // also removes its log
	d.open()
	d.flood()
	d.wantFull()
	ctx := t.Context()
	update := func(rec store.Record) error {
		_, err := d.s.Update(ctx, "shop", &rec, store.UpdateOptions{Arrived: present, Now: present})
		return err
	}
	larger := *withRevision(d.acks[0])
	larger.Values = larger.Values.AppendSet(nil, "more", []byte(`"than before"`))
	if err := update(larger); !errors.Is(err, store.ErrFull) {
		t.Errorf("an update that takes more room: %v", err)
	}
	for range 2000 { // several times the room of the log
		rec := d.acks[0]
		rec.Level ^= 1
		if err := update(*rec); err != nil {
			t.Fatalf("an update that takes no more room: %v", err)
		}
		rec.Revision++
		rec.LastSeenAt++
		if err := d.s.Touch(ctx, "shop", rec.ID, rec.LastSeenAt, present, store.Client{}); err != nil {
			t.Fatalf("Touch: %v", err)
		}
	}
	for i, rec := range d.acks {
		rec.Revision = max(rec.Revision, 1)
		if err := stateOf(d.s, rec); err != nil {
			t.Errorf("session %d: %v", i, err)
		}
	}
	d.ebb()
	if err := d.create("ada"); err != nil {
		t.Fatalf("when there is room again: %v", err)
	}
	if err := update(larger); !errors.Is(err, store.ErrConflict) {
		t.Error(err)
	}
	closeStore(t, d.s)
}

// TestI6OpenOnAFullDisk closes and opens the store while the disk is full. That
// may fail, but loses nothing.
func TestI6OpenOnAFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash=%t", crash), func(t *testing.T) {
			d := newFullDisk(t)
			for range 100 {
				if err := d.create("ada"); err != nil {
					t.Fatal(err)
				}
			}
			if crash { // the log contains writes that the file doesn't
				left := t.TempDir()
				for _, name := range []string{"sessions.db-wal", "sessions.db"} {
					copyFile(t, filepath.Join(left, name), filepath.Join(d.dir, name))
				}
				closeStore(t, d.s)
				for _, name := range []string{"sessions.db-wal", "sessions.db"} {
					copyFile(t, filepath.Join(d.dir, name), filepath.Join(left, name))
				}
			} else {
				closeStore(t, d.s)
			}
			d.flood()
			s, err := Open(t.Context(), d.path(), Options{})
			t.Logf("Open on a full disk: %v", err)
			if err == nil {
				d.s = s
				d.wantAll(0)
				closeStore(t, s)
			} else if !strings.Contains(err.Error(), "full") && !strings.Contains(err.Error(), "no space left") {
				t.Errorf("Open doesn't say that the disk is full: %v", err)
			}
			d.ebb()
			d.open()
			d.wantAll(0)
			if err := d.create("ada"); err != nil {
				t.Error(err)
			}
			closeStore(t, d.s)
			if err := Check(t.Context(), d.path(), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestNewStoreOnAFullDisk: the rest of a failed creation doesn't prevent a
// later one.
func TestNewStoreOnAFullDisk(t *testing.T) {
	for _, room := range []int{0, 1, 4, 10, 20, 40} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			dir := mount(t, 1<<20)
			ballast := filepath.Join(dir, "ballast")
			flood(t, ballast)
			if err := os.Truncate(ballast, 1<<20-pageBytes*int64(room+1)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "sessions.db")
			s, err := Open(t.Context(), path, Options{})
			t.Logf("Open: %v", err)
			if err == nil {
				closeStore(t, s)
			} else if !strings.Contains(err.Error(), "full") && !strings.Contains(err.Error(), "no space left") {
				t.Errorf("Open doesn't say that the disk is full: %v", err)
			}
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			s = openAt(t, path)
			create(t, s, session(1, "ada", present))
			closeStore(t, s)
		})
	}
}

// TestReadOnlyDirectory: a file in a read-only directory can't be opened,
// because the log lies beside it. The error says so.
func TestReadOnlyDirectory(t *testing.T) {
	dir := mount(t, 8<<20)
	path := filepath.Join(dir, "sessions.db")
	filled(t, path, 3)
	before := contents(t, dir)
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		needsRoot(t, err)
	}
	wantRefusal(t, path, syscall.EROFS, "right to write")
	wantRefusal(t, filepath.Join(dir, "new.db"), syscall.EROFS, "right to write")
	wantRefusal(t, filepath.Join(dir, "new", "new.db"), syscall.EROFS, "right to write")
	sameContents(t, dir, before)
}
