package faults

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestI6UnknownOutcome: a write whose request or answer gets lost. The client
// is told that the outcome is unknown (503): never that the write happened, nor
// that it didn't if it did. No write is sent twice.
func TestI6UnknownOutcome(t *testing.T) {
	everywhere(t, func(s *site) {
		if s.resumes(); s.Failed() {
			s.FailNow()
		}
		for _, w := range []lostWrites{
			{"no answers", noAnswers, add},
			{"no requests", noRequests, add},
			{"no answers to an end", noAnswers, end},
			{"no requests for an end", noRequests, end},
		} {
			problem := ""
			for range 4 { // on a busy machine connections time out, and new ones have not written before
				if problem = s.lose(w); problem == "" {
					break
				}
			}
			if problem != "" {
				s.Errorf("%s: %s, so the case says nothing", w.name, problem)
			}
		}
		s.report(judge(s.h.all(), nil).problems())
	}, poolers...)
}

// lostWrites are parallel writes of one kind during a loss.
type lostWrites struct {
	name  string
	toxic []toxic
	kind  kind
}

// lose makes writes get lost. It returns why the attempt is not meaningful, or
// "".
func (s *site) lose(w lostWrites) string {
	s.Helper()
	const each = 60
	// Every connection of the pool must have made such a write before: a new
	// one first asks the server about its statement, and then that answer gets
	// lost, with nothing written.
	s.parallel(2*each, func(i int) {
		if b := s.clients[1].login(context.Background(), fmt.Sprint("before ", w.name, i)); b != nil {
			s.clients[1].send(context.Background(), b, add)
			s.clients[1].send(context.Background(), b, end)
		}
	})
	browsers := make([]*browser, each)
	s.parallel(each, func(i int) {
		for tries := 0; browsers[i] == nil && tries < 30; tries++ { // a busy machine may be too slow for so many at a time
			browsers[i] = s.clients[1].login(context.Background(), fmt.Sprint(w.name, i))
		}
	})
	if slices.Contains(browsers, nil) {
		s.Fatal("no login")
	}
	s.remember(s.clients[1], browsers)
	ops := make([]*op, each)
	s.commands[1].add(w.toxic...)
	from := s.h.now()
	s.parallel(each, func(i int) { ops[i] = s.clients[1].send(context.Background(), browsers[i], w.kind) })
	s.forgotten()
	s.commands[1].heal()
	if all, _ := within(s.h.all(), from, s.h.now()); all < each {
		s.Errorf("%s: %d requests", w.name, all)
	}
	s.resumes()

	count := map[string]int{}
	s.parallel(each, func(i int) {
		o := ops[i]
		after := s.clients[i%nodeCount].send(context.Background(), browsers[i], strict)
		landed := w.kind == add && slices.Contains(after.seen, o.n) || w.kind == end && after.out == refused
		what := o.out.String()
		if landed {
			what += ", and it happened"
		}
		s.h.mu.Lock()
		defer s.h.mu.Unlock()
		count[what]++
	})
	s.Logf("%s: %v", w.name, count)
	s.parallel(each, func(i int) { s.clients[0].send(context.Background(), browsers[i], end) })
	landed := count["unknown, and it happened"]
	lost := count["unknown"] + landed + count["failed"]
	switch {
	case lost != each:
		s.Errorf("%s: of %d writes %d were answered with something else than that they failed or may have happened: %v", w.name, each, each-lost, count)
	case w.toxic[0].Stream == "upstream" && landed > 0:
		s.Errorf("%s: %d happened though none was delivered: they were sent again", w.name, landed)
	case count["unknown"]+landed == 0:
		return "no outcome was unknown"
	case w.toxic[0].Stream == "downstream" && landed == 0:
		return "none of them happened"
	}
	return ""
}

// forgotten waits until a pooler between a node and the proxies has dropped the
// statements that wait for a connection. A node that gives up keeps its own
// connection for another timeout, so the pooler would deliver them after the
// fault.
func (s *site) forgotten() {
	s.Helper()
	if s.pooler == nil {
		return
	}
	first, err := s.pooler.Waiting()
	s.must(err)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		now, err := s.pooler.Waiting()
		s.must(err)
		if !slices.ContainsFunc(first, func(name string) bool { return slices.Contains(now, name) }) {
			return
		}
		if time.Now().After(deadline) {
			s.Fatal("PgBouncer keeps statements that its clients have given up")
		}
	}
}

// remember returns when a node has sessions in its memory, so that a write
// needs no read before it.
func (s *site) remember(c *client, browsers []*browser) {
	s.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		before := c.live()
		s.parallel(len(browsers), func(i int) { c.send(context.Background(), browsers[i], check) })
		if before == nil && c.live() == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Fatal("the node doesn't come to use its memory")
		}
	}
}

// parallel calls f for 0 to n-1 in parallel.
func (s *site) parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
