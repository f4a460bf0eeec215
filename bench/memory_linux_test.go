package bench

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	scsmemory "github.com/alexedwards/scs/v2/memstore"
	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/session"
	"github.com/valyala/fasthttp"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// BenchmarkMemory measures what many sessions of a user ID and 100 bytes of values
// cost. Sojourn keeps the client, too. Each runs in a process of its own, with
// -benchtime 1x.
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

// A vault is a library with a store that is to be filled.
type vault struct {
	create func(i int) (token string)
	read   func(token string) bool                // through the library
	lookup func(token string) bool                // in the store alone; nil: not measured
	rotate func(tokens *tokenList, rotations int) // nil: the library doesn't
}

var vaults = map[string]func() vault{"sojourn": sojournVault, "scs": scsVault, "fiber": fiberVault}

// A tokenList keeps tokens in memory without pointers that exists before the
// measurement, so that it doesn't count.
type tokenList struct {
	text []byte
	n    int
}

const tokenSlot = 64

func newTokenList(n int) *tokenList {
	t := &tokenList{make([]byte, n*tokenSlot), n}
	for i := range n {
		t.set(i, "") // the pages become resident
	}
	return t
}

func (t *tokenList) set(i int, token string) {
	copy(t.text[i*tokenSlot:], fmt.Sprintf("%-*s", tokenSlot, token))
}

func (t *tokenList) get(i int) string {
	return strings.TrimRight(string(t.text[i*tokenSlot:(i+1)*tokenSlot]), " ")
}

func measureMemory(b *testing.B, open func() vault, n, rotations int) {
	tokens := newTokenList(n)
	v := open()
	before := settledMemory()
	heap := heapBytes()
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
	_, peak := processMemory("self")
	b.ReportMetric((after-before)/float64(n), "resident-B/session")
	b.ReportMetric((peak-before)/float64(n), "peak-B/session")
	b.ReportMetric((heapBytes()-heap)/float64(n), "heap-B/session")
	b.ReportMetric(metric("/gc/scan/heap:bytes"), "scan-B")
	var collections []float64
	for range 5 {
		start := metric("/cpu/classes/gc/total:cpu-seconds")
		runtime.GC()
		collections = append(collections, metric("/cpu/classes/gc/total:cpu-seconds")-start)
	}
	slices.Sort(collections)
	b.ReportMetric(collections[2]*1e9, "collection-ns")
	b.ReportMetric(0, "ns/op")
	if v.lookup == nil {
		return
	}
	start, lookups := time.Now(), sized(2_000_000, 1000)
	spread(0, lookups, runtime.GOMAXPROCS(0), each(func(int) error {
		if i := rand.IntN(n); !v.lookup(tokens.get(i)) {
			return fmt.Errorf("session %d is not in the store", i)
		}
		return nil
	}))
	b.ReportMetric(float64(time.Since(start))/float64(lookups), "lookup-ns")
}

func heapBytes() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

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
			check(errors.Join(s.Login(userID(i)), dataKey.Set(s, someValue(i)[:98]), s.Commit(ctx)))
			return s.Token()
		},
		read: func(token string) bool {
			return e.Begin(ctx, sojourn.Request{Session: []string{token}}).Subject() != ""
		},
		lookup: func(token string) bool { return get(token, new(store.Record)) == nil },
		// It presents the new secret, and again later, which confirms it.
		rotate: func(tokens *tokenList, rotations int) {
			for range rotations {
				for _, step := range []struct {
					wait time.Duration
					do   func(*sojourn.Session) error
				}{{15 * time.Minute, (*sojourn.Session).Rotate}, {time.Second, read}, {61 * time.Second, read}} {
					clock.Add(step.wait.Milliseconds())
					for i := 0; i < tokens.n; i += 2 {
						tokens.set(i, visit(i, tokens.get(i), step.do))
						if i%500 == 0 { // the engine keeps few notes, and drops the rest
							check(e.Flush(ctx))
						}
					}
					check(e.Flush(ctx))
				}
			}
			for i := 0; i < tokens.n; i += 2 * max(1, tokens.n/2000) {
				var rec store.Record
				check(get(tokens.get(i), &rec))
				if rec.Secret.ConfirmedAt == 0 || len(rec.Good)+len(rec.Spent) == 0 {
					panic(fmt.Sprintf("session %d isn't rotated and confirmed: %+v", i, rec))
				}
			}
		},
	}
}

func scsVault() vault {
	m, st := scs.New(), scsmemory.NewWithCleanupInterval(0)
	m.Store = st
	return vault{
		create: func(i int) string {
			ctx := must(m.Load(context.Background(), ""))
			m.Put(ctx, "subject", userID(i))
			m.Put(ctx, "data", someValue(i)[:98])
			token, _, err := m.Commit(ctx)
			check(err)
			return token
		},
		read: func(token string) bool {
			ctx, err := m.Load(context.Background(), token)
			return err == nil && m.GetString(ctx, "subject") != ""
		},
		lookup: func(token string) bool {
			_, found, err := st.Find(token)
			return found && err == nil
		},
	}
}

func fiberVault() vault {
	handler := fiber.New()
	use, _ := session.NewWithStore(session.Config{IdleTimeout: 24 * time.Hour})
	var i int
	var token string
	var found bool
	handler.Post("/", use, func(c fiber.Ctx) error {
		s := session.FromContext(c)
		s.Set("subject", userID(i))
		s.Set("data", someValue(i)[:98])
		token = s.ID()
		return nil
	})
	handler.Get("/", use, func(c fiber.Ctx) error {
		found = session.FromContext(c).Get("subject") != nil
		return nil
	})
	serve := handler.Handler()
	send := func(method, cookie string) {
		c := new(fasthttp.RequestCtx)
		c.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 49152}, nil)
		c.Request.Header.SetMethod(method)
		c.Request.SetRequestURI("/")
		c.Request.Header.Set("Cookie", cookie)
		serve(c)
	}
	return vault{
		create: func(n int) string {
			i = n
			send("POST", "")
			return token
		},
		read: func(token string) bool {
			send("GET", "session_id="+token)
			return found
		},
	}
}
