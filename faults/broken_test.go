package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// TestSuiteFinds: clients and checks see what stores do that are wrong on purpose, and nothing in a right one.
func TestSuiteFinds(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]func(*lodger){
		"nothing wrong": func(*lodger) {},
		// I10: a node misses changes, and doesn't notice.
		"deaf": func(l *lodger) { l.deaf = l.node == 1 },
		// I9, I6: an outcome that is told as another.
		"failed though it happened":   func(l *lodger) { l.after = func() error { return errors.New("no connection") } },
		"happened though it failed":   func(l *lodger) { l.instead = func() error { return nil } },
		"ended though it is unlikely": func(l *lodger) { l.instead = func() error { return store.ErrEnded } },
		// These are right: a client that knows nothing concludes nothing.
		"unknown": func(l *lodger) { l.after = func() error { return store.ErrUncertain } },
		"failed":  func(l *lodger) { l.instead = func() error { return errors.New("no connection") } },
	} {
		t.Run(name, func(t *testing.T) {
			long(t)
			s := newSite(t)
			shared := memstore.New()
			t.Cleanup(func() { shared.Close() })
			for i := range nodeCount {
				l := &lodger{Store: shared, node: i}
				wrong(l)
				n, err := newNode(l)
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
			time.Sleep(4 * time.Second)
			s.stop()
			v := judge(s.h.all(), nil)
			problems := v.problems()
			right := name == "nothing wrong" || name == "unknown" || name == "failed"
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

// A lodger is a node's handle on a memstore that several share.
type lodger struct {
	*memstore.Store
	node           int
	deaf           bool         // the feed leaves out what isn't a heartbeat
	instead, after func() error // now and then in place of an Update or End, or of its result
}

func (l *lodger) disturbed(f func() error) error {
	if rand.IntN(6) > 0 {
		return f()
	}
	if l.instead != nil {
		return l.instead()
	}
	err := f()
	if err == nil && l.after != nil {
		err = l.after()
	}
	return err
}

func (l *lodger) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) (ended []store.Ended, err error) {
	err = l.disturbed(func() (err error) {
		ended, err = l.Store.Update(ctx, app, rec, opt)
		return err
	})
	return ended, err
}

// Close leaves the memstore to the others.
func (l *lodger) Close() error { return nil }

// Beat travels through the memstore as the EndAll of an application of its own, in order with all changes.
func (l *lodger) Beat(ctx context.Context, n uint64) error {
	return l.EndAll(ctx, beatApp+strconv.FormatUint(n, 10), 1)
}

const beatApp = "heartbeat "

func (l *lodger) Watch(ctx context.Context) (<-chan store.Change, error) {
	in, err := l.Store.Watch(ctx)
	if err != nil {
		return nil, err
	}
	out := make(chan store.Change)
	go func() {
		defer close(out)
		for c := range in {
			if number, ok := strings.CutPrefix(c.App, beatApp); ok {
				c = store.Change{Kind: store.Beat}
				c.Revision, _ = strconv.ParseUint(number, 10, 64)
			} else if l.deaf && c.Kind != store.Gap {
				continue
			}
			select {
			case out <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}
