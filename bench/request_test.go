package bench

import (
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
)

// A requestCase is one request that is measured, the same for every peer.
type requestCase struct {
	name  string
	setup []op // prepares the visitor
	op    op   // is measured
	check op   // shows afterwards that op did its work; empty if op shows it itself
}

var requestCases = []requestCase{
	{name: "read-subject", setup: []op{login}, op: readSubject},
	{name: "read-string", setup: []op{create}, op: readTheme},
	{name: "read-string-of-20-keys", setup: []op{fillTwenty}, op: readTheme},
	{name: "read-struct", setup: []op{fillProfile}, op: readProfile},
	{name: "change-string", setup: []op{create}, op: change, check: readChanged},
	{name: "create", op: create, check: readTheme},
	{name: "login", op: loginAny},
	{name: "list-3-sessions", setup: []op{login}, op: list},
	{name: "anonymous", op: nothing},
}

// BenchmarkRequest measures one request through the middleware, without a
// connection. With -cpu 2, two visitors send at once.
func BenchmarkRequest(b *testing.B) {
	for _, c := range requestCases {
		for _, p := range append(peers, limits...) {
			b.Run("case="+c.name+"/peer="+p.name, func(b *testing.B) { c.run(b, p, runtime.GOMAXPROCS(0)) })
		}
	}
}

// run measures the case with so many visitors at once.
func (c requestCase) run(b *testing.B, p peer, visitors int) {
	s, err := p.open()
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	for _, o := range append(c.setup, c.op) {
		if !s.supports(o) {
			b.Skip("has no " + string(o))
		}
	}
	c.verify(b, s)
	calls := make([]func() int, visitors)
	for i := range calls {
		calls[i] = c.visitor(b, s).prepare(c.op)
	}
	if visitors == 1 {
		for b.Loop() {
			if status := calls[0](); status != http.StatusOK {
				b.Fatal("status", status)
			}
		}
		return
	}
	var next atomic.Int64
	b.SetParallelism(visitors / runtime.GOMAXPROCS(0))
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

func (c requestCase) visitor(b *testing.B, s site) visitor {
	v := s.visitor()
	for _, o := range c.setup {
		if err := v.send(o); err != nil {
			b.Fatal(err)
		}
	}
	return v
}

// verify shows that the peer does what it is measured for.
func (c requestCase) verify(b *testing.B, s site) {
	v := c.visitor(b, s)
	for _, o := range []op{c.op, c.check} {
		if o == "" || !s.supports(o) {
			continue
		}
		if err := v.send(o); err != nil {
			b.Fatal(err)
		}
	}
}

// No error path may be measured: a read that finds nothing is an error.
func TestWrongReadFails(t *testing.T) {
	for _, p := range append(peers, limits...) {
		s, err := p.open()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if s.supports(readTheme) && s.visitor().send(readTheme) == nil {
			t.Errorf("%s: a visitor without a session read the right value", p.name)
		}
	}
}
