package main

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// A vault is a contender's store, to be filled with many sessions.
type vault interface {
	// fill makes sessions from up to to, and puts their Cookie headers into the jar.
	fill(jar *manyCookies, from, to int) error
	// age gives the even sessions that many new secrets, as time does; a contender that doesn't rotate does nothing.
	age(jar *manyCookies, rotations int, progress func(string)) error
	// reader returns a function that reads the session with this Cookie header, through the middleware, and reports whether it was there. Each is used
	// by one goroutine.
	reader() func(cookie string) bool
	// finder is like reader, and asks the store alone; nil if that isn't measured.
	finder() func(cookie string) bool
	// expiring makes n sessions like fill: the even ones soon expire.
	expiring(jar *manyCookies, n int, progress func(string)) error
	// quiet returns once no sweep will run for d.
	quiet(d time.Duration)
	// arm prepares the sweep.
	arm() error
	// sweep lets the even sessions expire, and returns when they are gone.
	sweep() (sweepFacts, error)
}

// sweepFacts are what a store can tell about a sweep.
type sweepFacts struct {
	Took        time.Duration
	Ended       int           // sessions that it removed; 0: not known
	LongestHold time.Duration // the longest time that it held a lock; 0: not known
}

var vaults = map[string]func() (vault, error){
	"sojourn": openSojournVault,
	"scs":     openSCSVault,
	"fiber":   openFiberVault,
}

// manyCookies keeps a Cookie header for each session in memory that the collector doesn't look into and that is there before the
// measurement begins, so that it doesn't count.
type manyCookies struct {
	text []byte
	n    int
}

const cookieSlot = 96

func newManyCookies(n int) *manyCookies {
	c := &manyCookies{make([]byte, n*cookieSlot), n}
	for i := 0; i < len(c.text); i += 512 {
		c.text[i] = 1 // the pages become resident now
	}
	return c
}

func (c *manyCookies) set(i int, name, token string) {
	slot := c.text[i*cookieSlot : (i+1)*cookieSlot]
	if len(name)+1+len(token) >= cookieSlot {
		panic("bench: cookie longer than its slot")
	}
	slot[0] = byte(copy(slot[1:], name+"="+token))
}

// get returns the header; it changes with the next set.
func (c *manyCookies) get(i int) string {
	slot := c.text[i*cookieSlot : (i+1)*cookieSlot]
	return unsafe.String(&slot[1], int(slot[0]))
}

// What a session of the memory measurement holds.

func userID(i int) string { return fmt.Sprintf("user-%07d", i) }

// someValue returns 100 bytes of JSON, the quotes included, another for each session.
func someValue(i int) string {
	s := strconv.Itoa(i) + "-"
	return s + twentyValue[:87-len(s)] + "abcdefghijk"
}

// userAgents returns 1,000 distinct ones of real length. They are made where they are needed, to keep the heap of the
// other measurements small.
var userAgents = sync.OnceValue(func() []string {
	list := make([]string, 1000)
	for i := range list {
		list[i] = fmt.Sprintf("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.%d.%d Safari/537.36", 100+i%40, 4000+i, i%97)
	}
	return list
})

// randomAddress returns an address, of each second client an IPv6 one.
func randomAddress(r *rand.Rand) netip.Addr {
	var b [16]byte
	hi, lo := r.Uint64(), r.Uint64()
	for i := range 8 {
		b[i], b[8+i] = byte(hi>>(8*i)), byte(lo>>(8*i))
	}
	if hi>>60&1 == 0 {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	b[0] = 0x20
	return netip.AddrFrom16(b)
}

// A memoryResult is what a number of sessions cost.
type memoryResult struct {
	Contender string
	Sessions  int
	Rotations int     // of every second session
	Resident  float64 // bytes for each session: growth of VmRSS, after a collection and FreeOSMemory
	Peak      float64 // bytes for each session: growth of VmHWM while filling
	Heap      float64 // bytes for each session: growth of the Go heap's live objects
	Scan      uint64  // bytes of heap that a collection must look into (/gc/scan/heap:bytes)
	GC        float64 // CPU seconds of one collection, median of five
	Lookups   float64 // a second, of random sessions in the store, on all CPUs; 0: not measured
	FillTook  time.Duration
}

func measureMemory(open func() (vault, error), j job, progress func(string)) (memoryResult, error) {
	jar := newManyCookies(j.Sessions)
	v, err := open()
	if err != nil {
		return memoryResult{}, err
	}
	settle()
	resident, _, err := processMemory()
	if err != nil {
		return memoryResult{}, err
	}
	heap := liveHeap()
	start := time.Now()
	const step = 50_000
	for from := 0; from < j.Sessions; from += step {
		progress(fmt.Sprintf("%s filled", count(from)))
		if err := v.fill(jar, from, min(from+step, j.Sessions)); err != nil {
			return memoryResult{}, err
		}
	}
	if err := v.age(jar, j.Rotations, progress); err != nil {
		return memoryResult{}, err
	}
	took := time.Since(start)

	// Each session must be what it should be, or it isn't a session that was measured.
	read := v.reader()
	for i := 0; i < j.Sessions; i += max(1, j.Sessions/10_000) {
		if !read(jar.get(i)) {
			return memoryResult{}, fmt.Errorf("bench: session %d of %d can't be read", i, j.Sessions)
		}
	}
	progress("collecting")
	settle()
	now, peak, err := processMemory()
	if err != nil {
		return memoryResult{}, err
	}
	n := float64(j.Sessions)
	r := memoryResult{
		Contender: j.Contender, Sessions: j.Sessions, Rotations: j.Rotations,
		Resident: float64(now-resident) / n, Peak: float64(peak-resident) / n, Heap: float64(liveHeap()-heap) / n,
		Scan: uintMetric("/gc/scan/heap:bytes"), FillTook: took,
	}
	var collections []float64
	for range 5 {
		before := floatMetric("/cpu/classes/gc/total:cpu-seconds")
		runtime.GC()
		collections = append(collections, floatMetric("/cpu/classes/gc/total:cpu-seconds")-before)
	}
	r.GC = quantile(collections, 0.5)
	if v.finder() != nil {
		progress("looking up")
		if r.Lookups, err = lookups(v, jar); err != nil {
			return memoryResult{}, err
		}
	}
	runtime.KeepAlive(jar)
	runtime.KeepAlive(v)
	return r, nil
}

// lookups returns how many random sessions all CPUs together find in a second.
func lookups(v vault, jar *manyCookies) (perSecond float64, err error) {
	const each = 1_000_000
	cpus := runtime.NumCPU()
	var lost atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for c := range cpus {
		find := v.finder()
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(c), 11))
			for range each {
				if !find(jar.get(random.IntN(jar.n))) {
					lost.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := lost.Load(); n > 0 {
		return 0, fmt.Errorf("bench: %d of %d sessions are not in the store", n, cpus*each)
	}
	return float64(cpus*each) / time.Since(start).Seconds(), nil
}

// settle frees what is free.
func settle() {
	for range 2 {
		runtime.GC()
		debug.FreeOSMemory()
	}
}

func liveHeap() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func uintMetric(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func floatMetric(name string) float64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Float64()
}

// processMemory returns the process's resident memory and the most it has been, in bytes.
func processMemory() (resident, peak int64, err error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, fmt.Errorf("bench: memory can only be measured on Linux: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			resident = kb << 10
		case "VmHWM":
			peak = kb << 10
		}
	}
	return resident, peak, nil
}

// count writes a number of sessions: 0.1 M, 1 M, 20 k.
func count(n int) string {
	if n >= 100_000 {
		return strconv.FormatFloat(float64(n)/1e6, 'f', -1, 64) + " M"
	}
	return strconv.FormatFloat(float64(n)/1e3, 'f', -1, 64) + " k"
}
