package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/storetest"
)

// TestSuiteFinds: the clients and checks notice what broken stores do, and
// report nothing about a correct one.
func TestSuiteFinds(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]func(*lodger){
		"nothing wrong": func(*lodger) {},
		// I10: a node misses changes and doesn't notice.
		"deaf": func(l *lodger) { l.deaf = l.node == 1 },
		// I9, I6: the store reports another outcome.
		"failed though it happened":   func(l *lodger) { l.after = func() error { return errors.New("no connection") } },
		"happened though it failed":   func(l *lodger) { l.instead = func() error { return nil } },
		"ended though it is unlikely": func(l *lodger) { l.instead = func() error { return store.ErrEnded } },
		// These are correct: the client can conclude nothing.
		"unknown": func(l *lodger) { l.after = func() error { return store.ErrUncertain } },
		"failed":  func(l *lodger) { l.instead = func() error { return errors.New("no connection") } },
	} {
		t.Run(name, func(t *testing.T) {
			long(t)
			s := newSite(t)
			shared := memstore.New()
			t.Cleanup(func() { shared.Close() })
			for i := range nodeCount {
				l := &lodger{node: i}
				wrong(l)
				n, err := newNode(l.on(shared))
				s.must(err)
				server := httptest.NewServer(n)
				s.clients = append(s.clients, newClient(s.h, i, server.URL))
				t.Cleanup(func() {
					server.Close()
					if err := n.close(); err != nil {
						t.Error(err)
					}
				})
			}
			s.serve()
			right := name == "nothing wrong" || name == "unknown" || name == "failed"
			found := func() bool {
				v := judge(s.h.all(), nil)
				return len(v.problems()) > 0 && (name != "deaf" || len(v.late) > 0)
			}
			for began := time.Now(); ; {
				time.Sleep(4 * time.Second)
				if right || time.Since(began) > time.Minute || found() {
					break
				}
			}
			s.stop()
			v := judge(s.h.all(), nil)
			problems := v.problems()
			switch {
			case v.checked < 5 || right && len(v.unsure) > 0:
				t.Errorf("%d sessions were checked, and %d took too long", v.checked, len(v.unsure))
			case right:
				s.report(problems)
			case len(problems) == 0:
				t.Errorf("nothing was found in the histories of %d sessions", v.checked)
			case name == "deaf" && len(v.late) == 0:
				t.Errorf("no request was answered too late: %s", problems[0])
			}
		})
	}
}

// A lodger is a node's handle on a memstore that several nodes share.
type lodger struct {
	node           int
	deaf           bool         // the feed reports only gaps and heartbeats
	instead, after func() error // now and then replace an Update, or its result
}

func (l *lodger) on(shared *memstore.Store) storetest.Feeder {
	return storetest.Disturb(storetest.Beating(shared, l.pass), l.call)
}

func (l *lodger) call(ctx context.Context, c driver.Call) driver.Result {
	switch c.Op {
	case driver.Close: // leaves the memstore to the others
		return driver.Result{}
	case driver.Update:
		if rand.IntN(6) > 0 {
			break
		}
		if l.instead != nil {
			return driver.Result{Err: l.instead()}
		}
		r := c.Do(ctx)
		if r.Err == nil && l.after != nil {
			r.Err = l.after()
		}
		return r
	}
	return c.Do(ctx)
}

func (l *lodger) pass(c store.Change) []store.Change {
	if l.deaf && c.Kind != store.Gap && c.Kind != store.Beat {
		return nil
	}
	return []store.Change{c}
}
