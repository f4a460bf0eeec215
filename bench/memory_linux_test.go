package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	scsmemory "github.com/alexedwards/scs/v2/memstore"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// BenchmarkMemory measures what many sessions of a user ID and 100 bytes of values
// cost. Sojourn keeps the client, too. Each runs in a process of its own.
//
//	resident-B/session  growth of VmRSS, after a collection
//	peak-B/session      growth of VmHWM while filling
//	heap-B/session      growth of the Go heap
//	scan-B              heap that a collection must look into
//	collection-ns       CPU time of one collection
//	lookup-ns           one random session in the store, on all CPUs
//
// Of the rotated ones, every second session got so many new secrets, each of
// which was confirmed.
func BenchmarkMemory(b *testing.B) {
	for _, c := range []struct {
		name                string
		sessions, rotations int
		peers               []string
	}{
		{"100k-rotated-8-times", sized(100_000, 1000), 8, []string{"sojourn"}},
		{"1M-rotated-8-times", sized(1_000_000, 2000), 8, []string{"sojourn"}},
		{"1M", sized(1_000_000, 2000), 0, []string{"sojourn", "scs", "fiber"}},
		{"10M", sized(10_000_000, 3000), 0, []string{"sojourn"}},
	} {
		for _, peer := range c.peers {
			b.Run("case="+c.name+"/peer="+peer, func(b *testing.B) {
				alone(b, func(b *testing.B) { measureMemory(b, vaults[peer], c.sessions, c.rotations) })
			})
		}
	}
}

const aloneVariable = "SOJOURN_BENCH_ALONE"

// alone measures in a process of its own, because nothing else tells whose memory
// it is. The benchmark reports what that process reports.
func alone(b *testing.B, measure func(b *testing.B)) {
	if os.Getenv(aloneVariable) != "" {
		measure(b)
		return
	}
	pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(b.Name()), "/", "$/^") + "$"
	out, err := rerun(b.Context(), pattern, testing.Short(), aloneVariable+"=1")
	_, line, found := strings.Cut(out, "\n"+b.Name())
	if err != nil || !found {
		b.Fatalf("%v\n%s", err, out)
	}
	line, _, _ = strings.Cut(line, "\n")
	fields, m := strings.Fields(line), figures{}
	for i := len(fields) - 1; i > 1; i -= 2 { // each value is before its unit
		m[fields[i]] = must(strconv.ParseFloat(fields[i-1], 64))
	}
	m.report(b)
}

// A vault is a library with a store that is to be filled.
type vault struct {
	create func(i int) (token string)
	read   func(token string) bool               // through the library
	lookup func(token string) bool               // in the store alone; nil: not measured
	rotate func(tokens tokenList, rotations int) // nil: the library doesn't
}

var vaults = map[string]func() vault{
	"sojourn": sojournVault,
	"scs":     scsVault,
	"fiber":   func() vault { return siteVault(openFiber()) },
}

// A tokenList keeps tokens in memory without pointers.
type tokenList [][64]byte

func (t tokenList) set(i int, token string) { copy(t[i][:], fmt.Sprintf("%-64s", token)) }
func (t tokenList) get(i int) string        { return strings.TrimRight(string(t[i][:]), " ") }

func measureMemory(b *testing.B, open func() vault, n, rotations int) {
	tokens := make(tokenList, n)
	for i := range n {
		tokens.set(i, "") // becomes resident before the measurement
	}
	v := open()
	before, heap := settledMemory(), metric(heapBytes)
	for i := range n {
		tokens.set(i, v.create(i))
	}
	if rotations > 0 {
		v.rotate(tokens, rotations)
	}
	for i := 0; i < n; i += max(1, n/10_000) {
		if !v.read(tokens.get(i)) {
			b.Fatalf("session %d of %d can't be read", i, n)
		}
	}
	after := settledMemory()
	peak := processMemory("self", "VmHWM")
	m := figures{
		"resident-B/session": (after - before) / float64(n),
		"peak-B/session":     (peak - before) / float64(n),
		"heap-B/session":     (metric(heapBytes) - heap) / float64(n),
		"scan-B":             metric("/gc/scan/heap:bytes"),
	}
	defer m.report(b)
	var collections []float64
	for range 5 {
		start := metric("/cpu/classes/gc/total:cpu-seconds")
		runtime.GC()
		collections = append(collections, metric("/cpu/classes/gc/total:cpu-seconds")-start)
	}
	slices.Sort(collections)
	m["collection-ns"] = collections[2] * 1e9
	if v.lookup == nil {
		return
	}
	const each = 1000
	start, calls := time.Now(), sized(2000, 1)
	spread(0, calls, runtime.GOMAXPROCS(0), func(*hand, int) error {
		for range each {
			if i := rand.IntN(n); !v.lookup(tokens.get(i)) {
				return fmt.Errorf("session %d is not in the store", i)
			}
		}
		return nil
	})
	m["lookup-ns"] = float64(time.Since(start)) / float64(calls*each)
}

const heapBytes = "/memory/classes/heap/objects:bytes"

func metric(name string) float64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	if s[0].Value.Kind() == metrics.KindFloat64 {
		return s[0].Value.Float64()
	}
	return float64(s[0].Value.Uint64())
}

var dataKey = sojourn.NewKey[string]("data")

// sojournVault has a clock of its own, so that days pass in a minute.
func sojournVault() vault {
	st := memstore.NewLimited(16 << 30)
	clock := new(atomic.Int64) // milliseconds
	clock.Store(int64(fixed.start))
	e := must(sojourn.New(st, sojourn.Options{Now: func() time.Time { return time.UnixMilli(clock.Load()) }}))
	ctx := context.Background()
	get := func(token string, rec *store.Record) error {
		var id store.ID // the token's first 16 bytes
		must(base64.RawURLEncoding.Decode(id[:], []byte(token[:22])))
		return st.Get(ctx, app, id, false, rec)
	}
	// visit is a request of session i. It returns the session's newest token.
	visit := func(i int, token string, do func(*sojourn.Session) error) string {
		s := e.Begin(ctx, sojourn.Request{Session: []string{token}, Client: clientOf(i)})
		if s.Subject() != userID(i) {
			panic(fmt.Sprintf("session %d is gone", i))
		}
		check(errors.Join(do(s), s.Commit(ctx)))
		return cmp.Or(s.Token(), token)
	}
	read := func(*sojourn.Session) error { return nil }
	return vault{
		create: func(i int) string {
			s := e.Begin(ctx, sojourn.Request{Client: clientOf(i)})
			check(errors.Join(s.Login(userID(i)), dataKey.Set(s, someValue(i)), s.Commit(ctx)))
			return s.Token()
		},
		read: func(token string) bool {
			return e.Begin(ctx, sojourn.Request{Session: []string{token}}).Subject() != ""
		},
		lookup: func(token string) bool { return get(token, new(store.Record)) == nil },
		// It presents the new secret, and again later, which confirms it.
		rotate: func(tokens tokenList, rotations int) {
			for range rotations {
				for _, step := range []struct {
					wait time.Duration
					do   func(*sojourn.Session) error
				}{{15 * time.Minute, (*sojourn.Session).Rotate}, {time.Second, read}, {61 * time.Second, read}} {
					clock.Add(step.wait.Milliseconds())
					for i := 0; i < len(tokens); i += 2 {
						tokens.set(i, visit(i, tokens.get(i), step.do))
						if i%500 == 0 { // the engine keeps few notes, and drops the rest
							check(e.Flush(ctx))
						}
					}
					check(e.Flush(ctx))
				}
			}
			for i := 0; i < len(tokens); i += 2 * max(1, len(tokens)/2000) {
				var rec store.Record
				check(get(tokens.get(i), &rec))
				if rec.Secret.ConfirmedAt == 0 || len(rec.Good)+len(rec.Spent) == 0 {
					panic(fmt.Sprintf("session %d isn't rotated and confirmed: %+v", i, rec))
				}
			}
		},
	}
}

// siteVault sends requests to a library's site. Its tokens are Cookie headers.
func siteVault(s site) vault {
	return vault{
		create: func(i int) string {
			v := newVisitor(s)
			must(v.ask(fillSample, fmt.Sprint("?item=", i)))
			return v.cookies.header()
		},
		read: func(token string) bool {
			name, value, _ := strings.Cut(token, "=")
			body := must(visitor{s, jar{name: value}}.ask(readState, ""))
			return bytes.Contains(body, []byte(`"subject":"user-`))
		},
	}
}

func scsVault() vault {
	st := scsmemory.NewWithCleanupInterval(0)
	v := siteVault(scsSite(st))
	v.lookup = func(token string) bool {
		_, found, err := st.Find(strings.TrimPrefix(token, "session="))
		return found && err == nil
	}
	return v
}

// processMemory returns the bytes of a line of /proc/pid/status.
func processMemory(pid, line string) float64 {
	text := must(os.ReadFile("/proc/" + pid + "/status"))
	found := regexp.MustCompile(line + `:\s+(\d+) kB`).FindSubmatch(text)
	return 1024 * must(strconv.ParseFloat(string(found[1]), 64))
}

// settledMemory returns this process's resident memory without what is free.
func settledMemory() float64 {
	for range 2 {
		runtime.GC()
		debug.FreeOSMemory()
	}
	return processMemory("self", "VmRSS")
}
