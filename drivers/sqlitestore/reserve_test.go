//go:build linux

package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

// crowd creates sessions of several subjects, a few of them with values of 50
// KB. They are still in the log.
func crowd(d *fullDisk, n int) {
	d.Helper()
	for i := range n {
		subject := []string{"", "ada", "bob"}[i%3]
		if i%20 == 0 {
			if err := d.create(subject); err != nil {
				d.Fatal(err)
			}
			continue
		}
		d.n++
		rec := session(d.n, subject, present)
		create(d, d.s, rec)
		d.acks = append(d.acks, rec)
	}
}

// endEverything ends sessions in every way, and checks what has ended. The
// first sessions of the crowd have ended before.
func endEverything(d *fullDisk, over int) {
	d.Helper()
	for i := over; i < over+50; i++ {
		if err := d.end(i); err != nil {
			d.Fatalf("logout %d: %v", i-over+1, err)
		}
	}
	d.wantAll(over + 50)
	ctx := d.Context()
	if ended, err := d.s.EndSubject(ctx, "shop", "ada", store.ID{}, store.ReasonRevoked, present); err != nil || len(ended) == 0 {
		d.Fatalf("EndSubject: %d ended, %v", len(ended), err)
	}
	if ended, _, err := d.s.Sweep(ctx, "shop", present+3_600_000*2, 20); err != nil || len(ended) == 0 {
		d.Fatalf("Sweep: %d ended, %v", len(ended), err)
	}
	if err := d.s.EndAll(ctx, "shop", present+1); err != nil {
		d.Fatalf("EndAll: %v", err)
	}
	d.wantAll(len(d.acks))
}

// Ending a session never depends on free space: neither when another program
// has filled the disk to the last byte and takes every byte that becomes free,
// nor when the store's own log has filled it.
func TestEndsOnAFullDisk(t *testing.T) {
	const ext3, goesOn = "ext3, which allocates nothing ahead", "another program that goes on"
	fill := map[string]func(d *fullDisk) (stop func()){
		"another program": func(d *fullDisk) func() { d.flood(); return func() {} },
		goesOn: func(d *fullDisk) func() {
			d.flood()
			return keepFlooding(d)
		},
		"after a restart": func(d *fullDisk) func() {
			closeStore(d.T, d.s)
			d.open()
			d.flood()
			return func() {}
		},
		"at the start": func(d *fullDisk) func() {
			closeStore(d.T, d.s)
			d.flood()
			d.open()
			return func() {}
		},
		"its own log": func(d *fullDisk) func() {
			return d.fillLog()
		},
		"a disk that was filled, restarted and filled again": func(d *fullDisk) func() {
			for range 3 {
				d.flood()
				if err := d.end(len(d.acks) - 1); err != nil {
					d.Fatal(err)
				}
				d.acks = d.acks[:len(d.acks)-1]
				closeStore(d.T, d.s)
				d.ebb()
				d.open()
			}
			d.flood()
			return func() {}
		},
	}
	for system, mount := range map[string]func(*testing.T) string{"tmpfs": smallDisk, "ext4": smallExt4, ext3: smallExt3} {
		for name, fill := range fill {
			if system == ext3 && name == goesOn {
				continue // the other program may take the room of the spare file
			}
			t.Run(system+"/"+name, func(t *testing.T) {
				d := &fullDisk{T: t, dir: mount(t)}
				d.open()
				defer func() { closeStore(t, d.s) }()
				crowd(d, 120)
				stop := fill(d)
				d.wantFull()
				if s := d.s.Stats(); !s.Full {
					t.Errorf("the store doesn't report that the disk is full: %+v", s)
				}
				endEverything(d, 0)
				stop()
				d.ebb()
				later := present + store.Time(4*3_600_000)
				sweep(t, d.s, later)
				create(t, d.s, session(1_000_000, "eve", later))
				if s := d.s.Stats(); s.Full || s.Reserve == 0 || s.Reserve != s.ReserveWanted {
					t.Errorf("when there is room again: %+v", s)
				}
				wantIntact(t, d.path())
			})
		}
	}
}

// wantFull checks that new sessions are refused. The store measures the space
// every few writes; until then some may find room.
func (d *fullDisk) wantFull() {
	d.Helper()
	var err error
	for range 2 * fewWrites {
		if err = d.create("eve"); err != nil {
			break
		}
	}
	if !errors.Is(err, store.ErrFull) {
		d.Errorf("a new session on the full disk: %v", err)
	}
}

func smallDisk(t *testing.T) string { return mount(t, 64<<20) }

// smallExt4 mounts an ext4 file system, which most servers use.
func smallExt4(t *testing.T) string { return smallExt(t, "ext4") }
func smallExt3(t *testing.T) string { return smallExt(t, "ext3") }

func smallExt(t *testing.T, kind string) string {
	t.Helper()
	needs(t, "mkfs.ext4")
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-F", "-t", kind, image)
	dir := t.TempDir()
	run(t, "mount", "-o", "loop", image, dir)
	t.Cleanup(func() { run(t, "umount", dir) })
	return dir
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		needsRoot(t, fmt.Errorf("%s: %w: %s", name, err, out))
	}
}

// keepFlooding lets another program take all room that becomes free.
func keepFlooding(d *fullDisk) (stop func()) {
	ctx, cancel := context.WithCancel(d.Context())
	var other sync.WaitGroup
	other.Go(func() {
		f, err := os.OpenFile(filepath.Join(d.dir, "flood"), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			d.Error(err)
			return
		}
		defer f.Close()
		for block := make([]byte, 4096); ctx.Err() == nil; {
			if _, err := f.Write(block); err != nil && !errors.Is(err, syscall.ENOSPC) {
				d.Error(err)
				return
			}
		}
	})
	return func() { cancel(); other.Wait() }
}

// ebbBy lets the other program give back a number of bytes.
func (d *fullDisk) ebbBy(n int64) {
	d.Helper()
	name := filepath.Join(d.dir, "flood")
	info, err := os.Stat(name)
	if err == nil {
		err = os.Truncate(name, info.Size()-n)
	}
	if err != nil {
		d.Fatal(err)
	}
}

// fillLog lets a reader hold the log, so that it grows with each write until
// the disk is full. When stop returns, no reader is left.
func (d *fullDisk) fillLog() (stop func()) {
	d.Helper()
	c, err := connect(d.Context(), dsn(d.path(), readerPragmas()...))
	if err != nil {
		d.Fatal(err)
	}
	if _, err := c.exec("BEGIN"); err != nil {
		d.Fatal(err)
	}
	if _, err := c.first("SELECT count(*) FROM sessions"); err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { _ = c.Close() })
	d.flood()
	d.ebbBy(4 << 20)
	for at := store.Time(present + 1); ; at++ {
		rec := d.acks[int(at)%len(d.acks)]
		err := d.s.Touch(d.Context(), "shop", rec.ID, at, present, store.Client{UserAgent: fmt.Sprint(at)})
		if errors.Is(err, store.ErrFull) {
			break
		}
		if err != nil {
			d.Fatal(err)
		}
		rec.LastSeenAt, rec.LastClient = at, store.Client{UserAgent: fmt.Sprint(at)}
	}
	return func() {
		if _, err := c.exec("ROLLBACK"); err != nil {
			d.Error(err)
		}
	}
}

// TestSparseReserve: the spare file of a copied store has blocks, too.
func TestSparseReserve(t *testing.T) {
	dir := t.TempDir()
	openIn(t, dir).Close()
	files, _ := filepath.Glob(filepath.Join(dir, "*-reserve"))
	if len(files) != 1 {
		t.Fatalf("spare files %q", files)
	}
	size := func() (bytes, room int64) {
		info, err := os.Stat(files[0])
		if err != nil {
			t.Fatal(err)
		}
		return info.Size(), info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	bytes, _ := size()
	if err := errors.Join(os.Truncate(files[0], 0), os.Truncate(files[0], bytes)); err != nil {
		t.Fatal(err)
	}
	s := openIn(t, dir)
	defer s.Close()
	if _, room := size(); room < bytes {
		t.Errorf("a spare file of %d bytes has room for %d", bytes, room)
	}
	if stats := s.Stats(); stats.Reserve < stats.ReserveWanted {
		t.Errorf("reserve %d of %d", stats.Reserve, stats.ReserveWanted)
	}
}
