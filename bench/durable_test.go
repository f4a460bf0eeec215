package main

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

var tinyDurable = durableScale{
	sessions: 400, large: 600, disk: 100e6,
	writes: writesScale{keeperOps, []int{1, 3, 128}, 1, time.Millisecond},
	steady: steadyScale{500, 8, 50 * time.Millisecond},
	expiry: expiryScale{rate: 200, writers: 4, hot: 200, control: 20 * time.Millisecond},
	hot:    200, readRounds: 1, readSlice: 100 * time.Microsecond,
	turnover: 144,
}

// Every part of the embedded store's measurement runs, and shows in the report; the directory is gone afterwards.
func TestDurableParts(t *testing.T) {
	dir := t.TempDir()
	if err := checkDisk(dir, 0); errors.Is(err, errInMemory) {
		t.Skip("needs a disk: the directory for temporary files is in memory")
	}
	o := options{scale: scale{durable: tinyDurable}, dir: dir, durable: "writes|reads|expiry|steady|turnover"}
	// Opening is measured in a child process, which a test's binary isn't.
	d, err := measureDurable(context.Background(), o, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, r := range d.Writes {
		want := 4 // the bare write and sync can only create, by one writer
		if r.Op == opCreate && r.Writers == 1 {
			want = 5
		}
		if len(r.Keepers) != want {
			t.Errorf("%s by %d writers: %d keepers, want %d", r.Op, r.Writers, len(r.Keepers), want)
		}
		for _, k := range r.Keepers {
			if k.Rate <= 0 || k.Latencies.Requests == 0 || k.Latencies.Max < k.Latencies.P50 {
				t.Errorf("%s by %d writers, %s: %+v", r.Op, r.Writers, k.Keeper, k)
			}
		}
	}
	if d.Steady.Latencies.Requests != 25 {
		t.Errorf("%d creations at a steady rate, want 25", d.Steady.Latencies.Requests)
	}
	if d.Turnover.Max < d.Turnover.First || d.Turnover.First == 0 {
		t.Errorf("turnover: %+v", d.Turnover)
	}
	d.Openings = []openingResult{{Sessions: 400, Cold: true, Disk: 1}}
	var text strings.Builder
	(&report{Header: newHeader(), Durable: d}).write(&text, true)
	for _, want := range []string{"compare-and-set", "of the log's rate", "a second", "through the cache", "sweep", "cold", "turnover", "goal of the embedded store"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
}

func TestOpening(t *testing.T) {
	file, err := newStoreFile(t.TempDir(), "opening")
	if err != nil {
		t.Fatal(err)
	}
	if err := fillFile(context.Background(), file, 0, 100, quiet); err != nil {
		t.Fatal(err)
	}
	o, err := measureOpening(job{Sessions: 100, Path: string(file), Cold: true}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if o.Disk == 0 || o.Open == 0 || o.First == 0 {
		t.Errorf("%+v", o)
	}
	if _, err := measureOpening(job{Sessions: 200, Path: string(file)}, quiet); err == nil {
		t.Error("a file that lacks sessions was measured")
	}
}

func TestWorkDirRefusesMemory(t *testing.T) {
	const memory = "/dev/shm"
	if err := checkDisk(memory, 0); !errors.Is(err, errInMemory) {
		t.Skipf("needs a file system in memory: %s: %v", memory, err)
	}
	if _, _, err := workDir(memory, 0); !errors.Is(err, errInMemory) || !strings.Contains(err.Error(), "-dir") {
		t.Errorf("%s was accepted: %v", memory, err)
	}
	if _, _, err := workDir(t.TempDir(), math.MaxInt64); err == nil {
		t.Error("a disk that is too small was accepted")
	}
}

// A keeper's operations do what they are measured for.
func TestKeepers(t *testing.T) {
	kinds := append([]keeperKind{{name: "memstore", share: 1, open: func(ctx context.Context, _ string, n int) (keeper, error) {
		s := memstore.New()
		return storeKeeper{s}, fillStore(ctx, s, 0, n, 1, quiet)
	}}}, peerKeepers...)
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			k, err := kind.open(context.Background(), t.TempDir(), 10)
			if err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			h := k.hand()
			if err := h.create(10); err != nil {
				t.Error(err)
			}
			if kind.alone {
				return
			}
			for range 2 {
				if err := errors.Join(h.update(3), h.read(3), h.read(9)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// The log refuses what has another revision, as it must to be compared with what compares.
func TestLogComparesRevisions(t *testing.T) {
	k, err := openLogKeeper(context.Background(), t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	r := &logRequest{i: 0, rev: 7, encoded: []byte("x"), done: make(chan error, 1)}
	k.(*logKeeper).requests <- r
	if err := <-r.done; err == nil {
		t.Error("a write at a wrong revision was acknowledged")
	}
}

func TestSamples(t *testing.T) {
	var a, b store.Record
	sampleRecord(&a, 41)
	sampleRecord(&b, 42)
	sampleRecord(&b, 41)
	if !a.Equal(&b) {
		t.Error("the same session differs")
	}
	sampleRecord(&b, 42)
	if a.ID.Compare(b.ID) == 0 || a.Secret.Hash == b.Secret.Hash || a.Secret.Hash == a.EpochHash {
		t.Error("different sessions have something in common")
	}
	if id := a.ID.String(); id[14] != '7' {
		t.Errorf("%s is no UUID of version 7", id)
	}
	if json, ok := a.Values.Get("data"); !ok || len(json) != 100 || a.Values.Check() != nil {
		t.Errorf("values %q", json)
	}
	if n := len(appendRecord(nil, &a)); n > slotSize {
		t.Errorf("a session takes %d bytes, a slot has %d", n, slotSize)
	}
}

// What waits for a worker counts: a stall of one worker is felt by all that were due meanwhile.
func TestPaceCountsFromWhenItWasDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		h, err := pace(t.Context(), 100, 1, time.Second, func(int) func(int) error {
			return func(n int) error {
				if calls.Add(1); n == 0 {
					time.Sleep(500 * time.Millisecond)
				}
				return nil
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if calls.Load() != 100 || h.total != 100 {
			t.Errorf("%d calls, %d counted, want 100", calls.Load(), h.total)
		}
		if l := h.latencies(); l.Max != 500*time.Millisecond || l.P99 < 450*time.Millisecond {
			t.Errorf("latencies %+v", l)
		}
	})
}

func TestPaceEndsWithAnError(t *testing.T) {
	broken := errors.New("broken")
	_, err := pace(t.Context(), 1000, 2, time.Hour, func(int) func(int) error {
		return func(n int) error {
			if n == 3 {
				return broken
			}
			return nil
		}
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestTakeTurns(t *testing.T) {
	var got []int
	err := takeTurns(t.Context(), 2, 3, func(int) {}, func(i int) error {
		got = append(got, i)
		return nil
	})
	if want := []int{0, 1, 2, 1, 2, 0}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("turns %v, want %v; %v", got, want, err)
	}
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		o    options
		want plan
	}{
		{options{}, plan{true, true, true, true, true, true}},
		{options{skipDurable: true}, plan{true, true, true, false, true, true}},
		{options{skipShared: true}, plan{true, true, true, true, false, true}},
		{options{skipServer: true}, plan{true, true, true, true, true, false}},
		{options{skipMemory: true}, plan{true, true, false, true, true, true}},
		{options{cases: "x"}, plan{cases: true, memory: true}},
		{options{durable: "writes"}, plan{durable: true}},
		{options{shared: "ends"}, plan{shared: true}},
		{options{server: "crowd"}, plan{server: true}},
		{options{durable: "writes", shared: "ends"}, plan{durable: true, shared: true}},
		{options{durable: "writes", profile: "p"}, plan{durable: true}},
		{options{profile: "p"}, plan{cases: true}},
	} {
		if got := c.o.plan(); got != c.want {
			t.Errorf("%+v: %v, want %v", c.o, got, c.want)
		}
	}
}

func TestStoreFile(t *testing.T) {
	dir := t.TempDir()
	f, err := newStoreFile(dir, "a")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"": "four", "-wal": "and five"} {
		if err := os.WriteFile(string(f)+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := f.size(); n != 12 || err != nil {
		t.Errorf("size %d, %v", n, err)
	}
	other, err := newStoreFile(dir, "b")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.copyTo(other), f.remove()); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(string(other)); string(text) != "four" || err != nil {
		t.Errorf("the copy holds %q, %v", text, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "a*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTable(t *testing.T) {
	var text strings.Builder
	table{head: []string{"aim", ""}, rows: [][]string{{"p99 in µs", "no"}}}.write(&text)
	const want = "\n| aim       |     |\n| --------- | --- |\n| p99 in µs | no  |\n"
	if text.String() != want {
		t.Errorf("got %s", text.String())
	}
}
