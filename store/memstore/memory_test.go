package memstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"

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

// TestMemory measures the resident memory of a session in a process of its own. Set SOJOURN_MEMORY_SESSIONS
// to measure with another number of sessions: the design's figure is for 1,000,000.
func TestMemory(t *testing.T) {
	if os.Getenv(memoryEnv+"_CHILD") == "" {
		if raceEnabled {
			t.Skip("the race detector's memory is not the store's")
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
	rnd := rand.New(rand.NewPCG(1, 2))
	fill(t, s, rnd, 0, 1000)
	scan := scannable()
	before := resident(t)
	fill(t, s, rnd, 1000, n+1000)
	scan = scannable() - scan
	grown := float64(resident(t)-before) / float64(n)
	fmt.Printf("%d sessions: %.1f bytes of resident memory each, %.1f as the store counts; %d bytes more to scan\n",
		n, grown, float64(s.Bytes())/float64(n+1000), scan)
	if grown > 330 {
		t.Errorf("a session takes %.1f bytes, want at most 330", grown)
	}
}
