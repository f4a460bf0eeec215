package faults

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// TestI6UnknownOutcome: writes whose answer, or whose request, gets lost on the way. The client is told that nobody knows (503), never
// that it happened, nor that it didn't where it did; and nothing is sent twice.
func TestI6UnknownOutcome(t *testing.T) {
	everywhere(t, func(s *site) {
		const each = 60
		if s.resumes(); s.Failed() {
			s.FailNow()
		}
		for _, c := range []struct {
			name  string
			toxic []toxic
			kind  kind
		}{
			{"no answers", noAnswers, add},
			{"no requests", noRequests, add},
			{"no answers to an end", noAnswers, end},
			{"no requests for an end", noRequests, end},
		} {
			// Every connection of a pool has made such writes before: a first one asks the server about its statement, and what that
			// answers gets lost then, with nothing written.
			s.parallel(2*each, func(i int) {
				if b := s.clients[1].login(context.Background(), fmt.Sprint("before ", c.name, i)); b != nil {
					s.clients[1].send(context.Background(), b, add)
					s.clients[1].send(context.Background(), b, end)
				}
			})
			browsers := make([]*browser, each)
			s.parallel(each, func(i int) {
				browsers[i] = s.clients[1].login(context.Background(), fmt.Sprint(c.name, i))
				if browsers[i] != nil {
					s.clients[1].send(context.Background(), browsers[i], check) // is in the node's memory
				}
			})
			if slices.Contains(browsers, nil) {
				s.Fatal("no login")
			}
			ops := make([]*op, each)
			s.commands[1].add(c.toxic...)
			from := s.h.now()
			s.parallel(each, func(i int) { ops[i] = s.clients[1].send(context.Background(), browsers[i], c.kind) })
			s.commands[1].heal()
			if all, _ := within(s.h.all(), from, s.h.now()); all < each {
				s.Errorf("%s: %d requests", c.name, all)
			}
			s.resumes()

			count := map[string]int{}
			s.parallel(each, func(i int) {
				o := ops[i]
				after := s.clients[i%nodeCount].send(context.Background(), browsers[i], strict)
				landed := c.kind == add && slices.Contains(after.seen, o.n) || c.kind == end && after.out == refused
				what := o.out.String()
				if landed {
					what += ", and it happened"
				}
				s.h.mu.Lock()
				defer s.h.mu.Unlock()
				count[what]++
			})
			s.Logf("%s: %v", c.name, count)
			lost := count["unknown"] + count["unknown, and it happened"] + count["failed"]
			switch {
			case lost != each:
				s.Errorf("%s: of %d writes %d were answered with something else than that they failed or may have happened: %v", c.name, each, each-lost, count)
			case count["unknown"]+count["unknown, and it happened"] == 0:
				s.Errorf("%s: no outcome was unknown", c.name)
			case c.toxic[0].Stream == "downstream" && count["unknown, and it happened"] == 0:
				s.Errorf("%s: none of them happened, so the case says nothing", c.name)
			case c.toxic[0].Stream == "upstream" && count["unknown, and it happened"] > 0:
				s.Errorf("%s: %d happened though none was delivered: they were sent again", c.name, count["unknown, and it happened"])
			}
			s.parallel(each, func(i int) { s.clients[0].send(context.Background(), browsers[i], end) })
		}
		s.report(judge(s.h.all(), nil).problems())
	})
}

// parallel calls f for 0 to n-1 at once.
func (s *site) parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
