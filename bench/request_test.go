package bench

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// A requestCase is one request that is measured, the same for every peer.
type requestCase struct {
	name  string
	setup []op // prepares the visitor
	op    op   // is measured
	check op   // shows afterwards that op did its work; empty if op shows it itself
	fresh bool // each time another visitor, whose setup is measured, too
	tenth op   // takes the place of op in one of ten requests; empty: never
}

// BenchmarkRequest measures one request through the middleware, without a
// connection. With -cpu 2, two visitors send at once.
func BenchmarkRequest(b *testing.B) {
	for _, c := range []requestCase{
		{name: "read-subject", setup: []op{login}, op: readSubject},
		{name: "read-string", setup: []op{create}, op: readTheme},
		{name: "read-string-of-20-keys", setup: []op{fillTwenty}, op: readTheme},
		{name: "read-struct", setup: []op{fillProfile}, op: readProfile},
		{name: "change-string", setup: []op{create}, op: change, check: readChanged},
		{name: "create", op: create, check: readTheme},
		{name: "login", op: loginAny},
		{name: "list-3-sessions", setup: []op{login}, op: list},
		{name: "anonymous", op: nothing},
	} {
		for _, p := range append(peers, limits...) {
			b.Run("case="+c.name+"/peer="+p.name, func(b *testing.B) { c.run(b, p, runtime.GOMAXPROCS(0)) })
		}
	}
}

// run measures the case in one process, with so many visitors at once.
func (c requestCase) run(b *testing.B, p peer, visitors int) {
	s := p.open()
	defer func() { check(s.Close()) }()
	calls := c.calls(b, s, visitors)
	if visitors == 1 {
		for b.Loop() {
			if status := calls[0](); status != http.StatusOK {
				b.Fatal("status", status)
			}
		}
		return
	}
	var next atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		call := calls[next.Add(1)-1]
		for pb.Next() {
			if status := call(); status != http.StatusOK {
				b.Error("status", status)
				return
			}
		}
	})
}

// atOnceOn measures the case for each number of visitors at once, on each of the
// sites, where requests take so long that single ones can be timed.
func (c requestCase) atOnceOn(b *testing.B, prefix string, visitors []int, sites []peer) {
	for _, n := range visitors {
		for _, p := range sites {
			b.Run(fmt.Sprintf("case=%s%s-by-%d/peer=%s", prefix, c.name, n, p.name), func(b *testing.B) {
				calls := c.calls(b, p.open(), n)
				atOnce(b, n, func(h *hand, _ int) error {
					if status := calls[h.w](); status != http.StatusOK {
						return fmt.Errorf("status %d", status)
					}
					return nil
				})
			})
		}
	}
}

// lazily makes each site open when it is first used, and close at the end of b.
func lazily(b *testing.B, sites ...peer) []peer {
	for i, p := range sites {
		sites[i].open = sync.OnceValue(func() site {
			s := p.open()
			b.Cleanup(func() { s.Close() })
			return s
		})
	}
	return sites
}

// calls returns a function for each visitor that sends the request. Before, it
// shows that the peer does what it is measured for.
func (c requestCase) calls(b *testing.B, s site, visitors int) (calls []func() int) {
	shown := append(slices.Clip(c.setup), c.op)
	for _, o := range shown {
		if !s.supports(o) {
			b.Skip("has no " + string(o))
		}
	}
	if c.check != "" && s.supports(c.check) {
		check(newVisitor(s).send(append(shown, c.check)...))
	} else {
		check(newVisitor(s).send(shown...))
	}
	for range visitors {
		if c.fresh {
			calls = append(calls, func() int {
				check(newVisitor(s).send(shown...))
				return http.StatusOK
			})
			continue
		}
		v := newVisitor(s)
		check(v.send(c.setup...))
		call, _ := s.prepare(c.op, "", v.cookies)
		if c.tenth != "" {
			often := call
			seldom, _ := s.prepare(c.tenth, "", v.cookies)
			call = func() int {
				if rand.IntN(10) == 0 {
					return seldom()
				}
				return often()
			}
		}
		calls = append(calls, call)
	}
	return calls
}

// No error path may be measured: a read that finds nothing is an error.
func TestWrongReadFails(t *testing.T) {
	for _, p := range append(peers, limits...) {
		s := p.open()
		defer s.Close()
		if s.supports(readTheme) && newVisitor(s).send(readTheme) == nil {
			t.Errorf("%s: a visitor without a session read the right value", p.name)
		}
	}
}
