package main

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

func quiet(string) {}

// Each contender does what it is measured for, in every case.
func TestContendersDoWhatIsMeasured(t *testing.T) {
	for _, who := range contenders {
		t.Run(who.name, func(t *testing.T) {
			s, err := who.open()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			suited := 0
			for _, c := range benchCases {
				if !c.suits(s) {
					if who.module != "" {
						t.Errorf("%s: not measured", c.name)
					}
					continue
				}
				suited++
				v, err := c.visitor(s)
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
					continue
				}
				call := v.prepare(c.op)
				for range 3 {
					if status := call(); status != 200 {
						t.Errorf("%s: prepared call: status %d", c.name, status)
					}
				}
			}
			if suited == 0 {
				t.Error("no case suits it")
			}
		})
	}
}

// A read that finds something else is an error, so that no error path is ever measured.
func TestWrongReadFails(t *testing.T) {
	for _, who := range contenders {
		s, err := who.open()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if !s.supports(readTheme) {
			continue
		}
		if err := s.visitor().send(readTheme); err == nil {
			t.Errorf("%s: a visitor without a session read the right value", who.name)
		}
	}
}

func TestCompareAndReport(t *testing.T) {
	r := report{Header: newHeader(), Rounds: 1}
	for _, cpus := range []int{1, 2} {
		for _, c := range benchCases {
			result, err := compare(context.Background(), contenders, c, cpus, 1, 100*time.Microsecond, quiet)
			if err != nil {
				t.Fatal(err)
			}
			r.Cases = append(r.Cases, result)
		}
	}
	r.Memory = []memoryResult{{Contender: "sojourn", Sessions: 1_000_000, Rotations: 8, Resident: 300}}
	r.Pauses = []pauseResult{{Contender: "sojourn", Sessions: 1_000_000}}
	var text strings.Builder
	r.write(&text, true)
	for _, want := range []string{"| read the subject", "| 2 CPUs", "sojourn", "goal", r.Header.CPU} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if host, err := os.Hostname(); err == nil && len(host) > 3 && strings.Contains(text.String(), host) {
		t.Error("the report names the host")
	}
}

// The counts are what the README claims: none for sojourn, while the method finds every race in the others.
func TestCorrectness(t *testing.T) {
	for _, who := range contenders {
		if who.module == "" {
			continue
		}
		t.Run(who.name, func(t *testing.T) {
			c, err := measureCorrectness(context.Background(), who, 1, 1, quiet)
			if err != nil {
				t.Fatal(err)
			}
			if who.name != "sojourn" {
				if c.Lost == 0 || c.Logout.Revived == 0 || c.Elevation.OldGood == 0 {
					t.Errorf("no race found where there is one: %+v", c)
				}
				return
			}
			e, r := c.Elevation, c.Rotation
			if c.Lost+c.Refused+c.Logout.Revived+c.Logout.SignedIn+c.Login.OldGood+c.Login.Undone+c.Login.LateUndone+
				e.OldGood+e.Undone+e.LateUndone+e.Kept+r.Undone+r.LateUndone+r.Refused != 0 {
				t.Errorf("should all be none: %+v", c)
			}
			if c.Login.Refused != 1 || e.Refused != 1 || r.Kept != 1 {
				t.Errorf("a write in flight must be refused after a login or elevation, and kept after a rotation: %+v", c)
			}
		})
	}
}

// The memory measurement's sessions can be read and age as it says; how much they need is not for a test.
func TestVaults(t *testing.T) {
	for name, open := range vaults {
		t.Run(name, func(t *testing.T) {
			m, err := measureMemory(open, job{Kind: "memory", Contender: name, Sessions: 100, Rotations: 8}, quiet)
			if err != nil {
				t.Fatal(err)
			}
			if m.Sessions != 100 {
				t.Errorf("measured %d sessions", m.Sessions)
			}
		})
	}
}

func TestPauseOfSojourn(t *testing.T) {
	v, err := openSojournVault()
	if err != nil {
		t.Fatal(err)
	}
	jar := newManyCookies(1000)
	if err := v.expiring(jar, 1000, quiet); err != nil {
		t.Fatal(err)
	}
	read := v.reader()
	stop := startReader(jar.n, func(i int) bool { return read(jar.get(i)) })
	facts, err := v.sweep()
	if err != nil {
		t.Fatal(err)
	}
	l, err := stop()
	if err != nil {
		t.Fatal(err)
	}
	if facts.Ended != 500 {
		t.Errorf("the sweep ended %d of 1000 sessions, want half", facts.Ended)
	}
	if l.Max < l.P50 {
		t.Errorf("latencies %+v", l)
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	random := rand.New(rand.NewPCG(1, 1))
	var all []float64
	for range 100_000 {
		d := time.Duration(random.ExpFloat64() * 1000)
		h.add(d)
		all = append(all, float64(d))
	}
	for _, q := range []float64{0.5, 0.99, 0.999} {
		got, want := float64(h.quantile(q)), quantile(all, q)
		if got < want*0.93 || got > want*1.07 {
			t.Errorf("quantile %v: %v, want about %v", q, got, want)
		}
	}
	for n := uint64(0); n < 1<<20; n += 1 + n/64 {
		if b := bucket(n); n > bucketTop(b) || b > 0 && n <= bucketTop(b-1) {
			t.Fatalf("%d is in bucket %d, which ends at %d", n, b, bucketTop(b))
		}
	}
}

func TestChildRefusesNonsense(t *testing.T) {
	for _, text := range []string{"", "{}", `{"Kind":"memory","Contender":"gorilla files"}`, `{"Kind":"x","Contender":"scs"}`} {
		if err := childMain(text, io.Discard, io.Discard); err == nil {
			t.Errorf("job %q was done", text)
		}
	}
}
