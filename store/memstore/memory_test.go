package memstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// scannable is how many bytes of heap a collection has to look into.
func scannable() int64 {
	runtime.GC()
	s := []metrics.Sample{{Name: "/gc/scan/heap:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

func resident(t testing.TB) int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Skip("no VmRSS")
	return 0
}

func fill(t testing.TB, s *Store, rnd *rand.Rand, from, to int) {
	for i := from; i < to; i++ {
		rec := typical(rnd, i)
		if _, err := s.Create(context.Background(), "shop", rec, store.CreateOptions{Now: rec.CreatedAt, Arrived: rec.CreatedAt, Limit: store.Limit{Max: 100}}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCollectorSeesNothing: the collector's work is the same with ten times as many sessions.
func TestCollectorSeesNothing(t *testing.T) {
	s := NewLimited(1 << 40)
	defer s.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	fill(t, s, rnd, 0, 20_000)
	small := scannable()
	fill(t, s, rnd, 20_000, 200_000)
	if grown := scannable() - small; grown > 1<<20 {
		t.Errorf("with 200,000 sessions the collector scans %d bytes more than with 20,000", grown)
	}
	runtime.KeepAlive(s)
}

const memoryEnv = "SOJOURN_MEMORY_SESSIONS"

// TestMemory measures the resident memory of a session in a process of its own,
// after half of the sessions were rotated eight times. It has 200,000 sessions,
// or as many as SOJOURN_MEMORY_SESSIONS says.
func TestMemory(t *testing.T) {
	if os.Getenv(memoryEnv+"_CHILD") == "" {
		if raceEnabled {
			t.Skip("the race detector's memory is not the store's")
		}
		if testing.Short() {
			t.Skip("takes half a minute")
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestMemory$", "-test.v")
		cmd.Env = append(os.Environ(), memoryEnv+"_CHILD=1")
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	n := 200_000
	if v := os.Getenv(memoryEnv); v != "" {
		n, _ = strconv.Atoi(v)
	}
	s := NewLimited(1 << 40)
	defer s.Close()
	ids := make([]store.ID, n)
	for i := range ids {
		ids[i][0] = 1 // the page becomes resident
	}
	scan := scannable()
	before := resident(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range ids {
		rec := typical(rnd, 2*i) // one that was never rotated
		ids[i] = rec.ID
		if i%2 == 0 {
			rec.Client.IP = netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(rec.ID[:8:8], rnd.Uint64())))
			rec.LastClient = rec.Client
		}
		if err := create(s, rec); err != nil {
			t.Fatal(err)
		}
	}
	report := func(what string) float64 {
		debug.FreeOSMemory()
		each := float64(resident(t)-before) / float64(n)
		fmt.Printf("%d sessions, %s: %.1f bytes of resident memory each, %.1f as the store counts; %d bytes more to scan\n",
			n, what, each, float64(s.Bytes())/float64(n), scannable()-scan)
		return each
	}
	report("new")
	for range 8 {
		rotate(t, s, ids, rnd)
	}
	if each := report("half of them rotated"); each > 345 {
		t.Errorf("a session takes %.1f bytes, want at most 345", each)
	}
}

// rotate gives half of the sessions a new secret, in the steps that an engine
// takes: all rotate, all present the new secret, and all confirm it.
func rotate(t *testing.T, s *Store, ids []store.ID, rnd *rand.Rand) {
	var rec store.Record
	if err := s.Get(ctx, "shop", ids[0], true, &rec); err != nil {
		t.Fatal(err)
	}
	at := rec.LastSeenAt.Add(15 * time.Minute)
	each := func(do func(id store.ID) error) {
		for i := 0; i < len(ids); i += 4 {
			for _, id := range ids[i:min(i+2, len(ids))] {
				if err := s.Get(ctx, "shop", id, true, &rec); err != nil {
					t.Fatal(err)
				}
				if err := do(id); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	each(func(store.ID) error {
		rec.Good = append(rec.Good, rec.Secret)
		rec.Secret = store.Secret{IssuedAt: at}
		for i := range rec.Secret.Hash {
			rec.Secret.Hash[i] = byte(rnd.Uint32())
		}
		rec.Good = slices.DeleteFunc(rec.Good, func(g store.Secret) bool {
			over := g.Until != 0 && g.Until <= at
			if over {
				rec.Spent = append(rec.Spent, store.Spent{Print: g.Hash.Print(), Until: g.Until})
			}
			return over
		})
		rec.Spent = slices.DeleteFunc(rec.Spent, func(spent store.Spent) bool {
			over := spent.Until < at.Add(-time.Hour)
			if over {
				rec.SpentTill = max(rec.SpentTill, spent.Until)
			}
			return over
		})
		rec.LastSeenAt = at
		_, err := s.Update(ctx, "shop", &rec, store.UpdateOptions{Now: at, Arrived: at})
		return err
	})
	for _, c := range []store.Confirmation{{FirstSeenAt: at + 1000}, {ConfirmedAt: at + 62_000, Until: at + 662_000}} {
		each(func(id store.ID) error { return s.Confirm(ctx, "shop", id, rec.Secret.Hash, c) })
	}
}
